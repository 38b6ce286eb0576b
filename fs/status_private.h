/* SPDX-License-Identifier: MIT */
/* status_private.h - what the files status*.c share; nobody else includes it. */
#ifndef SQLSNAPFS_STATUS_PRIVATE_H
#define SQLSNAPFS_STATUS_PRIVATE_H

#include "../src/clock.h"
#include "json.h"
#include "status.h"

#define WARNINGS_MAX 20
#define FAILURE_NS (NS_PER_S * 3600 * 24) /* how long a failed restore stays a warning */
#define LOST_NS FAILURE_NS		  /* likewise a lost snapshot */

/* Warnings that were found on the way; their place is elsewhere in the text. */
struct warnings {
	char text[WARNINGS_MAX][1024];
	size_t count; /* may be more than are stored */
};

struct making {
	struct json json;
	struct warnings warnings;
	int64_t now_ns; /* CLOCK_REALTIME */
	int64_t monotonic_ns;
	bool has_database; /* the tree has one */
};

void status_warn(struct making *m, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The member "snapshots". */
void status_put_snapshots(struct making *m, struct snap *snap);

#endif
