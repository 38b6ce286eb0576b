/* SPDX-License-Identifier: MIT */
/*
 * handle.h - open descriptors. No FUSE calls, so that it can be tested without a mount.
 *
 * A handle is what one open(2) made; RELEASE ends it. Several threads may read one handle at once.
 */
#ifndef SQLSNAPFS_HANDLE_H
#define SQLSNAPFS_HANDLE_H

#include <stdatomic.h>

#include "node.h"
#include "upload.h"

enum handle_kind {
	HANDLE_GENERATION, /* a database */
	HANDLE_FILE,	   /* a plain file */
	HANDLE_EMPTY,	   /* a database's -wal or -shm */
	HANDLE_UPLOAD,	   /* a file that is being written, or was */
	HANDLE_TEXT,	   /* a file of .sqlsnapfs as it was at open() */
	HANDLE_FOLDER,
};

struct handle {
	struct handle *prev, *next; /* list of all open handles; guarded by handles->lock */
	enum handle_kind kind;
	struct node *node; /* a reference */
	union {
		struct snap_gen *gen;	/* opened; the reference is the node's */
		struct snap_file *file; /* owned */
		struct snap_list *list; /* owned; guarded by list_lock */
		struct upload *upload;	/* opened */
		char *text;		/* owned */
	};
	atomic_bool failed; /* a read failed and was logged */
	bool counted;	    /* by passthrough.h */
	pthread_mutex_t list_lock;
	bool begun; /* the entries have been requested; guarded by list_lock */
};

/* All open handles, listed because a session that is ended by force sends no RELEASE. */
struct handles {
	pthread_mutex_t lock;
	struct handle *first;
	struct snap *snap; /* borrowed, as the next */
	struct nodes *nodes;
};

void handles_init(struct handles *handles, struct snap *snap, struct nodes *nodes);
void handles_finish(struct handles *handles); /* closes what is left */

/*
 * Opens NODE for reading. 0 with *OUT, owned by the caller; SNAP_WOULD_WAIT instead of waiting if MAY_WAIT is
 * false; SNAP_MOVED with a reference in *MOVED, as snap_gen_open(). -errno with a message in ERR, which must
 * be empty on entry, or NULL.
 */
int handle_open(struct handle **out, struct handles *handles, struct node *node, bool may_wait,
		struct snap_gen **moved, struct snap_err *err);
/* Opens NODE's upload for thread TID. -ESTALE: the upload was discarded. */
int handle_open_upload(struct handle **out, struct handles *handles, struct node *node, pid_t tid,
		       struct snap_err *err);
/* Opens TEXT and takes ownership of it, even on failure. */
int handle_open_text(struct handle **out, struct handles *handles, struct node *node, char *text,
		     struct snap_err *err);
/* Opens a folder with its current entries. */
int handle_open_folder(struct handle **out, struct handles *handles, struct node *node, struct snap_err *err);
/* To be called when the entries of folder H are read from the first one on. From the second time on, i.e.
 * after rewinddir(3), this refreshes them; on failure, the old entries stay. */
int handle_begin_list(struct handle *h, struct handles *handles, struct snap_err *err);
ssize_t handle_read(struct handle *h, void *buf, size_t size, uint64_t offset, struct snap_err *err);
/* Attributes of NODE's plain file, taken from an open handle; -ENOENT if there is none. See
 * snap_file_stat(). */
int handle_stat(struct handles *handles, const struct node *node, struct snap_attr *attr);
void handle_close(struct handle *h, struct handles *handles);

#endif
