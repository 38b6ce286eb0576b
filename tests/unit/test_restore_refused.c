/* SPDX-License-Identifier: MIT */
/* Restores that are refused because nobody can have meant them: the live database stays as it was. */
#include "restores.h"

#define WAL_OLD WAL_TABLE APP_ROWS(200)
#define NEW TABLE APP_ROWS(500)

static const struct {
	const char *old, *new;
	int code; /* 0: it is fine */
	bool even_forced;
} meanings[] = {
	{TABLE, "CREATE VIEW v AS SELECT 1", -EINVAL, false},
	{TABLE, "CREATE TABLE other(x)", -EINVAL, false},
	{TABLE, "CREATE TABLE other(x); CREATE TABLE T(x)", 0, false},
	{"SELECT 1", "CREATE TABLE other(x)", 0, false},
	/* SQLite 3.40 calls such a schema malformed where it is not trusted. */
	{TABLE "CREATE TABLE j(a); CREATE INDEX i ON j(json_extract(a, '$.x'))", "CREATE TABLE other(x)",
	 -EINVAL, false},
	{TABLE "PRAGMA application_id=1", TABLE "PRAGMA application_id=2", -EINVAL, false},
	{TABLE "PRAGMA application_id=1", TABLE, 0, false},
	{TABLE, TABLE "PRAGMA application_id=2", 0, false},
	{TABLE, "PRAGMA encoding='UTF-16le';" TABLE, -EINVAL, true},
};

static void test_live_checksums(void **state)
{
	struct restoring how = RESTORING, forced = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	folder_make(&f.folder);
	folder_make(&f.store);
	make_reserved(&f.folder, "db");
	app_start(&f.app, &f.folder, "db");
	app_do(&f.app, "PRAGMA journal_mode=WAL;" TABLE);
	snap_up(&f);
	upload_make(&u, f.snap, 4096, TABLE);
	assert_refused(&f, &u, &how, -EINVAL);
	assert_non_null(strstr(how.err.text, "checksum"));
	forced.force = true;
	assert_restored(&f, &u, &forced);
	restore_down(&f, &u);
}

static void test_meaning(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		for (int wal = 0; wal < 2; wal++) {
			struct restoring how = RESTORING, forced = RESTORING;
			struct upload u;
			struct fixture f;

			up(&f, wal ? "PRAGMA journal_mode=WAL; CREATE TABLE x(a); DROP TABLE x"
				   : "CREATE TABLE x(a); DROP TABLE x");
			app_do(&f.app, meanings[i].old);
			upload_make(&u, f.snap, 4096, meanings[i].new);
			if (meanings[i].code)
				assert_refused(&f, &u, &how, meanings[i].code);
			else
				assert_restored(&f, &u, &how);
			forced.force = true;
			if (meanings[i].even_forced)
				assert_refused(&f, &u, &forced, meanings[i].code);
			else
				assert_restored(&f, &u, &forced);
			restore_down(&f, &u);
		}
	}
}

static void test_several_names(void **state)
{
	struct restoring how = RESTORING;
	char from[PATH_MAX], to[PATH_MAX];
	struct upload u;
	struct fixture f;

	(void)state;
	restore_up(&f, &u, WAL_OLD, NEW);
	assert_int_equal(link(folder_file(&f.folder, "db", from), folder_file(&f.folder, "another", to)), 0);
	assert_refused(&f, &u, &how, -EMLINK);
	assert_int_equal(unlink(to), 0);
	assert_restored(&f, &u, &how);
	restore_down(&f, &u);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_live_checksums),
		cmocka_unit_test(test_meaning),
		cmocka_unit_test(test_several_names),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
