/* SPDX-License-Identifier: MIT */
/* locks_now.h - who holds SQLite's locks on a file at this moment. */
#ifndef SQLSNAP_TEST_LOCKS_NOW_H
#define SQLSNAP_TEST_LOCKS_NOW_H

#include "unit.h"

#include "../../src/proclocks.h"

/* As proclocks_look(), with a freshly read text. */
static inline int locks_now(uint64_t dev, uint64_t ino, pid_t self, struct proclocks_seen *out)
{
	struct proclocks *locks;
	int rc = proclocks_create(&locks);

	if (rc)
		return rc;
	rc = proclocks_look(locks, 0, dev, ino, self, out);
	proclocks_destroy(locks);
	return rc;
}

/* Whether the process SELF holds a lock on a byte from FIRST to LAST. A list that takes more than one
 * read(2), as when other tests hold many locks, may skip a line while others' come and go, but not every
 * time. */
static inline bool self_locks_now(uint64_t dev, uint64_t ino, pid_t self, uint64_t first, uint64_t last)
{
	struct proclocks_seen seen;
	bool holds = false;

	for (int i = 0; i < 100 && !holds; i++) {
		assert_int_equal(locks_now(dev, ino, self, &seen), 0);
		holds = proclocks_self_holds(&seen, first, last);
	}
	return holds;
}

#endif
