/* SPDX-License-Identifier: MIT */
/* locks_now.h - who holds SQLite's locks on a file at this moment. */
#ifndef SQLSNAP_TEST_LOCKS_NOW_H
#define SQLSNAP_TEST_LOCKS_NOW_H

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

#endif
