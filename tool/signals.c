/* signals: what they do to a run. As process 1 of a container it has two duties more: to reap whom it has
 * inherited, and to pass on what means nothing to itself. */
#include "private.h"
#include "run.h"

#include "base/fd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- stopping ---- */

static void on_lame_duck_over(uv_timer_t *timer)
{
	struct run *r = timer->data;

	run_stop_once(r);
}

static void begin_lame_duck(struct run *r)
{
	char text[96];

	r->report.lame_duck = true;
	snprintf(text, sizeof(text), "lame duck: not ready any more, serving for %.1f s",
		 r->lame_duck_ms / 1000.0);
	run_say(r, text);
	uv_timer_start(&r->lame_duck, on_lame_duck_over, r->lame_duck_ms, 0);
}

void signals_stop_gently(struct run *r)
{
	if (r->lame_duck_ms && !r->stopping && !r->report.lame_duck)
		begin_lame_duck(r);
	else
		run_stop(r);
}

/* ---- process 1 ---- */

static bool is_worker(const struct umbel *u, pid_t pid)
{
	const struct umbel_worker *w = NULL;

	while ((w = umbel_next(u, w ? umbel_worker_id(w) : 0)))
		if (umbel_worker_pid(w) == pid)
			return true;
	return false;
}

/* Workers are reaped by their pidfd. Until that has happened one of them hides those behind it: it is
 * looked again when its end is told. */
void signals_reap(struct run *r)
{
	siginfo_t info;

	if (getpid() != 1)
		return;
	for (;;) {
		info.si_pid = 0;
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0 ||
		    is_worker(r->umbel, info.si_pid))
			return;
		waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG);
	}
}

/* ---- signals ---- */

static void pass_on(struct run *r, int sig)
{
	const struct umbel_worker *w = NULL;

	while ((w = umbel_next(r->umbel, w ? umbel_worker_id(w) : 0)))
		umbel_kill((struct umbel_worker *)w, sig);
}

static void scale_by(struct run *r, int change)
{
	int was = private_wanted(r->umbel), count = was + change;
	char text[96];

	if (r->stopping)
		return;
	if (count >= 1 && umbel_scale(r->umbel, count) == 0) {
		r->report.scaled_to = count;
		return;
	}
	snprintf(text, sizeof(text), "scale: %d worker%s: %s", was, plural(was),
		 count < 1 ? "one is the fewest by a signal" : umbel_reason(r->umbel));
	run_say(r, text);
}

static void say_ignored(struct run *r, int sig)
{
	char text[80];

	snprintf(text, sizeof(text), "SIG%s has no meaning in this version: ignored", sigabbrev_np(sig));
	run_say(r, text);
}

/* A terminal that is gone, resized, or in the hands of somebody else is no request. */
static void on_signal_of_kernel(struct run *r, int sig)
{
	if (sig == SIGHUP)
		run_stop_once(r);
	else if (sig == SIGINT || sig == SIGTERM) /* Ctrl-C */
		signals_stop_gently(r);
}

static void on_signal_of_somebody(struct run *r, int sig)
{
	switch (sig) {
	case SIGTERM:
	case SIGINT:
		signals_stop_gently(r);
		break;
	case SIGQUIT: /* at once */
		run_stop(r);
		umbel_stop(r->umbel);
		break;
	case SIGHUP:
		private_reload_by_signal(r->umbel);
		break;
	case SIGTTIN:
	case SIGTTOU:
		scale_by(r, sig == SIGTTIN ? 1 : -1);
		break;
	case SIGUSR1:
	case SIGUSR2:
	case SIGWINCH:
		say_ignored(r, sig);
		break;
	default:
		pass_on(r, sig);
	}
}

static void on_signal(uv_poll_t *poll, int status, int events)
{
	struct run *r = poll->data;
	struct signalfd_siginfo info;

	if (read(r->signalfd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD)
		signals_reap(r);
	else if (signal_is_repeated(&r->last_signal, &info, uv_now(private_loop(r->umbel))))
		return;
	else if (info.ssi_code == SI_KERNEL && info.ssi_signo != SIGQUIT)
		on_signal_of_kernel(r, (int)info.ssi_signo);
	else
		on_signal_of_somebody(r, (int)info.ssi_signo);
}

static void fill(sigset_t *set)
{
	static const int watched[] = {SIGTERM, SIGINT,  SIGQUIT, SIGHUP,  SIGUSR1, SIGUSR2,
				      SIGTTIN, SIGTTOU, SIGWINCH, SIGALRM, SIGPWR,  SIGURG};

	sigemptyset(set);
	for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
		sigaddset(set, watched[i]);
	for (int sig = SIGRTMIN; sig <= SIGRTMAX; sig++)
		sigaddset(set, sig);
	if (getpid() == 1)
		sigaddset(set, SIGCHLD);
}

int signals_watch(struct run *r)
{
	uv_loop_t *loop = private_loop(r->umbel);
	sigset_t set;

	fill(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* ignored, it would take how workers ended away from us */
	r->signalfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (r->signalfd < 0)
		return -errno;
	uv_timer_init(loop, &r->lame_duck);
	r->lame_duck.data = r;
	r->lame_duck_open = true;
	uv_poll_init(loop, &r->signals, r->signalfd);
	r->signals.data = r;
	return uv_poll_start(&r->signals, UV_READABLE, on_signal);
}

void signals_end(struct run *r)
{
	if (r->lame_duck_open)
		uv_close((uv_handle_t *)&r->lame_duck, NULL);
	if (r->signalfd < 0)
		return;
	uv_close((uv_handle_t *)&r->signals, NULL);
	fd_close(&r->signalfd);
}
