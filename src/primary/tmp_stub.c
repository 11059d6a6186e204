#include "net/steer.h"
#include "primary/handoff.h"
unsigned handoff_active(const struct umbel_worker *w, bool *known) { *known = false; return (unsigned)w->unanswered; }
void scoreboard_read(const struct scoreboard *b, struct scoreboard_view *r) { *r = (struct scoreboard_view){0}; }
void scoreboard_unmap(const struct scoreboard *b) {}
unsigned steer_program(const struct steer_plan *p, struct sock_filter *o)
{
	unsigned n = 0;
	if (p->by == STEER_TO_FIRST || p->by == STEER_CLIENT) { o[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, p->by == STEER_CLIENT ? p->buckets[0] : p->targets[0]); return n; }
	o[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)(SKF_AD_OFF + SKF_AD_RANDOM));
	o[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, p->count);
	for (unsigned i = 0; i + 1 < p->count; i++) {
		o[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, i, 0, 1);
		o[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, p->targets[i]);
	}
	o[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, p->targets[p->count - 1]);
	return n;
}
