/* SPDX-License-Identifier: MIT */
/*
 * sqlsnap.h - the contract between the two halves of sqlsnapfs.
 *
 * src/ knows SQLite, files and time; fs/ knows FUSE, names and nodeids. Only what this header declares passes
 * between them; a server of another protocol could be built on it too.
 *
 * Words (the field's own where it has them):
 *   source      a live database and its place in the file system.
 *   version     what one look sees; two are equal only if no commit can have come between them (version.h).
 *   generation  one version as a reader sees it: a size and times that never change once it is bound.
 *   tree        what is mirrored: one folder, or a list of named databases.
 *
 * Returns: 0 is success; a negative value is -errno, to be forwarded unchanged; a positive value is one of
 * the answers (an enum) that the function documents and its caller handles. The text that goes with a failure
 * is written to the caller's struct snap_err, which may be NULL.
 *
 * Threads: every function may be called from any thread once snap_start() has returned. Functions that may
 * wait for the live database say so.
 */
#ifndef SQLSNAP_H
#define SQLSNAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <time.h>

/* Error message for the log: one line without a newline. */
struct snap_err {
	char text[320];
};

enum snap_level {
	SNAP_DEBUG,
	SNAP_INFO,
	SNAP_WARNING,
	SNAP_ERROR,
};

/* The caller's choices; copied by snap_create(), strings included. */
struct snap_config {
	uint64_t wal_limit;  /* bytes of WAL that pins may hold back before a source drains */
	uint64_t wal_max;    /* bytes of WAL at which the oldest generations end with EIO */
	int busy_timeout_ms; /* how long a restore waits for the live database's lock */
	bool check_full;     /* uploads pass integrity_check instead of quick_check */
	bool force;	     /* restores that look like a mistake are accepted */
	unsigned keep;	     /* snapshots kept, per database, of what restores replaced; 0: none is made */
	const char *store;   /* folder for spools and remembered times; NULL: the default of store.h */
	bool shared_locks;   /* accept file systems whose locks other machines do not see */
	bool databases_only; /* a folder shows its databases and folders, nothing else */
	bool unlisted;	     /* no folder lists its databases; every name resolves as without this option */
	bool frozen;	     /* databases stay as they were at one instant of snap_start(); no restores */
	/* Reports what happens outside any call (an image was lost, a source drained). Never called under a
	 * lock. */
	void (*event)(void *arg, enum snap_level level, const char *text);
	/* Says that nobody has the generation GEN_ID open and that the database has moved on, so that caches
	 * of it can be dropped. Called on a thread of the library, under no lock. */
	void (*stale)(void *arg, uint64_t gen_id);
	void *event_arg; /* of both */
};

struct snap;	  /* everything: configuration, tree, sources, threads */
struct snap_gen;  /* a generation */
struct snap_file; /* an open plain file of the tree */
struct snap_list; /* the entries of a folder at one moment */

enum snap_kind {
	SNAP_FOLDER,
	SNAP_PLAIN,	/* a regular file that is no database */
	SNAP_SYMLINK,	/* a link that does not resolve to a database */
	SNAP_SPECIAL,	/* fifo, socket, device: shown, never opened here */
	SNAP_DATABASE,	/* has a generation */
	SNAP_SIDECAR,	/* -wal or -shm of a database: an empty file that is not listed */
	SNAP_MOUNTPOINT /* the folder that our own mount covers (empty), or another mount (opendir: -EXDEV) */
};

/* Attributes as stat(2) means them. Times of a database are those of its generation. */
struct snap_attr {
	enum snap_kind kind;
	uint64_t key_dev; /* identity of the live object: equal only for the same inode */
	uint64_t key_ino;
	uint64_t ino;	 /* what st_ino shows; stable over remounts */
	uint64_t size;	 /* bytes */
	uint64_t blocks; /* units of 512 bytes */
	mode_t mode;	 /* type and permission bits; set-id bits are masked */
	uid_t uid;
	gid_t gid;
	nlink_t nlink;
	dev_t rdev;
	struct timespec atime, mtime, ctime;
};

/* ---- life ---------------------------------------------------------------------------------------------- */

/* Makes a context without threads. *out is owned by the caller; on failure it is untouched. */
int snap_create(struct snap **out, const struct snap_config *config, struct snap_err *err);

/*
 * Gives the context its tree: either one folder, or any number of named databases.
 * A named database that is empty or garbage is accepted and reported by an event, for it may be there to be
 * restored. -ENOENT: no such file; -EREMOTE: its file system does not share locks and shared_locks is off;
 * -EEXIST: the name is taken; -EINVAL: neither file nor folder, or a name with a slash.
 */
int snap_add_folder(struct snap *snap, const char *path, struct snap_err *err);
int snap_add_file(struct snap *snap, const char *name, const char *path, struct snap_err *err);

/*
 * Says by which path applications reach what was added: PATH is the absolute path of its folder, with
 * symlinks unresolved. Once PATH leads to another folder, or what was added is removed, lookups and lists
 * return -ESTALE, because applications no longer use what the tree shows. To be called after the folder or
 * file is added and before snap_start(). -errno
 */
int snap_known_as(struct snap *snap, const char *path, struct snap_err *err);
/* Makes that check now: 0; -ESTALE or another error of its disk, with a message; or what this process ran out
 * of. */
int snap_check_known(struct snap *snap, struct snap_err *err);

/*
 * Says where the mount will be; PATH exists. To be called before mounting, so that a folder tree can show
 * the covered folder as an empty one and never walks into its own mount.
 */
int snap_set_mountpoint(struct snap *snap, const char *path, struct snap_err *err);

/* Starts the threads, and takes the instant of a frozen mount. To be called after daemonising, because
 * neither threads nor SQLite survive a fork, and after mounting, because from now on the tree must know its
 * own mount. */
int snap_start(struct snap *snap, struct snap_err *err);

/* Ends the threads. When it returns, no call of this context is under way and none of its callbacks is
 * called any more: what they use may be destroyed. May take as long as an open may wait. Snapshots that are
 * still to be written get PATIENCE_MS milliseconds; then they are given up, with an error for each, and
 * leave nothing in the store. */
void snap_stop(struct snap *snap, int64_t patience_ms);

/* Ends the threads with SNAP_PATIENCE_MS, unless they have ended, closes every source as an application
 * would, and frees SNAP. All generations and files must have been closed. May take seconds. Accepts NULL. */
#define SNAP_PATIENCE_MS 30000
void snap_destroy(struct snap *snap);

/* Says that the caller has freed memory: a few seconds after the last call it is given back to the system.
 * Cheap. */
void snap_freed(struct snap *snap);

/* Runs fn(arg) on one of the library's threads; -EAGAIN when SNAP_DEFER_MAX calls are under way. */
#define SNAP_DEFER_MAX 128
int snap_defer(struct snap *snap, void (*fn)(void *arg), void *arg);

/* Counts the databases of the tree up to LIMIT, for the line that is printed at start. SNAP_COUNT_MORE: there
 * may be more; it is given up, too, when the tree is too large to be looked through at once. */
#define SNAP_COUNT_MORE 1
int snap_count_databases(struct snap *snap, size_t *databases, size_t limit);
/* Whether the tree certainly has no database. False, too, if it is too large to be looked through at once. */
bool snap_is_without_databases(struct snap *snap);

/* The version of the SQLite library that this program runs with; borrowed. */
const char *snap_sqlite_version(void);

/* ---- the tree ------------------------------------------------------------------------------------------ */
/* PATH is relative to the tree's root, without leading or trailing slash; "" is the root. */

/*
 * Identifies the folder in which a name was looked up, or the file whose permissions were checked, by the key
 * of its attributes. Paths are only names: anybody who may rename in the tree can put another folder or file
 * there between two calls. Unless the path still leads to this inode, the answer is -ESTALE.
 */
struct snap_inode {
	uint64_t dev, ino; /* both 0: any */
};

/*
 * What stands at PATH now. For a database *gen (if not NULL) receives a reference to the generation that a
 * reader who opens now may expect; the caller drops it with snap_gen_unref(). Pins nothing. Waits 50 ms at
 * most for the live database, and then answers from stat(2). -ENOENT, -EACCES, -EMLINK (a database with
 * several hard links) and other errors of the file system are forwarded.
 */
int snap_lookup(struct snap *snap, const char *path, struct snap_attr *attr, struct snap_gen **gen,
		struct snap_err *err);
/* The same, for the last name of PATH in the folder FOLDER. */
int snap_lookup_in(struct snap *snap, const struct snap_inode *folder, const char *path,
		   struct snap_attr *attr, struct snap_gen **gen, struct snap_err *err);

/* The entries of the folder PATH, without . and .. and the sidecars of databases. *out is owned by the
 * caller. -ESTALE: PATH is no longer FOLDER (NULL: any will do). */
int snap_list_create(struct snap *snap, const struct snap_inode *folder, const char *path,
		     struct snap_list **out, struct snap_err *err);
void snap_list_destroy(struct snap_list *list);
/* The I-th entry: its name (borrowed), st_ino and S_IFMT bits; false past the end. */
bool snap_list_get(const struct snap_list *list, size_t i, const char **name, uint64_t *ino, mode_t *type);

/* Target of a symlink, terminated; -ENAMETOOLONG if SIZE is too small. */
int snap_readlink(struct snap *snap, const char *path, char *target, size_t size);

/* Opens a plain file for reading; -ESTALE when it is not (or no longer) the inode KEY_DEV, KEY_INO. */
int snap_file_open(struct snap *snap, const char *path, uint64_t key_dev, uint64_t key_ino,
		   struct snap_file **out, struct snap_err *err);
ssize_t snap_file_read(struct snap_file *file, void *buf, size_t size, uint64_t offset);
/* As snap_gen_lend(); -ENOENT also for a file of the tree, because it may change. */
int snap_file_lend(struct snap_file *file, int (*use)(void *arg, int fd), void *arg);
/* Attributes of an open file, even after its snapshot was dropped or another file was given its name.
 * -ESTALE: it has become a database, whose bytes cannot be read this way. */
int snap_file_stat(struct snap_file *file, struct snap_attr *attr);
void snap_file_close(struct snap_file *file);

/* statvfs(2) of the file system that holds the tree (a folder) or the first named database. */
int snap_statvfs(struct snap *snap, struct statvfs *out);

/* ---- kept snapshots ------------------------------------------------------------------------------------ */
/*
 * ".sqlsnapfs/snapshots" has a folder for each kept snapshot. It holds the databases at their paths in the
 * tree, as plain files with the owner, mode and times that they had when they were kept. ".sqlsnapfs" is not
 * listed, and hides an entry of the tree with this name.
 */

/*
 * Keeps all databases of the tree as of one instant, under NAME. 0: they can be read already, and are written
 * to the store in the background. -EINVAL: not a valid name (a slash, a leading dot, too long); -EEXIST;
 * -ENODATA: there is no database; -ENOSPC; -EBUSY and others: one of them cannot be opened; -EXDEV, -EACCES,
 * -ENOENT, -EIO: something that is or may be a database would be missing (sqlsnapfs(8), "Limits"). On failure
 * nothing is kept. Waits for live databases as snap_gen_open() does; one in WAL mode that nobody holds
 * exclusively takes milliseconds.
 */
int snap_kept_make(struct snap *snap, const char *name, struct snap_err *err);

/* Drops the snapshot NAME of every database of the tree. Open files of it stay readable. -ENOENT: there is
 * none. On failure some of its databases may be left. May take as long as removing large files takes. */
int snap_kept_drop(struct snap *snap, const char *name, struct snap_err *err);

/* ---- generations --------------------------------------------------------------------------------------- */

/* A generation lives as long as somebody holds a reference; its bytes only while somebody has it open. */
struct snap_gen *snap_gen_ref(struct snap_gen *gen);
void snap_gen_unref(struct snap_gen *gen);

/* A number that no other generation of this process has or will have. */
uint64_t snap_gen_id(const struct snap_gen *gen);

/*
 * Attributes: the size never changes; times are constant once the generation is bound; owner and mode are the
 * live file's at the last look.
 */
void snap_gen_stat(struct snap_gen *gen, struct snap_attr *attr);
/*
 * The same under the name PATH in FOLDER, with the owner and mode that the live file has there now. If
 * another file stands there: -ESTALE; or, if GEN was shown under this name before (KNOWN), the last owner
 * shown for it and only the mode bits that were shown every time.
 */
int snap_gen_stat_at(struct snap *snap, const struct snap_inode *folder, const char *path,
		     struct snap_gen *gen, bool known, struct snap_attr *attr);

enum snap_open {
	SNAP_MOVED = 1,	     /* the bytes of this generation are not available: open *moved instead */
	SNAP_WOULD_WAIT = 2, /* only with SNAP_NOWAIT: call again without it, on a thread that may wait */
};

#define SNAP_NOWAIT 1u

/*
 * Opens a generation for reading, and binds it if it is not bound yet. 0: opened; snap_gen_close() closes
 * it. SNAP_MOVED: *moved receives a reference to a bound generation that holds the current content of the
 * database and can be opened for SNAP_HOLD_MS. Without SNAP_NOWAIT it waits for the live database for two
 * seconds at most (longer while a rollback-journal database is copied; ten seconds for a WAL that is over
 * its limit). -EBUSY: somebody holds the database exclusively; -EIO: it is damaged; -ENOSPC, -EMFILE,
 * -ENOMEM: what this process ran out of.
 */
int snap_gen_open(struct snap_gen *gen, unsigned flags, struct snap_gen **moved, struct snap_err *err);
#define SNAP_HOLD_MS 5000

/* Says that a caller whom SNAP_MOVED led to GEN has opened it, or will not: GEN need not be held for it any
 * longer. */
void snap_gen_arrived(struct snap_gen *gen);

/*
 * Reads from an opened generation. Returns the number of bytes, less than SIZE only at its end. -EIO: the
 * bytes of this version are lost; bytes of another version are never returned.
 */
ssize_t snap_gen_read(struct snap_gen *gen, void *buf, size_t size, uint64_t offset, struct snap_err *err);

/*
 * Calls USE(ARG, FD) with a file that never changes and holds exactly the bytes of GEN, which must be open: a
 * finished copy, never a live database. Keeping the file open holds back nothing but the space it takes. It
 * can be opened with O_DIRECT. FD is borrowed for the call, and no copy of it may be closed (rawfd.h).
 * Returns what USE returned; -ENOENT: there is no such file now.
 */
int snap_gen_lend(struct snap_gen *gen, int (*use)(void *arg, int fd), void *arg);

void snap_gen_close(struct snap_gen *gen);

/* ---- writing ------------------------------------------------------------------------------------------- */
/*
 * An upload is a file that somebody writes. It becomes a restore when it is complete and is handed to
 * snap_upload_restore(). Before that nothing of it reaches a live database, and it leaves nothing behind.
 */
struct snap_upload;

enum snap_name {
	SNAP_NAME_DATABASE = 1, /* writing there is a restore: a database stands there, or stood there */
	SNAP_NAME_SCRATCH,	/* a temporary name, such as tools use before they rename */
	SNAP_NAME_SIDECAR,	/* -wal, -shm or -journal of a database: never written */
	SNAP_NAME_TAKEN,	/* something else stands there, which is read-only here */
	SNAP_NAME_OTHER,	/* nothing stands there and it is no database's name */
};

/* What writing to PATH would be: an enum snap_name; -errno. For SNAP_NAME_OTHER and SNAP_NAME_SIDECAR ERR
 * says where to write instead. */
int snap_name_kind(struct snap *snap, const char *path, struct snap_err *err);

/* Whether it is complete, as far as that can be told without looking at the bytes. The first that applies
 * counts. */
enum snap_upload_state {
	SNAP_UPLOAD_UNTOUCHED,	/* neither written to nor resized */
	SNAP_UPLOAD_EMPTY,	/* 0 bytes: it was truncated, and nothing was written */
	SNAP_UPLOAD_INCOMPLETE, /* it still shows parts of what it began with, or a write failed */
	SNAP_UPLOAD_PENDING,	/* its length was set before its first byte, and there are gaps */
	SNAP_UPLOAD_COMPLETE,	/* all was written; or it was empty once, so that gaps are zeros */
};

/* Empty; *out is owned by the caller. */
int snap_upload_create(struct snap *snap, struct snap_upload **out, struct snap_err *err);
void snap_upload_destroy(struct snap_upload *upload); /* accepts NULL */

/* Discards its content: it is an empty, untouched file again. Neither this nor snap_upload_destroy() waits
 * until the disk space of a large one is freed. */
void snap_upload_discard(struct snap_upload *upload);

/* Sets the content that a file opened for writing without O_TRUNC begins with: the bytes of GEN. READABLE:
 * GEN is opened, until the upload is destroyed; otherwise only its size is used. May wait as snap_gen_open()
 * does. */
int snap_upload_begin_with(struct snap_upload *upload, struct snap_gen *gen, bool readable,
			   struct snap_err *err);

/* Says that the upload will probably become the database at PATH, so that the database there may be copied to
 * the store while the upload arrives. Only a hint: nothing depends on it. To be called at most once, before
 * anything is written; -ENOMEM. */
int snap_upload_expect(struct snap_upload *upload, const char *path);

/* As read(2), write(2), ftruncate(2), fallocate(2), fdatasync(2) on a regular file. -ENOSPC with a message.
 * Reading what it began with may wait as snap_gen_open() does. */
ssize_t snap_upload_read(struct snap_upload *upload, void *buf, size_t size, uint64_t offset,
			 struct snap_err *err);
/* Whether snap_upload_read() may wait now for more than a disk. Never waits. */
bool snap_upload_read_waits(struct snap_upload *upload);
ssize_t snap_upload_write(struct snap_upload *upload, const void *buf, size_t size, uint64_t offset,
			  struct snap_err *err);
int snap_upload_truncate(struct snap_upload *upload, uint64_t size, struct snap_err *err);
int snap_upload_allocate(struct snap_upload *upload, uint64_t offset, uint64_t size, bool keep_size,
			 struct snap_err *err);
int snap_upload_sync(struct snap_upload *upload, struct snap_err *err);
uint64_t snap_upload_size(struct snap_upload *upload);
/* Grows with each change: identifies the content that a verdict is about. */
uint64_t snap_upload_changes(struct snap_upload *upload);
enum snap_upload_state snap_upload_state(struct snap_upload *upload);

struct snap_restored;

/* The progress of something that takes long. The caller passes it zeroed; one thread updates it, any thread
 * may read it. */
enum snap_phase {
	SNAP_PHASE_WAITING,  /* for its turn */
	SNAP_PHASE_CHECKING, /* whether the upload is a database that can be restored */
	SNAP_PHASE_KEEPING,  /* a copy of what will be replaced */
	SNAP_PHASE_LOCKING,  /* waits for the live database's write lock */
	SNAP_PHASE_WRITING,
	SNAP_PHASE_SETTLING, /* brings it to the disk */
};
struct snap_progress {
	_Atomic int phase;
	_Atomic int steps;	      /* how many of the long ones (checking, keeping, writing) are over */
	_Atomic uint64_t done, total; /* bytes of the long step under way or the last one; TOTAL 0: unknown */
};
#define SNAP_PROGRESS_STEPS 3

struct snap_restore {
	const char *path;	      /* the database's, in the tree */
	struct snap_inode file;	      /* the only one that may be written */
	struct snap_inode folder;     /* in which it may be created if it does not exist */
	int64_t mtime_ns;	      /* shown for the restored database; 0: now */
	bool (*cancelled)(void *arg); /* asked until the point of no return; NULL: never */
	/* Called as soon as it is restored, durable and shown: nobody need wait for what follows (a
	 * checkpoint). Not called if nothing had to be written, or on failure. May be NULL. */
	void (*durable)(void *arg, const struct snap_restored *done);
	void *arg;			/* of both */
	struct snap_progress *progress; /* updated on the way; may be NULL */
};

/* What became of a restore. */
struct snap_restored {
	bool committed;	  /* the live database equals the upload: also when UNCHANGED, and with an error that
			     came after the commit */
	uint64_t changes; /* snap_upload_changes() when the verdict ends: the content that it is about */
	bool unchanged;	  /* the live database was equal already, but for counters: nothing was written */
	bool doubtful;	  /* COMMITTED is not set, but it may have been committed: nobody can tell */
	char undo[64];	  /* the kept snapshot of what was there before; also set if that was not replaced but
			     may be gone all the same; "": there is none */
	bool undo_raw; /* it holds the files as they were, from which no database could be opened: restoring
			  their copy would be refused */
	char undo_path[512]; /* the database's path in it, for a symlink that of its target; "": there is
				none, or a link led out of the tree, and this mount does not show it */
	uint64_t size;	     /* bytes that the name shows now */
	int64_t took_ns;     /* in all */
	int64_t locked_ns;   /* holding the live database's write lock */
	uint32_t old_user_version, new_user_version; /* old: 0 when nothing readable stood there */
};

/*
 * Checks whether UPLOAD is a database that could be restored. 0; -EMEDIUMTYPE, -EIO, -EUCLEAN, -ETIMEDOUT as
 * in sqlsnapfs(8), "Refusals", with the reason in ERR. The verdict is remembered until the upload changes.
 * May take minutes.
 */
int snap_upload_check(struct snap_upload *upload, const struct snap_restore *order, struct snap_err *err);

/*
 * Checks UPLOAD and replaces the live database at order->path by it, in one transaction. 0: done and durable.
 * Else a -errno of that table, and the live database is unchanged unless DONE says COMMITTED or DOUBTFUL.
 * After a commit the upload starts over, with the content that it has just restored. -EBUSY also while
 * another verdict about it is in progress; DONE is not touched then. May take minutes. Several restores of
 * one database take turns.
 */
int snap_upload_restore(struct snap_upload *upload, const struct snap_restore *order,
			struct snap_restored *done, struct snap_err *err);

/* Sets the mtime that a restored database shows, as utimens(2) does right after an upload. Does nothing if
 * GEN is not a restored one. */
void snap_gen_set_mtime(struct snap_gen *gen, int64_t mtime_ns);

/* ---- what is going on ---------------------------------------------------------------------------------- */
/*
 * Facts of one moment, for people and monitoring. Asking for them waits for no live database, and neither
 * opens a connection nor keeps one open.
 */

#define SNAP_COMMAND_SIZE 64

/* Who does something. */
struct snap_actor {
	uid_t uid;
	pid_t pid;			 /* 0: unknown */
	char command[SNAP_COMMAND_SIZE]; /* as the kernel knows it; "": unknown. Any bytes */
};

/* The newest state of a database that somebody has opened. */
struct snap_opened {
	int64_t time_ns; /* CLOCK_REALTIME: when that state was the latest one; 0: nobody has opened any */
	struct snap_actor who;
	char snapshot[208]; /* the kept snapshot that it was read from; "": the live name */
};

/* Notes who has opened GEN, which is open. Remembered over remounts. */
void snap_gen_opened(struct snap_gen *gen, const struct snap_actor *who);
/* The same for a database of a kept snapshot, at PATH: its state is as old as the snapshot. Ignores other
 * paths. */
void snap_kept_opened(struct snap *snap, const char *path, const struct snap_actor *who);

enum snap_journal {
	SNAP_JOURNAL_UNKNOWN, /* nothing stands there, or no database, or it could not be read */
	SNAP_JOURNAL_WAL,
	SNAP_JOURNAL_ROLLBACK,
};

struct snap_pin {
	int64_t age_ns;
	uint64_t wal_bytes; /* of frames committed since, which stay in the WAL until the pin ends */
};
#define SNAP_PINS_MAX 32

struct snap_source_facts {
	const char *path; /* in the tree; NULL: it is no longer shown anywhere. Borrowed, as the next: */
	const char *file; /* absolute; NULL: cannot be told */
	enum snap_journal journal;
	uint32_t page_size;  /* bytes; 0: unknown */
	uint64_t size;	     /* bytes of the database */
	uint64_t generation; /* the id of the latest one that was looked up; 0: none was */
	bool connected;
	uint64_t wal_bytes;  /* committed frames in the WAL; 0 while not connected, as the next two */
	uint64_t held_bytes; /* of these, what our pins may be holding back */
	bool wal_marked;  /* the wal-index says that more frames were copied to the database than exist: the
			     WAL-reset bug has struck, or locks do not work */
	unsigned readers; /* opens that are not closed yet */
	size_t pin_count; /* may exceed the number listed */
	struct snap_pin pins[SNAP_PINS_MAX]; /* oldest first */
	uint64_t spool_bytes; /* of private copies that readers are served from; a clone counts in full */
	int64_t error_ns;     /* CLOCK_REALTIME of the last failure; 0: there was none */
	struct snap_err error;
	bool failing; /* the last open or read of it failed, and it was not opened since */
	struct snap_opened opened;
};

/*
 * Calls FN with every database of the tree, until it returns a negative value, which is returned. *COMPLETE
 * is false if the tree is too large to be looked through at once: then databases may be missing that nobody
 * has looked up. 0; -errno.
 */
int snap_each_source(struct snap *snap, int (*fn)(void *arg, const struct snap_source_facts *facts),
		     void *arg, bool *complete);

/* A database in a kept snapshot. */
struct snap_kept_facts {
	const char *name; /* of the snapshot; borrowed, as the next two */
	const char *path; /* of the database in the tree */
	const char *why;  /* in words; "": somebody asked for it */
	uint64_t size;	  /* bytes */
	int64_t made_ns;  /* CLOCK_REALTIME */
};

/* Calls FN with every one of them, in no particular order, as snap_each_source() does; also with those that
 * are being written, which may come twice. */
int snap_each_kept(struct snap *snap, int (*fn)(void *arg, const struct snap_kept_facts *facts), void *arg);

/* A snapshot that is being written. */
struct snap_pending_facts {
	const char *name;     /* borrowed */
	int64_t apart_ns;     /* how far from one instant some of its databases can be; 0: not at all */
	uint64_t done, total; /* bytes */
};
/* Calls FN, which must not wait, with each. */
void snap_each_pending(struct snap *snap, void (*fn)(void *arg, const struct snap_pending_facts *facts),
		       void *arg);

/* A snapshot that snap_kept_make() announced and that is not there: it could not be written, or the process
 * that was to write it was killed. */
struct snap_lost_facts {
	const char *name; /* borrowed, as the next */
	const char *why;  /* in words */
	int64_t time_ns;  /* CLOCK_REALTIME: when that became known */
};
/* Calls FN, which must not wait, with the last ones since the start, except those under whose name a snapshot
 * was written since. */
void snap_each_lost(struct snap *snap, void (*fn)(void *arg, const struct snap_lost_facts *facts), void *arg);

/* Whether the SQLite library of this program can lose commits when two processes checkpoint at once
 * (sqlite.org/wal.html, part 11): 3.7.0 to 3.51.2, but for 3.44.6 and 3.50.7. Applications have their own. */
bool snap_sqlite_has_wal_reset_bug(void);

/* ---- checking ------------------------------------------------------------------------------------------ */

/* What is known of a file that has passed the check. */
struct snap_checked {
	uint64_t size; /* bytes of the database; the file may be longer */
	uint32_t page_size;
	uint32_t pages;
	uint32_t tables; /* without SQLite's own */
	uint32_t user_version;
	uint32_t application_id;
	char note[200]; /* what could not be checked, and why; "": everything was */
};

/*
 * The same check as an upload's, for any file; needs no struct snap. FULL: integrity_check instead of
 * quick_check. 0; the refusals of snap_upload_check(); -EIO also if parts of its content are in a -wal or
 * -journal beside it; -EBUSY: the file was written to meanwhile; -EINVAL: not a regular file; other errors:
 * why it cannot be read. ERR gives the reason, without PATH. There is no time limit.
 */
int snap_check_file(const char *path, bool full, struct snap_checked *out, struct snap_err *err);

/*
 * SQLite examines an upload in a separate process: this program, run with SNAP_CHILD_ARGUMENT as first
 * argument. main() must return what this returns, before it does anything else.
 */
#define SNAP_CHILD_ARGUMENT "--validate-child"
int snap_validate_child(int argc, char **argv);

#endif
