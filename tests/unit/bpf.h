/* bpf: classic BPF programs run by hand: as much of it as steer.c writes. Anything else, or a load outside
 * the packet, fails the test. */
#ifndef UMBEL_TESTS_UNIT_BPF_H
#define UMBEL_TESTS_UNIT_BPF_H

#include "net/steer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct bpf_packet {
	uint8_t bytes[80]; /* from the IP header on */
	unsigned length;
	uint32_t random; /* SKF_AD_RANDOM */
};

struct bpf_result {
	uint32_t value;
	unsigned steps;
};

static uint32_t bpf_load(const struct bpf_packet *packet, uint32_t k, uint32_t size)
{
	uint32_t offset = k - (uint32_t)SKF_NET_OFF, value = 0;
	unsigned bytes = size == BPF_B ? 1 : size == BPF_H ? 2 : 4;

	if (k == (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM))
		return packet->random;
	if (offset >= packet->length || packet->length - offset < bytes)
		fail_msg("a load outside the packet, at %u", offset);
	while (bytes-- > 0)
		value = value << 8 | packet->bytes[offset++];
	return value;
}

static uint32_t bpf_alu(uint16_t op, uint32_t a, uint32_t operand)
{
	switch (op) {
	case BPF_ADD:
		return a + operand;
	case BPF_MUL:
		return a * operand;
	case BPF_XOR:
		return a ^ operand;
	case BPF_RSH:
		assert_in_range(operand, 0, 31);
		return a >> operand;
	case BPF_MOD:
		assert_int_not_equal(operand, 0);
		return a % operand;
	}
	fail_msg("alu operation %#x", op);
	return 0;
}

static unsigned bpf_jump(const struct sock_filter *in, uint32_t a)
{
	bool is_true = false;

	switch (BPF_OP(in->code)) {
	case BPF_JA:
		return in->k;
	case BPF_JEQ:
		is_true = a == in->k;
		break;
	case BPF_JGE:
		is_true = a >= in->k;
		break;
	default:
		fail_msg("jump %#x", in->code);
	}
	return is_true ? in->jt : in->jf;
}

static struct bpf_result bpf_run(const struct sock_filter *code, unsigned count, const struct bpf_packet *packet)
{
	uint32_t a = 0, x = 0;
	unsigned steps = 0;

	for (unsigned at = 0; at < count; at++) {
		const struct sock_filter *in = &code[at];

		steps++;
		switch (in->code) {
		case BPF_LD | BPF_W | BPF_ABS:
		case BPF_LD | BPF_H | BPF_ABS:
		case BPF_LD | BPF_B | BPF_ABS:
			a = bpf_load(packet, in->k, BPF_SIZE(in->code));
			continue;
		case BPF_LD | BPF_W | BPF_IND:
		case BPF_LD | BPF_H | BPF_IND:
			a = bpf_load(packet, in->k + x, BPF_SIZE(in->code));
			continue;
		case BPF_LDX | BPF_B | BPF_MSH:
			x = (bpf_load(packet, in->k, BPF_B) & 0xf) * 4;
			continue;
		case BPF_LDX | BPF_W | BPF_IMM:
			x = in->k;
			continue;
		case BPF_MISC | BPF_TAX:
			x = a;
			continue;
		case BPF_RET | BPF_K:
			return (struct bpf_result){in->k, steps};
		case BPF_RET | BPF_A:
			return (struct bpf_result){a, steps};
		}
		if (BPF_CLASS(in->code) == BPF_ALU)
			a = bpf_alu(BPF_OP(in->code), a, BPF_SRC(in->code) == BPF_X ? x : in->k);
		else if (BPF_CLASS(in->code) == BPF_JMP && BPF_SRC(in->code) == BPF_K)
			at += bpf_jump(in, a);
		else
			fail_msg("instruction %#x", in->code);
	}
	fail_msg("no return");
	return (struct bpf_result){0, 0};
}

#endif
