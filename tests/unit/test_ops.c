/* SPDX-License-Identifier: MIT */
/* test_ops.c - callers that are led elsewhere, the end, and mkdir of a snapshot. */
#include "kernel.h"

#include "../../fs/log_ring.h"
#include "../../fs/upload_private.h"

/* ---- led elsewhere ------------------------------------------------------------------------------------- */

static void make_plain(struct fixture *f, const char *name)
{
	int fd = openat(f->folder.fd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, name, strlen(name)), strlen(name));
	close(fd);
}

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
	/* Where they are led is held for five seconds, whatever its disk needs for a commit. */
	app_up(&f, "PRAGMA synchronous=OFF;" APP_WAL ";" APP_ROWS(100));
	snap_up_still(&f);
	fs = fs_up(&f, true);
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
	fs_down(&f, fs);
}

/* A plain file was replaced since the kernel looked: it looks again, and nothing was wrong. */
static void test_plain_file_that_is_replaced(void **state)
{
	struct fuse_file_info fi;
	struct fixture f;
	struct fs *fs;
	uint64_t before, after;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(100));
	snap_up_still(&f);
	fs = fs_up(&f, true);
	make_plain(&f, "plain");
	before = look_up(fs, 1, "plain");
	make_plain(&f, "new");
	assert_int_equal(renameat(f.folder.fd, "new", f.folder.fd, "plain"), 0);
	assert_int_equal(try_open_id(fs, 1, before, &fi), ESTALE);
	after = look_up(fs, 1, "plain");
	assert_true(after != before);
	assert_int_equal(try_open_id(fs, 1, after, &fi), 0);
	release(fs, 1, after, &fi);
	char *log = log_recent();
	assert_non_null(log);
	assert_null(strstr(log, "\"plain\" cannot be opened"));
	free(log);
	fs_down(&f, fs);
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
	fs = fs_up(&f, true);
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

static int shot_error;	    /* negative: the answer to looks at the snapshot */
static int replace_in = -1; /* a folder in which "other" takes the place of "sub" when that is looked at */

int __real_snap_lookup(struct snap *snap, const char *path, struct snap_attr *attr, struct snap_gen **gen,
		       struct snap_err *err);
int __wrap_snap_lookup(struct snap *snap, const char *path, struct snap_attr *attr, struct snap_gen **gen,
		       struct snap_err *err);

int __wrap_snap_lookup(struct snap *snap, const char *path, struct snap_attr *attr, struct snap_gen **gen,
		       struct snap_err *err)
{
	int rc = strcmp(path, SHOT) == 0 ? shot_error : 0;

	if (replace_in >= 0 && strcmp(path, "sub") == 0) {
		assert_int_equal(renameat(replace_in, "sub", replace_in, "was"), 0);
		assert_int_equal(renameat(replace_in, "other", replace_in, "sub"), 0);
	}
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
	fs = fs_up(&f, true);
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
	fs_down(&f, fs);
}

/* ---- rights -------------------------------------------------------------------------------------------- */

#define SOMEBODY 4711

/* The folder that decides is the one that the name was looked up in, not one that takes its place. */
static void test_rights_on_a_folder_that_is_replaced(void **state)
{
	const struct upload_flush flush = {.who = {.uid = SOMEBODY, .gid = SOMEBODY}};
	struct snap_attr attr;
	struct fixture f;
	struct fs *fs;

	(void)state;
	up(&f, APP_WAL ";" APP_ROWS(100));
	fs = fs_up(&f, false);
	assert_int_equal(mkdirat(f.folder.fd, "sub", 0755), 0);
	assert_int_equal(mkdirat(f.folder.fd, "other", 0755), 0);
	assert_int_equal(fchmodat(f.folder.fd, "other", 0777, 0), 0);
	assert_int_equal(__real_snap_lookup(f.snap, "sub", &attr, NULL, NULL), 0);
	for (int i = 0; i < 2; i++) {
		struct upload_order order = {.kind = UPLOAD_DATABASE,
					     .parent = NODE_ROOT,
					     .folder = {attr.key_dev, attr.key_ino},
					     .name = "db",
					     .path = "sub/db",
					     .who = flush.who,
					     .over = true};
		struct snap_restore restore = {.path = order.path};
		struct upload *u;

		assert_int_equal(upload_create(&u, &fs->uploads, &order, NULL), 0);
		replace_in = i == 0 ? -1 : f.folder.fd;
		assert_int_equal(upload_check_access(u, &flush, &restore), i == 0 ? -EACCES : -ESTALE);
		replace_in = -1;
		upload_unref(u);
	}
	assert_int_equal(unlinkat(f.folder.fd, "sub", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(f.folder.fd, "was", AT_REMOVEDIR), 0);
	fs_down(&f, fs);
}

/* ---- answers ------------------------------------------------------------------------------------------- */

/* The kernel would take it that we know no FLUSH, send none any more, and answer 0 to each close(2). */
static void test_no_request_is_unknown(void **state)
{
	static const int errors[][2] = {
		{-ENOSYS, EIO}, {ENOSYS, EIO}, {-EBUSY, EBUSY}, {ESTALE, ESTALE}, {0, 0}};

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct fuse_req req;

		request_init(&req, NULL, 1);
		reply_error(&req, errors[i][0]);
		assert_int_equal(await_reply(&req), errors[i][1]);
		request_finish(&req);
	}
}

int __wrap_main(void);

/* In front of the program's. */
int __wrap_main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_led_callers_find_what_they_were_led_to),
		cmocka_unit_test(test_plain_file_that_is_replaced),
		cmocka_unit_test(test_stop_answers_what_waits),
		cmocka_unit_test(test_mkdir_that_fails_leaves_no_snapshot),
		cmocka_unit_test(test_rights_on_a_folder_that_is_replaced),
		cmocka_unit_test(test_no_request_is_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
