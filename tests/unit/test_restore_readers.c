/* SPDX-License-Identifier: MIT */
/* Restores below readers: what they read stays, and the WAL that a restore writes is not held against them.
 */
#include "restores.h"

#include <stdatomic.h>

#include "../../src/source_private.h"

#define WAL_OLD "PRAGMA journal_mode=WAL;" TABLE APP_ROWS(200)
#define NEW TABLE APP_ROWS(20000)
#define PATIENCE_NS (20 * NS_PER_S)

/* A mount whose readers may hold back less WAL than a restore writes. */
static void up_bounded(struct fixture *f)
{
	struct snap_config config = {.wal_limit = 256 << 10, .wal_max = 1 << 20, .event = quiet};

	app_up(f, WAL_OLD);
	config.store = f->store.path;
	assert_int_equal(snap_create(&f->snap, &config, NULL), 0);
	assert_int_equal(snap_add_folder(f->snap, f->folder.path, NULL), 0);
	assert_int_equal(snap_start(f->snap, NULL), 0);
}

static bool is_spooled(struct snap_gen *gen)
{
	struct source *s = gen->source;
	int64_t since;
	bool pinned;

	pthread_mutex_lock(&s->lock);
	pinned = gen->image && image_is_pinned(gen->image, &since);
	pthread_mutex_unlock(&s->lock);
	return !pinned;
}

static void test_readers_outlive_a_big_wal(void **state)
{
	struct restoring how = RESTORING;
	int64_t end = monotonic_ns() + PATIENCE_NS;
	unsigned char *bytes;
	struct snap_gen *gen;
	struct upload u;
	struct fixture f;

	(void)state;
	up_bounded(&f);
	gen = open_now(&f);
	bytes = bytes_of(gen);
	upload_make(&u, f.snap, 4096, NEW);
	assert_restored(&f, &u, &how);
	assert_true(u.size > 4u << 20);
	while (!is_spooled(gen)) {
		assert_true(monotonic_ns() < end);
		nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
		assert_same_bytes(gen, bytes);
	}
	assert_same_bytes(gen, bytes);
	assert_int_equal(ask(gen, COUNT_T), 200);
	assert_shows_upload(&f, &u);
	/* And then the WAL is not in the way any more, either. */
	while (file_bytes(&f, "db-wal") > 0) {
		assert_true(monotonic_ns() < end);
		nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
	}
	assert_shows_upload(&f, &u);
	assert_int_equal(app_get(&f.app, COUNT_T), 20000);
	assert_same_bytes(gen, bytes);
	free(bytes);
	close_gen(gen);
	restore_down(&f, &u);
}

/* Without a reader the WAL is in the database when it returns, and takes no room. */
static void test_wal_is_short_afterwards(void **state)
{
	struct restoring how = RESTORING;
	struct upload u;
	struct fixture f;

	(void)state;
	restore_up(&f, &u, WAL_OLD, NEW);
	assert_restored(&f, &u, &how);
	assert_int_equal(file_bytes(&f, "db-wal"), 0);
	assert_int_equal(file_bytes(&f, "db"), u.size);
	assert_shows_upload(&f, &u);
	restore_down(&f, &u);
}

struct restore; /* of restore_private.h */

int __real_restore_shorten(struct restore *r);
int __wrap_restore_shorten(struct restore *r);

static atomic_int shortens_busy; /* calls that are to meet a lock */

int __wrap_restore_shorten(struct restore *r)
{
	return atomic_load(&shortens_busy) > 0 && atomic_fetch_sub(&shortens_busy, 1) > 0
		       ? -EBUSY
		       : __real_restore_shorten(r);
}

/* The reader has gone, but just then somebody has it locked. */
static void test_wal_is_cut_in_the_end(void **state)
{
	struct restoring how = RESTORING;
	int64_t end;
	struct upload u;
	struct fixture f;

	(void)state;
	restore_up(&f, &u, WAL_OLD, NEW);
	app_do(&f.app, "BEGIN; " COUNT_T);
	atomic_store(&shortens_busy, 2);
	assert_restored(&f, &u, &how);
	assert_true(file_bytes(&f, "db-wal") > 0);
	app_do(&f.app, "ROLLBACK");
	end = monotonic_ns() + PATIENCE_NS;
	while (file_bytes(&f, "db-wal") > 0) {
		assert_true(monotonic_ns() < end);
		nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
	}
	assert_int_equal(atomic_load(&shortens_busy), 0);
	assert_shows_upload(&f, &u);
	restore_down(&f, &u);
}

/* ---- an application that waits for readers ------------------------------------------------------------ */

struct checkpointer {
	struct fixture *f;
	const char *sql;
	bool asked;
};

/* While the old content is read under a pin. */
static bool checkpoint_now(void *arg)
{
	struct checkpointer *c = arg;

	if (!c->asked)
		begin_checkpoint(c->f, c->sql);
	c->asked = true;
	return false;
}

/* It keeps LEFT rows. */
static void check_checkpoint(const char *sql, int left)
{
	struct restoring how = RESTORING;
	struct checkpointer c = {.sql = sql};
	struct keep_entry entry;
	char path[PATH_MAX];
	struct upload u;
	struct fixture f;

	up(&f, WAL_OLD);
	app_do(&f.app, "INSERT INTO t(b) VALUES(randomblob(100000)); VACUUM");
	upload_make(&u, f.snap, 4096, NEW);
	c.f = &f;
	how.cancelled = checkpoint_now;
	how.arg = &c;
	assert_restored(&f, &u, &how);
	assert_true(c.asked);
	end_checkpoint(&f);
	assert_int_equal(app_get(&f.app, COUNT_T), 20000);
	assert_shows_upload(&f, &u);
	assert_int_equal(count_kept(&f), 1);
	assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), left);
	folder_file(&f.folder, "db", path);
	assert_int_equal(keep_find(f.snap->core.store, path, how.result.undo, &entry), 0);
	assert_int_equal(entry.meta.size,
			 ask_kept(&f, how.result.undo, "SELECT page_count*4096 FROM pragma_page_count"));
	restore_down(&f, &u);
}

/* Neither waits for the other until his patience ends, and what was replaced is kept all the same; nothing is
 * left of what was copied before, when there was more of it. */
static void test_a_checkpoint_that_waits_for_readers(void **state)
{
	(void)state;
	check_checkpoint(BUSY_CHECKPOINT, 201);
	check_checkpoint("DELETE FROM t WHERE a > 10; VACUUM; " BUSY_CHECKPOINT, 10);
}

/* What was copied before the lock is not copied a second time, for which there may be no room. */
static void test_room_after_a_checkpoint(void **state)
{
	struct restoring how = RESTORING;
	struct checkpointer c = {.sql = BUSY_CHECKPOINT};
	struct upload u;
	struct fixture f;

	(void)state;
	app_up(&f, WAL_OLD);
	app_do(&f.app, "INSERT INTO t(b) VALUES(randomblob(900000))");
	folder_mount_tmpfs(&f.store, "size=24m");
	snap_up(&f);
	upload_make(&u, f.snap, 4096, NEW);
	folder_leave_free(&f.store, 3 << 19);
	c.f = &f;
	how.cancelled = checkpoint_now;
	how.arg = &c;
	assert_restored(&f, &u, &how);
	end_checkpoint(&f);
	assert_int_equal(ask_kept(&f, how.result.undo, COUNT_T), 201);
	restore_down(&f, &u);
}

/* ---- an open at the moment of the commit --------------------------------------------------------------- */

/* Somebody opens the name when the commit has been published, and its generation has not. */
struct opener {
	struct fixture *f;
	pthread_t thread;
	struct snap_gen *gen;
	atomic_bool done;
};

static void *open_then(void *arg)
{
	struct opener *o = arg;

	if (try_open(o->f, &o->gen))
		o->gen = NULL;
	atomic_store(&o->done, true);
	return NULL;
}

static void test_open_waits_for_the_generation(void **state)
{
	struct opener o = {.gen = NULL};
	int64_t end;
	struct source *source;
	struct sample sample;
	struct snap_gen *gen = NULL, *before;
	unsigned char *bytes;
	struct upload u;
	struct fixture f;

	(void)state;
	up(&f, WAL_OLD);
	before = open_now(&f); /* connected */
	source = source_of(&f);
	upload_make(&u, f.snap, 4096, NEW);
	assert_int_equal(source_upload_create(source, fcntl(staging_fd(u.staging), F_DUPFD_CLOEXEC, 0),
					      u.size, 4096, UPLOADED_AT, &gen),
			 0);
	assert_int_equal(source_restore_begin(source, NULL, NULL), 0);
	assert_int_equal(source_sample_now(source, source->live, &sample), 0);
	source_commit_expected(source, &sample.version);
	close_gen(open_now(&f)); /* nothing was committed yet: nobody waits */
	app_do(&f.app, "INSERT INTO t(b) VALUES(1)");
	o.f = &f;
	assert_int_equal(pthread_create(&o.thread, NULL, open_then, &o), 0);
	assert_int_equal(source_sample_now(source, source->live, &sample), 0);
	end = monotonic_ns() + 200 * NS_PER_MS; /* long enough for one who does not wait */
	while (!atomic_load(&o.done) && monotonic_ns() < end)
		nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
	source_upload_publish(source, gen, &sample.version);
	pthread_join(o.thread, NULL);
	assert_non_null(o.gen);
	assert_int_equal(size_of(o.gen), u.size);
	bytes = bytes_of(o.gen);
	assert_memory_equal(bytes, u.bytes, u.size);
	free(bytes);
	close_gen(o.gen);
	source_restore_end(source);
	snap_gen_unref(gen);
	close_gen(before);
	source_unref(source);
	restore_down(&f, &u);
}

/* The checkpoint that follows changes the header of the wal-index, and no content: whoever opens the name
 * between that and its end is shown the upload as well. */
struct cut {
	struct opener opener;
	int truncates; /* calls: of the database, by the first checkpoint; of the WAL, by the second */
};

static int open_at_cut(void *arg, enum vfs_call call)
{
	struct cut *cut = arg;
	int64_t end = monotonic_ns() + 200 * NS_PER_MS;

	if (call != VFS_TRUNCATE || ++cut->truncates != 2)
		return SQLITE_OK;
	assert_int_equal(pthread_create(&cut->opener.thread, NULL, open_then, &cut->opener), 0);
	while (!atomic_load(&cut->opener.done) && monotonic_ns() < end)
		nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
	return SQLITE_OK;
}

static void test_open_while_the_wal_is_cut(void **state)
{
	struct cut cut = {.truncates = 0};
	struct restoring how = RESTORING;
	unsigned char *bytes;
	struct upload u;
	struct fixture f;

	(void)state;
	up(&f, WAL_OLD);
	cut.opener.f = &f;
	upload_make(&u, f.snap, 4096, NEW);
	how.fault = open_at_cut;
	how.arg = &cut;
	assert_restored(&f, &u, &how);
	assert_int_equal(cut.truncates, 2);
	pthread_join(cut.opener.thread, NULL);
	assert_non_null(cut.opener.gen);
	assert_int_equal(size_of(cut.opener.gen), u.size);
	bytes = bytes_of(cut.opener.gen);
	assert_memory_equal(bytes, u.bytes, u.size);
	free(bytes);
	close_gen(cut.opener.gen);
	assert_shows_upload(&f, &u);
	restore_down(&f, &u);
}

/* A restore whose WAL starts over changes the header of the wal-index long before it commits: an open that
 * may not wait does not wait for that, either. */
struct glance {
	struct fixture *f;
	int writes;
};

static int open_at_once(void *arg, enum vfs_call call)
{
	struct glance *glance = arg;
	struct snap_gen *gen, *moved = NULL;
	int64_t shortest = INT64_MAX;

	if (call != VFS_WRITE || ++glance->writes != 3)
		return SQLITE_OK;
	gen = look(glance->f, NULL);
	for (int i = 0; i < 5; i++) {
		int64_t began = monotonic_ns(), took;

		assert_int_equal(snap_gen_open(gen, SNAP_NOWAIT, &moved, NULL), SNAP_WOULD_WAIT);
		assert_null(moved);
		took = monotonic_ns() - began;
		shortest = took < shortest ? took : shortest;
	}
	assert_true(shortest < SOURCE_WAIT_NS / 2); /* the machine may have stood still, but not each time */
	snap_gen_unref(gen);
	return SQLITE_OK;
}

static void test_quick_open_before_the_commit(void **state)
{
	struct restoring how = RESTORING;
	struct glance glance = {.writes = 0};
	struct upload u;
	struct fixture f;

	(void)state;
	up(&f, WAL_OLD);
	close_gen(open_now(&f)); /* connected */
	app_do(&f.app, "PRAGMA wal_checkpoint");
	upload_make(&u, f.snap, 4096, NEW);
	glance.f = &f;
	how.fault = open_at_once;
	how.arg = &glance;
	assert_restored(&f, &u, &how);
	assert_true(glance.writes > 3);
	assert_shows_upload(&f, &u);
	restore_down(&f, &u);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readers_outlive_a_big_wal),
		cmocka_unit_test(test_wal_is_short_afterwards),
		cmocka_unit_test(test_wal_is_cut_in_the_end),
		cmocka_unit_test(test_a_checkpoint_that_waits_for_readers),
		cmocka_unit_test(test_room_after_a_checkpoint),
		cmocka_unit_test(test_open_waits_for_the_generation),
		cmocka_unit_test(test_open_while_the_wal_is_cut),
		cmocka_unit_test(test_quick_open_before_the_commit),
	};

	if (argc == 5 && strcmp(argv[1], LOOK) == 0)
		return look_main(argv);
	return cmocka_run_group_tests(tests, own_tmp, NULL);
}
