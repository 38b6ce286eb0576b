/* SPDX-License-Identifier: MIT */
/*
 * caller.h - the process that sent a request, as far as /proc/TID/status tells, and what ended it.
 *
 * Nothing else below /proc/TID may be read while a request of that thread waits for us: stat, fd, environ and
 * others take a lock that exec(2) holds while it closes descriptors, so they would wait for our own answer to
 * a FLUSH. The exception is stat of a thread whose memory is already gone: that thread is not in exec(2).
 */
#ifndef SQLSNAPFS_CALLER_H
#define SQLSNAPFS_CALLER_H

#include <stdbool.h>
#include <sys/types.h>

#include "../src/sqlsnap.h"

/* Who sent a request. */
struct actor {
	uid_t uid;
	gid_t gid;
	pid_t tid; /* 0: in another pid namespace */
};

struct caller {
	pid_t tgid;			 /* the process; 0: unknown */
	char command[SNAP_COMMAND_SIZE]; /* the thread's name: the program's, unless it was changed; "":
					    unknown. Any bytes but NUL */
	bool exiting;			 /* its memory is gone: it ended without closing its files itself */
	bool killed; /* a signal is ending it, or has ended it: what it wrote may be incomplete */
};

/* Pure: TEXT is the content of a status file. */
void caller_parse(struct caller *out, const char *text);
/* Likewise: whether GROUP is among the supplementary groups. */
bool caller_parse_group(const char *text, gid_t group);
/* Pure: whether TEXT, the content of a thread's stat file, shows that a signal has ended that thread. */
bool caller_parse_end(const char *text);

/* Looks at thread TID. Returns false, with *OUT empty and errno set, if that is impossible: ENOENT or ESRCH
 * if there is no such thread, or TID is 0; others for what we ran out of. */
bool caller_look(struct caller *out, pid_t tid);

/* Describes CALLER for the log and status.json; UID is the request's. */
struct snap_actor caller_actor(const struct caller *caller, uid_t uid);
/* Writes "uid 1000 (cp, pid 4711)" to OUT and returns it. ACTOR_NAME_SIZE bytes are enough. */
const char *actor_name(const struct snap_actor *who, char *out, size_t size);
#define ACTOR_NAME_SIZE 128

/* Whether WHO may write a file with OWNER, GROUP and MODE, by the rules of access(2); root always may. The
 * supplementary groups are the thread's, if it can be looked at. */
bool caller_may_write(const struct actor *who, uid_t owner, gid_t group, mode_t mode);

#endif
