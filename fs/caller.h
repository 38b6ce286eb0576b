/* SPDX-License-Identifier: MIT */
/*
 * caller.h - who is behind a request, as far as /proc/TID/status tells it.
 *
 * Nothing else below /proc/TID may be read while a request of that thread waits for us: stat, fd, environ and
 * others take a lock that exec(2) holds while it closes descriptors, and so waits for our answer to a FLUSH.
 */
#ifndef SQLSNAPFS_CALLER_H
#define SQLSNAPFS_CALLER_H

#include <stdbool.h>
#include <sys/types.h>

#include "../src/sqlsnap.h"

/* Who does something: from the request. */
struct actor {
	uid_t uid;
	gid_t gid;
	pid_t tid; /* 0: in another pid namespace */
};

struct caller {
	pid_t tgid;			 /* the process; 0: unknown */
	char command[SNAP_COMMAND_SIZE]; /* the thread's name, which is the program's unless it was set; "":
					    unknown. Any bytes but NUL */
	bool exiting; /* it has no memory any more: it ended without closing its files itself */
	bool killed;  /* a signal ends it, or has: what it wrote is not what it meant to write */
};

/* Pure: TEXT is the content of a status file. */
void caller_parse(struct caller *out, const char *text);
/* The same: whether GROUP is among the supplementary groups. */
bool caller_parse_group(const char *text, gid_t group);

/* Looks at thread TID. False (and *OUT empty) when it cannot be told: there is none, or TID is 0. */
bool caller_look(struct caller *out, pid_t tid);

/* Who CALLER is, for the log and for status.json: a request of UID. */
struct snap_actor caller_actor(const struct caller *caller, uid_t uid);
/* "uid 1000 (cp, pid 4711)", in OUT, which is returned. ACTOR_NAME_SIZE bytes are enough. */
const char *actor_name(const struct snap_actor *who, char *out, size_t size);
#define ACTOR_NAME_SIZE 128

/* Whether WHO may write a file of OWNER, GROUP and MODE, as access(2) decides it, root always. The
 * supplementary groups are those of the thread, if it can be looked at. */
bool caller_may_write(const struct actor *who, uid_t owner, gid_t group, mode_t mode);

#endif
