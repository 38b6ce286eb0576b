/* SPDX-License-Identifier: MIT */
/* Restores of a database in WAL mode that an application has open. */
#include "restores.h"

#define OLD_ROWS 500
#define OLD APP_WAL ";" APP_ROWS(500)
#define NEW                                                                                   \
	"CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE TABLE u(x); PRAGMA user_version=7;" \
	"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<2000) "         \
	"INSERT INTO t(b) SELECT randomblob(300) FROM c"
#define COUNT_T "SELECT count(*) FROM t"

static void test_open_connection_sees_it(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	up(&f, OLD);
	upload_make(&u, f.snap, 4096, NEW);
	assert_restored(&f, &u, &how);
	assert_false(how.result.unchanged);
	assert_int_equal(how.result.size, u.size);
	assert_int_equal(how.result.old_user_version, 0);
	assert_int_equal(how.result.new_user_version, 7);
	assert_int_equal(app_get(&f.app, COUNT_T), 2000);
	assert_shows_upload(&f, &u);
	assert_afresh(&f, COUNT_T, 2000);
	assert_int_equal(count_kept(&f), 1);
	assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), OLD_ROWS);
	/* Until the next commit. */
	app_do(&f.app, "INSERT INTO t(b) VALUES(1)");
	struct snap_gen *gen = open_now(&f);
	assert_int_equal(ask_gen(gen, COUNT_T), 2001);
	close_gen(gen);
	upload_finish(&u);
	app_stop(&f.app);
	down(&f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_connection_sees_it),
	};

	if (argc > 1 && strcmp(argv[1], VALIDATE_ARGUMENT) == 0)
		return validate_child_main(argc, argv);
	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
