/* SPDX-License-Identifier: MIT */
/*
 * db.c - opening and closing connections.
 *
 * What must stay true: between db_open() and the first statement of its caller nothing locks the database or
 * needs its schema, so that a database that is locked, damaged or of a newer SQLite can be opened and
 * examined. PRAGMA cache_size would read the schema (PragFlg_NeedSchema), which is why the cache keeps its
 * default: it only ever holds the pages that SQLite itself reads.
 */
#include "db.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"

/* Settings for sqlite3_db_config(): an option and its value. */
struct setting {
	int op;
	int value;
};

static const struct setting settings[] = {
	{SQLITE_DBCONFIG_DEFENSIVE, 1},
	{SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
	{SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
	{SQLITE_DBCONFIG_ENABLE_VIEW, 0},
	{SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
};

static int harden(struct db *db, enum db_kind kind)
{
	int rc = SQLITE_OK;

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && rc == SQLITE_OK; i++)
		rc = sqlite3_db_config(db->handle, settings[i].op, settings[i].value, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, kind != DB_CLOSER, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_wal_autocheckpoint(db->handle, 0);
	if (rc != SQLITE_OK)
		return rc;
	if (kind == DB_PRIVATE)
		rc = db_exec(db, "PRAGMA mmap_size=0"); /* the shim answers 0 by itself */
	else
		sqlite3_limit(db->handle, SQLITE_LIMIT_ATTACHED, 0); /* VACUUM would need one */
	return rc == SQLITE_OK ? db_exec(db, "PRAGMA cell_size_check=ON") : rc;
}

static int open_handle(struct db *db, const char *path, enum db_kind kind, struct snap_err *err)
{
	static const int modes[] = {
		[DB_READER] = SQLITE_OPEN_READONLY,
		[DB_CLOSER] = SQLITE_OPEN_READWRITE,
		[DB_RESTORER] = SQLITE_OPEN_READWRITE,
		[DB_STAGED] = SQLITE_OPEN_READONLY,
		[DB_PRIVATE] = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
	};
	int flags = modes[kind] | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
	int rc;

	/* PATH is never taken for a URI: those begin with "file:", PATH with a slash, whatever NAME
	 * contains. */
	rc = sqlite3_open_v2(path, &db->handle, flags, db->vfs ? vfs_name(db->vfs) : "unix");
	if (rc == SQLITE_OK)
		rc = harden(db, kind);
	if (rc != SQLITE_OK)
		return err_set(err, db_errno(db, rc), "cannot be opened: %s", db_text(db));
	return 0;
}

static const enum vfs_policy policies[] = {
	[DB_READER] = VFS_READER,
	[DB_CLOSER] = VFS_CLOSER,
	[DB_RESTORER] = VFS_RESTORER,
	[DB_STAGED] = VFS_STAGED,
};

int db_open(struct db *db, int dirfd, const char *name, enum db_kind kind, struct snap_err *err)
{
	autofree char *path = NULL;
	struct db opened = DB_INIT;
	int rc;

	if (!*name || strchr(name, '/'))
		return err_set(err, -EINVAL, "not a file name: \"%s\"", name);
	if (asprintf(&path, "/proc/self/fd/%d/%s", dirfd, name) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	if (kind != DB_PRIVATE) {
		rc = vfs_create(&opened.vfs, policies[kind]);
		if (rc < 0)
			return err_set(err, rc, "no SQLite VFS: %s", strerror(-rc));
	}
	rc = open_handle(&opened, path, kind, err);
	if (rc < 0)
		db_close(&opened);
	else
		*db = opened;
	return rc;
}

int db_open_inode(struct db *db, int dirfd, const char *name, uint64_t dev, uint64_t ino, enum db_kind kind,
		  struct snap_err *err)
{
	int rc = db_open(db, dirfd, name, kind, err);

	if (!rc && !vfs_is_inode(db->vfs, dev, ino)) {
		db_close(db);
		rc = err_set(err, -ESTALE, "replaced while it was being opened");
	}
	return rc;
}

void db_close(struct db *db)
{
	/* No statement is left unfinalized by now; close_v2 would keep the VFS in use for it. */
	sqlite3_close(db->handle);
	vfs_destroy(db->vfs);
	*db = DB_INIT;
}

int db_exec(struct db *db, const char *sql)
{
	return sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
}

/* The errno of what failed below SQLite, which may say more than SQLite's own code. */
static int system_errno(struct db *db)
{
	return db->handle ? sqlite3_system_errno(db->handle) : 0;
}

static bool has_no_room(int sys)
{
	return sys == ENOSPC || sys == EDQUOT;
}

static int ioerr_errno(struct db *db, int rc)
{
	if (rc == SQLITE_IOERR_NOMEM)
		return -ENOMEM;
	return has_no_room(system_errno(db)) ? -ENOSPC : -EIO; /* also for a -shm that cannot grow */
}

static int cantopen_errno(struct db *db)
{
	int sys = system_errno(db);

	if (has_no_room(sys))
		return -ENOSPC;
	return sys > 0 ? -sys : -EACCES;
}

int db_errno(struct db *db, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CANTOPEN:
		return cantopen_errno(db);
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_IOERR:
		return ioerr_errno(db, rc);
	default:
		return -EIO;
	}
}

const char *db_words(int error, const char *others)
{
	switch (error) {
	case ENAMETOOLONG:
		return DB_NAME_TOO_LONG;
	case ENOSPC:
		return DB_NO_ROOM;
	case EMLINK:
		return DB_LINKED;
	default:
		return others;
	}
}

const char *db_text(struct db *db)
{
	const char *own;

	if (!db->handle)
		return "out of memory";
	own = sqlite3_errmsg(db->handle);
	return db->vfs ? db_words(-db_errno(db, sqlite3_errcode(db->handle)), own) : own;
}
