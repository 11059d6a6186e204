/* signals: what both readers of a signalfd (umbel_run() and the command) must know. */
#ifndef UMBEL_BASE_SIGNALS_H
#define UMBEL_BASE_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/signalfd.h>

struct last_signal {
	uint32_t signo, from; /* pid */
	uint64_t at_ms;       /* of any clock */
};

/* timeout(1) sends its signal to the process and to its group: the same from the same process within
 * 20 ms is one. */
static inline bool signal_is_repeated(struct last_signal *last, const struct signalfd_siginfo *info,
				      uint64_t now_ms)
{
	enum { SAME_MS = 20 };
	struct last_signal before = *last;

	*last = (struct last_signal){info->ssi_signo, info->ssi_pid, now_ms};
	/* One worker more, and another: these are two. */
	if (info->ssi_signo == SIGTTIN || info->ssi_signo == SIGTTOU || info->ssi_code != SI_USER)
		return false;
	return info->ssi_signo == before.signo && info->ssi_pid == before.from &&
	       now_ms - before.at_ms < SAME_MS;
}

#endif
