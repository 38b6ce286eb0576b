/* SPDX-License-Identifier: MIT */
/* test_image_lost.c - the end of an image: it is killed, or its lock is lost; and what does not end it. */
#include "images.h"

static void test_kill(void **state)
{
	struct fixture *f = *state;
	struct image *image;
	struct copy copy;
	uint32_t max_frame;

	make_database(f, "WAL", 4096, 100, 3000);
	connect_live(f);
	for (int spooled = 0; spooled < 2; spooled++) {
		image = pin_image(f, &max_frame, &copy);
		assert_reads_all(image, max_frame, &copy);
		if (spooled)
			assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), 0);
		else
			assert_false(app_can_truncate(f));
		assert_false(image_is_dead(image));
		image_kill(image);
		assert_dead(f, image, max_frame);
		assert_true(app_can_truncate(f));
		image_kill(image);
		assert_dead(f, image, max_frame);
		image_unref(image);
		sqlite3_free(copy.bytes);
		app_do(&f->app, APP_ROWS(10));
	}
}

/* ---- a lost lock --------------------------------------------------------------------------------------- */

/* A disk that fails says nothing about the lock. */
static void test_disk_error(void **state)
{
	struct fixture *f = *state;
	struct image *image;
	struct conn *conn;
	struct copy copy;
	uint32_t max_frame;
	bool fail = false;
	char byte;

	make_database(f, "WAL", 4096, 100, 3000);
	connect_live(f);
	image = pin_faulty(f, fail_reads, &fail, &conn, &max_frame, NULL);
	copy = copy_now(f);
	fail = true;
	assert_int_equal(image_read(image, max_frame, &byte, 1, 0, &f->err), -EIO);
	assert_true(strlen(f->err.text) > 0);
	assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), -EIO);
	assert_true(strlen(f->err.text) > 0);
	assert_false(image_is_dead(image));
	assert_false(image_is_damaged(image));
	fail = false;
	assert_reads_all(image, max_frame, &copy);
	assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), 0);
	assert_reads_all(image, max_frame, &copy);
	image_unref(image);
	vfs_set_fault(conn->db.vfs, NULL, NULL);
	sqlite3_free(copy.bytes);
}

/* Whichever read it is that fails, of the file, a frame or its header: what could not be read is not given
 * out. */
static void test_each_read_that_fails(void **state)
{
	struct countdown failing = {.call = VFS_READ, .code = SQLITE_IOERR_READ};
	struct fixture *f = *state;
	struct image *image;
	struct conn *conn;
	struct copy copy;
	unsigned char *buf;
	uint32_t max_frame;
	int n = 0;

	make_database(f, "WAL", 4096, 100, 3000);
	assert_true(app_can_truncate(f));
	app_do(&f->app, "UPDATE t SET b=randomblob(3000) WHERE a%5=0");
	connect_live(f);
	image = pin_faulty(f, count_down, &failing, &conn, &max_frame, &copy);
	buf = malloc(copy.size + 2);
	assert_non_null(buf);
	do {
		int rc;

		failing.left = ++n;
		rc = read_and_compare(image, max_frame, &copy, buf, copy.size, 0);
		assert_int_equal(rc, failing.left > 0 ? 0 : -EIO);
	} while (failing.left <= 0);
	assert_true(n > 40);
	image_unref(image);
	vfs_set_fault(conn->db.vfs, NULL, NULL);
	sqlite3_free(copy.bytes);
	free(buf);
}

/* Changes the byte AT of each frame of the -wal. */
static void spoil_frames(struct fixture *f, off_t at)
{
	int fd = openat(f->folder.fd, NAME "-wal", O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	for (off_t frame = WAL_FILE_HEADER; pread(fd, &byte, 1, frame + at) == 1;
	     frame += WAL_FRAME_HEADER + 4096) {
		byte ^= 1;
		assert_int_equal(pwrite(fd, &byte, 1, frame + at), 1);
	}
	close(fd);
}

/* Somebody writes over the -wal, or cuts it: what are no frames of the image's is not given out. */
static void test_wal_spoilt(void **state)
{
	static const off_t spoilt[] = {3 /* the page number */, 8, 15 /* the salts */};
	struct fixture *f = *state;
	struct image *image;
	struct copy copy;
	uint32_t max_frame;
	char path[PATH_MAX], byte;

	make_database(f, "WAL", 4096, 100, 3000);
	connect_live(f);
	for (size_t i = 0; i <= sizeof(spoilt) / sizeof(spoilt[0]); i++) {
		image = pin_image(f, &max_frame, &copy);
		assert_reads_all(image, max_frame, &copy);
		if (i < sizeof(spoilt) / sizeof(spoilt[0]))
			spoil_frames(f, spoilt[i]);
		else
			assert_int_equal(truncate(folder_file(&f->folder, NAME "-wal", path), 100), 0);
		assert_int_equal(image_read(image, max_frame, &byte, 1, copy.size - 1, &f->err), -EIO);
		assert_non_null(strstr(f->err.text, "its WAL: end its applications"));
		assert_true(image_is_damaged(image));
		if (i < sizeof(spoilt) / sizeof(spoilt[0]))
			spoil_frames(f, spoilt[i]);
		image_unref(image);
		sqlite3_free(copy.bytes);
	}
}

/* SQLite rolls back by itself when a statement meets an I/O error, and drops the lock. Whoever looks first
 * finds it. */
static void test_transaction_lost(void **state)
{
	struct fixture *f = *state;

	make_database(f, "WAL", 4096, 500, 3000);
	connect_live(f);
	for (int who = 0; who < 3; who++) {
		struct image *image;
		struct conn *conn;
		uint32_t max_frame;
		bool fail = false;
		char byte;

		image = pin_faulty(f, fail_reads, &fail, &conn, &max_frame, NULL);
		assert_int_equal(image_read(image, max_frame, &byte, 1, 0, &f->err), 0);
		fail = true;
		assert_int_equal(db_exec(&conn->db, "SELECT sum(length(b)) FROM t"), SQLITE_IOERR_READ);
		fail = false;
		app_do(&f->app, "UPDATE t SET b=randomblob(3000)");
		f->err.text[0] = '\0';
		if (who == 0)
			assert_int_equal(image_read(image, max_frame, &byte, 1, 0, &f->err), -EIO);
		else
			assert_int_equal(spool(image, max_frame, 4096, who == 2, &f->err), -EIO);
		assert_non_null(strstr(f->err.text, "lock"));
		assert_dead(f, image, max_frame);
		image_unref(image);
		vfs_set_fault(conn->db.vfs, NULL, NULL);
	}
}

/* Whoever closes a descriptor of the -shm drops the locks that SQLite has on it, and nobody tells SQLite. */
static void lose_locks(struct fixture *f)
{
	char path[PATH_MAX];
	int fd = open(folder_file(&f->folder, NAME "-shm", path), O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	close(fd);
}

/* What the application may do then, now that nothing holds it back. */
static const struct {
	const char *sql[3];
	bool seen;  /* whether other bytes would be read */
	bool empty; /* the WAL, when the image begins */
} losses[] = {
	{{"PRAGMA wal_checkpoint(RESTART)"}, false, false}, /* all that it copied was in the image */
	{{"PRAGMA wal_checkpoint(TRUNCATE)", "UPDATE t SET b=randomblob(700)"}, true, false},
	{{"PRAGMA wal_checkpoint(RESTART)", "UPDATE t SET b=randomblob(700)"}, true, false},
	{{"UPDATE t SET b=randomblob(700)", "PRAGMA wal_checkpoint(PASSIVE)"}, true, false},
	{{"UPDATE t SET b=randomblob(700)", "PRAGMA wal_checkpoint(TRUNCATE)"}, true, false},
	{{"UPDATE t SET b=randomblob(700)", "PRAGMA wal_checkpoint(TRUNCATE)",
	  "UPDATE t SET b=randomblob(700)"},
	 true,
	 false},
	{{"UPDATE t SET b=randomblob(700)", "PRAGMA wal_checkpoint(PASSIVE)"}, true, true},
	{{"UPDATE t SET b=randomblob(700)", "PRAGMA wal_checkpoint(TRUNCATE)"}, true, true},
};

/* Each page is right, or cannot be had. */
static void assert_right_or_lost(struct image *image, uint32_t max_frame, const struct copy *copy, bool lost)
{
	unsigned char *buf = malloc(1024 + 2);

	assert_non_null(buf);
	for (uint64_t at = 0; at < copy->size; at += 1024)
		assert_int_equal(read_and_compare(image, max_frame, copy, buf, 1024, at), lost ? -EIO : 0);
	assert_int_equal(image_is_dead(image), lost);
	free(buf);
}

static void test_locks_lost(void **state)
{
	struct fixture *f = *state;

	make_database(f, "WAL", 1024, 300, 700);
	for (size_t i = 0; i < 2 * sizeof(losses) / sizeof(losses[0]); i++) {
		struct image *image;
		struct copy copy;
		uint32_t max_frame;

		assert_true(app_can_truncate(f));
		if (!losses[i / 2].empty)
			app_do(&f->app, "UPDATE t SET b=randomblob(700) WHERE a%3=0");
		connect_live(f);
		image = pin_image(f, &max_frame, &copy);
		lose_locks(f);
		for (int k = 0; k < 3 && losses[i / 2].sql[k]; k++)
			app_do(&f->app, losses[i / 2].sql[k]);
		/* Found by a reader, or by whoever copies. */
		if (i % 2)
			assert_int_equal(spool(image, max_frame, copy.size, false, &f->err),
					 losses[i / 2].seen ? -EIO : 0);
		assert_right_or_lost(image, max_frame, &copy, losses[i / 2].seen);
		image_unref(image);
		sqlite3_free(copy.bytes);
		disconnect_live(f);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_kill),       test(test_disk_error),	    test(test_each_read_that_fails),
		test(test_wal_spoilt), test(test_transaction_lost), test(test_locks_lost),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
