/* life: prints docs/LIFE.md, the life of a worker and of a slot, from the tables that the primary acts on
 * (src/life/life.c). `make docs` runs it. */
#include "life/life.h"

#include <stdio.h>
#include <string.h>

enum { MOST_STATES = 16, CELL = 64 };

/* One of the two tables, as words. */
struct table {
	unsigned states, events;
	const char *(*state)(unsigned state);
	const char *(*event)(unsigned event);
	unsigned (*next)(unsigned state, unsigned event);
	const char *(*action)(unsigned state, unsigned event);
};

/* ---- the tables ---- */

static const char *worker_state(unsigned state)
{
	return life_worker_state((enum umbel_state)state);
}

static const char *worker_event(unsigned event)
{
	return life_worker_event((enum worker_event)event);
}

static unsigned worker_next(unsigned state, unsigned event)
{
	return life_of_worker((enum umbel_state)state, (enum worker_event)event).next;
}

static const char *worker_action(unsigned state, unsigned event)
{
	return life_worker_action(life_of_worker((enum umbel_state)state, (enum worker_event)event).action);
}

static const char *slot_state(unsigned state)
{
	return life_slot_state((enum slot_state)state);
}

static const char *slot_event(unsigned event)
{
	return life_slot_event((enum slot_event)event);
}

static unsigned slot_next(unsigned state, unsigned event)
{
	return life_of_slot((enum slot_state)state, (enum slot_event)event).next;
}

static const char *slot_action(unsigned state, unsigned event)
{
	return life_slot_action(life_of_slot((enum slot_state)state, (enum slot_event)event).action);
}

static const struct table workers = {UMBEL_STATE_DEAD + 1, WORKER_EVENTS, worker_state,
				     worker_event,         worker_next,   worker_action};
static const struct table slots = {SLOT_STATES, SLOT_EVENTS, slot_state,
				   slot_event,  slot_next,   slot_action};

static int changes(const struct table *t, unsigned state, unsigned event)
{
	return t->next(state, event) != state || t->action(state, event)[0];
}

/* ---- the matrix ---- */

/* The next state, and after a colon what is done; nothing where nothing changes. */
static void write_cell(const struct table *t, unsigned state, unsigned event, char *ret)
{
	const char *action = t->action(state, event);

	ret[0] = '\0';
	if (changes(t, state, event))
		snprintf(ret, CELL, "%s%s%s", t->state(t->next(state, event)), action[0] ? ": " : "", action);
}

static int width_of_column(const struct table *t, unsigned state)
{
	size_t width = strlen(t->state(state)) + 4; /* two asterisks on either side */
	char cell[CELL];

	for (unsigned event = 0; event < t->events; event++) {
		write_cell(t, state, event, cell);
		width = strlen(cell) > width ? strlen(cell) : width;
	}
	return (int)width;
}

static void print_head(const struct table *t, int first_width, const int *widths)
{
	printf("| %-*s |", first_width, "");
	for (unsigned state = 0; state < t->states; state++)
		printf(" **%s**%*s |", t->state(state), widths[state] - (int)strlen(t->state(state)) - 4, "");
	printf("\n|");
	for (int i = 0; i < first_width + 2; i++)
		putchar('-');
	putchar('|');
	for (unsigned state = 0; state < t->states; state++) {
		for (int i = 0; i < widths[state] + 2; i++)
			putchar('-');
		putchar('|');
	}
	putchar('\n');
}

static void print_matrix(const struct table *t)
{
	int widths[MOST_STATES], first_width = 0;
	char cell[CELL];

	for (unsigned state = 0; state < t->states; state++)
		widths[state] = width_of_column(t, state);
	for (unsigned event = 0; event < t->events; event++)
		if ((int)strlen(t->event(event)) > first_width)
			first_width = (int)strlen(t->event(event));
	print_head(t, first_width, widths);
	for (unsigned event = 0; event < t->events; event++) {
		printf("| %-*s |", first_width, t->event(event));
		for (unsigned state = 0; state < t->states; state++) {
			write_cell(t, state, event, cell);
			printf(" %-*s |", widths[state], cell);
		}
		putchar('\n');
	}
}

/* ---- the diagram: one arrow from state to state, with all events that take it ---- */

static void print_arrow(const struct table *t, unsigned from, unsigned to)
{
	int count = 0;

	for (unsigned event = 0; event < t->events; event++) {
		if (t->next(from, event) != to || !changes(t, from, event))
			continue;
		if (count++)
			printf(", %s", t->event(event));
		else
			printf("    %s --> %s : %s", t->state(from), t->state(to), t->event(event));
	}
	if (count)
		putchar('\n');
}

static void print_diagram(const struct table *t)
{
	printf("```mermaid\nstateDiagram-v2\n    [*] --> %s\n", t->state(0));
	for (unsigned from = 0; from < t->states; from++)
		for (unsigned to = 0; to < t->states; to++)
			print_arrow(t, from, to);
	printf("```\n");
}

/* ---- the page ---- */

static const char head[] =
    "<!-- Written by `make docs` from src/life/life.c. Change the tables there. -->\n"
    "\n"
    "# The life of a worker and of a slot\n"
    "\n"
    "Each is in one of a few states, and changes by a table alone: a column for each state, a row for\n"
    "each event, in the cell the next state and, after the colon, what the primary does. In an empty\n"
    "cell nothing changes. What the events and actions are is said in `src/life/life.h`; the\n"
    "diagrams show the same without actions.\n";

static const char about_workers[] =
    "\n"
    "## Worker\n"
    "\n"
    "A worker is *starting* until it can serve and *ready* from then on. It is *draining* when it is to\n"
    "leave, or says that it leaves: it is given no new connection and finishes those that it has. It is\n"
    "*stopping* once a signal tells it to end, be it the stop signal or SIGKILL, and *dead* when its\n"
    "pidfd says so.\n"
    "\n";

static const char about_slots[] =
    "\n"
    "## Slot\n"
    "\n"
    "A slot is *filling* until its worker is ready, then *serving*; *replacing*, while a successor comes\n"
    "and the other is still there, is the only state with two workers. In *backoff* nobody is there\n"
    "until a timer says so, in *failed* nobody until a reload or scale, because workers crashed too\n"
    "often. *Retired* is a slot where nobody is wanted any more and who was there is leaving, *empty*\n"
    "one without anybody. A worker that was asked to leave is its slot's no more: the slot may be\n"
    "filled again beside those who still drain.\n"
    "\n";

static const char about_steering[] =
    "\n"
    "## Connections, step by step\n"
    "\n"
    "Whether a worker is given connections is no state: it is `takes` of `struct receiver`. Each change "
    "of\n"
    "it makes a new steering program, so what holds of handing over holds of *sticky* and *spread* too. "
    "Under\n"
    "*shared* none of this does: whoever has the one socket accepts.\n"
    "\n"
    "| step | is it given connections? | its side |\n"
    "|---|---|---|\n"
    "| its slot was empty: it asks for an address | from the answer on; with `--wait-ready`, or when it has "
    "said that it is not ready, once it is | borrowed: what a dead predecessor left there waits in it |\n"
    "| a successor, until it has soaked | no | borrowed, another one than its predecessor's; nothing is "
    "steered there |\n"
    "| canary: it is tried | the successor is; its predecessor is not, and keeps what it has | the same "
    "slot: of *sticky* no client moves |\n"
    "| turn | the successor first, then not its predecessor any more | |\n"
    "| undo | those predecessors again that are still there | |\n"
    "| draining | no: it is steered away from first, and told to leave then | the primary accepts what is "
    "still in it, and hands it over. UDP, `umbel_listen_socket()`: its worker empties it, for 3 s at most, "
    "before it is told |\n"
    "| dead | no | free: the primary accepts what is in it, until the slot's next worker takes. UDP, "
    "`umbel_listen_socket()`: it waits for that one |\n"
    "| its slot in *backoff*, *failed* | others are; of *sticky* its clients go to others and come back to "
    "the slot | free |\n"
    "| its slot *retired*, *empty* | others are; of *sticky* its clients move, as many as have to | it "
    "retires: [ARCHITECTURE.md](ARCHITECTURE.md#the-life-of-a-side). UDP: it stays, and nothing is steered "
    "there |\n"
    "| nobody takes | the kernel queues, while somebody is on the way | all goes to the door. UDP: it goes "
    "where it went last |\n";

int main(void)
{
	fputs(head, stdout);
	fputs(about_workers, stdout);
	print_diagram(&workers);
	putchar('\n');
	print_matrix(&workers);
	fputs(about_slots, stdout);
	print_diagram(&slots);
	putchar('\n');
	print_matrix(&slots);
	fputs(about_steering, stdout);
	return fflush(stdout) || ferror(stdout) ? 1 : 0;
}
