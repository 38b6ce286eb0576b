/* SPDX-License-Identifier: MIT */
/* status_snapshots.c - see status.h: kept snapshots, grouped by name. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "status_private.h"

struct kept {
	char *name, *path, *why; /* owned */
	uint64_t size;
	int64_t made_ns;
};

struct pending {
	char name[256];
	int64_t apart_ns;
	uint64_t done, total;
};

struct kept_list {
	struct kept *entries; /* owned */
	size_t count, room;
	struct pending *pending; /* owned */
	size_t pending_count, pending_room;
	bool failed; /* there was no memory for one of them */
};

static void take_pending(void *arg, const struct snap_pending_facts *f)
{
	struct kept_list *list = arg;
	struct pending *p;

	if (list->pending_count == list->pending_room) {
		size_t room = list->pending_room ? list->pending_room * 2 : 16;
		struct pending *more = reallocarray(list->pending, room, sizeof(*more));

		list->failed |= !more;
		if (!more)
			return;
		list->pending = more;
		list->pending_room = room;
	}
	p = &list->pending[list->pending_count];
	*p = (struct pending){.apart_ns = f->apart_ns, .done = f->done, .total = f->total};
	snprintf(p->name, sizeof(p->name), "%s", f->name);
	list->pending_count++;
}

static const struct pending *find_pending(const struct kept_list *list, const char *name)
{
	for (size_t i = 0; i < list->pending_count; i++)
		if (strcmp(list->pending[i].name, name) == 0)
			return &list->pending[i];
	return NULL;
}

static int take_kept(void *arg, const struct snap_kept_facts *f)
{
	struct kept_list *list = arg;
	struct kept *k;

	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 16;
		struct kept *more = reallocarray(list->entries, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		list->entries = more;
		list->room = room;
	}
	k = &list->entries[list->count++];
	*k = (struct kept){.name = strdup(f->name),
			   .path = strdup(f->path),
			   .why = strdup(f->why),
			   .size = f->size,
			   .made_ns = f->made_ns};
	return k->name && k->path && k->why ? 0 : -ENOMEM;
}

/* Brings entries of one name together. by_time() then orders the groups by the oldest entry of each. */
static int by_name(const void *a, const void *b)
{
	const struct kept *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : strcmp(x->path, y->path);
}

struct group {
	const struct kept *first;
	size_t count;
	int64_t made_ns;
};

static int by_time(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	if (x->made_ns != y->made_ns)
		return x->made_ns < y->made_ns ? -1 : 1;
	return strcmp(x->first->name, y->first->name);
}

/* The progress of a snapshot that is being written; P NULL: it is written. */
static void put_progress(struct json *j, const struct pending *p)
{
	json_string(j, "state", p ? "writing" : "kept");
	if (!p) {
		json_seconds(j, "share", 1000);
		json_null(j, "apart");
		return;
	}
	json_seconds(j, "share", p->total ? (int64_t)((double)p->done * 1000 / (double)p->total) : 0);
	json_seconds(j, "apart", (p->apart_ns + NS_PER_MS - 1) / NS_PER_MS);
}

static void put_group(struct json *j, const struct kept_list *list, const struct group *group)
{
	const struct kept *k = group->first;
	uint64_t size = 0;

	for (size_t i = 0; i < group->count; i++)
		size += k[i].size;
	json_object(j, NULL);
	json_string(j, "name", k->name);
	json_time(j, "made", group->made_ns);
	put_progress(j, find_pending(list, k->name));
	json_number(j, "size", size);
	json_string(j, "why", k->why[0] ? k->why : NULL);
	json_array(j, "databases");
	for (size_t i = 0; i < group->count; i++) {
		json_object(j, NULL);
		json_string(j, "path", k[i].path);
		json_number(j, "size", k[i].size);
		json_end(j);
	}
	json_end(j);
	json_end(j);
}

static void free_kept(struct kept *k)
{
	free(k->name);
	free(k->path);
	free(k->why);
}

/* A snapshot that was finished meanwhile may have been reported as pending and as kept. */
static void drop_doubles(struct kept_list *list)
{
	size_t n = 0;

	for (size_t i = 0; i < list->count; i++) {
		if (n > 0 && by_name(&list->entries[n - 1], &list->entries[i]) == 0)
			free_kept(&list->entries[i]);
		else
			list->entries[n++] = list->entries[i];
	}
	list->count = n;
}

static void put_groups(struct json *j, struct kept_list *list)
{
	struct group *groups = calloc(list->count + 1, sizeof(*groups));
	size_t n = 0;

	if (!groups) {
		json_fail(j);
		return;
	}
	qsort(list->entries, list->count, sizeof(*list->entries), by_name);
	drop_doubles(list);
	for (size_t i = 0; i < list->count; i++) {
		const struct kept *k = &list->entries[i];

		if (n == 0 || strcmp(groups[n - 1].first->name, k->name) != 0)
			groups[n++] = (struct group){.first = k, .made_ns = k->made_ns};
		groups[n - 1].count++;
		if (k->made_ns < groups[n - 1].made_ns)
			groups[n - 1].made_ns = k->made_ns;
	}
	qsort(groups, n, sizeof(*groups), by_time);
	for (size_t i = 0; i < n; i++)
		put_group(j, list, &groups[i]);
	free(groups);
}

static void warn_lost(void *arg, const struct snap_lost_facts *f)
{
	struct making *m = arg;
	char time[JSON_TIME_SIZE];
	const char *at = json_time_text(f->time_ns, time);

	if (f->time_ns > m->now_ns - LOST_NS)
		status_warn(
			m,
			"the snapshot \"%s\" was lost at %s: %s; this warning ends when one of that name is "
			"written, or after a day",
			f->name, at ? at : "?", f->why);
}

void status_put_snapshots(struct making *m, struct snap *snap)
{
	struct kept_list *list = calloc(1, sizeof(*list));
	int rc = -ENOMEM;

	json_array(&m->json, "snapshots");
	if (list) {
		snap_each_pending(snap, take_pending, list);
		rc = list->failed ? -ENOMEM : snap_each_kept(snap, take_kept, list);
	}
	if (rc == -ENOMEM)
		json_fail(&m->json);
	else if (rc)
		status_warn(m, "the store cannot be looked through: %s", strerror(-rc));
	snap_each_lost(snap, warn_lost, m);
	if (rc != -ENOMEM && list->count > 0)
		put_groups(&m->json, list);
	json_end(&m->json);
	for (size_t i = 0; list && i < list->count; i++)
		free_kept(&list->entries[i]);
	if (list) {
		free(list->entries);
		free(list->pending);
	}
	free(list);
}
