#include "admin/listeners.h"

#include "admin/report.h"
#include "private.h"

#include <jansson.h>
#include <string.h>

struct visit {
	const struct umbel *umbel;
	json_t *listeners;
};

struct seat_visit {
	json_t *slots;
	bool counted;
};

static json_t *count_or_null(bool known, uint64_t count)
{
	return known ? json_integer((json_int_t)count) : json_null();
}

static void add_seat(const struct umbel_seat_info *seat, void *data)
{
	const struct seat_visit *v = data;
	bool counted = v->counted && seat->counted;

	json_array_insert_new(
	    v->slots, report_place_of(v->slots, seat->slot),
	    json_pack("{si sI so so so so sI sb}", "slot", seat->slot, "id", (json_int_t)seat->id, "handed",
		      count_or_null(counted, seat->handed), "skipped", count_or_null(counted, seat->skipped),
		      "refused", count_or_null(counted, seat->refused), "active",
		      count_or_null(seat->active >= 0, (uint64_t)seat->active), "queued", (json_int_t)seat->queued,
		      "steered", seat->steered));
}

static json_t *clients_of(const struct umbel *u, const struct umbel_listener_info *info)
{
	struct umbel_clients_info clients;

	if (!private_clients(u, info, &clients))
		return json_null();
	return json_pack("{sI sI ss?}", "connections", (json_int_t)clients.connections, "busiest",
			 (json_int_t)clients.busiest, "address", clients.address[0] ? clients.address : NULL);
}

static void add_listener(const struct umbel_listener_info *info, void *data)
{
	const struct visit *v = data;
	/* Of a socket that all workers have, nobody knows who took what. */
	struct seat_visit seats = {json_array(), strcmp(info->policy, "shared") != 0};

	private_each_seat(info, add_seat, &seats);
	json_array_append_new(
	    v->listeners,
	    json_pack("{so ss sI so so so sI sI so so}", "address", report_text(info->address), "policy",
		      info->policy, "workers", (json_int_t)info->workers, "handed",
		      count_or_null(seats.counted, info->handed), "skipped",
		      count_or_null(seats.counted, info->skipped), "refused",
		      count_or_null(seats.counted, info->refused), "pending", (json_int_t)info->pending, "queued",
		      (json_int_t)info->queued, "slots", seats.slots, "clients", clients_of(v->umbel, info)));
}

json_t *listeners_report(const struct umbel *u)
{
	struct visit v = {u, json_array()};

	private_each_listener(u, add_listener, &v);
	return v.listeners;
}
