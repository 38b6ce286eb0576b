/* SPDX-License-Identifier: MIT */
/*
 * upload.h - files that are being written: a database's name opened for writing, or a scratch file under a
 * temporary name. No FUSE calls, so that it can be tested without a mount.
 *
 * A database's name is never opened for writing on the nodeid of its generation: that would harm its readers.
 * The first OPEN makes an upload, which waits for the thread that asked, and answers ESTALE. The kernel then
 * looks up the name again from the same thread and is led to the upload's own nodeid. Nobody else sees it.
 * A scratch file has a name of its own: everybody who knows it can look it up, but it is not listed.
 *
 * upload.c         the table of uploads, content and attributes
 * upload_names.c   which thread is led to which upload
 * upload_tend.c    uploads that time out
 * upload_flush.c   when a close() restores; src/ decides whether the file is good
 * upload_access.c  who asks for a restore, whether that process is alive, and whether it may
 */
#ifndef SQLSNAPFS_UPLOAD_H
#define SQLSNAPFS_UPLOAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "../src/sqlsnap.h"
#include "caller.h"
#include "node.h"
#include "tasks.h"

#define UPLOADS_MAX 1024		  /* that can be written to or found */
#define UPLOADS_EACH (UPLOADS_MAX / 4)	  /* of these, begun by one user, except root and whoever mounted */
#define UPLOADS_OTHERS (3 * UPLOADS_EACH) /* and by all such users together */
#define UPLOAD_INTENT_NS 5000000000ll	  /* a retried open takes microseconds */
#define UPLOAD_SILENCE_NS 60000000000ll	  /* after which a silent pending upload is discarded */
#define UPLOAD_SCRATCH_NS 3600000000000ll /* likewise for a scratch file that nobody has open */

enum upload_kind {
	UPLOAD_DATABASE,
	UPLOAD_SCRATCH,
};

struct upload {
	struct uploads *all; /* borrowed */
	uint64_t id;	     /* constant, as the next six; never used again */
	enum upload_kind kind;
	uint64_t ino;	      /* that stat(2) shows */
	struct actor who;     /* who opened it first; TID 0 */
	pid_t creator;	      /* the process; 0: unknown */
	struct snap_actor by; /* a description of that process */
	bool over;	      /* PATH is a live file that WHO may write; MODE, UID and GID are the file's */
	struct snap_inode folder; /* constant; of UPLOAD_DATABASE: no other folder is written */

	uint64_t node; /* its nodeid; 0: it has had none yet; guarded by nodes->lock */

	/* guarded by uploads->lock */
	struct upload *prev, *next;
	int refs;
	uint64_t parent; /* the folder's nodeid, which is held */
	char *name;	 /* owned */
	char *path;	 /* owned; in the tree */
	char *target;	 /* owned; the database that it may become; NULL: unknown */
	bool named;  /* can be found: a scratch file that has not been removed or renamed over a database, or
			an upload to a database that is still incomplete */
	bool gone;   /* discarded, because nobody could reach it any more: it cannot be opened again */
	int intents; /* threads that are led here */
	int64_t touched; /* CLOCK_MONOTONIC */
	int opens;

	pthread_mutex_t lock; /* held while a verdict is made, which may take long; before uploads->lock and
				 state_lock */
	struct snap_upload *data; /* owned; constant */
	/* guarded by state_lock */
	pthread_mutex_t state_lock;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	int64_t mtime_ns; /* set by utimens(2); 0: not set */
	int64_t written_ns;
	uint64_t last_owner; /* lock_owner of the last WRITE */
	bool has_owner;
	bool in_place;	     /* opened O_RDWR without O_TRUNC: refuses writes until truncated to 0 bytes */
	bool spent;	     /* renamed over a database: it takes no more writes */
	bool dropped;	     /* it restores nothing any more, whatever is still written */
	bool writer_killed;  /* a FLUSH came from a killed writer after the last write */
	uint64_t judged;     /* snap_upload_changes() at the last verdict */
	int verdict;	     /* that verdict: 0, -errno */
	int failed;	     /* -errno of the first change that failed since it was empty; 0: none */
	struct snap_err why; /* its message */
};

struct uploads {
	pthread_mutex_t lock;
	struct upload *first;
	struct intent *intents; /* owned */
	uint64_t last_id;
	struct snap *snap; /* borrowed */
	struct node_holder
		holder; /* set before the first upload is made; holds nothing after uploads_abandon() */
	struct tasks tasks;
	atomic_bool unheard; /* see fs_end_restores() */

	/* guarded by lock */
	pthread_cond_t changed; /* there is something to tend, or the tender is to end */
	bool has_tender;
	bool ending;
	pthread_t tender;
};

void uploads_init(struct uploads *all, struct snap *snap);
/* The session has ended: what is still open was not closed by its writer and restores nothing. The tender
 * thread ends. */
void uploads_abandon(struct uploads *all);
void uploads_finish(struct uploads *all); /* discards what is left; no reference may exist */

/* What a new upload is. MODE, UID and GID are shown for it. */
struct upload_order {
	enum upload_kind kind;
	uint64_t parent;
	struct snap_inode folder; /* the one that PARENT stands for */
	const char *name, *path;
	uint64_t ino; /* 0: one of its own */
	mode_t mode;
	uid_t uid;
	gid_t gid;
	struct actor who;
	pid_t creator;
	struct snap_actor by;
	bool over; /* see struct upload */
};

/* Makes an upload with one reference, the caller's. -EEXIST: there is a scratch file of that name. -ENFILE:
 * there are UPLOADS_MAX; or UPLOADS_EACH of ORDER->who, so that no user keeps others from restoring; or
 * UPLOADS_OTHERS, so that all such users together cannot keep root or the user who mounted from it. -ENOMEM,
 * -ENOSPC... with a message. */
int upload_create(struct upload **out, struct uploads *all, const struct upload_order *order,
		  struct snap_err *err);
/* Announces that U, which was just made, may become the database at PATH: see snap_upload_expect(). Does
 * nothing without memory. */
void upload_expect(struct upload *u, const char *path);
struct upload *upload_ref(struct upload *u);
void upload_unref(struct upload *u); /* accepts NULL */

/* ---- content and attributes: upload.c ---- */

/* Its attributes; size and times follow the writes. */
void upload_stat(struct upload *u, struct snap_attr *attr);

/* Sets what is not NULL, and the mtime if MTIME_NS is not 0. Owner and mode are a scratch file's own; writing
 * over a live database does not change the database's. */
void upload_set(struct upload *u, const mode_t *mode, const uid_t *uid, const gid_t *gid, int64_t mtime_ns);
/* U was opened for reading and writing, without O_TRUNC: it accepts no writes before it is truncated. */
void upload_in_place(struct upload *u);
ssize_t upload_read(struct upload *u, void *buf, size_t size, uint64_t offset, struct snap_err *err);
ssize_t upload_write(struct upload *u, const void *buf, size_t size, uint64_t offset, uint64_t owner,
		     struct snap_err *err);
int upload_truncate(struct upload *u, uint64_t size, struct snap_err *err);
int upload_allocate(struct upload *u, uint64_t offset, uint64_t size, bool keep_size, struct snap_err *err);
/* From now on, U restores nothing. */
void upload_drop(struct upload *u);

/* ---- who is led to it, and its name: upload_names.c ---- */

#define UPLOAD_NOT_FOLLOWED 1
/* Leads TID's next lookup of the name to U; an earlier intent of TID is dropped. 0; UPLOAD_NOT_FOLLOWED: as
 * 0, but TID was led there before and has not looked up the name; -ENOMEM; -ESTALE: U was discarded, and
 * another is to be made. */
int upload_lead(struct upload *u, pid_t tid);
/* A reference to the upload that TID is led to under NAME in PARENT, NULL: none. */
struct upload *upload_led(struct uploads *all, pid_t tid, uint64_t parent, const char *name);
/* A reference to the pending upload that process TGID has begun under that name, NULL: none. */
struct upload *upload_pending(struct uploads *all, pid_t tgid, uint64_t parent, const char *name);
/* Whether there is any pending upload. */
bool upload_any_pending(struct uploads *all);
/* A reference to the scratch file of that name, NULL: none. */
struct upload *upload_scratch(struct uploads *all, uint64_t parent, const char *name);
/* Lets upload_pending() find U. */
void upload_name(struct upload *u);
/* Removes the name of a scratch file or a pending upload; open descriptors stay valid. */
void upload_unname(struct upload *u);
/* Renames a scratch file; one that had the new name loses it. -ENOMEM */
int upload_rename(struct upload *u, uint64_t parent, const char *name, const char *path);
/* To be called when process TGID has removed that database's name: what it was writing under it restores
 * nothing. Returns whether there was any such upload. */
bool uploads_drop(struct uploads *all, pid_t tgid, uint64_t parent, const char *name);

/* TID, which may have been led to U, opens it. -ESTALE: too late, U was discarded; the name leads to what is
 * there. */
int upload_opened(struct upload *u, pid_t tid);
/* TID opens U for reading, although it was led here for writing. The open for writing was one of
 * /proc/PID/fd/N, which the kernel does not repeat by name, so its intent was left for the next open of the
 * name. True: the intent is removed, and TID has to look up the name again. */
bool upload_forgo(struct upload *u, pid_t tid);

/* ---- whether it restores: upload_flush.c ---- */

struct upload_flush {
	struct actor who;
	struct snap_inode folder; /* for upload_become(): the folder of its path */
	uint64_t owner;		  /* lock_owner of the request */
	/* Called once at most, when the answer is 0 and nobody need wait for what follows; INTERRUPTED is not
	 * called afterwards. NULL: nobody is told. */
	void (*restored)(void *arg);
	bool (*interrupted)(void *arg); /* a signal came for the waiting caller; NULL: nobody waits */
	void *arg;
};

/* Whether closing U cannot cause a restore, so that upload_closed() does not wait. */
bool upload_closes_idle(struct upload *u);
/* For RELEASE. Restores a complete upload that no FLUSH has decided about, unless its writer was killed.
 * Anything else is discarded, except a pending upload. */
void upload_closed(struct upload *u);

/* Whether a FLUSH has nothing to decide; its answer is then in *RC. Never waits. */
bool upload_flush_idle(struct upload *u, const struct upload_flush *flush, int *rc);
/* Decides about U and, if it is complete, restores. May take as long as a restore. Logs the verdict. */
int upload_flush(struct upload *u, const struct upload_flush *flush);
/* To be called when WHO sets U's times by its name, which tools do last: they consider it complete. If U is
 * closed, and parts that were announced (ftruncate(2), fallocate(2)) were never written, returns -EIO, which
 * becomes U's verdict and is logged. */
int upload_taken_for_whole(struct upload *u, const struct actor *who);
/* To be called if no decision about U is possible: makes RC its verdict, logs it, and returns what WHO is to
 * be told. The verdict about a scratch file is made at its rename, so in that case nothing is logged and 0 is
 * returned. */
int upload_refuse(struct upload *u, const struct actor *who, int rc);

/* Restores scratch file U as the database at PATH. 0, -errno. May take as long as a restore. Logs the
 * verdict. */
int upload_become(struct upload *u, const char *path, const struct upload_flush *flush);

#endif
