/* SPDX-License-Identifier: MIT */
/* upload_table.h - what the tests of the table of uploads share: who finds which upload, and what is in the
 * table. */
#ifndef SQLSNAP_TEST_UPLOAD_TABLE_H
#define SQLSNAP_TEST_UPLOAD_TABLE_H

#include "uploads.h"

#include <pthread.h>

#include "../../src/clock.h"

static inline bool is_empty(void)
{
	bool empty;

	pthread_mutex_lock(&all.lock);
	empty = !all.first;
	pthread_mutex_unlock(&all.lock);
	return empty;
}

/* Whether FOUND, a reference or NULL, is U. */
static inline bool found(struct upload *found_one, const struct upload *u)
{
	bool is = found_one == u;

	upload_unref(found_one);
	return is;
}

static inline bool pending_for(pid_t tgid, const struct upload *u)
{
	return found(upload_pending(&all, tgid, FOLDER, "db"), u);
}

static inline bool scratch_is(const char *name, const struct upload *u)
{
	return found(upload_scratch(&all, FOLDER, name), u);
}

static inline int try_create(enum upload_kind kind, uint64_t parent, const char *name, struct upload **out,
			     struct snap_err *err)
{
	struct upload_order order = {.kind = kind, .parent = parent, .name = name, .path = name};

	return upload_create(out, &all, &order, err);
}

static inline void assert_reads(struct upload *u, const unsigned char *expected, size_t size)
{
	unsigned char *buf = malloc(size + 1);
	struct snap_err err;

	assert_non_null(buf);
	assert_int_equal(upload_read(u, buf, size + 1, 0, &err), size);
	assert_memory_equal(buf, expected, size);
	free(buf);
}

#endif
