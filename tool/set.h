/* set: what the value of an option of `umbel run` means. One function for each kind: it checks the text, and
 * sets what the run or its settings have for it. 0, or EXIT_USAGE after a complaint. What they keep of a text
 * is the pointer: it must outlive the run. */
#ifndef UMBEL_TOOL_SET_H
#define UMBEL_TOOL_SET_H

#include "run.h"

/* ---- of any option: its name is for the complaint ---- */

int set_duration(const char *option, const char *text, uint32_t *ret_ms);
int set_long_duration(const char *option, const char *text, uint64_t *ret_ms);
int set_number(const char *option, const char *text, uint64_t most, uint64_t *ret);

/* ---- of one ---- */

int set_count(struct run *r, const char *text);
int set_name(struct run *r, const char *text);
int set_policy(struct run *r, const char *text);
int set_max_connections(struct run *r, const char *text);
int set_listen(struct run *r, char *text); /* one more */
int set_no_share(struct run *r, char *text); /* one more */
int set_ready_command(struct run *r, char *text); /* of a shell */
int set_ready_url(struct run *r, char *text);     /* this program fetches it, by its verb probe */
int set_pass_fd(struct run *r, const char *text); /* one more */
int set_env(struct run *r, char *entry);          /* one more */
int set_user_env(struct run *r);                  /* of --user, before what --env says, which may say otherwise */
int set_cwd(struct run *r, const char *text);
int set_user(struct run *r, const char *text); /* a name, else a number, which need not be anybody's. With it go
						* the user's own group and home */
int set_group(struct run *r, const char *text);
int set_restart(struct run *r, const char *text);
int set_stop_codes(struct run *r, char *text); /* is cut into pieces */
int set_when_empty(struct run *r, const char *text);
int set_surge(struct run *r, const char *text);

#endif
