/* SPDX-License-Identifier: MIT */
/*
 * test_spool_locks.c - the lock around a raw copy: it is refused to us when SQLite would refuse SHARED, it
 * keeps writers out for as long as the copy lasts, and it is gone afterwards.
 */
#include "spools.h"

#include "../../src/proclocks.h"

/* ---- locks of others ----------------------------------------------------------------------------------- */

/* A process that holds one POSIX lock on the database until KEEPER is closed. */
struct keeper {
	pid_t pid;
	int sock;
};

static void keep_lock(const char *path, short type, off_t first, off_t last, int sock)
{
	struct flock lock = {.l_type = type, .l_start = first, .l_len = last - first + 1};
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char byte = 'x';

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd < 0 || fcntl(fd, F_SETLK, &lock) != 0 || write(sock, &byte, 1) != 1)
		_exit(2);
	_exit(read(sock, &byte, 1) == 0 ? 0 : 1);
}

static struct keeper keeper_start(struct fixture *f, short type, off_t first, off_t last)
{
	struct keeper k;
	char path[PATH_MAX], byte;
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	k.pid = fork();
	assert_true(k.pid >= 0);
	if (k.pid == 0) {
		close(ends[0]);
		keep_lock(folder_file(&f->folder, NAME, path), type, first, last, ends[1]);
	}
	close(ends[1]);
	k.sock = ends[0];
	assert_int_equal(read(k.sock, &byte, 1), 1);
	return k;
}

static void keeper_stop(struct keeper *k)
{
	int status;

	close(k->sock);
	assert_int_equal(waitpid(k->pid, &status, 0), k->pid);
	assert_int_equal(status, 0);
}

/* A database without sidecars, whose application is gone. */
static struct copy make_closed(struct fixture *f, const char *journal_mode)
{
	make_database(f, journal_mode, 4096, 100, 300);
	app_stop(&f->app);
	f->app.pid = 0;
	assert_int_equal(count_entries(&f->folder), 1);
	return read_file(f, NAME);
}

static const char *const modes[] = {"DELETE", "WAL"};

/* os_unix.c, unixLock(): who holds which bytes when. */
static void test_locks_of_others(void **state)
{
	static const struct {
		short type;
		off_t first, last;
		int rc;
	} cases[] = {
		{F_RDLCK, PROCLOCKS_SHARED_FIRST, PROCLOCKS_SHARED_LAST, 0}, /* a reader */
		{F_WRLCK, PROCLOCKS_RESERVED, PROCLOCKS_RESERVED,
		 0}, /* a writer that has not begun to write */
		{F_WRLCK, PROCLOCKS_PENDING, PROCLOCKS_PENDING,
		 -EAGAIN}, /* one that waits for readers to go */
		{F_WRLCK, PROCLOCKS_SHARED_FIRST, PROCLOCKS_SHARED_LAST, -EAGAIN}, /* one that writes */
		{F_WRLCK, PROCLOCKS_SHARED_LAST, PROCLOCKS_SHARED_LAST, -EAGAIN},
	};
	struct fixture *f = *state;

	for (int m = 0; m < 2; m++) {
		struct copy expected = make_closed(f, modes[m]);
		int fds = count_fds();

		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			struct keeper k = keeper_start(f, cases[i].type, cases[i].first, cases[i].last);
			struct spool_flat flat = SPOOL_FLAT_INIT;

			f->err.text[0] = '\0';
			assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), cases[i].rc);
			if (cases[i].rc == 0) {
				assert_flat(&flat, &expected);
			} else {
				assert_int_equal(flat.fd, -1);
				assert_true(strlen(f->err.text) > 0);
			}
			keeper_stop(&k);
			/* Once it is gone there is nothing in the way. */
			assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), 0);
			assert_flat(&flat, &expected);
		}
		assert_int_equal(count_fds(), fds);
		assert_int_equal(count_entries(&f->store), 0);
		sqlite3_free(expected.bytes);
		assert_int_equal(unlinkat(f->folder.fd, NAME, 0), 0);
		app_start(&f->app, &f->folder, NAME);
	}
}

/* An application that has begun to write and has not made its journal yet: only its lock tells. */
static void test_application_that_writes(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct copy expected = make_closed(f, "DELETE");

	app_start(&f->app, &f->folder, NAME);
	app_do(&f->app, "BEGIN IMMEDIATE");
	assert_int_equal(count_entries(&f->folder), 1);
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), 0);
	assert_flat(&flat, &expected);
	app_do(&f->app, "ROLLBACK; BEGIN EXCLUSIVE");
	assert_int_equal(count_entries(&f->folder), 1);
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), -EAGAIN);
	app_do(&f->app, "ROLLBACK");
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), 0);
	assert_flat(&flat, &expected);
	sqlite3_free(expected.bytes);
}

/* ---- locks of ours ------------------------------------------------------------------------------------- */

/* What an application does between the first look at the file and its copying; asked to at store_spool(). */
static struct {
	struct app *app; /* NULL: nothing */
	int exclusive;	 /* SQLite's answer to one that wants to write */
	int shared;	 /* to one that reads */
} during;

int __real_store_spool(struct store *store, uint64_t bytes, struct snap_err *err);
int __wrap_store_spool(struct store *store, uint64_t bytes, struct snap_err *err);

int __wrap_store_spool(struct store *store, uint64_t bytes, struct snap_err *err)
{
	if (during.app) {
		during.shared = app_ask(during.app, "BEGIN; SELECT count(*) FROM t; COMMIT").rc;
		during.exclusive = app_ask(during.app, "BEGIN EXCLUSIVE").rc;
		if (during.exclusive == SQLITE_OK)
			app_do(during.app, "ROLLBACK");
	}
	return __real_store_spool(store, bytes, err);
}

static bool app_can_write(struct fixture *f)
{
	return app_ask(&f->app, "BEGIN EXCLUSIVE; ROLLBACK").rc == SQLITE_OK;
}

static void test_writers_wait_for_the_copy(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct copy expected = make_closed(f, "DELETE");

	app_start(&f->app, &f->folder, NAME);
	assert_true(app_can_write(f));
	during.app = &f->app;
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), 0);
	during.app = NULL;
	assert_int_equal(during.shared, SQLITE_OK);
	assert_int_equal(during.exclusive, SQLITE_BUSY);
	assert_flat(&flat, &expected);
	assert_true(app_can_write(f));
	sqlite3_free(expected.bytes);
}

/* Neither when the copy fails, nor when the descriptor has to stay open for a connection's sake. */
static void test_no_lock_stays(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct copy expected = make_closed(f, "DELETE");
	struct stat st;
	int fds;

	app_start(&f->app, &f->folder, NAME);
	assert_true(app_can_write(f));
	assert_int_equal(place_stat(&f->place, "", &st), 0);
	assert_int_equal(rawfd_connect(f->core.raw, f->folder.fd, NAME, st.st_dev, st.st_ino), 0);
	fds = count_fds();
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), 0);
	assert_flat(&flat, &expected);
	assert_int_equal(count_fds(), fds + 1); /* the close is put off */
	assert_true(app_can_write(f));
	folder_mount_tmpfs(&f->store, "size=1m");
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), -ENOSPC);
	assert_int_equal(count_fds(), fds + 1); /* it has served again */
	assert_true(app_can_write(f));
	rawfd_disconnect(f->core.raw, st.st_dev, st.st_ino);
	assert_int_equal(count_fds(), fds - 1); /* without the one that held the inode */
	sqlite3_free(expected.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_locks_of_others),
		test(test_application_that_writes),
		test(test_writers_wait_for_the_copy),
		test(test_no_lock_stays),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
