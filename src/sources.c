/* SPDX-License-Identifier: MIT */
/* sources.c - see sources.h. */
#include "sources.h"

#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"

#define BATCH 64u /* sources of a bucket that are held at a time */

struct sources {
	struct core *core; /* borrowed */

	pthread_mutex_t lock;
	struct list table[SOURCES_BUCKETS]; /* references; guarded by lock */
};

/* ---- the table ----------------------------------------------------------------------------------------- */

static struct list *bucket(struct sources *sources, const struct place *place)
{
	return &sources->table[place_hash(place) % SOURCES_BUCKETS];
}

static struct source *find_source(struct list *in, const struct place *place)
{
	list_each (e, in) {
		struct source *s = list_entry(e, struct source, link);

		if (place_same(&s->place, place))
			return source_ref(s);
	}
	return NULL;
}

int sources_get(struct sources *sources, const struct place *place, struct source **out)
{
	struct list *in = bucket(sources, place);
	struct source *s, *made;
	int rc;

	pthread_mutex_lock(&sources->lock);
	s = find_source(in, place);
	pthread_mutex_unlock(&sources->lock);
	if (s) {
		*out = s;
		return 0;
	}
	rc = source_create(&made, sources->core, place);
	if (rc)
		return rc;
	pthread_mutex_lock(&sources->lock);
	s = find_source(in, place);
	if (!s) {
		s = source_ref(made);
		list_append(in, &made->link); /* the table's is the reference it was made with */
		made = NULL;
	}
	pthread_mutex_unlock(&sources->lock);
	if (made)
		source_unref(made);
	*out = s;
	return 0;
}

/* Takes references to up to BATCH sources of a list, starting at its first or at the one after LAST. */
static size_t take_batch(struct sources *sources, struct list *in, const struct source *last,
			 struct source **batch)
{
	size_t n = 0;

	lock_scope(&sources->lock);
	for (struct list *e = last ? last->link.next : in->next; e != in && n < BATCH; e = e->next)
		batch[n++] = source_ref(list_entry(e, struct source, link));
	return n;
}

/* A list grows at its end, and a source that is referenced is never removed from it: LAST keeps its place. */
int sources_each(struct sources *sources, int (*fn)(void *arg, struct source *source), void *arg)
{
	struct source *batch[BATCH];
	int rc = 0;

	for (unsigned i = 0; i < SOURCES_BUCKETS && rc == 0; i++) {
		struct source *last = NULL;

		do {
			size_t n = take_batch(sources, &sources->table[i], last, batch);

			if (last)
				source_unref(last);
			last = n == BATCH ? batch[n - 1] : NULL;
			for (size_t k = 0; k < n; k++) {
				rc = rc ? rc : fn(arg, batch[k]);
				if (batch[k] != last)
					source_unref(batch[k]);
			}
		} while (last);
	}
	return rc;
}

/* Closes the sources of a list and drops the list's references. */
static void close_all(struct list *in)
{
	while (!list_empty(in)) {
		struct source *s = list_entry(in->next, struct source, link);

		list_remove(&s->link);
		source_shutdown(s);
		source_unref(s);
	}
}

static void forget_unused_in(struct sources *sources, struct list *in)
{
	struct list unused;

	list_init(&unused);
	pthread_mutex_lock(&sources->lock);
	list_each (e, in) {
		if (source_is_unused(list_entry(e, struct source, link))) {
			list_remove(e);
			list_append(&unused, e);
		}
	}
	pthread_mutex_unlock(&sources->lock);
	close_all(&unused);
}

void sources_forget_unused(struct sources *sources)
{
	for (unsigned i = 0; i < SOURCES_BUCKETS; i++)
		forget_unused_in(sources, &sources->table[i]);
}

/* ---- life ---------------------------------------------------------------------------------------------- */

int sources_create(struct sources **out, struct core *core)
{
	struct sources *sources = calloc(1, sizeof(*sources));

	if (!sources)
		return -ENOMEM;
	sources->core = core;
	pthread_mutex_init(&sources->lock, NULL);
	for (unsigned i = 0; i < SOURCES_BUCKETS; i++)
		list_init(&sources->table[i]);
	*out = sources;
	return 0;
}

void sources_destroy(struct sources *sources)
{
	if (!sources)
		return;
	for (unsigned i = 0; i < SOURCES_BUCKETS; i++)
		close_all(&sources->table[i]);
	pthread_mutex_destroy(&sources->lock);
	free(sources);
}
