/* SPDX-License-Identifier: MIT */
/*
 * Restores in which the N-th call of a kind fails, N = 1, 2, ... until one meets no failure any more. After
 * each the live database is wholly the old or wholly the new one, as the answer says.
 */
#include "fault.h"
#include "restores.h"

#define OLD_ROWS 40
#define NEW_ROWS 90
#define WAL_OLD WAL_TABLE APP_ROWS(40)
/* All of the WAL is in the database file: the first frame starts it over. */
#define WAL_COPIED WAL_OLD ";PRAGMA wal_checkpoint(FULL)"
#define ROLLBACK_OLD ROLLBACK_TABLE APP_ROWS(40)
#define NEW TABLE APP_ROWS(90)
#define N_MAX 400

struct plan {
	enum vfs_call call;
	int left;	 /* calls until the one that fails */
	bool persistent; /* and all that follow */
	int code;
	bool hit;
	bool copied; /* nothing in the WAL counts: it may start over */
};

static int fail_nth(void *arg, enum vfs_call call)
{
	struct plan *p = arg;

	if (call != p->call || (p->left > 0 && --p->left > 0) || (p->hit && !p->persistent))
		return SQLITE_OK;
	p->hit = true;
	errno = EIO;
	return p->code;
}

static const struct {
	enum vfs_call call;
	const char *name;
	int code;
	bool lasts; /* or it does not come alone: a disk that is full stays full */
} calls[] = {
	{VFS_READ, "read", SQLITE_IOERR_READ, false},
	{VFS_WRITE, "write", SQLITE_IOERR_WRITE, false},
	{VFS_WRITE, "write, full", SQLITE_FULL, true},
	{VFS_TRUNCATE, "truncate", SQLITE_IOERR_TRUNCATE, false},
	{VFS_SYNC, "sync", SQLITE_IOERR_FSYNC, false},
	{VFS_SYNC, "sync", SQLITE_IOERR_FSYNC, true},
	{VFS_LOCK, "lock", SQLITE_IOERR_LOCK, true},
	{VFS_SHM_MAP, "shm map", SQLITE_IOERR_SHMMAP, false},
	{VFS_SHM_LOCK, "shm lock", SQLITE_IOERR_SHMLOCK, false},
	{VFS_SHM_LOCK, "shm lock", SQLITE_IOERR_SHMLOCK, true},
	{VFS_OPEN, "open", SQLITE_CANTOPEN, false},
	{VFS_DELETE, "delete", SQLITE_IOERR_DELETE, true},
};

/* One restore; true when it met the failure. ROWS are there before, and are set to what is there after. */
static bool run_one(struct fixture *f, struct plan *plan, int64_t *rows)
{
	int64_t wal = file_bytes(f, "db-wal");
	struct restoring how = RESTORING;
	struct upload u;
	int rc;

	how.fault = fail_nth;
	how.arg = plan;
	upload_make(&u, f->snap, 4096, NEW);
	rc = restore(f, &u, &how);
	if (rc == 0 && !how.result.committed)
		fail_msg("0, and not committed");
	if (rc && strlen(how.err.text) == 0)
		fail_msg("%d without words", rc);
	*rows = how.result.committed ? NEW_ROWS : OLD_ROWS;
	if (look_afresh(f, COUNT_T, *rows))
		fail_msg("call %d of kind %u: answer %d, committed %d, \"%s\"; someone who opens it now "
			 "finds something "
			 "else (%d)",
			 plan->left, plan->call, rc, how.result.committed, how.err.text,
			 look_afresh(f, COUNT_T, how.result.committed ? OLD_ROWS : NEW_ROWS));
	assert_int_equal(app_get(&f->app, COUNT_T), *rows);
	if (!how.result.committed && wal > 0 && (!plan->copied || file_bytes(f, "db-wal") > 0))
		assert_int_equal(file_bytes(f, "db-wal"), wal); /* no dead tail */
	assert_int_equal(count_kept(f), how.result.committed);
	if (how.result.committed)
		assert_int_equal(ask_kept(f, how.result.undo, COUNT_T), OLD_ROWS);
	struct snap_gen *gen = open_now(f);
	assert_int_equal(ask(gen, COUNT_T), *rows);
	close_gen(gen);
	upload_finish(&u);
	return plan->hit;
}

static void check_calls(const char *sql, bool copied)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		int64_t rows = 0;
		bool hit = true;
		struct fixture f;
		int n = 0, kept_old = 0;

		while (hit && n < N_MAX) {
			struct plan plan = {.call = calls[i].call,
					    .left = ++n,
					    .persistent = calls[i].lasts,
					    .code = calls[i].code,
					    .copied = copied};

			if (rows != OLD_ROWS)
				up(&f, sql);
			hit = run_one(&f, &plan, &rows);
			kept_old += rows == OLD_ROWS;
			if (rows != OLD_ROWS) {
				app_stop(&f.app);
				down(&f);
			}
		}
		print_message("# %s%s: %d calls, %d kept the old\n", calls[i].name,
			      calls[i].lasts ? " and all after it" : "", n - 1, kept_old);
		assert_false(hit);
		assert_int_equal(rows, NEW_ROWS);
	}
}

static void test_wal(void **state)
{
	(void)state;
	check_calls(WAL_OLD, false);
}

static void test_wal_starts_over(void **state)
{
	(void)state;
	check_calls(WAL_COPIED, true);
}

static void test_rollback(void **state)
{
	(void)state;
	check_calls(ROLLBACK_OLD, false);
}

/* ---- a look that fails --------------------------------------------------------------------------------- */

/* The N-th read of the connection that looks fails, and no other: true when there was one. What is kept is
 * never the files as they are, which nothing holds still: the database is whole. */
static bool look_with_failure(struct fixture *f, int n, int *refused)
{
	struct plan plan = {.call = VFS_READ, .left = n, .code = SQLITE_IOERR_READ};
	struct source *source = source_of(f);
	struct restoring how = RESTORING;
	struct keep_entry kept;
	struct upload u;
	char path[PATH_MAX];
	int rc;

	close_gen(open_now(f));
	assert_non_null(source->live);
	assert_ptr_equal(source->live->idle, source->live->hub);
	upload_make(&u, f->snap, 4096, NEW);
	vfs_set_fault(source->live->hub->db.vfs, fail_nth, &plan);
	rc = restore(f, &u, &how);
	vfs_set_fault(source->live->hub->db.vfs, NULL, NULL);
	assert_int_equal(rc == 0, how.result.committed);
	if (rc) {
		assert_int_equal(rc, -EIO);
		assert_true(strlen(how.err.text) > 0);
		assert_int_equal(count_kept(f), 0);
		++*refused;
	} else {
		folder_file(&f->folder, "db", path);
		assert_int_equal(keep_find(f->snap->core.store, path, how.result.undo, &kept), 0);
		assert_false(kept.has_wal);
		assert_int_equal(ask_kept(f, how.result.undo, COUNT_T), OLD_ROWS);
	}
	assert_int_equal(app_get(&f->app, COUNT_T), rc ? OLD_ROWS : NEW_ROWS);
	source_unref(source);
	upload_finish(&u);
	return plan.hit;
}

static void test_looks(void **state)
{
	static const char *const modes[] = {WAL_OLD, WAL_COPIED, ROLLBACK_OLD};

	(void)state;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		int n = 0, refused = 0;
		bool hit = true;

		while (hit && n < N_MAX) {
			struct fixture f;

			app_up(&f, modes[i]);
			snap_up_still(&f); /* nobody closes the connection meanwhile */
			hit = look_with_failure(&f, ++n, &refused);
			app_stop(&f.app);
			down(&f);
		}
		print_message("# looks: %d calls, %d refused\n", n - 1, refused);
		assert_false(hit);
		assert_true(refused > 0);
	}
}

/* What the disk does not give cannot be kept: the words say how it is restored all the same. */
static void test_unread(void **state)
{
	static const char *const modes[] = {WAL_OLD, ROLLBACK_OLD};

	(void)state;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		bool told = false;

		for (int n = 1; n < N_MAX && !told; n++) {
			struct plan plan = {
				.call = VFS_READ, .left = n, .persistent = true, .code = SQLITE_IOERR_READ};
			struct restoring how = RESTORING;
			struct source *source;
			struct upload u;
			struct fixture f;

			app_up(&f, modes[i]);
			snap_up_still(&f);
			source = source_of(&f);
			close_gen(open_now(&f));
			upload_make(&u, f.snap, 4096, NEW);
			if (i == 0)
				vfs_set_fault(source->live->hub->db.vfs, fail_nth, &plan);
			else /* that is kept under the write lock, by the connection that writes */
				how.fault = fail_nth;
			how.arg = &plan;
			if (restore(&f, &u, &how) == -EIO)
				told = strstr(how.err.text,
					      "check its disk; to restore it all the same, end its "
					      "applications, move it away, and write this again");
			if (i == 0)
				vfs_set_fault(source->live->hub->db.vfs, NULL, NULL);
			source_unref(source);
			upload_finish(&u);
			app_stop(&f.app);
			down(&f);
			if (!plan.hit)
				break;
		}
		assert_true(told);
	}
}

/* ---- it cannot be told --------------------------------------------------------------------------------- */

struct hiding {
	struct plan plan;
	struct fixture *f;
};

static int fail_and_hide(void *arg, enum vfs_call call)
{
	struct hiding *h = arg;
	bool was_hit = h->plan.hit;
	int rc = fail_nth(&h->plan, call);

	if (h->plan.hit && !was_hit)
		assert_int_equal(renameat(h->f->folder.fd, "db", h->f->folder.fd, "hidden"), 0);
	return rc;
}

/* The N-th write fails, and then nobody finds the file: what is not seen to be as it was stays kept. True if
 * there was such a write. */
static bool check_hidden(int n, int *doubts)
{
	struct hiding hiding = {
		.plan = {.call = VFS_WRITE, .left = n, .persistent = true, .code = SQLITE_IOERR_WRITE}};
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;
	int rc;

	up(&f, ROLLBACK_OLD);
	upload_make(&u, f.snap, 4096, NEW);
	hiding.f = &f;
	how.fault = fail_and_hide;
	how.arg = &hiding;
	rc = restore(&f, &u, &how);
	assert_int_equal(rc, hiding.plan.hit ? -EIO : 0);
	assert_int_equal(how.result.committed, !hiding.plan.hit);
	if (hiding.plan.hit) {
		assert_int_equal(file_exists(&f.folder, "db-journal"), how.result.doubtful);
		assert_int_equal(count_kept(&f), how.result.doubtful);
		assert_int_equal(renameat(f.folder.fd, "hidden", f.folder.fd, "db"), 0);
		assert_int_equal(app_get(&f.app, COUNT_T), OLD_ROWS);
	}
	if (how.result.doubtful)
		assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), OLD_ROWS);
	*doubts += how.result.doubtful;
	restore_down(&f, &u);
	return hiding.plan.hit;
}

static void test_hidden(void **state)
{
	int n = 0, doubts = 0;

	(void)state;
	while (check_hidden(++n, &doubts))
		assert_true(n < N_MAX);
	print_message("# hidden: %d writes, %d doubts\n", n - 1, doubts);
	assert_true(doubts > 0);
}

/* ---- somebody else is quicker -------------------------------------------------------------------------- */

/* Somebody who makes a table as soon as the write lock is free. */
struct jumper {
	struct plan plan;
	int start; /* of a pipe: a byte starts him */
	pid_t pid;
	int status;
};

static struct jumper *jumping; /* has been started */

static int jump(const char *path, int start)
{
	sqlite3 *db;
	char go;

	if (read(start, &go, 1) != 1 ||
	    sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, "unix") != SQLITE_OK)
		return 1;
	sqlite3_busy_timeout(db, 20000);
	return sqlite3_exec(db, "CREATE TABLE jumped(x)", NULL, NULL, NULL) == SQLITE_OK ? 0 : 2;
}

static void jumper_start(struct jumper *j, struct fixture *f)
{
	char path[PATH_MAX];
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	j->start = ends[1];
	j->pid = fork();
	assert_true(j->pid >= 0);
	if (j->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(jump(folder_file(&f->folder, "db", path), ends[0]));
	}
	close(ends[0]);
}

static void jumper_wait(void)
{
	struct jumper *j = jumping;

	jumping = NULL;
	if (j)
		assert_int_equal(waitpid(j->pid, &j->status, 0), j->pid);
}

static int fail_and_let_jump(void *arg, enum vfs_call call)
{
	struct jumper *j = arg;
	bool was_hit = j->plan.hit;
	int rc = fail_nth(&j->plan, call);

	if (j->plan.hit && !was_hit) {
		assert_int_equal(write(j->start, "", 1), 1);
		jumping = j;
	}
	return rc;
}

int __real_db_open(struct db *db, int dirfd, const char *name, enum db_kind kind, struct snap_err *err);
int __wrap_db_open(struct db *db, int dirfd, const char *name, enum db_kind kind, struct snap_err *err);

/* A look at what became of it comes too late. */
int __wrap_db_open(struct db *db, int dirfd, const char *name, enum db_kind kind, struct snap_err *err)
{
	jumper_wait();
	return __real_db_open(db, dirfd, name, kind, err);
}

/* A restore fails, and before it can look somebody else has changed the schema: that is not its doing. */
static void test_jumped_upon(void **state)
{
	(void)state;
	for (int n = 1; n <= 24; n++) {
		struct jumper jumper = {
			.plan = {.call = VFS_WRITE, .left = n, .persistent = true, .code = SQLITE_FULL}};
		struct restoring how = RESTORING;
		struct upload u;
		struct fixture f;

		app_up(&f, ROLLBACK_OLD);
		jumper_start(&jumper, &f);
		snap_up(&f);
		how.fault = fail_and_let_jump;
		how.arg = &jumper;
		upload_make(&u, f.snap, 4096, NEW);
		assert_int_equal(restore(&f, &u, &how), -ENOSPC);
		assert_false(how.result.committed);
		jumper_wait();
		assert_int_equal(jumper.status, 0);
		assert_int_equal(app_get(&f.app, COUNT_T), OLD_ROWS);
		close(jumper.start);
		restore_down(&f, &u);
	}
}

int __real_vfs_wal_header(struct vfs *vfs, struct wal_header *out);
int __wrap_vfs_wal_header(struct vfs *vfs, struct wal_header *out);

static _Thread_local int torn; /* looks of this thread at the wal-index that fail; then the jumper jumps */

int __wrap_vfs_wal_header(struct vfs *vfs, struct wal_header *out)
{
	if (torn == 0)
		return __real_vfs_wal_header(vfs, out);
	if (--torn > 0)
		return WAL_TORN;
	jumper_wait();
	return __real_vfs_wal_header(vfs, out);
}

static int fail_and_tear(void *arg, enum vfs_call call)
{
	struct jumper *j = arg;
	bool was_hit = j->plan.hit;
	int rc = j->pid ? fail_and_let_jump(arg, call) : fail_nth(&j->plan, call);

	if (j->plan.hit && !was_hit)
		torn = 3; /* as the WAL is cut, as the lock is given up, and then it can be read again */
	return rc;
}

/* The same in WAL mode: what the wal-index said as the lock was given up could not be read, and what it says
 * now is of somebody else's commit, or of none. */
static void check_torn(bool is_jumped_upon)
{
	struct jumper jumper = {
		.plan = {.call = VFS_WRITE, .left = 1, .persistent = true, .code = SQLITE_FULL}};
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	app_up(&f, WAL_OLD);
	if (is_jumped_upon)
		jumper_start(&jumper, &f);
	snap_up(&f);
	how.fault = fail_and_tear;
	how.arg = &jumper;
	upload_make(&u, f.snap, 4096, NEW);
	assert_int_equal(restore(&f, &u, &how), -ENOSPC);
	assert_int_equal(torn, 0);
	assert_false(how.result.committed);
	assert_int_equal(count_kept(&f), is_jumped_upon); /* nobody can tell whether it is needed */
	assert_int_equal(strstr(how.err.text, "cannot be told") != NULL, is_jumped_upon);
	assert_int_equal(how.result.doubtful, is_jumped_upon);
	assert_int_equal(how.result.undo[0] != '\0', is_jumped_upon);
	assert_false(how.result.undo_raw);
	assert_int_equal(app_get(&f.app, COUNT_T), OLD_ROWS);
	if (is_jumped_upon) {
		assert_int_equal(jumper.status, 0);
		close(jumper.start);
	}
	restore_down(&f, &u);
}

static void test_torn(void **state)
{
	(void)state;
	check_torn(false);
	check_torn(true);
}

int __real_live_pin(struct live *live, int64_t deadline, struct conn **out, struct snap_err *err);
int __wrap_live_pin(struct live *live, int64_t deadline, struct conn **out, struct snap_err *err);

static _Thread_local int pin_error;	      /* of this thread's next pin but */
static _Thread_local int good_pins;	      /* so many */
static _Thread_local struct folder *removing; /* "db" goes from there when that pin has begun */

int __wrap_live_pin(struct live *live, int64_t deadline, struct conn **out, struct snap_err *err)
{
	bool is_good = good_pins > 0;
	int rc = is_good ? 0 : pin_error;

	if (is_good)
		good_pins--;
	else
		pin_error = 0;
	*out = NULL;
	rc = rc ? err_set(err, rc, "another file") : __real_live_pin(live, deadline, out, err);
	if (!is_good && removing) {
		assert_int_equal(unlinkat(removing->fd, "db", 0), 0);
		removing = NULL;
	}
	return rc;
}

/* ESTALE would have the kernel rename once more, onto the file that has taken the place of the live one. */
static void test_replaced_at_the_first_look(void **state)
{
	static const int errors[] = {-ESTALE, -ENOENT};
	struct upload u;
	struct fixture f;

	(void)state;
	app_up(&f, WAL_OLD);
	snap_up(&f);
	upload_make(&u, f.snap, 4096, NEW);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct restoring how = RESTORING;

		good_pins = 1; /* what stands there is looked at first */
		pin_error = errors[i];
		assert_int_equal(restore(&f, &u, &how), -EBUSY);
		assert_int_equal(pin_error, 0);
	}
	assert_int_equal(app_get(&f.app, COUNT_T), OLD_ROWS);
	restore_down(&f, &u);
}

/* A name that leads nowhere is one that was replaced, too. */
static void test_removed_while_it_is_looked_at(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	app_up(&f, ROLLBACK_OLD);
	snap_up(&f);
	upload_make(&u, f.snap, 4096, NEW);
	good_pins = 1;
	removing = &f.folder;
	assert_int_equal(restore(&f, &u, &how), -EBUSY);
	assert_null(removing);
	assert_non_null(strstr(how.err.text, "replaced"));
	assert_int_equal(app_get(&f.app, COUNT_T), OLD_ROWS);
	assert_false(file_exists(&f.folder, "db"));
	restore_down(&f, &u);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wal),
		cmocka_unit_test(test_wal_starts_over),
		cmocka_unit_test(test_rollback),
		cmocka_unit_test(test_looks),
		cmocka_unit_test(test_unread),
		cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_jumped_upon),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_replaced_at_the_first_look),
		cmocka_unit_test(test_removed_while_it_is_looked_at),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
