/* SPDX-License-Identifier: MIT */
/* test_status_mark.c - the WAL-reset bug: which versions of SQLite have it, and the mark that it leaves. */
#include "status_view.h"

#include "../../src/facts.h"
#include "../../src/source_private.h"

static void test_bug_versions(void **state)
{
	static const struct {
		int number;
		bool bug;
	} cases[] = {
		{3006023, false}, {3007000, true},  {3007001, true},  {3040001, true},	{3044005, true},
		{3044006, false}, {3046001, true},  {3050006, true},  {3050007, false}, {3051000, true},
		{3051002, true},  {3051003, false}, {3053000, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(facts_wal_reset_bug(cases[i].number), cases[i].bug);
	assert_int_equal(snap_sqlite_has_wal_reset_bug(), facts_wal_reset_bug(sqlite3_libversion_number()));
}

static int set_backfill(void *arg)
{
	uint32_t *order = arg;
	char path[PATH_MAX];
	int fd;

	memcpy(path, order + 1, sizeof(path));
	fd = open(path, O_RDWR);
	return fd < 0 || pwrite(fd, order, sizeof(*order), 96) != sizeof(*order);
}

/* nBackfill, as the bug leaves it. In a process of its own: closing the file here would drop locks. */
static void mark(struct fixture *f, uint32_t frames)
{
	uint32_t order[1 + PATH_MAX / sizeof(uint32_t)] = {frames};

	folder_file(&f->folder, "db-shm", (char *)(order + 1));
	assert_int_equal(in_child(set_backfill, order), 0);
}

static void test_the_mark_counts_when_it_stays(void **state)
{
	struct snap_gen *gen;
	struct source *s;
	struct fixture f;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(10));
	snap_up_still(&f);
	gen = open_now(&f);
	s = source_of(gen);
	source_watch_mark(s, s->live);
	source_watch_mark(s, s->live);
	assert_false(facts_of(&f).wal_marked);
	mark(&f, 1000);
	source_watch_mark(s, s->live);
	assert_false(facts_of(&f).wal_marked);
	app_do(&f.app, "INSERT INTO t(b) VALUES(1)"); /* a header later: it begins again */
	source_watch_mark(s, s->live);
	assert_false(facts_of(&f).wal_marked);
	source_watch_mark(s, s->live);
	assert_true(facts_of(&f).wal_marked);
	assert_non_null(strstr(facts_of(&f).error.text, "WAL-reset"));
	app_do(&f.app, "INSERT INTO t(b) VALUES(1)");
	source_watch_mark(s, s->live);
	assert_true(facts_of(&f).wal_marked);
	mark(&f, 0);
	source_watch_mark(s, s->live);
	assert_false(facts_of(&f).wal_marked);
	close_gen(gen);
	app_stop(&f.app);
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bug_versions),
		cmocka_unit_test(test_the_mark_counts_when_it_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
