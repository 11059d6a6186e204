#include "life/activation.h"

#include "base/fd.h"
#include "life/crew.h"
#include "life/own.h"
#include "life/worker.h"
#include "program/generation.h"
#include "program/named.h"
#include "program/settings.h"
#include "share/steering.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- whether ---- */

/* Descriptors from 3 on are the sockets', so nothing else may be there but the channel, which goes behind them. */
static int descriptor_in_the_way(const struct umbel_settings *s)
{
	for (int i = ACTIVATION_FIRST; i < UMBEL_STDIO_MAX; i++)
		if (s->stdio[i] != UMBEL_STDIO_NONE && s->stdio[i] != UMBEL_STDIO_CHANNEL)
			return i;
	return -1;
}

static bool is_channel_behind(const struct umbel_settings *s)
{
	return settings_channel(s) >= ACTIVATION_FIRST;
}

int activation_check(const struct umbel_settings *s, enum kind kind, struct reason *reason)
{
	int taken = descriptor_in_the_way(s);
	unsigned count = 0;

	if (kind != KIND_LISTEN_FDS || !s->listen)
		return 0;
	while (s->listen[count])
		count++;
	if (count > ACTIVATION_MOST)
		return reason_set(reason, -EINVAL, "settings.listen has %u addresses: --share listen-fds gives at most %d",
				  count, ACTIVATION_MOST);
	if (taken >= 0 || !is_channel_behind(s))
		return reason_set(reason, -EINVAL, "settings.stdio: with --share listen-fds descriptors from %d on are the "
				  "sockets of settings.listen, and the channel is behind them", ACTIVATION_FIRST);
	return 0;
}

static bool wants_offer(const struct umbel_worker *w)
{
	const struct umbel_settings *s = w->crew->settings;

	if (!s->listen || w->receiver.slot == 0) /* a spare's slot is not known */
		return false;
	if (w->kind == KIND_LISTEN_FDS)
		return true;
	return w->kind == KIND_INTERCEPT && !w->generation->declines && descriptor_in_the_way(s) < 0 &&
	       is_channel_behind(s);
}

/* Udp that a program binds itself is not shared unless the operator wants it, and would find its port taken. */
static bool may_be_offered(const struct umbel_worker *w, const struct address *a)
{
	if (a->kind == ADDRESS_UNIX)
		return true;
	return a->port > 0 && (a->kind == ADDRESS_TCP || w->kind == KIND_LISTEN_FDS || w->crew->settings->share_udp);
}

/* ---- its share ---- */

static struct share *find_share(struct crew *crew, const struct address *a)
{
	struct share *s;

	TAILQ_FOREACH (s, &crew->sharing.shares, link)
		if (named_is(a, &s->listener.address) && (s->form == SHARE_GROUP || (s->form == SHARE_LENT && s->is_offered)))
			return s;
	return NULL;
}

static int open_share(struct umbel_worker *w, const struct address *a, struct share **ret)
{
	struct crew *crew = w->crew;
	struct socket_wish wish = {.address = *a, .fd = -1, .datagrams = a->kind == ADDRESS_UDP};
	enum share_form form;
	char *key, text[ADDRESS_TEXT_MAX];
	int err;

	named_apply(w->is_other_user, crew->settings, &wish.address);
	form = sharing_form(&crew->sharing, &wish.address, false, false);
	wish.is_bound_only = form == SHARE_GROUP && a->kind == ADDRESS_TCP;
	if (asprintf(&key, "offered %s", address_format(a, text, sizeof(text))) < 0)
		return -ENOMEM;
	err = sharing_add(&crew->sharing, key, &wish, form, own_policy(crew, form), json_null(), ret);
	if (err) {
		free(key);
		return err;
	}
	(*ret)->is_offered = (*ret)->accept_alone = true;
	if (w->is_other_user)
		own_give(*ret, (uid_t)crew->settings->uid);
	if (form == SHARE_LENT) /* not again for the next worker: by then it is as the others want it, who share that flag */
		fd_set_nonblocking((*ret)->listener.fd, false);
	return 0;
}

static bool is_served(const struct share *s)
{
	for (unsigned i = 0; i < s->seat_count; i++)
		if (s->seats[i].receiver->worker->state == UMBEL_STATE_READY)
			return true;
	return false;
}

/* Programs expect sockets to block, as systemd's do. */
static int offer_share(struct share *s, struct umbel_worker *w, int *ret)
{
	struct side *side;
	int err;

	if (s->form == SHARE_LENT) {
		*ret = s->listener.fd;
		return 0;
	}
	err = share_listen(s);
	err = err ? err : sides_take(s, &w->receiver, true, &side);
	if (err)
		return err;
	side->is_program = side->is_offered = true;
	steering_update(s);
	fd_set_nonblocking(side->listener.fd, false);
	*ret = side->listener.fd;
	return 0;
}

static void add_name(struct activation *a, const struct address *address)
{
	const char *last = strrchr(address->path, '/');
	char name[NAME_MAX + 1];
	size_t used = strlen(a->names);

	if (address->kind == ADDRESS_UNIX)
		snprintf(name, sizeof(name), "unix-%.240s", last ? last + 1 : address->path);
	else
		snprintf(name, sizeof(name), "%s-%d", address->kind == ADDRESS_TCP ? "tcp" : "udp", address->port);
	for (char *p = name; *p; p++)
		if (*p == ':' || *p < ' ' || *p > '~')
			*p = '_';
	snprintf(a->names + used, sizeof(a->names) - used, "%s%s", a->count ? ":" : "", name);
}

static bool is_in(const struct activation *a, int fd)
{
	for (unsigned i = 0; i < a->count; i++)
		if (a->sockets[i] == fd)
			return true;
	return false;
}

static int offer_address(struct umbel_worker *w, const struct address *address, struct activation *a)
{
	struct share *s = find_share(w->crew, address);
	int fd = -1, err = s ? 0 : open_share(w, address, &s);

	err = err ? err : offer_share(s, w, &fd);
	if (err || is_in(a, fd))
		return err;
	if (!is_served(s)) /* what comes before anybody is ready waits for who will be */
		activation_seat(s, w);
	add_name(a, address);
	a->sockets[a->count++] = fd;
	return 0;
}

/* It goes without, then; said once. */
static int tell_failure(struct umbel_worker *w, const char *address, const struct address *a, int err)
{
	struct crew *crew = w->crew;
	bool is_told = w->kind != KIND_LISTEN_FDS && w->generation->told_no_offer;
	struct sharing *sharing = &crew->sharing;
	const char *who = is_told ? "" : busy_text(&sharing->busy, sharing->diag, a, err);

	if (w->kind == KIND_LISTEN_FDS)
		return reason_set(crew->reason, err, "cannot listen on %s: %s%s", address, strerror(-err), who);
	if (!is_told)
		events_add_note(crew->events, 0, "share", "%s cannot be offered (LISTEN_FDS): %s%s", address,
				strerror(-err), who);
	w->generation->told_no_offer = true;
	return 0;
}

int activation_offer(struct umbel_worker *w, struct activation *ret)
{
	char *const *listen = w->crew->settings->listen;
	struct address address;
	struct stat st;
	const char *why;
	int err = 0;

	*ret = (struct activation){.count = 0};
	if (!wants_offer(w))
		return 0;
	strcpy(ret->names, "LISTEN_FDNAMES=");
	w->offered = 1; /* it has sides from now on */
	for (; *listen && !err && ret->count < ACTIVATION_MOST; listen++) {
		if (address_parse(*listen, &address, &why) < 0 || !may_be_offered(w, &address))
			continue;
		err = offer_address(w, &address, ret);
		if (err)
			err = tell_failure(w, *listen, &address, err);
	}
	w->offered = err ? w->offered : ret->count;
	if (err) {
		activation_withdraw(w);
		*ret = (struct activation){.count = 0};
		return err;
	}
	if (ret->count && fstat(ret->sockets[0], &st) == 0)
		w->offered_inode = st.st_ino;
	snprintf(ret->fds, sizeof(ret->fds), "LISTEN_FDS=%u", ret->count);
	return 0;
}
