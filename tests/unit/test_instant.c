/* SPDX-License-Identifier: MIT */
/*
 * test_instant.c - that the databases of a snapshot are of one instant, when commits come at the worst
 * moment: between the looks at two headers (hold_sample() is stood in front of: ld(1), --wrap), and that one
 * which vanishes as it is about to be held does not matter to the others; and that writers who cannot commit
 * meanwhile do not wait for long.
 */
#include "gens.h"

#include <errno.h>

#include "../../src/snap_private.h"
#include "../../src/source_hold.h"

int __real_hold_sample(struct hold *hold, struct wal_header *out);
int __wrap_hold_sample(struct hold *hold, struct wal_header *out);

static struct fixture fixture;
static struct app second;
static int commits; /* that are still to come in between */
static int looks;
static bool stopped; /* once, this process stands still between two looks */

/* The application commits to the first database and then to the second, so the second is never ahead. */
int __wrap_hold_sample(struct hold *hold, struct wal_header *out)
{
	if (++looks % 2 == 0 && commits > 0) {
		commits--;
		app_do(&fixture.app, "INSERT INTO t VALUES(1)");
		app_do(&second, "INSERT INTO t VALUES(1)");
	}
	if (stopped && looks == 2) {
		stopped = false;
		nanosleep(&(struct timespec){.tv_sec = 2, .tv_nsec = 100000000}, NULL);
	}
	return __real_hold_sample(hold, out);
}

static bool late; /* commits come when the second one is held */

static int vanish; /* so often db3 is there when all are found, and not any more then */

static void make_third(void)
{
	char command[160];

	snprintf(command, sizeof(command), "cp %s/other %s/db3", fixture.store.path, fixture.folder.path);
	assert_int_equal(system(command), 0);
}

int __real_hold_begin(struct hold *hold, struct source *source, struct snap_err *err);
int __wrap_hold_begin(struct hold *hold, struct source *source, struct snap_err *err);

int __wrap_hold_begin(struct hold *hold, struct source *source, struct snap_err *err)
{
	int rc;

	if (late && strcmp(source->place.name, "db2") == 0) {
		app_do(&fixture.app, "INSERT INTO t VALUES(1)"); /* it does not wait for locks */
		app_do(&second, "INSERT INTO t VALUES(1)");
	}
	if (vanish == 0 || strcmp(source->place.name, "db3") != 0)
		return __real_hold_begin(hold, source, err);
	assert_int_equal(unlinkat(fixture.folder.fd, "db3", 0), 0);
	rc = __real_hold_begin(hold, source, err);
	if (--vanish > 0)
		make_third();
	return rc;
}

static bool locked; /* once, the second one is locked when it is to be held again */

void __real_hold_resume(struct hold *hold, int64_t deadline);
void __wrap_hold_resume(struct hold *hold, int64_t deadline);

void __wrap_hold_resume(struct hold *hold, int64_t deadline)
{
	bool lock = locked && strcmp(hold->source->place.name, "db2") == 0;

	if (lock)
		app_do(&second, "BEGIN EXCLUSIVE; INSERT INTO t VALUES(1)");
	__real_hold_resume(hold, deadline);
	if (lock) {
		app_do(&second, "COMMIT");
		locked = false;
	}
}

static bool large; /* the second one's writer comes while the first one is copied */

static bool held;    /* the second one's writer comes while the first one is opened */
static bool refused; /* it was */

static bool beside; /* a commit, and somebody who looks at it, come before what is held is opened */
static struct snap_gen *told;

static bool slow; /* the first one takes longer to open than the second may be locked for */

static bool replaced; /* once, the second one is replaced when it is held */

static void replace_second(void)
{
	char command[160];

	snprintf(command, sizeof(command), "mv -f %s/other %s/db2", fixture.store.path, fixture.folder.path);
	assert_int_equal(system(command), 0);
}

int __real_hold_open(struct hold *hold, const struct wal_header *at, bool *missed, struct snap_err *err);
int __wrap_hold_open(struct hold *hold, const struct wal_header *at, bool *missed, struct snap_err *err);

int __wrap_hold_open(struct hold *hold, const struct wal_header *at, bool *missed, struct snap_err *err)
{
	int rc;

	if (slow && strcmp(hold->source->place.name, "db2") == 0)
		app_do(&second, "INSERT INTO t VALUES(1)"); /* it does not wait for locks */
	if (large && strcmp(hold->source->place.name, "db") == 0)
		app_do(&second, "INSERT INTO t VALUES(1)");
	if (held && strcmp(hold->source->place.name, "db") == 0)
		refused = app_ask(&second, "INSERT INTO t VALUES(1)").rc == SQLITE_BUSY;
	if (beside && strcmp(hold->source->place.name, "db") == 0) {
		app_do(&fixture.app, "INSERT INTO t VALUES(1)");
		told = look(&fixture, NULL);
	}
	if (replaced && strcmp(hold->source->place.name, "db2") == 0) {
		replaced = false;
		replace_second();
	}
	rc = __real_hold_open(hold, at, missed, err);
	if (slow && strcmp(hold->source->place.name, "db") == 0)
		nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
	return rc;
}

static int setup(void **state)
{
	(void)state;
	looks = commits = vanish = 0;
	slow = late = locked = large = held = beside = replaced = stopped = false;
	fixture = (struct fixture){.snap = NULL};
	/* Their commits are waited for, for two seconds: how long a disk takes is another matter. */
	app_up(&fixture, "PRAGMA synchronous=OFF; PRAGMA journal_mode=WAL; CREATE TABLE t(a)");
	app_start(&second, &fixture.folder, "db2");
	app_do(&second, "PRAGMA synchronous=OFF; PRAGMA journal_mode=WAL; CREATE TABLE t(a)");
	snap_up(&fixture);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	app_stop(&fixture.app);
	app_stop(&second);
	down(&fixture);
	return 0;
}

/* Rows in the database NAME of the snapshot. */
static int64_t rows(const char *name)
{
	struct snap_file *file;
	struct snap_attr attr;
	char path[64];

	snprintf(path, sizeof(path), ".sqlsnapfs/snapshots/one/%s", name);
	assert_int_equal(snap_lookup(fixture.snap, path, &attr, NULL, NULL), 0);
	assert_int_equal(snap_file_open(fixture.snap, path, attr.key_dev, attr.key_ino, &file, NULL), 0);
	unsigned char *buf = malloc(attr.size);
	assert_non_null(buf);
	assert_int_equal(snap_file_read(file, buf, attr.size, 0), attr.size);
	snap_file_close(file);
	int64_t value = ask_bytes(buf, attr.size, "SELECT count(*) FROM t");
	free(buf);
	return value;
}

static void test_between_looks(void **state)
{
	(void)state;
	commits = 3;
	assert_int_equal(snap_kept_make(fixture.snap, "one", NULL), 0);
	assert_int_equal(commits, 0);
	assert_int_equal(rows("db"), 3);
	assert_int_equal(rows("db2"), 3);
}

/* Between the looks of the first round, for longer than equal rounds are waited for. */
static void test_stopped_between_looks(void **state)
{
	(void)state;
	commits = 1;
	stopped = true;
	assert_int_equal(snap_kept_make(fixture.snap, "one", NULL), 0);
	assert_false(stopped);
	assert_int_equal(rows("db"), 1);
	assert_int_equal(rows("db2"), 1);
}

/* Whether the snapshot of the database NAME says that it may be of another moment than the others. Ends what
 * is written first. */
static bool is_apart(const char *name)
{
	struct keep_entry *kept;
	char path[PATH_MAX];
	size_t count;
	bool apart;

	snap_destroy(fixture.snap);
	snap_up(&fixture);
	assert_int_equal(
		keep_list(fixture.snap->core.store, folder_file(&fixture.folder, name, path), &kept, &count),
		0);
	assert_int_equal(count, 1);
	apart = strstr(kept[0].meta.why, "apart from others") != NULL;
	keep_list_free(kept, count);
	return apart;
}

/* What is kept is the instant's; whoever has looked since then sees what was committed before his look. */
static void test_look_while_it_is_kept(void **state)
{
	struct snap_gen *moved = NULL;

	(void)state;
	app_do(&fixture.app, "INSERT INTO t VALUES(1)");
	beside = true;
	assert_int_equal(snap_kept_make(fixture.snap, "one", NULL), 0);
	beside = false;
	assert_int_equal(rows("db"), 1);
	assert_int_equal(snap_gen_open(told, 0, &moved, NULL), 0);
	assert_int_equal(ask(told, "SELECT count(*) FROM t"), 2);
	close_gen(told);
}

/* Nobody can commit to a rollback-journal database that is held: it is let go when others take their time.
 * Then the snapshot says so. */
static void test_gives_way(void **state)
{
	(void)state;
	app_do(&fixture.app, "PRAGMA journal_mode=DELETE");
	app_do(&second, "PRAGMA journal_mode=DELETE");
	slow = true;
	assert_int_equal(snap_kept_make(fixture.snap, "one", NULL), 0);
	slow = false;
	assert_int_equal(rows("db"), 0);
	assert_int_equal(rows("db2"), 1);
	assert_true(is_apart("db"));
	assert_true(is_apart("db2"));
}

static void test_held_together(void **state)
{
	int committed = 0;

	(void)state;
	app_do(&fixture.app, "PRAGMA journal_mode=DELETE");
	app_do(&second, "PRAGMA journal_mode=DELETE");
	for (int i = 0;; i++) {
		held = true;
		assert_int_equal(snap_kept_make(fixture.snap, "one", NULL), 0);
		held = false;
		if (refused && !is_apart("db") && !is_apart("db2"))
			break;
		assert_true(i < 20); /* this process may have been slow, and nobody is held up for long */
		committed += !refused;
		assert_int_equal(snap_kept_drop(fixture.snap, "one", NULL), 0);
	}
	assert_int_equal(rows("db2"), committed);
}

/* While one is waited for, the others' writers go on; then all are of one instant again. */
static void test_waits_for_one(void **state)
{
	(void)state;
	app_do(&fixture.app, "PRAGMA journal_mode=DELETE");
	app_do(&second, "PRAGMA journal_mode=DELETE");
	late = true;
	assert_int_equal(snap_kept_make(fixture.snap, "one", NULL), 0);
	late = false;
	assert_int_equal(rows("db"), 1);
	assert_int_equal(rows("db2"), 1);
	assert_false(is_apart("db"));
	assert_false(is_apart("db2"));
}

/* One that is locked for longer than the others may be held is waited for again, without them. */
static void test_locked_for_long(void **state)
{
	(void)state;
	app_do(&fixture.app, "PRAGMA journal_mode=DELETE");
	app_do(&second, "PRAGMA journal_mode=DELETE");
	locked = true;
	assert_int_equal(snap_kept_make(fixture.snap, "one", NULL), 0);
	assert_false(locked);
	assert_int_equal(rows("db"), 0);
	assert_int_equal(rows("db2"), 1);
	assert_false(is_apart("db"));
	assert_false(is_apart("db2"));
}

/* While what is large is copied, nobody waits for the others. */
static void test_large(void **state)
{
	(void)state;
	app_do(&fixture.app, "PRAGMA journal_mode=DELETE; INSERT INTO t VALUES(zeroblob(40000000))");
	app_do(&second, "PRAGMA journal_mode=DELETE");
	large = true;
	assert_int_equal(snap_kept_make(fixture.snap, "one", NULL), 0);
	large = false;
	assert_int_equal(rows("db"), 1);
	assert_int_equal(rows("db2"), 0);
	assert_false(is_apart("db"));
	assert_false(is_apart("db2"));
}

/* A wal-index that was made for an empty WAL does not know the database's size. */
static void test_nothing_in_the_wal(void **state)
{
	(void)state;
	app_do(&fixture.app, "INSERT INTO t VALUES(1)");
	app_stop(&fixture.app);
	assert_false(file_exists(&fixture.folder, "db-wal"));
	app_start(&fixture.app, &fixture.folder, "db");
	assert_int_equal(app_get(&fixture.app, "SELECT count(*) FROM t"), 1);
	assert_int_equal(snap_kept_make(fixture.snap, "one", NULL), 0);
	app_do(&fixture.app, "INSERT INTO t VALUES(2)");
	assert_int_equal(rows("db"), 1);
	assert_int_equal(rows("db2"), 0);
}

/* Without a moment between two commits there is no instant, and no snapshot. */
static void test_never(void **state)
{
	struct snap_attr attr;

	(void)state;
	commits = INT32_MAX;
	assert_int_equal(snap_kept_make(fixture.snap, "one", NULL), -EBUSY);
	assert_int_equal(snap_lookup(fixture.snap, ".sqlsnapfs/snapshots/one", &attr, NULL, NULL), -ENOENT);
}

/* With nothing to hold it is opened as any reader does: as it is now, though what it was is still at hand. */
static void test_nothing_to_hold(void **state)
{
	struct snap_gen *before;
	struct hold hold;
	struct snap_attr attr;
	char path[PATH_MAX];
	bool missed;

	(void)state;
	app_do(&fixture.app, "PRAGMA journal_mode=DELETE; INSERT INTO t VALUES(1)");
	before = open_now(&fixture);
	assert_int_equal(truncate(folder_file(&fixture.folder, "db", path), 0), 0);
	assert_int_equal(hold_begin(&hold, before->source, NULL), 0);
	assert_int_equal(hold.kind, HOLD_OPENED);
	/* Nobody has written to it meanwhile, and that is known. */
	assert_int_equal(hold_open(&hold, NULL, &missed, NULL), 0);
	assert_false(missed);
	snap_gen_stat(hold.gen, &attr);
	assert_int_equal(attr.size, 0);
	hold_finish(&hold);
	close_gen(before);
	app_stop(&fixture.app);
	app_start(&fixture.app, &fixture.folder, "db");
}

static void make_other(void)
{
	struct app other;

	app_start(&other, &fixture.store, "other");
	app_do(&other, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
	app_stop(&other);
}

/* What replaces it is in the snapshot. */
static void test_one_is_replaced(void **state)
{
	(void)state;
	app_do(&second, "PRAGMA journal_mode=DELETE");
	make_other();
	replaced = true;
	assert_int_equal(snap_kept_make(fixture.snap, "one", NULL), 0);
	assert_false(replaced);
	assert_int_equal(rows("db"), 0);
	assert_int_equal(rows("db2"), 1);
}

/* The third is a database while all are looked for. */
static void prepare_third(int times)
{
	make_other();
	make_third();
	vanish = times;
}

static void test_one_vanishes(void **state)
{
	struct snap_attr attr;

	(void)state;
	prepare_third(2);
	assert_int_equal(snap_kept_make(fixture.snap, "one", NULL), 0);
	assert_int_equal(vanish, 0);
	assert_int_equal(rows("db"), 0);
	assert_int_equal(rows("db2"), 0);
	assert_int_equal(snap_lookup(fixture.snap, ".sqlsnapfs/snapshots/one/db3", &attr, NULL, NULL),
			 -ENOENT);
}

/* It comes and goes all the time: there is an end. */
static void test_one_vanishes_always(void **state)
{
	struct snap_attr attr;

	(void)state;
	prepare_third(INT32_MAX);
	assert_int_equal(snap_kept_make(fixture.snap, "one", NULL), -ENOENT);
	assert_int_equal(snap_lookup(fixture.snap, ".sqlsnapfs/snapshots/one", &attr, NULL, NULL), -ENOENT);
}

static void test_one_vanishes_before_it_is_frozen(void **state)
{
	struct snap_config config = {.wal_limit = 1 << 20,
				     .wal_max = 64 << 20,
				     .store = fixture.store.path,
				     .event = quiet,
				     .frozen = true};
	struct snap_attr attr;

	(void)state;
	snap_destroy(fixture.snap);
	prepare_third(2);
	assert_int_equal(snap_create(&fixture.snap, &config, NULL), 0);
	assert_int_equal(snap_add_folder(fixture.snap, fixture.folder.path, NULL), 0);
	assert_int_equal(snap_start(fixture.snap, NULL), 0);
	assert_int_equal(snap_lookup(fixture.snap, "db2", &attr, NULL, NULL), 0);
	assert_int_equal(snap_lookup(fixture.snap, "db3", &attr, NULL, NULL), -ENOENT);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {test(test_between_looks),
						  test(test_stopped_between_looks),
						  test(test_look_while_it_is_kept),
						  test(test_never),
						  test(test_gives_way),
						  test(test_held_together),
						  test(test_waits_for_one),
						  test(test_locked_for_long),
						  test(test_large),
						  test(test_nothing_in_the_wal),
						  test(test_nothing_to_hold),
						  test(test_one_is_replaced),
						  test(test_one_vanishes),
						  test(test_one_vanishes_always),
						  test(test_one_vanishes_before_it_is_frozen)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
