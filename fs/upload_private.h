/* SPDX-License-Identifier: MIT */
/* upload_private.h - what the files upload*.c share; nobody else includes it. */
#ifndef SQLSNAPFS_UPLOAD_PRIVATE_H
#define SQLSNAPFS_UPLOAD_PRIVATE_H

#include "upload.h"

/* A thread that was answered ESTALE and will look up the name again. */
struct intent {
	struct intent *next;
	struct upload *upload; /* a reference */
	pid_t tid;
	bool followed; /* it has looked up the name */
	int64_t until; /* CLOCK_MONOTONIC */
};

/* ---- upload_names.c, upload.c; the uploads' lock is held ---- */

/* Takes *AT out of the list of intents; the caller gets its reference. */
struct upload *upload_take_intent(struct intent **at);

/* Whether it can be found or written to. */
static inline bool upload_lives(const struct upload *u)
{
	return u->named || u->opens > 0 || u->intents > 0;
}

/* ---- upload_tend.c ---- */

/* To be called when something was made that may time out: uploads_tend() is then called every second, as long
 * as there is any such thing. */
void uploads_watch(struct uploads *all);
/* Discards what has been silent for too long. NOW: CLOCK_MONOTONIC nanoseconds. */
void uploads_tend(struct uploads *all, int64_t now);
/* Logs that scratch file U at PATH (NULL: unknown) is discarded with its content. */
void upload_note_left(struct upload *u, const char *path);

/* ---- upload_access.c ---- */

/*
 * Whether the caller that waits for ARG, a struct upload_flush, was killed. A signal alone (INTERRUPT) does
 * not say so: it may be a harmless one, and it arrives some milliseconds after the FLUSH. If the caller
 * cannot be looked at, the signal is all that is known.
 */
bool upload_was_killed(void *arg);

/*
 * Whether the live file may be written. Tells ORDER which file that is, because its name may lead elsewhere a
 * moment later. For an upload to a database's own name, this was checked at its open, and the rights of the
 * user who opened it count: the process that closes it may have inherited the descriptor and have more
 * rights, or fewer. For a RENAME the kernel checks the rights on folders only. 0, -EACCES, or the error that
 * prevents the check.
 */
int upload_check_access(struct upload *u, const struct upload_flush *flush, struct snap_restore *order);

#endif
