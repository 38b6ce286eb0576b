/* SPDX-License-Identifier: MIT */
/* Restores onto everything that can stand at a database's place. */
#include "restores.h"

#include <dirent.h>

#define OLD_ROWS 300
#define ROLLBACK_OLD ROLLBACK_TABLE APP_ROWS(300)
#define WAL_OLD WAL_TABLE APP_ROWS(300)
#define NEW_ROWS 700
#define IS_MODE(mode) "SELECT count(*) FROM pragma_journal_mode WHERE journal_mode='" mode "'"
#define NEW                                                                          \
	TABLE                                                                        \
	"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<700) " \
	"INSERT INTO t(b) SELECT randomblob(200) FROM c"

enum after {
	APP_OPEN,   /* an application that has it open sees the new rows */
	APP_CLOSED, /* nobody has it open */
};

struct kind {
	const char *name;
	const char *sql; /* what the application does first */
	enum after app;
	void (*make)(struct fixture *f); /* what becomes of it then; the application has ended */
	int undo;			 /* snapshots that are kept */
	bool readable;			 /* what is kept answers OLD_ROWS */
};

static void db_path(struct fixture *f, const char *suffix, char path[PATH_MAX])
{
	char name[32];

	snprintf(name, sizeof(name), "db%s", suffix);
	folder_file(&f->folder, name, path);
}

/* Writes TEXT over the file from its beginning, which must not be connected. */
static void scribble(struct fixture *f, const char *suffix, const char *text, off_t at)
{
	char path[PATH_MAX];
	int fd;

	db_path(f, suffix, path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, strlen(text), at), strlen(text));
	close(fd);
}

static void cut(struct fixture *f, off_t size)
{
	char path[PATH_MAX];

	db_path(f, "", path);
	assert_int_equal(truncate(path, size), 0);
}

static void make_empty(struct fixture *f)
{
	cut(f, 0);
}

static void make_missing(struct fixture *f)
{
	char path[PATH_MAX];

	db_path(f, "", path);
	assert_int_equal(unlink(path), 0);
}

static void make_garbage(struct fixture *f)
{
	scribble(f, "",
		 "This is not a database at all, and it never was one, whatever its name says........"
		 "...............",
		 0);
}

static void make_truncated(struct fixture *f)
{
	cut(f, 4096 * 3 + 100);
}

static void make_one_byte(struct fixture *f)
{
	cut(f, 1);
}

/* Pages behind the first are damaged: it can be opened. */
static void make_corrupt(struct fixture *f)
{
	scribble(f, "", "damage damage damage damage", 4096);
	scribble(f, "", "damage damage damage damage", 2 * 4096);
}

static const struct kind kinds[] = {
	{"WAL, open", WAL_OLD, APP_OPEN, NULL, 1, true},
	{"WAL, closed", WAL_OLD, APP_CLOSED, NULL, 1, true},
	{"rollback, open", ROLLBACK_OLD, APP_OPEN, NULL, 1, true},
	{"rollback, closed", ROLLBACK_OLD, APP_CLOSED, NULL, 1, true},
	{"empty", ROLLBACK_OLD, APP_CLOSED, make_empty, 0, false},
	{"missing", ROLLBACK_OLD, APP_CLOSED, make_missing, 0, false},
	{"garbage", ROLLBACK_OLD, APP_CLOSED, make_garbage, 1, false},
	{"garbage, was WAL", WAL_OLD, APP_CLOSED, make_garbage, 1, false},
	{"truncated", ROLLBACK_OLD, APP_CLOSED, make_truncated, 1, false},
	{"truncated WAL", WAL_OLD, APP_CLOSED, make_truncated, 1, false},
	{"one byte", ROLLBACK_OLD, APP_CLOSED, make_one_byte, 1, false},
	{"corrupt", ROLLBACK_OLD, APP_CLOSED, make_corrupt, 1, false},
	{"corrupt WAL", WAL_OLD, APP_CLOSED, make_corrupt, 1, false},
};

/* Of an upload, and of a copy of it with pages of another size. */
static void assert_no_leftovers(struct fixture *f)
{
	DIR *dir = opendir(f->store.path);
	struct dirent *entry;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL)
		assert_int_not_equal(strncmp(entry->d_name, ".work-", 6), 0);
	closedir(dir);
}

static void check_kind(const struct kind *kind, uint32_t page_size, uint8_t version)
{
	struct restoring how = RESTORING;
	struct copy copy = database_of(page_size, NEW);
	struct stat before, after;
	char path[PATH_MAX];
	struct upload u;
	struct fixture f;
	int rc;

	print_message("# %s, upload of %u bytes a page, version %u\n", kind->name, page_size, version);
	up(&f, kind->sql);
	db_path(&f, "", path);
	assert_int_equal(chmod(path, 0604), 0);
	assert_int_equal(chown(path, 12, 34), 0);
	if (kind->make == make_missing) /* how it looked must be known */
		snap_gen_unref(look(&f, NULL));
	if (kind->app == APP_CLOSED)
		app_stop(&f.app);
	if (kind->make)
		kind->make(&f);
	if (stat(path, &before))
		before.st_ino = 0;
	copy.bytes[18] = copy.bytes[19] = version;
	upload_bytes(&u, f.snap, copy);
	rc = restore(&f, &u, &how);
	if (rc)
		fail_msg("%s: %d, %s", kind->name, rc, how.err.text);
	assert_true(how.result.committed);
	assert_shows_upload(&f, &u);
	if (kind->app == APP_OPEN) {
		assert_int_equal(app_get(&f.app, COUNT_T), NEW_ROWS);
		/* The journal mode is the live database's, whatever the upload says. */
		assert_int_equal(
			app_get(&f.app, strstr(kind->name, "WAL") ? IS_MODE("wal") : IS_MODE("delete")), 1);
	}
	assert_afresh(&f, COUNT_T, NEW_ROWS);
	assert_shows_upload(&f, &u);
	assert_int_equal(stat(path, &after), 0);
	if (before.st_ino)
		assert_int_equal(after.st_ino, before.st_ino);
	assert_int_equal(after.st_mode & 07777, 0604);
	assert_int_equal(after.st_uid, 12);
	assert_int_equal(after.st_gid, 34);
	assert_int_equal(count_kept(&f), kind->undo);
	assert_int_equal(strlen(how.result.undo) > 0, kind->undo > 0);
	/* Of what is damaged further behind SQLite reads the pages. */
	assert_int_equal(how.result.undo_raw, kind->undo && !kind->readable && kind->make != make_corrupt);
	if (kind->readable)
		assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), OLD_ROWS);
	upload_finish(&u);
	assert_no_leftovers(&f);
	if (kind->app == APP_OPEN)
		app_stop(&f.app);
	down(&f);
}

static void test_every_kind(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		check_kind(&kinds[i], 4096, 1);
		check_kind(&kinds[i], 4096, 2);
	}
}

static void test_every_page_size(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		check_kind(&kinds[i], 512, 1);
		check_kind(&kinds[i], 65536, 2);
	}
}

/* Nobody has seen the file since the start, and what it left is kept as it is. LEFT: a state was kept by a
 * version that took what is missing for a file of mode 0; it tells nothing. */
static void check_missing_beside_wal(bool left)
{
	struct restoring how = RESTORING;
	struct keep_entry *kept;
	struct keep *keep;
	size_t count;
	struct upload u;
	struct fixture f;
	struct stat st;
	char path[PATH_MAX];

	up(&f, WAL_OLD);
	app_kill(&f.app);
	make_missing(&f);
	db_path(&f, "", path);
	assert_int_equal(chown(f.folder.path, 12, 34), 0);
	if (left) {
		const struct keep_meta meta = {.made_ns = 1, .mode = 0, .uid = 56, .gid = 78};

		assert_int_equal(keep_begin(&keep, f.snap->core.store, path, KEEP_UNDO "old", NULL), 0);
		assert_int_equal(keep_commit(keep, &meta, NULL), 0);
		keep_destroy(keep);
	}
	assert_true(file_bytes(&f, "db-wal") > 0);
	upload_make(&u, f.snap, 4096, NEW);
	assert_restored(&f, &u, &how);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_uid, 12);
	assert_int_equal(st.st_gid, 34);
	assert_int_equal(keep_list(f.snap->core.store, path, &kept, &count), 0);
	assert_int_equal(count, left ? 2 : 1);
	assert_string_equal(kept[count - 1].name, how.result.undo);
	assert_true(kept[count - 1].has_wal);
	assert_int_equal(kept[count - 1].meta.mode & 0777, 0600);
	assert_int_equal(kept[count - 1].meta.uid, 12);
	keep_list_free(kept, count);
	assert_afresh(&f, COUNT_T, NEW_ROWS);
	upload_finish(&u);
	down(&f);
}

static void test_missing_beside_wal(void **state)
{
	(void)state;
	check_missing_beside_wal(false);
	check_missing_beside_wal(true);
}

/* Asked while the lock is waited for. */
static bool let_it_commit(void *arg)
{
	struct fixture *f = arg;

	if (app_get(&f->app, "SELECT 1") == 1 && file_bytes(f, "db-journal") >= 0)
		app_do(&f->app, "COMMIT");
	return false;
}

/* What an application commits into an empty file while a restore waits for it was in no undo, and nobody has
 * asked whether the upload can be meant. */
static void test_begun_meanwhile(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	up(&f, ROLLBACK_OLD);
	app_stop(&f.app);
	make_empty(&f);
	app_start(&f.app, &f.folder, "db");
	app_do(&f.app, "BEGIN EXCLUSIVE; CREATE TABLE late(x); INSERT INTO late VALUES(7)");
	upload_make(&u, f.snap, 4096, NEW);
	how.cancelled = let_it_commit;
	how.arg = &f;
	assert_int_equal(restore(&f, &u, &how), -EBUSY);
	assert_non_null(strstr(how.err.text, "recreated it"));
	assert_false(how.result.committed);
	assert_int_equal(app_get(&f.app, "SELECT x FROM late"), 7);
	/* The next one keeps it. */
	how = RESTORING;
	how.force = true;
	assert_restored(&f, &u, &how);
	assert_int_equal(ask_kept(&f, how.result.undo, "SELECT x FROM late"), 7);
	restore_down(&f, &u);
}

/* Once it is kept, somebody writes to it. */
static int write_when_kept(void *arg, enum vfs_call call)
{
	struct fixture *f = arg;

	if (call == VFS_OPEN && count_kept(f) == 1)
		scribble(f, "", "repaired", 200);
	return SQLITE_OK;
}

/* What is damaged may be repaired while it is kept: what was committed then is in no undo. */
static void test_repaired_meanwhile(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	up(&f, ROLLBACK_OLD);
	app_stop(&f.app);
	make_garbage(&f);
	upload_make(&u, f.snap, 4096, NEW);
	how.fault = write_when_kept;
	how.arg = &f;
	assert_int_equal(restore(&f, &u, &how), -EBUSY);
	assert_non_null(strstr(how.err.text, "has written to the damaged database"));
	assert_false(how.result.committed);
	how = RESTORING;
	assert_restored(&f, &u, &how);
	upload_finish(&u);
	down(&f);
}

static int looks, others; /* others: databases that are connected, without this one */

/* As a lookup of a symlink does that leads to the -shm, while the restorer has it open. */
static int look_at_the_shm(void *arg, enum vfs_call call)
{
	struct fixture *f = arg;
	struct rawfd raw = RAWFD_INIT;
	struct stat st;

	if (call != VFS_SHM_LOCK)
		return SQLITE_OK;
	assert_int_equal(rawfd_open(f->snap->core.raw, f->folder.fd, "db-shm", &raw, &st), 0);
	assert_true(rawfd_is_shm(raw.dev, raw.ino));
	rawfd_close(f->snap->core.raw, &raw);
	assert_true(self_locks_now(st.st_dev, st.st_ino, getpid(), PROCLOCKS_WAL_DMS, PROCLOCKS_WAL_DMS));
	looks += atomic_load(&f->snap->core.connected) == others; /* what is restored is connected again */
	return SQLITE_OK;
}

/* The connection that a reader has left does not look at the header again, and the wal-index tells the size:
 * that SQLite would not write there is known as late as that. */
static void check_header_of_more_pages(bool is_open)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	app_up(&f, WAL_OLD);
	app_do(&f.app, "PRAGMA wal_checkpoint(TRUNCATE)");
	if (!is_open)
		app_stop(&f.app);
	snap_up_still(&f);
	close_gen(open_now(&f));
	scribble(&f, "", "\xff", 28);
	upload_make(&u, f.snap, 4096, NEW);
	assert_restored(&f, &u, &how);
	assert_true(how.result.undo_raw);
	assert_shows_upload(&f, &u);
	if (is_open)
		app_stop(&f.app);
	assert_afresh(&f, COUNT_T, NEW_ROWS);
	upload_finish(&u);
	down(&f);
}

static void test_header_of_more_pages(void **state)
{
	(void)state;
	check_header_of_more_pages(true);
	check_header_of_more_pages(false); /* then the size is the header's, too: 16 TiB */
}

/* No incarnation has what is damaged: its restorer is the first that opens the -shm, beside an application's.
 */
static void test_damaged_beside_its_shm(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	up(&f, WAL_OLD);
	/* The header is not in the WAL. */
	app_do(&f.app, "PRAGMA wal_checkpoint(TRUNCATE); UPDATE t SET b=zeroblob(length(b)) WHERE a=1");
	scribble(&f, "", "\1\2\3", 21);
	upload_make(&u, f.snap, 4096, NEW);
	source_unref(source_of(&f));
	others = atomic_load(&f.snap->core.connected);
	looks = 0;
	how.force = true;
	how.fault = look_at_the_shm;
	how.arg = &f;
	assert_restored(&f, &u, &how);
	assert_true(looks > 0);
	assert_shows_upload(&f, &u);
	restore_down(&f, &u);
}

#define ROWS_OF(table, value)                                                        \
	"CREATE TABLE " table "(a INTEGER PRIMARY KEY, b);"                          \
	"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<900) " \
	"INSERT INTO " table "(b) SELECT " #value " FROM c;"
#define SUM(table) "SELECT sum(b) FROM " table

/* SQLite begins to count anew where it finds nothing: whoever has the file open does not take what is
 * restored for what he has read before, neither the pages nor where the tables begin. */
static void test_open_while_it_is_begun_anew(void **state)
{
	static void (*const makes[])(struct fixture * f) = {make_empty, make_garbage};
	static const char *const news[] = {ROWS_OF("t", 2), ROWS_OF("t", 3), ROWS_OF("u", 4) ROWS_OF("t", 5),
					   ROWS_OF("t", 6) ROWS_OF("u", 7)};
	static const int sums[] = {2, 3, 5, 6};

	(void)state;
	for (size_t kind = 0; kind < 2; kind++) {
		struct fixture f;

		up(&f, "PRAGMA journal_mode=DELETE;" ROWS_OF("t", 1));
		assert_int_equal(app_get(&f.app, SUM("t")), 900);
		for (size_t i = 0; i < 4; i++) {
			struct restoring how = RESTORING;
			struct upload u;

			makes[kind](&f);
			upload_make(&u, f.snap, 4096, news[i]);
			assert_restored(&f, &u, &how);
			assert_int_equal(app_get(&f.app, SUM("t")), 900 * sums[i]);
			app_do(&f.app, "UPDATE t SET b=b+1 WHERE a=1");
			assert_int_equal(app_get(&f.app, SUM("t")), 900 * sums[i] + 1);
			upload_finish(&u);
		}
		assert_int_equal(app_get(&f.app, SUM("u")), 900 * 7);
		app_stop(&f.app);
		down(&f);
	}
}

/* The same in WAL mode. */
static void test_open_while_its_wal_is_begun_anew(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	up(&f,
	   "PRAGMA journal_mode=WAL;" ROWS_OF("t", 1) "PRAGMA wal_checkpoint(TRUNCATE); UPDATE t SET b=2");
	assert_int_equal(app_get(&f.app, SUM("t")), 900 * 2);
	make_garbage(&f);
	upload_make(&u, f.snap, 4096, ROWS_OF("u", 4) ROWS_OF("t", 5));
	assert_restored(&f, &u, &how);
	assert_int_equal(app_get(&f.app, SUM("t")), 900 * 5);
	app_do(&f.app, "UPDATE t SET b=6");
	assert_int_equal(app_get(&f.app, SUM("t")), 900 * 6);
	assert_int_equal(app_get(&f.app, SUM("u")), 900 * 4);
	assert_afresh(&f, SUM("u"), 900 * 4);
	restore_down(&f, &u);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind),
		cmocka_unit_test(test_every_page_size),
		cmocka_unit_test(test_missing_beside_wal),
		cmocka_unit_test(test_begun_meanwhile),
		cmocka_unit_test(test_repaired_meanwhile),
		cmocka_unit_test(test_header_of_more_pages),
		cmocka_unit_test(test_damaged_beside_its_shm),
		cmocka_unit_test(test_open_while_it_is_begun_anew),
		cmocka_unit_test(test_open_while_its_wal_is_begun_anew),
	};

	if (argc > 1 && strcmp(argv[1], VALIDATE_ARGUMENT) == 0)
		return validate_child_main(argc, argv);
	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
