/* SPDX-License-Identifier: MIT */
/* test_ops_uploads.c - opening to write: reading what is lent meanwhile, and coming too late. */
#include "kernel.h"

#include "../../fs/log_ring.h"
#include "../../fs/upload_private.h"
#include "../../src/clock.h"

/* ---- what an upload began with ------------------------------------------------------------------------- */

static struct fuse_file_info open_upload(struct fs *fs, pid_t tid, int flags, uint64_t *id)
{
	struct fuse_file_info fi = {.flags = flags};
	struct fuse_req req;

	for (int i = 0; i < 2; i++) {
		*id = look_up(fs, tid, "db");
		request_init(&req, fs, tid);
		fs_ops.open(&req, *id, &fi);
		assert_int_equal(await_reply(&req), i == 0 ? ESTALE : 0);
		request_finish(&req);
	}
	return req.fi;
}

/* Whoever reads what stands below an upload may wait for a live database, and the kernel does not wait with
 * him: the answer comes from another thread. */
static void test_read_below_upload_waits_elsewhere(void **state)
{
	struct fuse_file_info fi;
	struct fuse_req reading;
	struct fixture f;
	struct fs *fs;
	uint64_t id;

	(void)state;
	app_up(&f, "PRAGMA locking_mode=EXCLUSIVE;" APP_WAL ";" APP_ROWS(100));
	snap_up(&f);
	fs = fs_up(&f, false);
	fi = open_upload(fs, gettid(), O_WRONLY, &id); /* which only lends the size */
	request_init(&reading, fs, gettid());
	fs_ops.read(&reading, id, 4096, 0, &fi);
	assert_int_equal(await_reply(&reading), EBUSY);
	assert_false(pthread_equal(reading.by, pthread_self()));
	request_finish(&reading);
	release(fs, gettid(), id, &fi);
	fs_down(&f, fs);
}

/* How often the log says WORDS. */
static int logged(const char *words)
{
	char *text = log_recent();
	int count = 0;

	assert_non_null(text);
	for (const char *at = text; (at = strstr(at, words)) != NULL; at++)
		count++;
	free(text);
	return count;
}

/* Nor is it without a word when nobody can wait for it, as now that all ends. */
static void test_read_below_upload_that_nobody_can_do(void **state)
{
	struct fuse_file_info fi;
	struct fixture f;
	struct fs *fs;
	uint64_t id;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(100));
	fs = fs_up(&f, false);
	fi = open_upload(fs, gettid(), O_WRONLY, &id);
	snap_stop(f.snap, SNAP_PATIENCE_MS);
	for (int i = 0; i < 2; i++) {
		struct fuse_req reading;

		request_init(&reading, fs, gettid());
		fs_ops.read(&reading, id, 4096, 0, &fi);
		assert_int_equal(await_reply(&reading), EBUSY);
		request_finish(&reading);
		assert_int_equal(logged("reading \"db\" failed: Device or resource busy: too many opens"), 1);
	}
	release(fs, gettid(), id, &fi);
	fs_destroy(fs);
	app_stop(&f.app);
	down(&f);
}

struct upload *__real_upload_pending(struct uploads *all, pid_t tgid, uint64_t parent, const char *name);
struct upload *__wrap_upload_pending(struct uploads *all, pid_t tgid, uint64_t parent, const char *name);

static bool silence_falls; /* once, upon who has just found what he had begun */

struct upload *__wrap_upload_pending(struct uploads *all, pid_t tgid, uint64_t parent, const char *name)
{
	struct upload *u = __real_upload_pending(all, tgid, parent, name);

	if (u && silence_falls) {
		silence_falls = false;
		uploads_tend(all, monotonic_ns() + 2 * UPLOAD_SILENCE_NS);
	}
	return u;
}

/* Who goes on with what he has begun at the very moment at which it is thrown away begins anew. */
static void test_thrown_away_while_led_there(void **state)
{
	struct fuse_file_info fi;
	struct upload *begun;
	struct fixture f;
	struct fs *fs;
	uint64_t id;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(100));
	fs = fs_up(&f, false);
	fi = open_upload(fs, gettid(), O_WRONLY, &id);
	begun = upload_ref(((struct handle *)(uintptr_t)fi.fh)->upload);
	assert_int_equal(upload_truncate(begun, 0, NULL), 0);
	assert_int_equal(upload_truncate(begun, 10000, NULL), 0);
	upload_name(begun);
	release(fs, gettid(), id, &fi);
	silence_falls = true;
	fi = open_upload(fs, gettid(), O_WRONLY, &id);
	assert_false(silence_falls);
	assert_true(begun->gone);
	assert_ptr_not_equal(((struct handle *)(uintptr_t)fi.fh)->upload, begun);
	upload_unref(begun);
	release(fs, gettid(), id, &fi);
	fs_down(&f, fs);
}

/* Who is led to an upload and comes when it was thrown away finds the live database there, to read and to
 * write it: not the empty file that is left, of which a part would be taken for all. */
static void test_late_for_an_upload(void **state)
{
	static const int flags[] = {O_RDONLY, O_WRONLY, O_RDWR};
	struct fixture f;
	struct fs *fs;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(100));
	fs = fs_up(&f, false);
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		struct fuse_file_info fi = {.flags = O_WRONLY};
		uint64_t id = look_up(fs, gettid(), "db"), led;
		struct fuse_req req;

		request_init(&req, fs, gettid());
		fs_ops.open(&req, id, &fi);
		assert_int_equal(await_reply(&req), ESTALE);
		request_finish(&req);
		led = look_up(fs, gettid(), "db");
		assert_int_not_equal(led, id);
		uploads_tend(&fs->uploads, monotonic_ns() + 2 * UPLOAD_INTENT_NS);
		fi.flags = flags[i];
		request_init(&req, fs, gettid());
		fs_ops.open(&req, led, &fi);
		assert_int_equal(await_reply(&req), ESTALE);
		request_finish(&req);
		read_name(fs, gettid(), "db", 100);
	}
	fs_down(&f, fs);
}

static void count_refused(void *arg, const struct task_end *end)
{
	(void)end;
	++*(int *)arg;
}

/* A FLUSH that no thread is left for: a restore is refused; a scratch file is not, for its verdict comes when
 * it is renamed, and no restore would ever clear a refusal of its own name. */
static void test_flush_that_nobody_can_do(void **state)
{
	static const char *const names[] = {".db.x", "db"};
	struct fixture f;
	struct fs *fs;
	int refused = 0;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(100));
	fs = fs_up(&f, false);
	snap_stop(f.snap, SNAP_PATIENCE_MS);
	for (int i = 0; i < 2; i++) {
		struct upload_order order = {.kind = i == 0 ? UPLOAD_SCRATCH : UPLOAD_DATABASE,
					     .parent = NODE_ROOT,
					     .name = names[i],
					     .path = names[i]};
		struct handle h = {.kind = HANDLE_UPLOAD};
		struct fuse_file_info fi = {.fh = (uintptr_t)&h};
		struct fuse_req req;

		assert_int_equal(upload_create(&h.upload, &fs->uploads, &order, NULL), 0);
		assert_int_equal(upload_truncate(h.upload, 0, NULL), 0);
		assert_int_equal(upload_write(h.upload, "x", 1, 0, 0, NULL), 1);
		request_init(&req, fs, gettid());
		fs_ops.flush(&req, 0, &fi);
		assert_int_equal(await_reply(&req), i == 0 ? 0 : EBUSY);
		request_finish(&req);
		tasks_each_failed(&fs->uploads.tasks, 0, count_refused, &refused);
		assert_int_equal(refused, i);
		upload_unname(h.upload);
		upload_unref(h.upload);
	}
	fs_destroy(fs);
	app_stop(&f.app);
	down(&f);
}

int __wrap_main(void);

/* In front of the program's. */
int __wrap_main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_below_upload_waits_elsewhere),
		cmocka_unit_test(test_read_below_upload_that_nobody_can_do),
		cmocka_unit_test(test_flush_that_nobody_can_do),
		cmocka_unit_test(test_thrown_away_while_led_there),
		cmocka_unit_test(test_late_for_an_upload),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
