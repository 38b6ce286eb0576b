/* SPDX-License-Identifier: MIT */
/*
 * test_source_close.c - the last close of an incarnation copies a whole WAL, as the application's would have:
 * a look, which may not wait, leaves that to another thread.
 *
 * There is no janitor; what it would do comes out of live_unref_later(), which the look calls at its end.
 */
#include "gens.h"

#include "../../src/snap_private.h"
#include "../../src/source_private.h"

/* Which thread opened the connection that closes for the application. */
static struct {
	int count;
	pthread_t thread;
} closer;

/* The application that makes its last close as we connect; NULL: none. */
static struct app *leaving;

int __real_db_open_inode(struct db *db, int dirfd, const char *name, uint64_t dev, uint64_t ino,
			 enum db_kind kind, struct snap_err *err);
int __wrap_db_open_inode(struct db *db, int dirfd, const char *name, uint64_t dev, uint64_t ino,
			 enum db_kind kind, struct snap_err *err);

int __wrap_db_open_inode(struct db *db, int dirfd, const char *name, uint64_t dev, uint64_t ino,
			 enum db_kind kind, struct snap_err *err)
{
	if (kind == DB_CLOSER) {
		closer.count++;
		closer.thread = pthread_self();
	} else if (leaving) {
		app_stop(leaving);
		leaving = NULL;
	}
	return __real_db_open_inode(db, dirfd, name, dev, ino, kind, err);
}

/* The janitor, between a look's use of the incarnation and its end. */
static struct source *let_go;

void __real_live_unref_later(struct live *live);
void __wrap_live_unref_later(struct live *live);

void __wrap_live_unref_later(struct live *live)
{
	struct source *s = let_go;

	let_go = NULL;
	if (s)
		source_disconnect(s);
	__real_live_unref_later(live);
}

static struct snap_gen *look_at(struct fixture *f, const char *path)
{
	struct snap_gen *gen = NULL;
	struct snap_attr attr;

	assert_int_equal(snap_lookup(f->snap, path, &attr, &gen, NULL), 0);
	assert_non_null(gen);
	return gen;
}

/* Reads it once, so that its source is connected: the source, which the generation GEN keeps. The look may
 * have been too slow for the machine's load, and not connected. */
static struct source *read_once(struct fixture *f, const char *path, struct snap_gen **gen)
{
	*gen = look_at(f, path);
	assert_int_equal(source_gen_open(gen, 1, NULL), 0);
	snap_gen_close(*gen);
	assert_non_null((*gen)->source->live);
	return (*gen)->source;
}

/* A thread that is not this one closed, unless none is to be had. */
static void assert_closed(struct fixture *f, bool inline_)
{
	work_stop(f->snap->core.work); /* waits for what has begun */
	assert_int_equal(closer.count, 1);
	assert_int_equal(pthread_equal(closer.thread, pthread_self()) != 0, inline_);
}

static void test_the_janitor_lets_go_meanwhile(void **state)
{
	(void)state;
	for (int full = 0; full < 2; full++) {
		struct fixture f;
		struct snap_gen *gen;

		app_up(&f, APP_WAL ";" APP_ROWS(100));
		snap_up_still(&f);
		closer.count = 0;
		let_go = read_once(&f, "db", &gen);
		app_stop(&f.app);
		assert_true(file_exists(&f.folder, "db-wal"));
		if (full)
			work_stop(f.snap->core.work);
		snap_gen_unref(look_at(&f, "db"));
		assert_null(let_go);
		assert_closed(&f, full);
		assert_false(file_exists(&f.folder, "db-wal"));
		snap_gen_unref(gen);
		down(&f);
	}
}

static struct folder below(struct fixture *f, const char *name)
{
	struct folder folder;

	snprintf(folder.path, sizeof(folder.path), "%.40s/%.20s", f->folder.path, name);
	assert_int_equal(mkdir(folder.path, 0755), 0);
	folder.fd = open(folder.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(folder.fd >= 0);
	return folder;
}

/* Another folder takes the place of the one in which the database still stands. */
static void test_its_folder_is_replaced(void **state)
{
	struct fixture f;
	struct folder before, after;
	struct app app, other;
	struct snap_gen *gen, *next;

	(void)state;
	folder_make(&f.folder);
	folder_make(&f.store);
	before = below(&f, "sub");
	after = below(&f, "new");
	app_start(&app, &before, "db");
	app_start(&other, &after, "db");
	app_do(&app, APP_WAL ";" APP_ROWS(100));
	app_do(&other, APP_WAL ";" APP_ROWS(200));
	snap_up_still(&f);
	closer.count = 0;
	read_once(&f, "sub/db", &gen);
	app_stop(&app);
	assert_int_equal(renameat(f.folder.fd, "sub", f.folder.fd, "old"), 0);
	assert_int_equal(renameat(f.folder.fd, "new", f.folder.fd, "sub"), 0);
	next = look_at(&f, "sub/db");
	assert_ptr_not_equal(next, gen);
	assert_closed(&f, false);
	assert_false(file_exists(&before, "db-wal"));
	assert_true(file_exists(&after, "db-wal"));
	snap_gen_unref(gen);
	snap_gen_unref(next);
	app_stop(&other);
	close(before.fd);
	close(after.fd);
	down(&f);
}

/* What we open then is made by us, though a -wal full of its commits stood there when we came. */
static void test_an_application_closes_as_we_come(void **state)
{
	struct fixture f;
	struct snap_gen *gen;

	(void)state;
	app_up(&f, APP_WAL "; PRAGMA wal_autocheckpoint=0;" APP_ROWS(100));
	snap_up_still(&f);
	leaving = &f.app;
	gen = open_now(&f);
	assert_null(leaving);
	assert_int_equal(ask(gen, "SELECT count(*) FROM t"), 100);
	assert_true(file_exists(&f.folder, "db-wal"));
	struct source *s = source_ref(gen->source);
	close_gen(gen);
	source_disconnect(s);
	source_unref(s);
	assert_false(file_exists(&f.folder, "db-wal"));
	assert_false(file_exists(&f.folder, "db-shm"));
	down(&f);
}

/* Its application could not read what we would write: what it left stays. */
static void test_no_close_without_its_checksums(void **state)
{
	struct fixture f;
	struct snap_gen *gen;

	(void)state;
	folder_make(&f.folder);
	folder_make(&f.store);
	make_reserved(&f.folder, "db");
	app_start(&f.app, &f.folder, "db");
	app_do(&f.app, APP_WAL "; PRAGMA wal_autocheckpoint=0;" APP_ROWS(100));
	snap_up_still(&f);
	gen = open_now(&f);
	assert_int_equal(ask(gen, "SELECT count(*) FROM t"), 100);
	struct file_look db = file_look(&f.folder, "db");
	app_do(&f.app, APP_ROWS(100));
	app_stop(&f.app);
	struct source *s = source_ref(gen->source);
	close_gen(gen);
	source_disconnect(s);
	source_unref(s);
	assert_same_file(file_look(&f.folder, "db"), db);
	assert_true(file_look(&f.folder, "db-wal").size > 0);
	app_start(&f.app, &f.folder, "db");
	assert_int_equal(app_get(&f.app, "SELECT count(*) FROM t"), 200);
	app_stop(&f.app);
	down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_janitor_lets_go_meanwhile),
		cmocka_unit_test(test_its_folder_is_replaced),
		cmocka_unit_test(test_an_application_closes_as_we_come),
		cmocka_unit_test(test_no_close_without_its_checksums),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
