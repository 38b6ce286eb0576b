/* SPDX-License-Identifier: MIT */
/*
 * test_ops.c - the table of operations without a kernel: requests come from threads that the test makes up,
 * in the order that it wants, and libfuse's replies are caught here.
 */
#include "../../fs/log_ring.h"
#include "../../fs/ops_private.h"

#include "gens.h"

#include <errno.h>
#include <pthread.h>

#include "../../src/clock.h"

/* ---- a kernel ------------------------------------------------------------------------------------------ */

struct fuse_req {
	struct fs *fs;
	struct fuse_ctx ctx;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	bool done;
	int error; /* errno, counted upwards; 0 with what was asked for */
	uint64_t id;
	struct fuse_file_info fi;
	unsigned char *bytes; /* owned */
	size_t size;
};

static void request_init(struct fuse_req *req, struct fs *fs, pid_t tid)
{
	*req = (struct fuse_req){.fs = fs, .ctx = {.pid = tid}};
	pthread_mutex_init(&req->lock, NULL);
	pthread_cond_init(&req->changed, NULL);
}

static void request_finish(struct fuse_req *req)
{
	pthread_cond_destroy(&req->changed);
	pthread_mutex_destroy(&req->lock);
	free(req->bytes);
}

/* Exactly one reply to each. Lock held. */
static int reply(struct fuse_req *req, int error)
{
	assert_false(req->done);
	req->done = true;
	req->error = error;
	pthread_cond_broadcast(&req->changed);
	return 0;
}

static int await_reply(struct fuse_req *req)
{
	int error;

	pthread_mutex_lock(&req->lock);
	while (!req->done)
		pthread_cond_wait(&req->changed, &req->lock);
	error = req->error;
	pthread_mutex_unlock(&req->lock);
	return error;
}

static bool is_answered(struct fuse_req *req)
{
	bool done;

	pthread_mutex_lock(&req->lock);
	done = req->done;
	pthread_mutex_unlock(&req->lock);
	return done;
}

/* In front of libfuse's. */

void *fuse_req_userdata(fuse_req_t req)
{
	return req->fs;
}

const struct fuse_ctx *fuse_req_ctx(fuse_req_t req)
{
	return &req->ctx;
}

int fuse_reply_err(fuse_req_t req, int err)
{
	pthread_mutex_lock(&req->lock);
	reply(req, err);
	pthread_mutex_unlock(&req->lock);
	return 0;
}

int fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *e)
{
	pthread_mutex_lock(&req->lock);
	req->id = e->ino;
	reply(req, 0);
	pthread_mutex_unlock(&req->lock);
	return 0;
}

int fuse_reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
	pthread_mutex_lock(&req->lock);
	req->fi = *fi;
	reply(req, 0);
	pthread_mutex_unlock(&req->lock);
	return 0;
}

int fuse_reply_buf(fuse_req_t req, const char *buf, size_t size)
{
	pthread_mutex_lock(&req->lock);
	req->bytes = malloc(size + 1);
	assert_non_null(req->bytes);
	memcpy(req->bytes, buf, size);
	req->size = size;
	reply(req, 0);
	pthread_mutex_unlock(&req->lock);
	return 0;
}

/* ---- what a thread of some process asks for ------------------------------------------------------------ */

static uint64_t look_up_in(struct fs *fs, pid_t tid, uint64_t parent, const char *name)
{
	struct fuse_req req;
	uint64_t id;

	request_init(&req, fs, tid);
	fs_ops.lookup(&req, parent, name);
	assert_int_equal(await_reply(&req), 0);
	id = req.id;
	request_finish(&req);
	return id;
}

static uint64_t look_up(struct fs *fs, pid_t tid, const char *name)
{
	return look_up_in(fs, tid, FUSE_ROOT_ID, name);
}

/* 0 or errno; the handle goes to FI. */
static int try_open_id(struct fs *fs, pid_t tid, uint64_t id, struct fuse_file_info *fi)
{
	struct fuse_req req;
	int error;

	*fi = (struct fuse_file_info){.flags = O_RDONLY};
	request_init(&req, fs, tid);
	fs_ops.open(&req, id, fi);
	error = await_reply(&req);
	*fi = req.fi;
	request_finish(&req);
	return error;
}

static void release(struct fs *fs, pid_t tid, uint64_t id, struct fuse_file_info *fi)
{
	struct fuse_req req;

	request_init(&req, fs, tid);
	fs_ops.release(&req, id, fi);
	assert_int_equal(await_reply(&req), 0);
	request_finish(&req);
}

/* Rows of what was opened. */
static int64_t rows_of(struct fs *fs, pid_t tid, uint64_t id, struct fuse_file_info *fi)
{
	struct fuse_req req;
	int64_t value;

	request_init(&req, fs, tid);
	fs_ops.read(&req, id, 1 << 20, 0, fi);
	assert_int_equal(await_reply(&req), 0);
	assert_in_range(req.size, 512, (1 << 20) - 1);
	value = ask_bytes(req.bytes, req.size, "SELECT count(*) FROM t");
	request_finish(&req);
	return value;
}

/* Opens ID, which takes no wait and no second look, reads and closes. */
static void read_id(struct fs *fs, pid_t tid, uint64_t id, int64_t rows)
{
	struct fuse_file_info fi;

	assert_int_equal(try_open_id(fs, tid, id, &fi), 0);
	assert_int_equal(rows_of(fs, tid, id, &fi), rows);
	release(fs, tid, id, &fi);
}

/* open(2): looks and opens, and once more after ESTALE. */
static void read_name(struct fs *fs, pid_t tid, const char *name, int64_t rows)
{
	uint64_t id = look_up(fs, tid, name);
	struct fuse_file_info fi;
	int error = try_open_id(fs, tid, id, &fi);

	if (error == ESTALE) {
		id = look_up(fs, tid, name);
		error = try_open_id(fs, tid, id, &fi);
	}
	assert_int_equal(error, 0);
	assert_int_equal(rows_of(fs, tid, id, &fi), rows);
	release(fs, tid, id, &fi);
}

static struct fs *fs_up(struct fixture *f)
{
	struct fs_config config = {.snap = f->snap, .read_only = true};
	struct fs *fs = NULL;

	assert_int_equal(fs_create(&fs, &config), 0);
	return fs;
}

/* ---- led elsewhere ------------------------------------------------------------------------------------- */

/*
 * Three are led to one generation and come one after the other, while somebody who was not led opens and
 * closes the same one in between, and the database goes on: each of them finds it.
 */
static void test_led_callers_find_what_they_were_led_to(void **state)
{
	static const pid_t led[] = {101, 102, 103};
	const pid_t stranger = 200;
	struct fuse_file_info fi;
	struct fixture f;
	struct fs *fs;
	uint64_t before, after;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(100));
	snap_up_still(&f);
	fs = fs_up(&f);
	before = look_up(fs, led[0], "db");
	app_do(&f.app, APP_ROWS(100));
	for (int i = 0; i < 3; i++)
		assert_int_equal(try_open_id(fs, led[i], before, &fi), ESTALE);
	after = look_up(fs, led[0], "db");
	assert_true(after != before);
	for (int i = 0; i < 3; i++)
		assert_int_equal(look_up(fs, stranger, "db"), after);
	for (int i = 0; i < 3; i++)
		read_id(fs, stranger, after, 200);
	for (int i = 0; i < 3; i++) {
		app_do(&f.app, APP_ROWS(100));
		read_name(fs, stranger, "db", 300 + i * 100);
		assert_int_equal(look_up(fs, led[i], "db"), after);
		read_id(fs, led[i], after, 200);
		/* He was led there once. */
		assert_true(look_up(fs, led[i], "db") != after);
	}
	/* Nobody is expected any more, and nothing is held for him. */
	assert_int_equal(app_get(&f.app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
	snap_stop(f.snap, SNAP_PATIENCE_MS);
	fs_destroy(fs);
	app_stop(&f.app);
	down(&f);
}

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
	struct fs_config config = {0};
	struct fuse_file_info fi;
	struct fuse_req reading;
	struct fixture f;
	struct fs *fs;
	uint64_t id;

	(void)state;
	app_up(&f, "PRAGMA locking_mode=EXCLUSIVE;" APP_WAL ";" APP_ROWS(100));
	snap_up(&f);
	config.snap = f.snap;
	assert_int_equal(fs_create(&fs, &config), 0);
	fi = open_upload(fs, gettid(), O_WRONLY, &id); /* which only lends the size */
	request_init(&reading, fs, gettid());
	fs_ops.read(&reading, id, 4096, 0, &fi);
	assert_false(is_answered(&reading));
	assert_int_equal(await_reply(&reading), EBUSY);
	request_finish(&reading);
	release(fs, gettid(), id, &fi);
	snap_stop(f.snap, SNAP_PATIENCE_MS);
	fs_destroy(fs);
	app_stop(&f.app);
	down(&f);
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
	struct fs_config config = {0};
	struct fuse_file_info fi;
	struct fixture f;
	struct fs *fs;
	uint64_t id;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(100));
	config.snap = f.snap;
	assert_int_equal(fs_create(&fs, &config), 0);
	fi = open_upload(fs, gettid(), O_WRONLY, &id);
	snap_stop(f.snap, SNAP_PATIENCE_MS);
	for (int i = 0; i < 2; i++) {
		struct fuse_req reading;

		request_init(&reading, fs, gettid());
		fs_ops.read(&reading, id, 4096, 0, &fi);
		assert_int_equal(await_reply(&reading), EBUSY);
		request_finish(&reading);
		assert_int_equal(logged("reading \"db\" failed: Device or resource busy: too many others"),
				 1);
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
	struct fs_config config = {0};
	struct fuse_file_info fi;
	struct upload *begun;
	struct fixture f;
	struct fs *fs;
	uint64_t id;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(100));
	config.snap = f.snap;
	assert_int_equal(fs_create(&fs, &config), 0);
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
	snap_stop(f.snap, SNAP_PATIENCE_MS);
	fs_destroy(fs);
	app_stop(&f.app);
	down(&f);
}

/* Who is led to an upload and comes when it was thrown away finds the live database there, to read and to
 * write it: not the empty file that is left, of which a part would be taken for all. */
static void test_late_for_an_upload(void **state)
{
	static const int flags[] = {O_RDONLY, O_WRONLY, O_RDWR};
	struct fs_config config = {0};
	struct fixture f;
	struct fs *fs;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(100));
	config.snap = f.snap;
	assert_int_equal(fs_create(&fs, &config), 0);
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
	snap_stop(f.snap, SNAP_PATIENCE_MS);
	fs_destroy(fs);
	app_stop(&f.app);
	down(&f);
}

/* ---- the end ------------------------------------------------------------------------------------------- */

/* An open that waits is answered before snap_stop() returns: what it answers through may go then. */
static void test_stop_answers_what_waits(void **state)
{
	struct fuse_file_info fi = {.flags = O_RDONLY};
	struct fuse_req waiting, late;
	struct fixture f;
	struct fs *fs;
	uint64_t id;

	(void)state;
	app_up(&f, "PRAGMA locking_mode=EXCLUSIVE;" APP_WAL ";" APP_ROWS(100));
	snap_up(&f);
	fs = fs_up(&f);
	id = look_up(fs, 1, "db");
	request_init(&waiting, fs, 1);
	request_init(&late, fs, 2);
	fs_ops.open(&waiting, id, &fi);
	snap_stop(f.snap, SNAP_PATIENCE_MS);
	assert_true(is_answered(&waiting));
	assert_int_equal(waiting.error, EBUSY);
	fs_ops.open(&late, id, &fi);
	assert_true(is_answered(&late));
	assert_int_equal(late.error, EBUSY);
	request_finish(&waiting);
	request_finish(&late);
	fs_destroy(fs);
	app_stop(&f.app);
	down(&f);
}

/* ---- mkdir of a snapshot ------------------------------------------------------------------------------- */

#define SHOT ".sqlsnapfs/snapshots/shot"

static int shot_error; /* negative: the answer to looks at the snapshot */

int __real_snap_lookup(struct snap *snap, const char *path, struct snap_attr *attr, struct snap_gen **gen,
		       struct snap_err *err);
int __wrap_snap_lookup(struct snap *snap, const char *path, struct snap_attr *attr, struct snap_gen **gen,
		       struct snap_err *err);

int __wrap_snap_lookup(struct snap *snap, const char *path, struct snap_attr *attr, struct snap_gen **gen,
		       struct snap_err *err)
{
	int rc = strcmp(path, SHOT) == 0 ? shot_error : 0;

	return rc ? rc : __real_snap_lookup(snap, path, attr, gen, err);
}

/* Who is told that his mkdir(2) failed finds nothing that it made. */
static void test_mkdir_that_fails_leaves_no_snapshot(void **state)
{
	struct snap_attr attr;
	struct fuse_req req;
	struct fixture f;
	struct fs *fs;
	uint64_t id;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(100));
	fs = fs_up(&f);
	id = look_up_in(fs, 1, look_up(fs, 1, ".sqlsnapfs"), "snapshots");
	for (int i = 0; i < 2; i++) {
		shot_error = i == 0 ? -EMFILE : 0;
		request_init(&req, fs, 1);
		fs_ops.mkdir(&req, id, "shot", 0755);
		assert_int_equal(await_reply(&req), -shot_error);
		request_finish(&req);
		assert_int_equal(__real_snap_lookup(f.snap, SHOT, &attr, NULL, NULL),
				 shot_error ? -ENOENT : 0);
	}
	snap_stop(f.snap, SNAP_PATIENCE_MS);
	fs_destroy(fs);
	app_stop(&f.app);
	down(&f);
}

int __wrap_main(void);

/* In front of the program's. */
int __wrap_main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_led_callers_find_what_they_were_led_to),
		cmocka_unit_test(test_stop_answers_what_waits),
		cmocka_unit_test(test_read_below_upload_waits_elsewhere),
		cmocka_unit_test(test_read_below_upload_that_nobody_can_do),
		cmocka_unit_test(test_thrown_away_while_led_there),
		cmocka_unit_test(test_late_for_an_upload),
		cmocka_unit_test(test_mkdir_that_fails_leaves_no_snapshot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
