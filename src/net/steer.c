#include "net/steer.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

/* Offsets into the IP header. A client that is mapped into IPv6 shows IPv4's (K19 of docs/KERNEL.md). */
#define HEADER(offset) ((uint32_t)(SKF_NET_OFF + (offset)))
#define V4_SOURCE 12
#define V4_DESTINATION 16
#define V6_NEXT 6
#define V6_SOURCE 8
#define V6_END 40
#define LOOPBACK_V4 127 /* the first byte */
#define V6 0x60 /* the first byte is this or more: IPv6; IPv4's is 0x4. */

#define TREE_NEAR 128 /* leaves: 255 instructions, as far as a conditional jump reaches */

struct code {
	struct sock_filter *out;
	unsigned count;
};

static unsigned put(struct code *code, uint16_t op, uint32_t k)
{
	assert(code->count < STEER_MAX);
	code->out[code->count] = (struct sock_filter)BPF_STMT(op, k);
	return code->count++;
}

static unsigned put_jump(struct code *code, uint16_t test, uint32_t k, uint8_t if_true, uint8_t if_false)
{
	unsigned at = put(code, BPF_JMP | test | BPF_K, k);

	code->out[at].jt = if_true;
	code->out[at].jf = if_false;
	return at;
}

static void put_return(struct code *code, uint32_t index)
{
	put(code, BPF_RET | BPF_K, index);
}

/* What was put since the jump at `at`: that far it goes. */
static unsigned distance(const struct code *code, unsigned at)
{
	return code->count - at - 1;
}

/* The value of the table at A: the table has `count` runs of equal values, which begin at starts[]. A binary
 * tree, as long as a chain of compares would be, and ten steps deep instead of a thousand. */
static void put_tree(struct code *code, const uint16_t *table, const uint16_t *starts, unsigned count)
{
	unsigned half = count / 2, at;

	if (count == 1) {
		put_return(code, table[starts[0]]);
		return;
	}
	if (half <= TREE_NEAR) {
		at = put_jump(code, BPF_JGE, starts[half], 0, 0);
		put_tree(code, table, starts, half);
		code->out[at].jt = (uint8_t)distance(code, at);
	} else {
		put_jump(code, BPF_JGE, starts[half], 0, 1);
		at = put(code, BPF_JMP | BPF_JA, 0);
		put_tree(code, table, starts, half);
		code->out[at].k = distance(code, at);
	}
	put_tree(code, table, starts + half, count - half);
}

static void put_table(struct code *code, const uint16_t *table, unsigned count)
{
	uint16_t starts[BUCKETS];
	unsigned runs = 0;

	for (unsigned i = 0; i < count; i++)
		if (i == 0 || table[i] != table[i - 1])
			starts[runs++] = (uint16_t)i;
	put_tree(code, table, starts, runs);
}

static bool is_range(const uint16_t *targets, unsigned count)
{
	for (unsigned i = 1; i < count; i++)
		if (targets[i] != targets[0] + i)
			return false;
	return true;
}

/* targets[A] */
static void put_targets(struct code *code, const uint16_t *targets, unsigned count)
{
	if (!is_range(targets, count)) {
		put_table(code, targets, count);
		return;
	}
	put(code, BPF_ALU | BPF_ADD | BPF_K, targets[0]);
	put(code, BPF_RET | BPF_A, 0);
}

static void put_random(struct code *code, unsigned count)
{
	put(code, BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM));
	put(code, BPF_ALU | BPF_MOD | BPF_K, count);
}

/* X: the hash so far, and a multiply of it with what A has now. */
static void put_hash(struct code *code)
{
	put(code, BPF_ALU | BPF_XOR | BPF_X, 0);
	put(code, BPF_ALU | BPF_MUL | BPF_K, BUCKETS_FACTOR);
	put(code, BPF_MISC | BPF_TAX, 0);
}

static void put_hash_words(struct code *code, unsigned from, unsigned to)
{
	for (; from < to; from += 4) {
		put(code, BPF_LD | BPF_W | BPF_ABS, HEADER(from));
		put_hash(code);
	}
}

static void put_hash_v4(struct code *code)
{
	put(code, BPF_LDX | BPF_B | BPF_MSH, HEADER(0));
	put(code, BPF_LD | BPF_W | BPF_IND, HEADER(0)); /* both ports */
	put(code, BPF_ALU | BPF_MUL | BPF_K, BUCKETS_FACTOR);
	put(code, BPF_MISC | BPF_TAX, 0);
	put_hash_words(code, V4_SOURCE, V4_DESTINATION + 4);
}

/* Behind extension headers the ports are not looked for: there the addresses must do. */
static void put_hash_v6(struct code *code)
{
	unsigned at;

	put(code, BPF_LDX | BPF_W | BPF_IMM, 0);
	put(code, BPF_LD | BPF_B | BPF_ABS, HEADER(V6_NEXT));
	at = put_jump(code, BPF_JEQ, IPPROTO_UDP, 0, 0);
	put_hash_words(code, V6_END, V6_END + 4);
	code->out[at].jf = (uint8_t)distance(code, at);
	put_hash_words(code, V6_SOURCE, V6_END);
}

/* A of IPv4 and A of IPv6: each ends with the following instruction. */
static void put_families(struct code *code, void (*v4)(struct code *), void (*v6)(struct code *))
{
	unsigned at, skip;

	put(code, BPF_LD | BPF_B | BPF_ABS, HEADER(0));
	at = put_jump(code, BPF_JGE, V6, 0, 0);
	v4(code);
	skip = put(code, BPF_JMP | BPF_JA, 0);
	code->out[at].jt = (uint8_t)distance(code, at);
	v6(code);
	code->out[skip].k = distance(code, skip);
}

/* The kernel's own hash, SKF_AD_RXHASH, is no alternative: over IPv4 it is 0 on loopback, for all that comes
 * from sockets that are not connected (Linux 6.18), and on a network card it depends on the card. */
static void put_flow(struct code *code, unsigned count)
{
	put_families(code, put_hash_v4, put_hash_v6);
	/* The upper half, scaled to count: the lower bits of a product do not depend on the upper ones of a
	 * word, where the client's port is. */
	put(code, BPF_ALU | BPF_RSH | BPF_K, 16);
	put(code, BPF_ALU | BPF_MUL | BPF_K, count);
	put(code, BPF_ALU | BPF_RSH | BPF_K, 16);
}

static void put_client_v4(struct code *code)
{
	put(code, BPF_LD | BPF_W | BPF_ABS, HEADER(V4_SOURCE));
}

static void put_client_v6(struct code *code)
{
	put(code, BPF_LD | BPF_W | BPF_ABS, HEADER(V6_SOURCE));
	put(code, BPF_ALU | BPF_MUL | BPF_K, BUCKETS_FACTOR);
	put(code, BPF_MISC | BPF_TAX, 0);
	put(code, BPF_LD | BPF_W | BPF_ABS, HEADER(V6_SOURCE + 4));
	put(code, BPF_ALU | BPF_XOR | BPF_X, 0);
}

/* As buckets_of_client(). */
static void put_client(struct code *code)
{
	put_families(code, put_client_v4, put_client_v6);
	put(code, BPF_ALU | BPF_MUL | BPF_K, BUCKETS_FACTOR);
	put(code, BPF_ALU | BPF_RSH | BPF_K, BUCKETS_SHIFT);
}

/* Where jumps go that are not true: to what follows. */
static void put_else(struct code *code, const unsigned *jumps, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		code->out[jumps[i]].jf = (uint8_t)distance(code, jumps[i]);
}

/* A: the port of a client of a loopback address. ret: jumps of those that have none. */
static unsigned put_port_v4(struct code *code, unsigned *ret)
{
	put(code, BPF_LD | BPF_B | BPF_ABS, HEADER(V4_SOURCE));
	ret[0] = put_jump(code, BPF_JEQ, LOOPBACK_V4, 0, 0);
	put(code, BPF_LDX | BPF_B | BPF_MSH, HEADER(0));
	put(code, BPF_LD | BPF_H | BPF_IND, HEADER(0));
	return 1;
}

static unsigned put_port_v6(struct code *code, unsigned *ret)
{
	unsigned count = 0;

	put(code, BPF_LD | BPF_B | BPF_ABS, HEADER(V6_NEXT));
	ret[count++] = put_jump(code, BPF_JEQ, IPPROTO_TCP, 0, 0);
	for (unsigned word = 0; word < 4; word++) {
		put(code, BPF_LD | BPF_W | BPF_ABS, HEADER(V6_SOURCE + 4 * word));
		ret[count++] = put_jump(code, BPF_JEQ, word == 3, 0, 0); /* ::1 */
	}
	put(code, BPF_LD | BPF_H | BPF_ABS, HEADER(V6_END));
	return count;
}

unsigned steer_prefix(const struct steer_probe *probes, unsigned count, struct sock_filter *out)
{
	struct code code = {.out = out};
	unsigned no[6], nos, family, list, over;

	assert(count <= STEER_PROBES_MOST);
	if (count == 0)
		return 0;
	put(&code, BPF_LD | BPF_B | BPF_ABS, HEADER(0));
	family = put_jump(&code, BPF_JGE, V6, 0, 0);
	nos = put_port_v4(&code, no);
	list = put(&code, BPF_JMP | BPF_JA, 0);
	code.out[family].jt = (uint8_t)distance(&code, family);
	nos += put_port_v6(&code, no + nos);
	put(&code, BPF_JMP | BPF_JA, 1);
	put_else(&code, no, nos);
	over = put(&code, BPF_JMP | BPF_JA, 0); /* further than a conditional jump reaches */
	code.out[list].k = distance(&code, list);
	for (unsigned i = 0; i < count; i++) {
		put_jump(&code, BPF_JEQ, probes[i].port, 0, 1);
		put_return(&code, probes[i].target);
	}
	code.out[over].k = distance(&code, over);
	return code.count;
}

unsigned steer_program(const struct steer_plan *plan, struct sock_filter *out)
{
	struct code code = {.out = out};

	if (plan->by == STEER_CLIENT) {
		put_client(&code);
		put_table(&code, plan->buckets, BUCKETS);
		return code.count;
	}
	assert(plan->count > 0 && plan->count <= BUCKETS_SLOTS);
	if (plan->by == STEER_TO_FIRST || plan->count == 1) {
		put_return(&code, plan->targets[0]);
		return code.count;
	}
	if (plan->by == STEER_RANDOM)
		put_random(&code, plan->count);
	else
		put_flow(&code, plan->count);
	put_targets(&code, plan->targets, plan->count);
	return code.count;
}
