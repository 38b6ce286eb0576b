/* SPDX-License-Identifier: MIT */
/*
 * test_live.c - an incarnation belongs to one inode: what happens when another one takes its name, and when
 * two want the same -shm, or somebody cuts it.
 */
#include "live_names.h"

#include "process.h"

#include "../../src/live_private.h"
#include "../../src/proclocks.h"
#include "../../src/shmguard.h"

/* The database OTHER with 70 rows: in its WAL as long as APP goes on; with APP NULL nobody has it open.
 * Before this process opens anything. */
static void make_other(struct fixture *f, struct app *app)
{
	struct app passing, *other = app ? app : &passing;

	app_start(other, &f->folder, OTHER);
	app_do(other, "PRAGMA synchronous=OFF;" APP_WAL ";" APP_ROWS(70));
	if (!app)
		app_stop(other);
}

static void swap_all(struct fixture *f)
{
	swap(f, "");
	swap(f, "-wal");
	swap(f, "-shm");
}

static bool intact(struct conn *conn)
{
	return conn_intact(conn, conn->start.max_frame, conn->start.salt);
}

static void refused(struct fixture *f)
{
	f->err.text[0] = '\0';
	assert_null(pin(f, -ESTALE));
	assert_true(strlen(f->err.text) > 0);
	f->err.text[0] = '\0';
}

/* ---- another inode under the name ---------------------------------------------------------------------- */

/* The hub is pinned, so that the next pin has to open the database by its name. */
static void test_name_leads_elsewhere(void **state)
{
	struct fixture *f = *state;
	struct app other;
	struct conn *first, *again, *second;

	make_database(f, "WAL", 4096, 3, 100);
	make_other(f, &other);
	connect_live(f);
	first = pin(f, 0);
	swap_all(f);
	refused(f);
	refused(f);
	assert_int_equal(f->live->pins, 1);
	assert_true(intact(first));
	assert_int_equal(rows_of(first), 3);
	/* Nor by the connection that it has already. */
	live_unpin(first);
	refused(f);
	assert_int_equal(f->live->pins, 0);
	swap_all(f);
	again = pin(f, 0);
	assert_ptr_equal(again, first);
	assert_int_equal(rows_of(again), 3);
	/* Nor is a connection kept that was opened while the name led elsewhere. */
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(PASSIVE)"), 0);
	second = pin(f, 0);
	assert_int_equal(rows_of(second), 3);
	live_unpin(second);
	assert_true(intact(again));
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 1);
	live_unpin(again);
	app_stop(&other);
}

/* No name any more. */
static void test_name_is_gone(void **state)
{
	struct fixture *f = *state;
	struct conn *first;

	make_database(f, "WAL", 4096, 3, 100);
	connect_live(f);
	first = pin(f, 0);
	app_stop(&f->app);
	f->app.pid = 0;
	assert_int_equal(unlinkat(f->folder.fd, NAME, 0), 0);
	assert_null(pin(f, -ENOENT));
	assert_true(intact(first));
	assert_int_equal(rows_of(first), 3);
	live_unpin(first);
	refused(f);
}

/* ---- who else is there --------------------------------------------------------------------------------- */

/* What another process holds: bytes FIRST to LAST of the -shm. */
static struct {
	char path[PATH_MAX];
	off_t first, last;
} holds;

static void hold(void)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_start = holds.first, .l_len = holds.last - holds.first + 1};
	int fd = open(holds.path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fcntl(fd, F_SETLK, &lock))
		_exit(1);
}

/* Looks until it is as EXPECTED: the process begins when it likes, what was seen a moment ago counts, and a
 * long list of locks may skip one while others' come and go. */
static void wait_for(struct fixture *f, bool (*look)(struct live *live), bool expected)
{
	const struct timespec step = {.tv_nsec = 5000000};
	int64_t until = monotonic_ns() + 20 * NS_PER_S;
	bool seen;

	while ((seen = look(f->live)) != expected && monotonic_ns() < until)
		nanosleep(&step, NULL);
	assert_int_equal(seen, expected);
}

static pid_t start_holding(struct fixture *f, off_t first, off_t last)
{
	folder_file(&f->folder, NAME "-shm", holds.path);
	holds.first = first;
	holds.last = last;
	return process_start(hold);
}

static void end(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_others_read(void **state)
{
	struct fixture *f = *state;
	struct conn *one, *two;

	make_database(f, "WAL", 4096, 3, 100);
	connect_live(f);
	assert_false(live_others_read(f->live));
	app_do(&f->app, "BEGIN; SELECT count(*) FROM t");
	wait_for(f, live_others_read, true);
	app_do(&f->app, "COMMIT");
	one = pin(f, 0);
	assert_false(live_others_read(f->live));
	two = pin(f, 0);
	wait_for(f, live_others_read, true);
	live_unpin(two);
	live_unpin(one);
	/* It cannot be told. */
	assert_int_equal(unlinkat(f->folder.fd, NAME "-shm", 0), 0);
	assert_true(live_others_read(f->live));
}

static bool observes_others(struct live *live)
{
	live_observe(live);
	return atomic_load(&live->had_others);
}

static void test_observe(void **state)
{
	struct fixture *f = *state;
	struct conn *conn;
	pid_t pid;

	make_database(f, "WAL", 4096, 3, 100);
	connect_live(f);
	/* A checkpoint of another process prolongs the gap. */
	f->live->gap_since = 1;
	assert_false(live_observe_gap(f->live));
	assert_false(live_observe(f->live));
	assert_int_equal(f->live->gap_since, 1);
	pid = start_holding(f, PROCLOCKS_WAL_CKPT, PROCLOCKS_WAL_CKPT);
	wait_for(f, live_observe_gap, true);
	assert_true(f->live->gap_since > 1);
	conn = pin(f, 0);
	f->live->gap_since = 1;
	wait_for(f, live_observe_gap, true); /* there is none */
	assert_int_equal(f->live->gap_since, 1);
	live_unpin(conn);
	wait_for(f, live_observe, false);
	end(pid);
	wait_for(f, live_observe_gap, false);
	/* One that waits for readers has both. */
	pid = start_holding(f, PROCLOCKS_WAL_WRITE, PROCLOCKS_WAL_CKPT);
	wait_for(f, live_observe, true);
	end(pid);
	wait_for(f, live_observe, false);
	/* Who is connected, and who was. */
	wait_for(f, live_shm_has_others, true);
	atomic_store(&f->live->had_others, false);
	wait_for(f, observes_others, true);
	app_stop(&f->app);
	f->app.pid = 0;
	wait_for(f, live_shm_has_others, false);
	atomic_store(&f->live->had_others, false);
	assert_false(live_observe(f->live));
	assert_false(atomic_load(&f->live->had_others));
}

/* ---- two files, one -shm ------------------------------------------------------------------------------- */

static void test_shm_of_two_files(void **state)
{
	struct fixture *f = *state;
	struct live *other = NULL;
	struct conn *conn;
	int fds;

	make_database(f, "WAL", 4096, 3, 100);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	make_other(f, NULL);
	connect_live(f);
	conn = pin(f, 0);
	app_stop(&f->app);
	f->app.pid = 0;
	swap(f, "");
	fds = count_fds();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(connect_other(f, &other), -EDEADLK);
		assert_null(other);
		assert_true(strlen(f->err.text) > 0);
		assert_true(reads_the_shm(f));
		assert_true(intact(conn));
	}
	assert_int_equal(count_fds(), fds);
	assert_int_equal(atomic_load(&f->core.connected), 1);
	assert_int_equal(rows_of(conn), 3);
	/* Once nobody reads the first file any more the second one can be had. */
	live_unpin(conn);
	assert_int_equal(connect_other(f, &other), -EDEADLK);
	live_unref(f->live);
	f->live = NULL;
	assert_int_equal(connect_other(f, &f->live), 0);
	conn = pin(f, 0);
	assert_int_equal(rows_of(conn), 70);
	assert_true(reads_the_shm(f));
	live_unpin(conn);
}

/* One file is no case of that, however often it is connected to. */
static void test_shm_of_one_file(void **state)
{
	struct fixture *f = *state;
	struct live *other = NULL;
	struct conn *conn, *beside;

	make_database(f, "WAL", 4096, 3, 100);
	connect_live(f);
	conn = pin(f, 0);
	assert_int_equal(connect_other(f, &other), 0);
	assert_int_equal(live_pin(other, monotonic_ns() + NS_PER_S, &beside, &f->err), 0);
	assert_int_equal(rows_of(beside), 3);
	live_unpin(beside);
	live_unref(other);
	assert_true(reads_the_shm(f));
	assert_true(intact(conn));
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 1);
	live_unpin(conn);
}

/* ---- a wal-index that is cut ----------------------------------------------------------------------------
 */

static struct sigaction guard_action;

/* The first connection has not looked at the part that has gone, and goes on; the incarnation does not. */
static void test_part_of_the_shm_is_cut(void **state)
{
	struct fixture *f = *state;
	struct conn *first, *second;
	char path[PATH_MAX];
	uint32_t n;

	assert_int_equal(sigaction(SIGBUS, &guard_action, NULL), 0); /* cmocka has put its own there */
	make_database(f, "WAL", 512, 3, 100);
	connect_live(f);
	first = pin(f, 0);
	assert_ptr_equal(first, f->live->hub);
	app_do(&f->app, "INSERT INTO t(b) SELECT zeroblob(300) FROM "
			"(WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<9000) SELECT "
			"x FROM c)");
	second = pin(f, 0);
	app_kill(&f->app);
	f->app.pid = 0;
	assert_int_equal(truncate(folder_file(&f->folder, NAME "-shm", path), 32768), 0);
	assert_int_equal(vfs_wal_pgnos(second->db.vfs, 4063, 4063, &n), -EIO);
	assert_false(intact(second));
	live_unpin(second);
	assert_true(intact(first));
	assert_false(live_is_lost(f->live));
	assert_null(pin(f, -EIO));
	assert_true(live_is_lost(f->live));
	refused(f);
	/* Its last connection takes the mapping along. */
	live_unpin(first);
	disconnect_live(f);
	connect_live(f);
	first = pin(f, 0);
	assert_int_equal(vfs_wal_pgnos(first->db.vfs, 4063, 4063, &n), 0);
	live_unpin(first);
}

/* ---- another inode at the worst moment ----------------------------------------------------------------- */

static struct {
	struct fixture *f;
	bool maps;			  /* names are swapped as the next pin maps the -shm */
	void (*after)(struct fixture *f); /* the next pin has begun; NULL: nothing happens */
} moment;

static int swap_at_map(void *arg, enum vfs_call call)
{
	(void)arg;
	if (moment.maps && call == VFS_SHM_MAP) {
		moment.maps = false;
		swap_all(moment.f);
	}
	return SQLITE_OK;
}

int __real_pin_begin(struct db *db, int64_t deadline, struct wal_header *start, struct snap_err *err);
int __wrap_pin_begin(struct db *db, int64_t deadline, struct wal_header *start, struct snap_err *err);

int __wrap_pin_begin(struct db *db, int64_t deadline, struct wal_header *start, struct snap_err *err)
{
	void (*after)(struct fixture * f) = moment.after;
	int rc;

	moment.after = NULL;
	if (moment.maps)
		vfs_set_fault(db->vfs, swap_at_map, NULL);
	rc = __real_pin_begin(db, deadline, start, err);
	if (after)
		after(moment.f);
	return rc;
}

/* The database and its -wal are open, and the -shm, which is opened by its name, is the other's. */
static void test_replaced_before_its_shm_is_mapped(void **state)
{
	/* Page 1 is not in the WAL, so that it can be read with either. */
	static const char to_wal[] = "PRAGMA journal_mode=WAL; INSERT INTO t(b) VALUES(1)";
	struct fixture *f = *state;
	struct live *live = NULL;
	struct app other;
	struct conn *conn;

	make_database(f, "DELETE", 4096, 3, 100);
	app_start(&other, &f->folder, OTHER);
	app_do(&other, "CREATE TABLE t(a INTEGER PRIMARY KEY, n, b)");
	moment.f = f;
	connect_live(f);
	app_do(&f->app, to_wal);
	app_do(&other, to_wal);
	moment.maps = true;
	refused(f);
	assert_false(moment.maps);
	assert_true(live_is_lost(f->live));
	swap_all(f);
	disconnect_live(f);
	/* The same of the first connection. */
	moment.maps = true;
	assert_int_equal(connect_other(f, &live), -ESTALE);
	assert_false(moment.maps);
	assert_null(live);
	swap_all(f);
	connect_live(f);
	conn = pin(f, 0);
	assert_int_equal(rows_of(conn), 4);
	live_unpin(conn);
	app_stop(&other);
}

static void remove_wal(struct fixture *f)
{
	assert_int_equal(unlinkat(f->folder.fd, NAME "-wal", 0), 0);
}

/* What applications write from now on is not in the one that is open. */
static void test_wal_removed_while_a_pin_begins(void **state)
{
	struct fixture *f = *state;

	make_database(f, "WAL", 4096, 3, 100);
	connect_live(f);
	moment.f = f;
	moment.after = remove_wal;
	refused(f);
	assert_null(moment.after);
	assert_true(live_is_lost(f->live));
	assert_int_equal(f->live->pins, 0);
}

/* ---- a wal-index that cannot be read ------------------------------------------------------------------- */

static int unreadable; /* what the next look at its header answers; 0: what is so */

int __real_vfs_wal_header(struct vfs *vfs, struct wal_header *out);
int __wrap_vfs_wal_header(struct vfs *vfs, struct wal_header *out);

int __wrap_vfs_wal_header(struct vfs *vfs, struct wal_header *out)
{
	int rc = unreadable;

	unreadable = 0;
	return rc ? rc : __real_vfs_wal_header(vfs, out);
}

/* A pin of which it is not known what it holds is none. */
static void test_pin_of_an_unknown_state(void **state)
{
	static const int codes[] = {WAL_MALFORMED, -ENXIO};
	struct fixture *f = *state;

	make_database(f, "WAL", 4096, 20, 100);
	connect_live(f);
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		unreadable = codes[i];
		assert_null(pin(f, -EIO));
		assert_int_equal(unreadable, 0);
		assert_int_equal(f->live->pins, 0);
		assert_int_equal(vfs_read_slot(f->live->hub->db.vfs), -1);
	}
	unreadable = WAL_TORN; /* only in that moment */
	live_unpin(pin(f, 0));
	assert_int_equal(unreadable, 0);
}

/* ---- closing ------------------------------------------------------------------------------------------- */

/* Its last close finds us connected, and leaves the files: ours is to remove them, however soon it comes and
 * though nothing was written meanwhile. */
static void test_application_that_goes_at_once(void **state)
{
	struct fixture *f = *state;

	make_database(f, "WAL", 4096, 20, 100);
	connect_live(f);
	app_stop(&f->app);
	f->app.pid = 0;
	assert_true(file_exists(&f->folder, NAME "-wal"));
	disconnect_live(f);
	assert_false(file_exists(&f->folder, NAME "-wal"));
	assert_false(file_exists(&f->folder, NAME "-shm"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_name_leads_elsewhere),
		test(test_name_is_gone),
		test(test_others_read),
		test(test_observe),
		test(test_shm_of_two_files),
		test(test_shm_of_one_file),
		test(test_part_of_the_shm_is_cut),
		test(test_replaced_before_its_shm_is_mapped),
		test(test_wal_removed_while_a_pin_begins),
		test(test_pin_of_an_unknown_state),
		test(test_application_that_goes_at_once),
	};

	if (shmguard_install() < 0 || sigaction(SIGBUS, NULL, &guard_action) < 0)
		return 1;
	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
