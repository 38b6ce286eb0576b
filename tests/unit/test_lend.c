/* SPDX-License-Identifier: MIT */
/* test_lend.c - the file that holds exactly what a descriptor shows: where there is one, its bytes; where
 * what is shown is still the application's, or lies in two files, none. passthrough.sh has the kernel read
 * them. */
#include "gens.h"

#include <errno.h>
#include <time.h>

#include "../../src/source.h"

#define TOP ".sqlsnapfs/snapshots/"

struct wanted {
	const unsigned char *bytes;
	size_t size;
	int calls;
};

/* The file has those bytes to its last, and nothing behind them. */
static int compare(void *arg, int fd)
{
	struct wanted *w = arg;
	unsigned char *buf = malloc(w->size + 1);

	assert_non_null(buf);
	assert_int_equal(pread(fd, buf, w->size + 1, 0), w->size);
	assert_memory_equal(buf, w->bytes, w->size);
	free(buf);
	w->calls++;
	return 42;
}

static int must_not(void *arg, int fd)
{
	(void)arg;
	fail_msg("descriptor %d was lent", fd);
	return 0;
}

static void assert_lent(struct snap_gen *gen)
{
	size_t size = size_of(gen);
	unsigned char *buf = malloc(size);
	struct wanted wanted = {buf, size, 0};

	assert_non_null(buf);
	assert_int_equal(snap_gen_read(gen, buf, size, 0, NULL), size);
	assert_int_equal(snap_gen_lend(gen, compare, &wanted), 42);
	assert_int_equal(wanted.calls, 1);
	free(buf);
}

static void test_a_live_wal_database_is_not(void **state)
{
	struct snap_gen *full, *empty;
	struct fixture f;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(10));
	full = open_now(&f);
	assert_int_equal(snap_gen_lend(full, must_not, NULL), -ENOENT);
	close_gen(full);
	app_do(&f.app, "PRAGMA wal_checkpoint(TRUNCATE)");
	empty = open_now(&f);
	assert_int_equal(snap_gen_lend(empty, must_not, NULL), -ENOENT);
	close_gen(empty);
	app_stop(&f.app);
	down(&f);
}

/* Two files: what was the database, and its frames. */
static void test_a_spool_with_frames_is_not(void **state)
{
	struct snap_gen *gen;
	struct fixture f;
	int64_t since;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(10));
	gen = open_now(&f);
	app_do(&f.app, APP_ROWS(10000)); /* over the limit */
	for (int i = 0; image_is_pinned(gen->image, &since); i++) {
		assert_true(i < 6000);
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	assert_int_equal(snap_gen_lend(gen, must_not, NULL), -ENOENT);
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

static void test_a_copy_is(void **state)
{
	struct snap_gen *gen;
	struct fixture f;

	(void)state;
	up(&f, "CREATE TABLE t(a, b);" APP_ROWS(100));
	gen = open_now(&f);
	assert_lent(gen);
	app_do(&f.app, "DELETE FROM t"); /* the live one goes on */
	assert_lent(gen);
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

static void look_at_kept(struct fixture *f, const char *path, bool lent)
{
	struct snap_file *file;
	struct snap_attr attr;

	assert_int_equal(snap_lookup(f->snap, path, &attr, NULL, NULL), 0);
	assert_int_equal(snap_file_open(f->snap, path, attr.key_dev, attr.key_ino, &file, NULL), 0);
	if (lent) {
		unsigned char *buf = malloc(attr.size);
		struct wanted wanted = {buf, attr.size, 0};

		assert_non_null(buf);
		assert_int_equal(snap_file_read(file, buf, attr.size, 0), attr.size);
		assert_int_equal(snap_file_lend(file, compare, &wanted), 42);
		/* As it is when its name has gone. */
		assert_int_equal(snap_kept_drop(f->snap, "one", NULL), 0);
		assert_int_equal(snap_file_lend(file, compare, &wanted), 42);
		free(buf);
	} else {
		assert_int_equal(snap_file_lend(file, must_not, NULL), -ENOENT);
	}
	snap_file_close(file);
}

static void test_kept_files_are_and_others_not(void **state)
{
	struct fixture f;
	int fd;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(10));
	fd = openat(f.folder.fd, "plain", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "text", 4), 4);
	close(fd);
	assert_int_equal(snap_kept_make(f.snap, "one", NULL), 0);
	snap_destroy(f.snap); /* writes what is to be written */
	snap_up(&f);
	look_at_kept(&f, TOP "one/db", true);
	look_at_kept(&f, "plain", false);
	app_stop(&f.app);
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_live_wal_database_is_not),
		cmocka_unit_test(test_a_spool_with_frames_is_not),
		cmocka_unit_test(test_a_copy_is),
		cmocka_unit_test(test_kept_files_are_and_others_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
