/* SPDX-License-Identifier: MIT */
/* status_view.h - what the tests of the status share: what the library says of its sources. */
#ifndef SQLSNAP_TEST_STATUS_VIEW_H
#define SQLSNAP_TEST_STATUS_VIEW_H

#include "gens.h"

#include "../../src/snap_private.h"

struct found {
	const char *path; /* that is looked for; NULL: a source that has gone */
	struct snap_source_facts facts;
	bool found;
	size_t count;
};

static inline int find(void *arg, const struct snap_source_facts *facts)
{
	struct found *f = arg;

	f->count++;
	if (f->path ? facts->path && strcmp(facts->path, f->path) == 0 : !facts->path) {
		f->found = true;
		f->facts = *facts;
	}
	return 0;
}

static inline struct found look_for(struct fixture *f, const char *path)
{
	struct found found = {.path = path};
	bool complete = false;

	assert_int_equal(snap_each_source(f->snap, find, &found, &complete), 0);
	assert_true(complete);
	return found;
}

static inline struct snap_source_facts facts_of(struct fixture *f)
{
	struct found found = look_for(f, "db");

	assert_true(found.found);
	return found.facts;
}

static inline struct source *source_of(struct snap_gen *gen)
{
	return gen->source;
}

#endif
