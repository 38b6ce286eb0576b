/* SPDX-License-Identifier: MIT */
/* test_snapshots.c - snapshots of all databases by snap_kept_make(), and frozen mounts, through the contract
 * of sqlsnap.h. Many writers at full speed are snapshots_instant.sh's. */
#include "gens.h"

#include <errno.h>
#include <stdatomic.h>

#include "../check/own_mounts.h"

#define TOP ".sqlsnapfs/snapshots/"

/* Mounts are seen by this process and its children alone, and end with it. */
static int own_mounts(void **state)
{
	(void)state;
	return take_own_mounts();
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	*state = f;
	up(f, "PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1)");
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->app.pid)
		app_stop(&f->app);
	down(f);
	free(f);
	return 0;
}

static void restart(struct fixture *f)
{
	snap_destroy(f->snap);
	snap_up(f);
}

static int open_kept(struct fixture *f, const char *path, struct snap_file **file, struct snap_attr *attr)
{
	int rc = snap_lookup(f->snap, path, attr, NULL, NULL);

	return rc ? rc : snap_file_open(f->snap, path, attr->key_dev, attr->key_ino, file, NULL);
}

/* What a query over the kept file answers. */
static int64_t ask_kept(struct fixture *f, const char *path, const char *sql)
{
	struct snap_file *file;
	struct snap_attr attr;

	assert_int_equal(open_kept(f, path, &file, &attr), 0);
	unsigned char *buf = malloc(attr.size);
	assert_non_null(buf);
	assert_int_equal(snap_file_read(file, buf, attr.size, 0), attr.size);
	snap_file_close(file);
	int64_t value = ask_bytes(buf, attr.size, sql);
	free(buf);
	return value;
}

static void make(struct fixture *f, const char *name)
{
	struct snap_err err = {{0}};

	if (snap_kept_make(f->snap, name, &err))
		fail_msg("%s", err.text);
}

static void test_at_once_and_later(void **state)
{
	struct fixture *f = *state;
	struct snap_attr before, after;
	struct snap_file *file;
	char byte;

	make(f, "one");
	assert_int_equal(open_kept(f, TOP "one/db", &file, &before), 0);
	app_do(&f->app, "INSERT INTO t VALUES(2)");
	assert_int_equal(ask_kept(f, TOP "one/db", "SELECT count(*) FROM t"), 1);
	snap_file_close(file);
	restart(f); /* writes what is to be written */
	assert_int_equal(snap_lookup(f->snap, TOP "one/db", &after, NULL, NULL), 0);
	assert_memory_equal(&before, &after, sizeof(before)); /* nothing shows that it was written */
	assert_int_equal(ask_kept(f, TOP "one/db", "SELECT count(*) FROM t"), 1);
	assert_int_equal(open_kept(f, TOP "one/db", &file, &after), 0);
	assert_int_equal(snap_kept_drop(f->snap, "one", NULL), 0);
	assert_int_equal(snap_file_read(file, &byte, 1, 0), 1);
	assert_int_equal(snap_file_stat(file, &before), 0);
	assert_memory_equal(&before, &after, sizeof(before));
	snap_file_close(file);
	assert_int_equal(snap_kept_drop(f->snap, "one", NULL), -ENOENT);
}

/* With nothing in the WAL its header does not change once commits come. */
static void test_empty_wal(void **state)
{
	struct fixture *f = *state;

	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	make(f, "empty");
	assert_int_equal(ask_kept(f, TOP "empty/db", "SELECT count(*) FROM t"), 1);
	app_do(&f->app, "INSERT INTO t VALUES(2)");
	make(f, "begun");
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE); INSERT INTO t VALUES(3)");
	restart(f);
	assert_int_equal(ask_kept(f, TOP "empty/db", "SELECT count(*) FROM t"), 1);
	assert_int_equal(ask_kept(f, TOP "begun/db", "SELECT count(*) FROM t"), 2);
}

static void count_written(void *arg, enum snap_level level, const char *text)
{
	atomic_int *written = arg;

	(void)level;
	if (strstr(text, "was written"))
		atomic_fetch_add(written, 1);
}

/* Who has it open from before goes on, and holds nothing back: there is no janitor here that would see to
 * it. */
static void test_lets_go(void **state)
{
	struct fixture *f = *state;
	atomic_int written = 0;
	struct snap_config config = {.wal_limit = 1 << 20,
				     .wal_max = 1 << 24,
				     .store = f->store.path,
				     .event = count_written,
				     .event_arg = &written};
	struct snap_file *file;
	struct snap_attr attr;
	uint8_t before[4096], after[4096];

	snap_destroy(f->snap);
	assert_int_equal(snap_create(&f->snap, &config, NULL), 0);
	assert_int_equal(snap_add_folder(f->snap, f->folder.path, NULL), 0);
	make(f, "one");
	assert_int_equal(open_kept(f, TOP "one/db", &file, &attr), 0);
	assert_int_equal(snap_file_read(file, before, sizeof(before), 0), sizeof(before));
	for (int64_t until = 30000; atomic_load(&written) == 0 && until > 0; until--)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	assert_int_equal(atomic_load(&written), 1);
	app_do(&f->app, "INSERT INTO t VALUES(2)");
	/* Its first column says whether a reader was in the way. */
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
	assert_int_equal(snap_file_read(file, after, sizeof(after), 0), sizeof(after));
	assert_memory_equal(before, after, sizeof(before));
	snap_file_close(file);
}

/* An end without time: what is not written is given up. */
static void test_no_patience(void **state)
{
	struct fixture *f = *state;
	struct snap_attr attr;

	app_do(&f->app, "INSERT INTO t VALUES(zeroblob(60000000))");
	for (int i = 0;; i++) {
		make(f, "one");
		make(f, "two");
		snap_stop(f->snap, 0);
		restart(f);
		/* The first may have been fast, and the second would be written after it. */
		if (snap_lookup(f->snap, TOP "two", &attr, NULL, NULL) == -ENOENT)
			break;
		assert_true(i < 20); /* this thread may have been slow */
		assert_int_equal(snap_kept_drop(f->snap, "one", NULL), 0);
		assert_int_equal(snap_kept_drop(f->snap, "two", NULL), 0);
	}
	assert_int_equal(snap_kept_make(f->snap, "two", NULL), 0); /* nothing of it is in the way */
}

static void test_rollback(void **state)
{
	struct fixture *f = *state;

	app_do(&f->app, "PRAGMA journal_mode=DELETE");
	make(f, "one");
	app_do(&f->app, "INSERT INTO t VALUES(2)"); /* nothing is locked any more */
	assert_int_equal(ask_kept(f, TOP "one/db", "SELECT count(*) FROM t"), 1);
}

static void test_refused(void **state)
{
	static const char *const names[] = {"", ".", "..", ".hidden", "a/b", "before-restore-mine"};
	struct fixture *f = *state;
	struct snap_attr attr;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(snap_kept_make(f->snap, names[i], NULL), -EINVAL);
	make(f, "one");
	assert_int_equal(snap_kept_make(f->snap, "one", NULL), -EEXIST);
	restart(f);
	assert_int_equal(snap_kept_make(f->snap, "one", NULL), -EEXIST);
	/* One that cannot be opened is missing from none. */
	app_do(&f->app, "PRAGMA journal_mode=DELETE; PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t VALUES(2)");
	assert_int_equal(snap_kept_make(f->snap, "two", NULL), -EBUSY);
	assert_int_equal(snap_lookup(f->snap, TOP "two", &attr, NULL, NULL), -ENOENT);
	app_do(&f->app, "PRAGMA locking_mode=NORMAL; SELECT count(*) FROM t");
	make(f, "two");
}

/* The bytes that are missing are missed by mkdir, not afterwards. */
static void test_no_room(void **state)
{
	struct fixture *f = *state;
	struct snap_list *list;
	struct snap_attr attr;

	app_do(&f->app, "INSERT INTO t VALUES(zeroblob(12000000)); PRAGMA wal_checkpoint(TRUNCATE)");
	snap_destroy(f->snap);
	folder_mount_tmpfs(&f->store, "size=24m");
	snap_up(f);
	assert_int_equal(snap_kept_make(f->snap, "one", NULL), -ENOSPC);
	assert_int_equal(snap_lookup(f->snap, TOP "one", &attr, NULL, NULL), -ENOENT);
	assert_int_equal(snap_list_create(f->snap, NULL, ".sqlsnapfs/snapshots", &list, NULL), 0);
	assert_false(snap_list_get(list, 0, &(const char *){NULL}, &(uint64_t){0}, &(mode_t){0}));
	snap_list_destroy(list);
	app_do(&f->app, "DELETE FROM t WHERE a<>1; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
	make(f, "one"); /* the name is free */
}

/* Of several, the one that cannot be copied is named. */
static void test_named(void **state)
{
	struct fixture *f = *state;
	struct snap_err err = {""};

	app_do(&f->app, "PRAGMA journal_mode=DELETE; INSERT INTO t VALUES(zeroblob(12000000))");
	snap_destroy(f->snap);
	folder_mount_tmpfs(&f->store, "size=24m");
	snap_up(f);
	assert_int_equal(snap_kept_make(f->snap, "one", &err), -ENOSPC);
	assert_non_null(strstr(err.text, "\"db\": a spool needs"));
}

static void note_lost(void *arg, const struct snap_lost_facts *facts)
{
	assert_string_equal(facts->name, "one");
	*(bool *)arg = true;
}

static bool is_told(struct fixture *f)
{
	bool told = false;

	snap_each_lost(f->snap, note_lost, &told);
	return told;
}

/* Who ends before it is written has nobody to tell but the next start. */
static void test_no_time_left(void **state)
{
	struct fixture *f = *state;
	struct snap_attr attr;

	app_do(&f->app, "INSERT INTO t VALUES(zeroblob(60000000)); PRAGMA wal_checkpoint(TRUNCATE)");
	for (int i = 0;; i++) {
		assert_true(i < 20); /* it may have been fast */
		assert_int_equal(snap_kept_make(f->snap, "one", NULL), 0);
		snap_stop(f->snap, 0);
		restart(f);
		if (snap_lookup(f->snap, TOP "one", &attr, NULL, NULL))
			break;
		assert_false(is_told(f));
		assert_int_equal(snap_kept_drop(f->snap, "one", NULL), 0);
	}
	await(is_told, f);
	assert_int_equal(snap_kept_make(f->snap, "one", NULL), 0); /* the name is free */
}

/* Of one that is being written, and of one whose turn has not come, nothing is left, and the names are free.
 */
static void test_dropped_early(void **state)
{
	struct fixture *f = *state;
	struct snap_attr attr;

	app_do(&f->app, "INSERT INTO t VALUES(zeroblob(60000000)); PRAGMA wal_checkpoint(TRUNCATE)");
	for (int i = 0; i < 3; i++) {
		make(f, "one");
		make(f, "two");
		assert_int_equal(snap_kept_drop(f->snap, i == 1 ? "two" : "one", NULL), 0);
		assert_int_equal(snap_kept_drop(f->snap, i == 1 ? "one" : "two", NULL), 0);
	}
	restart(f);
	assert_int_equal(snap_lookup(f->snap, TOP "one", &attr, NULL, NULL), -ENOENT);
	assert_int_equal(snap_lookup(f->snap, TOP "two", &attr, NULL, NULL), -ENOENT);
}

static void test_frozen(void **state)
{
	struct fixture *f = *state;
	struct snap_gen *gen, *later;
	struct snap_attr attr, now;

	snap_destroy(f->snap);
	struct snap_config config = {.wal_limit = 1 << 16,
				     .wal_max = 1 << 18,
				     .store = f->store.path,
				     .event = quiet,
				     .frozen = true};

	assert_int_equal(snap_create(&f->snap, &config, NULL), 0);
	assert_int_equal(snap_add_folder(f->snap, f->folder.path, NULL), 0);
	assert_int_equal(snap_start(f->snap, NULL), 0);
	gen = look(f, &attr);
	app_do(&f->app, "INSERT INTO t VALUES(randomblob(3000))");
	later = look(f, &now);
	assert_ptr_equal(gen, later);
	assert_memory_equal(&attr, &now, sizeof(attr));
	snap_gen_unref(later);
	later = open_now(f);
	assert_ptr_equal(gen, later);
	assert_int_equal(ask(later, "SELECT count(*) FROM t"), 1);
	close_gen(later);
	snap_gen_unref(gen);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_at_once_and_later), test(test_no_time_left),	test(test_empty_wal),
		test(test_lets_go),	      test(test_rollback),	test(test_refused),
		test(test_no_room),	      test(test_named),		test(test_frozen),
		test(test_no_patience),	      test(test_dropped_early),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
