#include "admin/history.h"

#include <jansson.h>

enum { MOST = 500 };

void history_add(struct history *h, const json_t *record)
{
	if (!h->records)
		h->records = json_array();
	if (json_array_size(h->records) == MOST)
		json_array_remove(h->records, 0);
	json_array_append_new(h->records, json_deep_copy(record));
}

json_t *history_list(const struct history *h, int slot)
{
	json_t *list = json_array(), *each;
	size_t i;

	json_array_foreach (h->records, i, each) {
		json_int_t whose = json_integer_value(json_object_get(each, "slot"));

		if (slot == 0 || whose == 0 || whose == slot)
			json_array_append(list, each);
	}
	return list;
}

void history_finish(struct history *h)
{
	json_decref(h->records);
	h->records = NULL;
}
