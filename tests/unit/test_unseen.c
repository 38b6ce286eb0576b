/* SPDX-License-Identifier: MIT */
/* test_unseen.c - a file that cannot be looked at, for want of descriptors as a rule, is not taken for
 * absent: each look in turn is the one that fails. */
#include "restores.h"

#include <grp.h>

#include "../../src/cleanup.h"
#include "../../src/restore_private.h"
#include "../../src/source_private.h"

#define WAL_OLD WAL_TABLE APP_ROWS(200)
#define NEW TABLE APP_ROWS(500)

/* Of this thread's looks at SUFFIX of "db", whether by its name or by opening it, the one that fails. */
static _Thread_local struct {
	const char *suffix; /* NULL: none */
	int left;
} unseen;

int __real_place_stat(const struct place *place, const char *suffix, struct stat *st);
int __wrap_place_stat(const struct place *place, const char *suffix, struct stat *st);
int __real_rawfd_open(struct rawfd_table *table, int dirfd, const char *path, struct rawfd *out,
		      struct stat *st);
int __wrap_rawfd_open(struct rawfd_table *table, int dirfd, const char *path, struct rawfd *out,
		      struct stat *st);

static bool is_unseen(const char *suffix)
{
	return unseen.suffix && unseen.left > 0 && strcmp(suffix, unseen.suffix) == 0 && --unseen.left == 0;
}

int __wrap_place_stat(const struct place *place, const char *suffix, struct stat *st)
{
	if (strcmp(place->name, "db") == 0 && is_unseen(suffix))
		return -EMFILE;
	return __real_place_stat(place, suffix, st);
}

int __wrap_rawfd_open(struct rawfd_table *table, int dirfd, const char *path, struct rawfd *out,
		      struct stat *st)
{
	if (strncmp(path, "db", 2) == 0 && is_unseen(path + 2))
		return -EMFILE;
	return __real_rawfd_open(table, dirfd, path, out, st);
}

static void cannot_see(const char *suffix, int nth)
{
	unseen.suffix = suffix;
	unseen.left = nth;
}

/* Whether there was such a look. From now on all is seen. */
static bool was_unseen(void)
{
	bool met = unseen.left == 0;

	unseen.suffix = NULL;
	return met;
}

/* ---- what a restore keeps ------------------------------------------------------------------------------ */

static void cut(struct fixture *f)
{
	char path[PATH_MAX];

	assert_int_equal(truncate(folder_file(&f->folder, "db", path), 0), 0);
}

static void take_away(struct fixture *f)
{
	assert_int_equal(unlinkat(f->folder.fd, "db", 0), 0);
}

static void spoil(struct fixture *f)
{
	struct copy garbage = {sqlite3_malloc64(70000), 70000};

	sqlite3_randomness((int)garbage.size, garbage.bytes);
	put_bytes(f, "db", &garbage);
	sqlite3_free(garbage.bytes);
}

/* As journal_mode=PERSIST leaves it: SQLite rolls nothing back, and deletes it in the end. */
static void put_journal(struct fixture *f)
{
	unsigned char zeros[1024] = {0};
	struct copy journal = {zeros, sizeof(zeros)};

	put_bytes(f, "db-journal", &journal);
}

static void cut_beside_journal(struct fixture *f)
{
	cut(f);
	put_journal(f);
}

static void spoil_beside_journal(struct fixture *f)
{
	spoil(f);
	put_journal(f);
}

/* Its first page is in the database file alone. */
#define COPIED_OLD WAL_OLD "; PRAGMA wal_checkpoint(TRUNCATE); UPDATE t SET b=randomblob(300) WHERE a=100"

static const struct loss {
	void (*make)(struct fixture *f);
	const char *sql, *sidecar;
} losses[] = {
	{cut, WAL_OLD, "-wal"},
	{take_away, WAL_OLD, "-wal"},
	{spoil, COPIED_OLD, "-wal"},
	{cut_beside_journal, TABLE, "-journal"},
	{spoil_beside_journal, TABLE, "-journal"},
};

/* Bytes of what was kept of the sidecar; -1: nothing was. */
static int64_t bytes_kept(struct fixture *f, const char *undo, const char *sidecar)
{
	char path[PATH_MAX];
	struct stat st;
	int fd;

	if (!undo[0])
		return -1;
	fd = kept_file_open(f->snap->core.store, folder_file(&f->folder, "db", path), undo, sidecar, NULL);
	if (fd < 0)
		return -1;
	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	return st.st_size;
}

/* The NTH look fails: what the sidecar holds is there, or was kept. False when there are fewer looks. */
static bool check_kept(const struct loss *loss, int nth)
{
	struct restoring how = RESTORING;
	struct file_look before;
	char name[16];
	struct upload u;
	struct fixture f;
	bool met;
	int rc;

	app_up(&f, loss->sql);
	app_kill(&f.app);
	loss->make(&f);
	snap_up_still(&f);
	upload_make(&u, f.snap, 4096, NEW);
	snprintf(name, sizeof(name), "db%s", loss->sidecar);
	before = file_look(&f.folder, name);
	assert_true(before.size > 0);
	cannot_see(loss->sidecar, nth);
	rc = restore(&f, &u, &how);
	met = was_unseen();
	assert_true(how.result.committed ? rc == 0 : rc < 0 && how.err.text[0]);
	assert_true(met || how.result.committed);
	if (bytes_kept(&f, how.result.undo, loss->sidecar) != before.size)
		assert_same_file(file_look(&f.folder, name), before);
	if (how.result.committed)
		assert_afresh(&f, COUNT_T, 500);
	upload_finish(&u);
	down(&f);
	return met;
}

static void test_kept_by_a_restore(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
		int nth = 1;

		while (check_kept(&losses[i], nth))
			nth++;
		print_message("# %zu: %d looks\n", i, nth - 1);
		assert_true(nth > 2);
	}
}

/* ---- an application that goes on ----------------------------------------------------------------------- */

static void cut_without_shm(struct fixture *f)
{
	cut(f);
	assert_int_equal(unlinkat(f->folder.fd, "db-shm", 0), 0);
}

#define EMPTIED_OLD WAL_OLD "; PRAGMA wal_checkpoint(TRUNCATE)"

static const struct in_use {
	void (*make)(struct fixture *f);
	const char *sql, *unseen;
} in_uses[] = {
	{cut_without_shm, WAL_OLD, "-wal"}, /* its lock on the database is left, and the -wal that has all */
	{cut_without_shm, WAL_OLD, ""},
	{cut, EMPTIED_OLD, "-shm"},
	{take_away, WAL_OLD, "-shm"},
};

/* The NTH look fails: no restore goes past the application, which goes on writing. */
static bool check_in_use(const struct in_use *use, int nth)
{
	struct restoring how = RESTORING;
	struct file_look before;
	struct upload u;
	struct fixture f;
	bool met;
	int rc;

	app_up(&f, use->sql);
	use->make(&f);
	snap_up_still(&f);
	upload_make(&u, f.snap, 4096, NEW);
	before = file_look(&f.folder, "db-wal");
	how.busy_timeout_ms = 100;
	cannot_see(use->unseen, nth);
	rc = restore(&f, &u, &how);
	met = was_unseen();
	assert_true(rc == -EBUSY || (met && rc == -EMFILE));
	assert_true(strlen(how.err.text) > 0);
	assert_false(how.result.committed);
	assert_same_file(file_look(&f.folder, "db-wal"), before);
	upload_finish(&u);
	app_kill(&f.app);
	down(&f);
	return met;
}

static void test_in_use(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(in_uses) / sizeof(in_uses[0]); i++) {
		for (int nth = 1; nth < 4; nth++) /* it waits and looks again until its time is over */
			assert_true(check_in_use(&in_uses[i], nth) || nth > 1);
	}
}

/* The NTH look fails: nobody connects beside an application whose -wal and -shm were removed. */
static bool check_removed(int nth)
{
	struct live *live = NULL;
	struct snap_err err = {""};
	struct source *source;
	struct fixture f;
	struct stat st;
	bool met;
	int rc;

	app_up(&f, EMPTIED_OLD);
	assert_int_equal(unlinkat(f.folder.fd, "db-wal", 0), 0);
	assert_int_equal(unlinkat(f.folder.fd, "db-shm", 0), 0);
	snap_up_still(&f);
	source = source_of(&f);
	assert_int_equal(place_stat(&source->place, "", &st), 0);
	cannot_see("", nth);
	rc = live_create(&live, &f.snap->core, &source->place, &st, monotonic_ns(), &err);
	met = was_unseen();
	assert_int_equal(rc, met ? -EMFILE : -EBUSY);
	assert_true(strlen(err.text) > 0);
	assert_false(file_exists(&f.folder, "db-wal") || file_exists(&f.folder, "db-shm"));
	source_unref(source);
	app_kill(&f.app);
	down(&f);
	return met;
}

static void test_removed_sidecars(void **state)
{
	int nth = 1;

	(void)state;
	while (check_removed(nth))
		nth++;
	assert_true(nth > 2);
}

/* ---- connecting ---------------------------------------------------------------------------------------- */

/* SQLite has the -shm open for the file that "new" has replaced. */
static void test_shm_of_another_database(void **state)
{
	struct live *live = NULL;
	struct snap_err err = {""};
	struct fixture f;
	struct app other;
	struct stat st;

	(void)state;
	app_up(&f, WAL_OLD);
	app_start(&other, &f.folder, "new");
	app_do(&other, WAL_OLD);
	app_stop(&other);
	snap_up_still(&f);
	struct snap_gen *gen = open_now(&f);
	const struct place *place = &gen->source->place;

	app_stop(&f.app);
	replace(&f, false);
	assert_int_equal(place_stat(place, "", &st), 0);
	cannot_see("-shm", 1);
	assert_int_equal(live_create(&live, &f.snap->core, place, &st, monotonic_ns() + 5 * NS_PER_S, &err),
			 -EMFILE);
	assert_true(was_unseen());
	assert_null(live);
	assert_true(strlen(err.text) > 0);
	assert_int_equal(ask(gen, COUNT_T), 200);
	close_gen(gen);
	down(&f);
}

/* The NTH look fails: what a crash has left is there when the incarnation has gone. */
static bool check_left(int nth)
{
	struct live *live = NULL;
	struct source *source;
	struct file_look db, wal;
	struct snap_err err = {""};
	struct fixture f;
	struct stat st;
	bool met;

	app_up(&f, WAL_OLD);
	app_kill(&f.app);
	db = file_look(&f.folder, "db");
	wal = file_look(&f.folder, "db-wal");
	snap_up_still(&f);
	source = source_of(&f);
	assert_int_equal(place_stat(&source->place, "", &st), 0);
	cannot_see("-wal", nth);
	live_create(&live, &f.snap->core, &source->place, &st, monotonic_ns() + 5 * NS_PER_S, &err);
	met = was_unseen();
	assert_true(met || live);
	live_unref(live);
	source_unref(source);
	snap_destroy(f.snap);
	assert_same_file(file_look(&f.folder, "db"), db);
	assert_same_file(file_look(&f.folder, "db-wal"), wal);
	folder_remove(&f.folder);
	folder_remove(&f.store);
	return met;
}

static void test_wal_that_a_crash_left(void **state)
{
	int nth = 1;

	(void)state;
	while (check_left(nth))
		nth++;
	assert_true(nth > 1);
}

/* ---- as another user ----------------------------------------------------------------------------------- */

enum { OWNER = 1001, ANOTHER = 1002 };

struct another {
	struct fixture *f;
	const char *unseen;
	int nth;
};

static int become_another(void)
{
	return setgroups(0, NULL) || setgid(ANOTHER) || setuid(ANOTHER);
}

/* As the daemon of a user who may make files beside the database. The exit status: whether there was such a
 * look, or what went wrong. */
static int read_as_another(void *arg)
{
	const struct another *another = arg;
	struct snap_config config = {
		.wal_limit = 1 << 20, .wal_max = 64 << 20, .store = another->f->store.path, .event = quiet};
	struct snap_gen *gen = NULL, *moved = NULL;
	struct snap_attr attr;
	struct snap *snap;
	bool met;
	int rc;

	if (become_another())
		return 90;
	if (snap_create(&snap, &config, NULL) || snap_add_folder(snap, another->f->folder.path, NULL) ||
	    snap_lookup(snap, "db", &attr, &gen, NULL))
		return 91;
	cannot_see(another->unseen, another->nth);
	rc = snap_gen_open(gen, 0, &moved, NULL);
	met = was_unseen();
	return rc && !met ? 92 : met;
}

/* Each look in turn fails: no -wal or -shm is made that would lock the owner out. */
static void test_sidecars_of_another(void **state)
{
	struct another another = {.unseen = ""};
	struct fixture f;
	char command[256];
	int status = 1;

	(void)state;
	app_up(&f, WAL_OLD);
	app_stop(&f.app);
	snprintf(command, sizeof(command),
		 "cd %s && chmod 0777 . && chmod 0644 db && chown %d db && chown %d %s", f.folder.path, OWNER,
		 ANOTHER, f.store.path);
	assert_int_equal(system(command), 0);
	another.f = &f;
	while (status == 1) {
		another.nth++;
		status = in_child(read_as_another, &another);
		assert_false(file_exists(&f.folder, "db-wal") || file_exists(&f.folder, "db-shm"));
	}
	assert_int_equal(status, 0);
	assert_true(another.nth > 2);
	folder_remove(&f.folder);
	folder_remove(&f.store);
}

/* The same who restores. */
static int restore_as_another(void *arg)
{
	const struct another *another = arg;
	struct restoring how = RESTORING;
	struct upload u;
	bool met;
	int rc;

	if (become_another())
		return 90;
	snap_up_still(another->f);
	upload_make(&u, another->f->snap, 4096, NEW);
	cannot_see(another->unseen, another->nth);
	rc = restore(another->f, &u, &how);
	met = was_unseen();
	if (rc == -EACCES || (rc && !met))
		return 93;
	return met;
}

/* While the application has it open anybody may who can write the files: he is not refused for a look that
 * failed as one who never may. */
static void test_restore_by_another(void **state)
{
	static const char *const sidecars[] = {"-wal", "-shm"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct another another = {.unseen = sidecars[i]};
		int status = 1;

		while (status == 1) {
			struct fixture f;
			char command[256];

			app_up(&f, WAL_OLD);
			snprintf(command, sizeof(command),
				 "cd %s && chmod 0777 . && chmod 0666 * && chown %d %s", f.folder.path,
				 ANOTHER, f.store.path);
			assert_int_equal(system(command), 0);
			another.f = &f;
			another.nth++;
			status = in_child(restore_as_another, &another);
			app_kill(&f.app);
			folder_remove(&f.folder);
			folder_remove(&f.store);
		}
		assert_int_equal(status, 0);
		assert_true(another.nth > 2);
	}
}

/* ---- what is remembered -------------------------------------------------------------------------------- */

static bool is_failing(struct source *s)
{
	lock_scope(&s->lock);
	return s->failing;
}

static void test_failing_until_it_has_gone(void **state)
{
	struct source *source;
	struct fixture f;

	(void)state;
	app_up(&f, WAL_OLD);
	app_stop(&f.app);
	snap_up_still(&f);
	source = source_of(&f);
	source_note_error(source, "too many open files");
	cannot_see("", 1);
	source_forgive_gone(NULL, source);
	assert_true(was_unseen());
	assert_true(is_failing(source));
	take_away(&f);
	source_forgive_gone(NULL, source);
	assert_false(is_failing(source));
	source_unref(source);
	down(&f);
}

/* The WAL of a restore is there still, as far as anybody knows: it is tried again. */
static void test_wal_is_cut_later(void **state)
{
	struct source *source;
	struct fixture f;

	(void)state;
	app_up(&f, WAL_OLD);
	snap_up_still(&f);
	source = source_of(&f);
	struct restore r = {.source = source};

	cannot_see("-wal", 1);
	restore_tidy_later(&r);
	assert_true(was_unseen());
	assert_non_null(source->tidy);
	app_stop(&f.app);
	restore_tidy_later(&r);
	assert_null(source->tidy);
	source_unref(source);
	down(&f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kept_by_a_restore),
		cmocka_unit_test(test_in_use),
		cmocka_unit_test(test_removed_sidecars),
		cmocka_unit_test(test_shm_of_another_database),
		cmocka_unit_test(test_wal_that_a_crash_left),
		cmocka_unit_test(test_sidecars_of_another),
		cmocka_unit_test(test_restore_by_another),
		cmocka_unit_test(test_failing_until_it_has_gone),
		cmocka_unit_test(test_wal_is_cut_later),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
