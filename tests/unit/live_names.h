/* SPDX-License-Identifier: MIT */
/* live_names.h - what the tests of incarnations share: names that lead elsewhere, and what is locked in a
 * -shm. */
#ifndef SQLSNAP_TEST_LIVE_NAMES_H
#define SQLSNAP_TEST_LIVE_NAMES_H

#include "live_db.h"
#include "locks_now.h"

#define OTHER "new"

static inline void swap(struct fixture *f, const char *suffix)
{
	char a[16], b[16];

	snprintf(a, sizeof(a), NAME "%s", suffix);
	snprintf(b, sizeof(b), OTHER "%s", suffix);
	assert_int_equal(renameat2(f->folder.fd, a, f->folder.fd, b, RENAME_EXCHANGE), 0);
}

static inline int64_t rows_of(struct conn *conn)
{
	struct copy copy = copy_of(conn->db.handle);
	sqlite3 *db = copy_open(copy);
	int64_t rows = copy_ask(db, "SELECT count(*) FROM t");

	sqlite3_close(db);
	return rows;
}

/* Another incarnation of the same name. */
static inline int connect_other(struct fixture *f, struct live **out)
{
	struct stat st;

	assert_int_equal(place_stat(&f->place, "", &st), 0);
	f->err.text[0] = '\0';
	return live_create(out, &f->core, &f->place, &st, monotonic_ns() + 5 * NS_PER_S, &f->err);
}

/* Bytes of the -shm that this process has locked: what a reader holds on to. */
static inline bool reads_the_shm(struct fixture *f)
{
	struct stat st;

	assert_int_equal(place_stat(&f->place, "-shm", &st), 0);
	return self_locks_now(st.st_dev, st.st_ino, getpid(), PROCLOCKS_WAL_READ(1), PROCLOCKS_WAL_READ(4));
}

#endif
