/* SPDX-License-Identifier: MIT */
/*
 * test_image.c - what an image reads of any shape of database: under a pin, while the application goes on,
 * and from a spool; and which commits it takes in.
 */
#include "images.h"

/* ---- reading ------------------------------------------------------------------------------------------- */

struct shape {
	const char *name;
	const char *sql[3];
};

/* How frames and database file share the pages. */
static const struct shape shapes[] = {
	{"all in the WAL", {NULL}},
	{"all in the database, empty WAL", {"PRAGMA wal_checkpoint(TRUNCATE)"}},
	{"all in both", {"PRAGMA wal_checkpoint(PASSIVE)"}},
	{"mixed", {"PRAGMA wal_checkpoint(TRUNCATE)", "UPDATE t SET b=randomblob(length(b)) WHERE a%3=0"}},
	{"mixed, partly copied",
	 {"UPDATE t SET b=randomblob(length(b)) WHERE a%7=0", "PRAGMA wal_checkpoint(PASSIVE)",
	  "UPDATE t SET b=randomblob(length(b)) WHERE a%3=0"}},
	{"several versions of a page",
	 {"UPDATE t SET b=randomblob(length(b)) WHERE a%2=0",
	  "UPDATE t SET b=randomblob(length(b)) WHERE a%3=0",
	  "UPDATE t SET b=randomblob(length(b)) WHERE a%5=0"}},
	{"shrunk", {"DELETE FROM t WHERE a%2=0", "VACUUM", NULL}},
	{"grown over a smaller file",
	 {"PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO t(b) SELECT b FROM t", NULL}},
};

static void check_shape(struct fixture *f, const struct shape *shape, uint32_t page_size)
{
	uint32_t max_frame, later_frame;
	struct copy copy, later;
	struct wal_header now;
	struct image *image;

	for (size_t i = 0; i < 3 && shape->sql[i]; i++)
		app_do(&f->app, shape->sql[i]);
	if (!f->live)
		connect_live(f);
	image = pin_image(f, &max_frame, &copy);
	assert_reads_pieces(image, max_frame, &copy, page_size);
	assert_reads_all(image, max_frame, &copy);
	go_on(f);
	assert_reads_all(image, max_frame, &copy);

	/* One pin serves every later commit. */
	assert_int_equal(live_sample(f->live, &now), 0);
	assert_true(image_accepts(image, &now, PLENTY));
	later_frame = now.max_frame;
	later = copy_now(f);
	assert_reads_all(image, later_frame, &later);
	assert_reads_all(image, max_frame, &copy);
	go_on(f);
	assert_false(app_can_truncate(f));

	assert_int_equal(
		spool(image, later_frame, copy.size > later.size ? copy.size : later.size, false, &f->err),
		0);
	assert_true(app_can_truncate(f));
	go_on(f);
	assert_reads_all(image, max_frame, &copy);
	assert_reads_pieces(image, later_frame, &later, page_size);
	assert_reads_all(image, later_frame, &later);
	image_unref(image);
	sqlite3_free(copy.bytes);
	sqlite3_free(later.bytes);
}

/* Every STEPth of the shapes. */
static void check_page_size(struct fixture *f, uint32_t page_size, unsigned rows, unsigned bytes, size_t step)
{
	make_database(f, "WAL", page_size, rows, bytes);
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i += step)
		check_shape(f, &shapes[i], page_size);
	/* More than one batch of pages. */
	assert_true(app_get(&f->app, "PRAGMA page_count") > 256 + 1);
	assert_int_equal(app_get(&f->app, "PRAGMA page_size"), page_size);
}

static void test_pages_of_512(void **state)
{
	check_page_size(*state, 512, 1000, 400, 1);
}

static void test_pages_of_4096(void **state)
{
	check_page_size(*state, 4096, 400, 3500, 1);
}

static void test_pages_of_65536(void **state)
{
	check_page_size(*state, 65536, 270, 60000, 4);
}

/* Every offset and every size around the borders of pages that frames and file hold in turn. */
static void test_every_offset(void **state)
{
	struct fixture *f = *state;
	struct image *image;
	struct copy copy;
	uint32_t max_frame;

	make_database(f, "WAL", 512, 50, 400);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	app_do(&f->app, "UPDATE t SET b=randomblob(400) WHERE a%2=0");
	connect_live(f);
	image = pin_image(f, &max_frame, &copy);
	for (uint64_t offset = 4 * 512; offset <= 6 * 512; offset++) {
		for (size_t size = 1; size <= 1100;
		     size += size < 20 || size % 512 > 500 || size % 512 < 10 ? 1 : 37)
			assert_read(image, max_frame, &copy, size, offset);
	}
	image_unref(image);
	sqlite3_free(copy.bytes);
}

/* A page that stands neither in a frame of the image nor in the file, though later frames have it. */
static void test_past_the_end(void **state)
{
	struct fixture *f = *state;
	struct image *image;
	struct copy copy;
	uint32_t max_frame;
	char byte;

	make_database(f, "WAL", 512, 10, 400);
	connect_live(f);
	for (int with_frames = 0; with_frames < 2; with_frames++) {
		assert_true(app_can_truncate(f));
		if (with_frames)
			app_do(&f->app, "UPDATE t SET b=randomblob(400) WHERE a=1");
		image = pin_image(f, &max_frame, &copy);
		app_do(&f->app, APP_ROWS(300));
		for (int spooled = 0; spooled < 2; spooled++) {
			f->err.text[0] = '\0';
			assert_int_equal(image_read(image, max_frame, &byte, 1, copy.size, &f->err), -EIO);
			assert_true(strlen(f->err.text) > 0);
			assert_int_equal(image_read(image, max_frame, &byte, 1, copy.size + 100 * 512, NULL),
					 -EIO);
			assert_false(image_is_dead(image));
			assert_reads_all(image, max_frame, &copy);
			assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), 0);
		}
		image_unref(image);
		sqlite3_free(copy.bytes);
	}
}

/* Nothing was ever in the WAL: its header knows neither page size nor page count. */
static void test_fresh_wal(void **state)
{
	struct fixture *f = *state;
	struct wal_header now;
	struct copy copy, later;
	struct image *image;
	uint32_t max_frame;

	app_do(&f->app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
	app_do(&f->app, APP_ROWS(100));
	app_do(&f->app, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; SELECT * FROM t");
	app_stop(&f->app);
	app_start(&f->app, &f->folder, NAME);
	app_do(&f->app, "PRAGMA wal_autocheckpoint=0; SELECT * FROM t");
	connect_live(f);
	image = pin_image(f, &max_frame, &copy);
	assert_int_equal(max_frame, 0);
	assert_reads_all(image, 0, &copy);
	app_do(&f->app, "UPDATE t SET b=randomblob(300)");
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
	assert_reads_all(image, 0, &copy);
	assert_int_equal(live_sample(f->live, &now), 0);
	assert_true(now.max_frame > 0);
	assert_true(image_accepts(image, &now, PLENTY));
	later = copy_now(f);
	assert_reads_all(image, now.max_frame, &later);
	assert_reads_all(image, 0, &copy);
	image_unref(image);
	sqlite3_free(copy.bytes);
	sqlite3_free(later.bytes);
}

/* ---- copies -------------------------------------------------------------------------------------------- */

/* A file with the bytes of the database file alone, as a clone has them, SIZE of them (0: all). Another
 * process reads them, for a close of ours would drop locks. */
static int clone_of(struct fixture *f, off_t size)
{
	char command[2 * PATH_MAX + 32], from[PATH_MAX], to[PATH_MAX];
	int fd;

	folder_file(&f->folder, NAME, from);
	folder_file(&f->store, "clone", to);
	snprintf(command, sizeof(command), "cp %s %s", from, to);
	assert_int_equal(system(command), 0);
	fd = open(to, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	if (size)
		assert_int_equal(ftruncate(fd, size), 0);
	return fd;
}

static void assert_copies(struct image *image, uint32_t max_frame, const struct copy *copy, int fd,
			  bool cloned)
{
	_Atomic uint64_t done = 0;
	struct image_copy order = {
		.fd = fd, .cloned = cloned, .max_frame = max_frame, .size = copy->size, .done = &done};
	unsigned char *buf = malloc(copy->size + 1);
	struct snap_err err = {""};

	assert_non_null(buf);
	if (image_copy(image, &order, &err))
		fail_msg("%s", err.text);
	assert_int_equal(done, copy->size);
	assert_int_equal(pread(fd, buf, copy->size + 1, 0), copy->size);
	mask(buf, copy->size, 0);
	assert_memory_equal(buf, copy->bytes, copy->size);
	free(buf);
	close(fd);
}

static bool not_wanted(void *arg)
{
	return --*(int *)arg >= 0;
}

/* Whether the file has what the database file had, more or less of it, or nothing: it becomes the image. */
static void check_copies(struct fixture *f, uint32_t page_size, unsigned rows)
{
	uint32_t max_frame;
	struct copy copy;
	struct image *image;
	struct snap_err err;
	int calls = 1;

	make_database(f, "WAL", page_size, rows, page_size * 3 / 4);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	connect_live(f);
	/* Pages in frames: single ones, some in a row, and what the database file does not have yet. */
	app_do(&f->app, "UPDATE t SET b=randomblob(length(b)) WHERE a%7=1 OR a<9");
	app_do(&f->app, "INSERT INTO t(n, b) SELECT n, randomblob(length(b)) FROM t WHERE a%9=0");
	image = pin_image(f, &max_frame, &copy);
	assert_copies(image, max_frame, &copy, clone_of(f, 0), true);
	assert_copies(image, max_frame, &copy, clone_of(f, (off_t)copy.size + 3 * (off_t)page_size), true);
	assert_copies(image, max_frame, &copy, clone_of(f, (off_t)(copy.size / 2 / page_size * page_size)),
		      true);
	assert_copies(image, max_frame, &copy, clone_of(f, (off_t)page_size), true);
	assert_copies(image, max_frame, &copy, clone_of(f, 0), false);
	/* Given up on the way. */
	struct image_copy order = {.fd = clone_of(f, (off_t)page_size),
				   .max_frame = max_frame,
				   .size = copy.size,
				   .wanted = not_wanted,
				   .arg = &calls};
	assert_int_equal(image_copy(image, &order, &err), -ECANCELED);
	calls = 0;
	assert_int_equal(image_copy(image, &order, &err), -ECANCELED);
	close(order.fd);
	image_unref(image);
	sqlite3_free(copy.bytes);
}

static void test_copies_of_4096(void **state)
{
	check_copies(*state, 4096, 700);
}

/* More pages than are asked for at once. */
static void test_copies_of_512(void **state)
{
	check_copies(*state, 512, 6000);
}

/* ---- what a pin accepts -------------------------------------------------------------------------------- */

/* Pinned while the WAL was empty: it becomes the WAL whose first frames it accepts, and no other. */
static void test_accepts_first_frames(void **state)
{
	struct fixture *f = *state;
	struct wal_header now, other;
	struct image *image;
	struct copy copy;
	uint32_t max_frame;

	make_database(f, "WAL", 4096, 100, 3000);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	connect_live(f);
	image = pin_image(f, &max_frame, &copy);
	assert_int_equal(max_frame, 0);
	app_do(&f->app, "UPDATE t SET b=randomblob(3000) WHERE a<20");
	assert_int_equal(live_sample(f->live, &now), 0);
	assert_true(image_accepts(image, &now, PLENTY));
	other = now;
	other.salt[0] ^= 1;
	other.max_frame += 100;
	assert_false(image_accepts(image, &other, PLENTY));
	assert_true(image_accepts(image, &now, PLENTY));
	image_unref(image);
	sqlite3_free(copy.bytes);
}

static void test_accepts(void **state)
{
	struct fixture *f = *state;
	struct wal_header start, now, other;
	struct image *image;
	struct copy copy;
	uint32_t max_frame;
	uint64_t added;
	int64_t since, before = monotonic_ns();

	make_database(f, "WAL", 4096, 100, 3000);
	connect_live(f);
	image = pin_image(f, &max_frame, &copy);
	assert_true(image_is_pinned(image, &since));
	assert_between(since, before, monotonic_ns());
	assert_int_equal(live_sample(f->live, &start), 0);
	assert_true(image_accepts(image, &start, 1));
	assert_false(image_accepts(image, &start, 0));
	app_do(&f->app, "UPDATE t SET b=randomblob(3000) WHERE a<20");
	assert_int_equal(live_sample(f->live, &now), 0);
	added = (uint64_t)(now.max_frame - max_frame) * (4096 + 24);
	assert_true(added > 0);
	assert_false(image_accepts(image, &now, added));
	assert_true(image_accepts(image, &now, added + 1));
	other = now;
	other.salt[7] ^= 1;
	assert_false(image_accepts(image, &other, PLENTY));
	other = now;
	other.page_size = 512;
	assert_false(image_accepts(image, &other, PLENTY));
	other = now;
	other.max_frame = max_frame - 1;
	assert_false(image_accepts(image, &other, PLENTY));
	/* Nor back behind what was read. */
	assert_int_equal(image_read(image, now.max_frame, &other, 1, 0, NULL), 0);
	assert_false(image_accepts(image, &start, PLENTY));
	/* Without a pin there are no later commits. */
	assert_int_equal(spool(image, now.max_frame, copy.size, false, &f->err), 0);
	assert_false(image_is_pinned(image, &since));
	assert_false(image_accepts(image, &now, PLENTY));
	image_unref(image);
	sqlite3_free(copy.bytes);
}

/* A spool answers for what was copied, and for nothing later. */
static void test_spool_has_an_end(void **state)
{
	struct fixture *f = *state;
	struct wal_header now;
	struct image *image;
	struct copy copy;
	uint32_t max_frame;
	char byte;

	make_database(f, "WAL", 4096, 100, 3000);
	connect_live(f);
	image = pin_image(f, &max_frame, &copy);
	app_do(&f->app, "UPDATE t SET b=randomblob(3000)");
	assert_int_equal(live_sample(f->live, &now), 0);
	assert_true(image_covers(image, max_frame) && image_covers(image, now.max_frame));
	assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), 0);
	assert_true(image_covers(image, 0) && image_covers(image, max_frame));
	assert_false(image_covers(image, max_frame + 1) || image_covers(image, now.max_frame));
	assert_int_equal(image_read(image, now.max_frame, &byte, 1, 0, &f->err), -EIO);
	assert_true(strlen(f->err.text) > 0);
	assert_false(image_is_dead(image));
	assert_reads_all(image, max_frame, &copy);
	image_unref(image);
	sqlite3_free(copy.bytes);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_pages_of_512),	 test(test_pages_of_4096),    test(test_pages_of_65536),
		test(test_every_offset),	 test(test_past_the_end),     test(test_fresh_wal),
		test(test_copies_of_512),	 test(test_copies_of_4096),   test(test_accepts),
		test(test_accepts_first_frames), test(test_spool_has_an_end),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
