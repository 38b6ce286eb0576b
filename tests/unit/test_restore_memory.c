/* SPDX-License-Identifier: MIT */
/*
 * Restores in which the N-th of SQLite's allocations fails, once or with all that follow, until one meets no
 * failure any more. After each the live database is wholly the old or wholly the new one, as the answer says.
 */
#include "restores.h"

#define OLD_ROWS 40
#define NEW_ROWS 90
#define WAL_OLD WAL_TABLE APP_ROWS(40)
#define ROLLBACK_OLD ROLLBACK_TABLE APP_ROWS(40)
#define NEW TABLE APP_ROWS(90)

static sqlite3_mem_methods real_memory;
static _Thread_local int memory_left; /* SQLite's allocations of this thread until they fail; 0: never */
static _Thread_local bool memory_hit, memory_persists;

static bool memory_fails(void)
{
	if (memory_left == 0 || --memory_left > 0)
		return false;
	memory_hit = true;
	memory_left = memory_persists ? 1 : 0;
	return true;
}

static void *faulty_malloc(int size)
{
	return memory_fails() ? NULL : real_memory.xMalloc(size);
}

static void *faulty_realloc(void *p, int size)
{
	return memory_fails() ? NULL : real_memory.xRealloc(p, size);
}

/* Before SQLite is used at all. */
static int memory_setup(void)
{
	sqlite3_mem_methods faulty;

	if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory) != SQLITE_OK)
		return 1;
	faulty = real_memory;
	faulty.xMalloc = faulty_malloc;
	faulty.xRealloc = faulty_realloc;
	return sqlite3_config(SQLITE_CONFIG_MALLOC, &faulty) != SQLITE_OK;
}

static void check_memory(const char *sql, bool persists)
{
	int64_t rows = 0;
	bool hit = true;
	int n = 0, runs = 0;

	for (struct fixture f; hit && n < 20000; n += 1 + n / 16, runs++) {
		struct restoring how = RESTORING;
		struct upload u;
		int rc;

		if (rows != OLD_ROWS)
			up(&f, sql);
		upload_make(&u, f.snap, 4096, NEW);
		source_unref(source_of(&f)); /* which makes a database, the first time */
		memory_left = n + 1;
		memory_persists = persists;
		memory_hit = false;
		rc = restore(&f, &u, &how);
		memory_left = 0;
		hit = memory_hit;
		rows = how.result.committed ? NEW_ROWS : OLD_ROWS;
		if (rc && strlen(how.err.text) == 0)
			fail_msg("%d without words", rc);
		assert_true(rc != 0 || how.result.committed);
		assert_afresh(&f, COUNT_T, rows);
		assert_int_equal(app_get(&f.app, COUNT_T), rows);
		assert_int_equal(count_kept(&f), how.result.committed);
		upload_finish(&u);
		if (rows != OLD_ROWS) {
			app_stop(&f.app);
			down(&f);
		}
	}
	print_message("# %d allocations, %d restores\n", n, runs);
	assert_false(hit);
	assert_int_equal(rows, NEW_ROWS);
}

static void test_memory_wal(void **state)
{
	(void)state;
	check_memory(WAL_OLD, false);
	check_memory(WAL_OLD, true);
}

static void test_memory_rollback(void **state)
{
	(void)state;
	check_memory(ROLLBACK_OLD, false);
	check_memory(ROLLBACK_OLD, true);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_wal),
		cmocka_unit_test(test_memory_rollback),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	if (memory_setup())
		return 1;
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
