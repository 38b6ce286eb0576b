/* SPDX-License-Identifier: MIT */
/* test_restore_super.c - what a restore makes of the journal that an application left when it died in a
 * transaction over several databases: what it keeps is what the application's next open would have found. */
#include "restores.h"

#define NEW TABLE APP_ROWS(500)

/* sqlite3_malloc'ed */
static struct copy read_whole(struct fixture *f, const char *name)
{
	size_t size = (size_t)file_bytes(f, name);
	struct copy copy = {sqlite3_malloc64(size), size};
	int fd = openat(f->folder.fd, name, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0 && size > 0);
	assert_int_equal(pread(fd, copy.bytes, size, 0), size);
	close(fd);
	return copy;
}

#define SUPER "db-mj0123459AB"

/* The application is in the middle of a transaction. */
static void begin_super(struct fixture *f)
{
	up(f, ROLLBACK_TABLE APP_ROWS(10000));
	app_do(&f->app, "PRAGMA cache_spill=0; BEGIN; UPDATE t SET b='new'");
}

enum super_is {
	SUPER_IS_THERE,
	SUPER_IS_GONE,
	SUPER_IS_ELSEWHERE,
};

/* It writes all of it, and dies before it deletes the journal, which names a super-journal. */
static void die_in_super(struct fixture *f, enum super_is is)
{
	struct copy nothing = {(unsigned char[]){0}, 1}, journal = read_whole(f, "db-journal");
	char super[PATH_MAX] = "/elsewhere/" SUPER;

	memcpy(journal.bytes, JOURNAL_MAGIC, 8); /* as a sync of it would have written, and: */
	memset(journal.bytes + 8, 0xff, 4);	 /* so many pages are in it as there are */
	app_do(&f->app, "COMMIT");
	app_stop(&f->app);
	put_bytes(f, "db-journal", &journal);
	sqlite3_free(journal.bytes);
	if (is != SUPER_IS_ELSEWHERE)
		folder_file(&f->folder, SUPER, super);
	name_super(&f->folder, "db-journal", super);
	if (is == SUPER_IS_THERE)
		put_bytes(f, SUPER, &nothing);
}

struct super {
	struct fixture *f;
	enum super_is is;
	bool is_over;
};

/* Asked whether it goes on, while the restore waits for the lock. */
static bool die_meanwhile(void *arg)
{
	struct super *super = arg;

	if (!super->is_over)
		die_in_super(super->f, super->is);
	super->is_over = true;
	return false;
}

/* As long as the super-journal is there the transaction is to be rolled back; without it, it was committed.
 * MEANWHILE: the restore has begun. */
static void check_super(enum super_is is, bool meanwhile)
{
	struct restoring how = RESTORING;
	struct fixture f;
	struct super super = {.f = &f, .is = is};
	struct upload u;

	begin_super(&f);
	upload_make(&u, f.snap, 4096, NEW);
	if (meanwhile) {
		how.cancelled = die_meanwhile;
		how.arg = &super;
	} else {
		die_in_super(&f, is);
	}
	assert_restored(&f, &u, &how);
	assert_afresh(&f, COUNT_T, 500);
	assert_int_equal(ask_kept(&f, how.result.undo, "SELECT count(*) FROM t WHERE b='new'"),
			 is == SUPER_IS_THERE ? 0 : 10000);
	assert_int_equal(file_exists(&f.folder, SUPER), is == SUPER_IS_THERE);
	upload_finish(&u);
	down(&f);
}

static void test_super_journal(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		check_super(i % 2 ? SUPER_IS_GONE : SUPER_IS_THERE, i / 2 == 1);
}

static void assert_undecided(struct fixture *f, struct upload *u, struct super *super)
{
	struct restoring how = RESTORING;

	how.cancelled = die_meanwhile;
	how.arg = super;
	assert_int_equal(restore(f, u, &how), -EIO);
	assert_non_null(strstr(how.err.text, "stands elsewhere"));
	assert_int_equal(count_kept(f), 0);
}

static void assert_same(struct fixture *f, const char *name, const struct copy *was)
{
	struct copy is = read_whole(f, name);

	assert_int_equal(is.size, was->size);
	assert_memory_equal(is.bytes, was->bytes, was->size);
	sqlite3_free(is.bytes);
	sqlite3_free(was->bytes);
}

/* Nobody can tell whether the transaction was committed: nothing is rolled back, kept or restored until the
 * application has opened the database. */
static void test_super_journal_elsewhere(void **state)
{
	struct restoring how = RESTORING;
	struct fixture f;
	struct super super = {.f = &f, .is = SUPER_IS_ELSEWHERE};
	struct copy db, journal;
	struct upload u;

	(void)state;
	begin_super(&f);
	upload_make(&u, f.snap, 4096, NEW);
	assert_undecided(&f, &u, &super); /* it dies while the restore waits for the lock */
	db = read_whole(&f, "db");
	journal = read_whole(&f, "db-journal");
	assert_undecided(&f, &u, &super);
	assert_same(&f, "db", &db);
	assert_same(&f, "db-journal", &journal);
	app_start(&f.app, &f.folder, "db");
	assert_int_equal(app_get(&f.app, "SELECT count(*) FROM t WHERE b='new'"), 10000);
	assert_restored(&f, &u, &how);
	assert_int_equal(app_get(&f.app, COUNT_T), 500);
	assert_int_equal(ask_kept(&f, how.result.undo, "SELECT count(*) FROM t WHERE b='new'"), 10000);
	app_stop(&f.app);
	upload_finish(&u);
	down(&f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_super_journal),
		cmocka_unit_test(test_super_journal_elsewhere),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
