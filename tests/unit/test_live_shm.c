/* SPDX-License-Identifier: MIT */
/*
 * test_live_shm.c - other descriptors of a -shm that SQLite has open: no close of one drops its locks, and
 * nothing but what SQLite has open is taken for a -shm.
 *
 * No thread is left to chance: what would come from another one comes out of pin_begin().
 */
#include "live_names.h"

#include "../../src/shmguard.h"

/* What other threads do while a connection begins: */
static struct {
	struct fixture *f;
	void (*before)(struct fixture *f); /* once; NULL: nothing */
	void (*after)(struct fixture *f);
	void (*middle)(struct fixture *f); /* whenever it locks something in the -shm, which it has open */
} beside;

static int in_the_middle(void *arg, enum vfs_call call)
{
	(void)arg;
	if (call == VFS_SHM_LOCK && beside.middle)
		beside.middle(beside.f);
	return SQLITE_OK;
}

int __real_pin_begin(struct db *db, int64_t deadline, struct wal_header *start, struct snap_err *err);
int __wrap_pin_begin(struct db *db, int64_t deadline, struct wal_header *start, struct snap_err *err);

int __wrap_pin_begin(struct db *db, int64_t deadline, struct wal_header *start, struct snap_err *err)
{
	void (*before)(struct fixture * f) = beside.before;
	void (*after)(struct fixture * f) = beside.after;
	int rc;

	beside.before = beside.after = NULL;
	vfs_set_fault(db->vfs, in_the_middle, NULL);
	if (before)
		before(beside.f);
	rc = __real_pin_begin(db, deadline, start, err);
	vfs_set_fault(db->vfs, NULL, NULL);
	if (after)
		after(beside.f);
	return rc;
}

static struct rawfd reader = {.fd = -1};

static void open_shm(struct fixture *f)
{
	assert_int_equal(rawfd_open(f->core.raw, f->folder.fd, NAME "-shm", &reader, NULL), 0);
}

/* As a listing does that has looked what it is, or a reader of a plain file. */
static void close_shm(struct fixture *f)
{
	rawfd_close(f->core.raw, &reader);
}

static bool is_known(const struct stat *shm)
{
	return rawfd_is_shm(shm->st_dev, shm->st_ino);
}

/* Whoever comes first, as it seems, empties the -shm: nobody is first while we are there. */
static bool holds_the_switch(struct fixture *f)
{
	struct stat shm;

	assert_int_equal(place_stat(&f->place, "-shm", &shm), 0);
	return self_locks_now(shm.st_dev, shm.st_ino, getpid(), PROCLOCKS_WAL_DMS, PROCLOCKS_WAL_DMS);
}

static void read_beside(struct fixture *f)
{
	beside.f = f;
	beside.before = open_shm;
	beside.after = close_shm;
}

static void test_shm_is_read_while_we_connect(void **state)
{
	struct fixture *f = *state;
	struct stat shm;
	struct conn *conn;

	make_database(f, "WAL", 4096, 3, 100);
	assert_int_equal(place_stat(&f->place, "-shm", &shm), 0);
	read_beside(f);
	connect_live(f);
	assert_null(beside.after);
	assert_true(is_known(&shm));
	conn = pin(f, 0);
	assert_true(reads_the_shm(f));
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 1);
	live_unpin(conn);
	assert_true(holds_the_switch(f));
	disconnect_live(f);
	assert_false(is_known(&shm));
}

/* The same when the database turns to WAL mode while we are connected. */
static void test_shm_is_read_while_we_pin(void **state)
{
	struct fixture *f = *state;
	struct stat shm;
	struct conn *conn;

	make_database(f, "DELETE", 4096, 3, 100);
	connect_live(f);
	live_unpin(pin(f, PIN_ROLLBACK));
	app_do(&f->app, "PRAGMA journal_mode=WAL; INSERT INTO t(n) VALUES(1)");
	assert_int_equal(place_stat(&f->place, "-shm", &shm), 0);
	read_beside(f);
	conn = pin(f, 0);
	assert_null(beside.after);
	assert_true(reads_the_shm(f));
	live_unpin(conn);
	disconnect_live(f);
	assert_false(is_known(&shm));
}

static int looks;

/* The descriptor that was opened before, and one after another as by lookups. */
static void look_in_the_middle(struct fixture *f)
{
	close_shm(f);
	for (int i = 0; i < 2; i++) {
		open_shm(f);
		close_shm(f);
	}
	assert_true(holds_the_switch(f));
	looks++;
}

/* Between SQLite's open of the -shm and the end of what it does there first. */
static void test_shm_is_read_in_the_middle(void **state)
{
	struct fixture *f = *state;
	struct conn *conn;

	make_database(f, "WAL", 4096, 3, 100);
	looks = 0;
	beside.f = f;
	beside.before = open_shm;
	beside.middle = look_in_the_middle;
	connect_live(f);
	assert_true(looks > 0);
	conn = pin(f, 0);
	beside.middle = NULL;
	assert_true(reads_the_shm(f));
	assert_true(holds_the_switch(f));
	live_unpin(conn);
}

/* The application's last close takes its -shm along, and SQLite makes another. */
static void app_goes(struct fixture *f)
{
	app_stop(&f->app);
	f->app.pid = 0;
	assert_false(file_exists(&f->folder, NAME "-shm"));
}

static void test_shm_is_another_one(void **state)
{
	struct fixture *f = *state;
	struct stat before, after;
	struct conn *conn;

	make_database(f, "WAL", 4096, 3, 100);
	assert_int_equal(place_stat(&f->place, "-shm", &before), 0);
	beside.f = f;
	beside.before = app_goes;
	connect_live(f);
	assert_int_equal(place_stat(&f->place, "-shm", &after), 0);
	assert_true(is_known(&after));
	conn = pin(f, 0);
	open_shm(f);
	close_shm(f);
	assert_true(reads_the_shm(f));
	live_unpin(conn);
	disconnect_live(f);
	assert_false(is_known(&before));
	assert_false(is_known(&after));
}

/* SQLite makes it, and recovers the WAL that is there: nobody can have announced it. */
static void test_shm_that_sqlite_makes(void **state)
{
	struct fixture *f = *state;
	struct stat shm;
	struct conn *conn;

	make_database(f, "WAL", 4096, 3, 100);
	app_kill(&f->app);
	f->app.pid = 0;
	assert_int_equal(unlinkat(f->folder.fd, NAME "-shm", 0), 0);
	looks = 0;
	beside.f = f;
	beside.middle = look_in_the_middle;
	connect_live(f);
	assert_true(looks > 0);
	assert_true(holds_the_switch(f));
	conn = pin(f, 0);
	beside.middle = NULL;
	assert_true(reads_the_shm(f));
	assert_int_equal(rows_of(conn), 3);
	assert_int_equal(place_stat(&f->place, "-shm", &shm), 0);
	assert_true(is_known(&shm));
	live_unpin(conn);
	disconnect_live(f);
	assert_false(is_known(&shm));
}

static void note_that_it_is_unknown(struct fixture *f)
{
	struct stat shm;

	assert_int_equal(place_stat(&f->place, "-shm", &shm), 0);
	assert_false(is_known(&shm));
	assert_false(rawfd_connected(f->core.raw, shm.st_dev, shm.st_ino));
}

/* A name is nothing: one that SQLite has no use for is a file like any other. */
static void test_shm_beside_a_rollback_journal(void **state)
{
	struct fixture *f = *state;
	int fds;

	make_database(f, "DELETE", 4096, 3, 100);
	assert_int_equal(mknodat(f->folder.fd, NAME "-shm", S_IFREG | 0644, 0), 0);
	beside.f = f;
	beside.before = beside.after = note_that_it_is_unknown;
	connect_live(f);
	assert_null(beside.after);
	fds = count_fds();
	for (int i = 0; i < 3; i++) {
		beside.before = beside.after = note_that_it_is_unknown;
		live_unpin(pin(f, PIN_ROLLBACK));
		assert_null(beside.after);
	}
	assert_int_equal(count_fds(), fds);
}

/* Nor is the file that gets its name while SQLite has the one that had it. */
static void swap_the_shm(struct fixture *f)
{
	if (looks++ == 0)
		swap(f, "-shm");
	note_that_it_is_unknown(f);
}

static void test_shm_name_is_anothers(void **state)
{
	struct fixture *f = *state;
	struct live *live = NULL;
	struct stat shm;
	struct conn *conn;

	make_database(f, "WAL", 4096, 3, 100);
	assert_int_equal(place_stat(&f->place, "-shm", &shm), 0);
	assert_int_equal(mknodat(f->folder.fd, OTHER "-shm", S_IFREG | 0644, 0), 0);
	looks = 0;
	beside.f = f;
	beside.middle = swap_the_shm;
	/* What applications have from now on is the one that has the name. */
	assert_int_equal(connect_other(f, &live), -ESTALE);
	beside.middle = NULL;
	assert_true(looks > 0);
	note_that_it_is_unknown(f);
	swap(f, "-shm");
	connect_live(f);
	assert_true(is_known(&shm));
	conn = pin(f, 0);
	assert_true(reads_the_shm(f));
	live_unpin(conn);
}

/* Two incarnations have one wal-index, as long as the first is not closed: the second knows what became of
 * it. */
static void test_shm_of_the_incarnation_before(void **state)
{
	struct fixture *f = *state;
	struct live *live = NULL;

	make_database(f, "WAL", 4096, 3, 100);
	connect_live(f);
	live_unpin(pin(f, 0));
	app_stop(&f->app);
	f->app.pid = 0;
	assert_int_equal(unlinkat(f->folder.fd, NAME "-shm", 0), 0);
	assert_int_equal(connect_other(f, &live), -ESTALE);
	assert_null(live);
	disconnect_live(f);
	connect_live(f);
	live_unpin(pin(f, 0));
}

/* The database alone was renamed while it is read: SQLite would go on with the wal-index that it has mapped,
 * beside another -wal, which it would make. */
static void test_shm_of_the_name_before(void **state)
{
	struct fixture *f = *state;
	struct live *live = NULL;
	struct conn *conn;

	make_database(f, "WAL", 4096, 3, 100);
	connect_live(f);
	conn = pin(f, 0);
	app_stop(&f->app);
	f->app.pid = 0;
	assert_int_equal(renameat(f->folder.fd, NAME, f->folder.fd, OTHER), 0);
	free(f->place.name);
	f->place.name = strdup(OTHER);
	assert_int_equal(connect_other(f, &live), -ESTALE);
	assert_null(live);
	assert_false(file_exists(&f->folder, OTHER "-wal"));
	assert_true(conn_intact(conn, conn->start.max_frame, conn->start.salt));
	live_unpin(conn);
	disconnect_live(f);
	connect_live(f);
	live_unpin(pin(f, 0));
}

static bool refuses_to_know;
int __real_rawfd_shm_opened(int fd);
int __wrap_rawfd_shm_opened(int fd);

int __wrap_rawfd_shm_opened(int fd)
{
	return refuses_to_know ? -ENOMEM : __real_rawfd_shm_opened(fd);
}

/* One that rawfd cannot be told of is not read through, whether it was there before or SQLite makes it. */
static void test_shm_cannot_be_known(void **state)
{
	struct fixture *f = *state;
	struct live *live = NULL;
	struct stat shm;
	int fds;

	make_database(f, "DELETE", 4096, 3, 100);
	connect_live(f);
	app_do(&f->app, "PRAGMA journal_mode=WAL; INSERT INTO t(n) VALUES(1)");
	fds = count_fds();
	refuses_to_know = true;
	assert_null(pin(f, -ENOMEM));
	refuses_to_know = false;
	assert_int_equal(place_stat(&f->place, "-shm", &shm), 0);
	assert_false(is_known(&shm));
	assert_true(count_fds() <= fds + 1); /* SQLite may keep its -wal */
	live_unpin(pin(f, 0));
	assert_true(is_known(&shm));
	disconnect_live(f);
	app_goes(f);
	refuses_to_know = true;
	assert_int_equal(connect_other(f, &live), -ENOMEM);
	assert_null(live);
	refuses_to_know = false;
	connect_live(f);
	assert_int_equal(place_stat(&f->place, "-shm", &shm), 0);
	assert_true(is_known(&shm));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_shm_is_read_while_we_connect), test(test_shm_is_read_while_we_pin),
		test(test_shm_is_another_one),		 test(test_shm_beside_a_rollback_journal),
		test(test_shm_is_read_in_the_middle),	 test(test_shm_that_sqlite_makes),
		test(test_shm_name_is_anothers),	 test(test_shm_of_the_incarnation_before),
		test(test_shm_of_the_name_before),	 test(test_shm_cannot_be_known),
	};

	if (shmguard_install() < 0)
		return 1;
	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
