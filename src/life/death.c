#include "life/death.h"

#include "base/proc.h"
#include "life/crew.h"
#include "life/worker.h"
#include "program/settings.h"
#include "program/spawn.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

void death_tell(struct umbel_worker *w, const siginfo_t *info, const struct death *d)
{
	struct queued_event *e;
	char why[PATH_MAX + 128];

	if (d->has_no_program) {
		const char *exec = w->program->exec ? w->program->exec : w->crew->settings->exec;

		snprintf(why, sizeof(why), "cannot start %s: %s: %s", exec ? exec : "this program",
			 w->exec_step, strerror(w->exec_error));
		worker_tell_failed(w, -w->exec_error, why);
		return;
	}
	e = events_add(w->crew->events, UMBEL_EXIT, w, "", 0);
	if (!e)
		return;
	e->event.exit.code = d->code;
	e->event.exit.signal = d->signal;
	e->event.exit.core = info->si_code == CLD_DUMPED;
	e->event.exit.asked = w->receiver.asked;
	e->event.exit.late = w->late;
	e->event.exit.out_of_memory = d->out_of_memory;
	e->event.exit.up_ms = (int64_t)(worker_now_ms() - w->started_ms);
	if (w->receiver.board) {
		struct scoreboard_view view;

		scoreboard_read(w->receiver.board, &view);
		e->event.exit.in_service = view.active;
	}
}

/* Whether the kernel has killed for memory since we last looked. */
static bool was_out_of_memory(struct crew *crew)
{
	uint64_t before = crew->oom_kills;

	crew->oom_kills = proc_oom_kills();
	return crew->oom_kills > before;
}

struct death death_of(struct umbel_worker *w, const siginfo_t *info)
{
	bool exited = info->si_code == CLD_EXITED;
	bool killed = info->si_code == CLD_KILLED || info->si_code == CLD_DUMPED;
	/* Only our own child exits so after saying that there is no program; a program may say it too. */
	bool has_no_program = w->exec_error && exited && info->si_status == SPAWN_FAILED;

	if (!has_no_program)
		w->exec_error = 0;
	return (struct death){
	    .code = exited ? info->si_status : -1,
	    .signal = killed ? info->si_status : -1,
	    .has_no_program = has_no_program,
	    .broke = w->broke,
	    .late = w->late,
	    .out_of_memory = killed && info->si_status == SIGKILL && !w->killed &&
			     was_out_of_memory(w->crew),
	    .asked = w->asked_by_us,
	    .left = w->receiver.asked && w->receiver.handed > 0 && !(exited && info->si_status != 0),
	    .was_ready = w->was_ready && !w->went_away,
	    .ready_ms = w->was_ready ? (int64_t)(worker_now_ms() - w->ready_ms) : 0,
	};
}
