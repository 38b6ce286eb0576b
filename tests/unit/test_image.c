/* SPDX-License-Identifier: MIT */
/*
 * test_image.c - what an image reads, compared with sqlite3_backup of the same moment: under a pin, while the
 * application goes on, from a spool, across the swap from one to the other, and when the lock is lost.
 */
#include <stdbool.h>

#include "app.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>

#include "../../src/clock.h"
#include "../../src/header.h"
#include "../../src/image.h"

#define NAME "db"
#define PLENTY (1ull << 40)

struct fixture {
	struct folder folder, store;
	bool store_mounted;
	struct app app;
	struct core core;
	struct place place;
	struct live *live;
	struct snap_err err;
};

/* A database as sqlite3_backup gives it, masked. */
struct copy {
	unsigned char *bytes; /* sqlite3_malloc'ed */
	size_t size;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	folder_make(&f->folder);
	/* A file system that cannot clone, wherever the test runs; test_spool.c has the others. */
	assert_int_equal(mount("test", f->folder.path, "tmpfs", 0, NULL), 0);
	close(f->folder.fd);
	f->folder.fd = open(f->folder.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	folder_make(&f->store);
	app_start(&f->app, &f->folder, NAME);
	f->place = (struct place){.root = f->folder.fd, .dir = strdup(""), .name = strdup(NAME)};
	assert_int_equal(rawfd_table_create(&f->core.raw), 0);
	assert_int_equal(foldertimes_create(&f->core.folders), 0);
	assert_int_equal(store_create(&f->core.store, f->store.path, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	live_unref(f->live);
	if (f->app.pid)
		app_stop(&f->app);
	place_finish(&f->place);
	store_destroy(f->core.store);
	foldertimes_destroy(f->core.folders);
	rawfd_table_destroy(f->core.raw);
	if (f->store_mounted)
		umount2(f->store.path, MNT_DETACH);
	umount2(f->folder.path, MNT_DETACH);
	folder_remove(&f->folder);
	folder_remove(&f->store);
	free(f);
	return 0;
}

/* Mounts are seen by this process and its children alone, and end with it. */
static int own_mounts(void **state)
{
	(void)state;
	return unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

/* ---- the database ----------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void app_run(struct fixture *f, const char *format, ...)
{
	char sql[512];
	va_list args;

	va_start(args, format);
	vsnprintf(sql, sizeof(sql), format, args);
	va_end(args);
	app_do(&f->app, sql);
}

/* A WAL database of ROWS rows of BYTES bytes, all in the WAL. */
static void make_database(struct fixture *f, uint32_t page_size, unsigned rows, unsigned bytes)
{
	app_run(f, "PRAGMA synchronous=OFF; PRAGMA page_size=%u", page_size);
	app_do(&f->app, APP_WAL);
	app_run(f,
		"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<%u) "
		"INSERT INTO t(b) SELECT randomblob(%u) FROM c",
		rows, bytes);
}

static void connect_live(struct fixture *f)
{
	struct stat st;

	assert_int_equal(place_stat(&f->place, "", &st), 0);
	assert_int_equal(
		live_create(&f->live, &f->core, &f->place, &st, monotonic_ns() + 5 * NS_PER_S, &f->err), 0);
}

static void mask(unsigned char *bytes, size_t size, uint64_t offset)
{
	for (size_t i = 0; i < size && offset + i < HEADER_SIZE; i++) {
		uint64_t at = offset + i;

		if ((at >= 24 && at < 28) || (at >= 40 && at < 44) || at >= 92)
			bytes[i] = 0;
	}
}

static struct copy copy_of(struct conn *conn)
{
	sqlite3_backup *backup;
	sqlite3_int64 size;
	struct copy copy;
	sqlite3 *to;

	assert_int_equal(sqlite3_open(":memory:", &to), SQLITE_OK);
	backup = sqlite3_backup_init(to, "main", conn->db.handle, "main");
	assert_non_null(backup);
	assert_int_equal(sqlite3_backup_step(backup, -1), SQLITE_DONE);
	assert_int_equal(sqlite3_backup_finish(backup), SQLITE_OK);
	copy.bytes = sqlite3_serialize(to, "main", &size, 0);
	assert_non_null(copy.bytes);
	copy.size = (size_t)size;
	sqlite3_close(to);
	mask(copy.bytes, copy.size, 0);
	return copy;
}

static struct conn *pin(struct fixture *f)
{
	struct conn *conn = NULL;

	assert_int_equal(live_pin(f->live, monotonic_ns() + 5 * NS_PER_S, &conn, &f->err), 0);
	return conn;
}

/* What the database is now, by a transaction of its own. */
static struct copy copy_now(struct fixture *f)
{
	struct conn *conn = pin(f);
	struct copy copy = copy_of(conn);

	live_unpin(conn);
	return copy;
}

/* An image of this moment, and what it must read; nobody commits meanwhile. */
static struct image *pin_image(struct fixture *f, uint32_t *max_frame, struct copy *copy)
{
	struct conn *conn = pin(f);
	uint32_t page_size = conn->start.page_size;
	struct image *image = NULL;

	*max_frame = conn->start.max_frame;
	*copy = copy_of(conn);
	if (page_size == 0) { /* an empty WAL does not know */
		page_size = (uint32_t)copy->bytes[16] << 8 | copy->bytes[17];
		page_size = page_size == 1 ? 65536 : page_size;
	}
	assert_int_equal(image_create_pinned(&image, conn, page_size), 0);
	return image;
}

/* image_spool() of one image that somebody else holds too. */
static int spool(struct image *image, uint32_t max_frame, uint64_t size, bool clone_only,
		 struct snap_err *err)
{
	int rc;

	image_ref(image);
	rc = image_spool(&image, &max_frame, 1, size, clone_only, err);
	image_unref(image);
	return rc;
}

static bool app_can_truncate(struct fixture *f)
{
	return app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)") == 0;
}

/* ---- reading ---------------------------------------------------------------------------------------- */

/* 0 when the bytes are right, 1 when they are not, -errno. BUF has room for SIZE + 2. */
static int read_and_compare(struct image *image, uint32_t max_frame, const struct copy *copy,
			    unsigned char *buf, size_t size, uint64_t offset)
{
	int rc;

	buf[0] = buf[size + 1] = 0x5a;
	memset(buf + 1, 0xa5, size);
	rc = image_read(image, max_frame, buf + 1, size, offset, NULL);
	if (rc)
		return rc;
	mask(buf + 1, size, offset);
	return memcmp(buf + 1, copy->bytes + offset, size) != 0 || buf[0] != 0x5a || buf[size + 1] != 0x5a;
}

static void assert_read(struct image *image, uint32_t max_frame, const struct copy *copy, size_t size,
			uint64_t offset)
{
	unsigned char *buf = malloc(size + 2);
	int rc;

	assert_non_null(buf);
	rc = read_and_compare(image, max_frame, copy, buf, size, offset);
	if (rc)
		fail_msg("%zu bytes at %llu: %d", size, (unsigned long long)offset, rc);
	free(buf);
}

static void assert_reads_all(struct image *image, uint32_t max_frame, const struct copy *copy)
{
	assert_read(image, max_frame, copy, copy->size, 0);
}

static uint32_t next_random(uint32_t *random)
{
	*random = *random * 1103515245u + 12345u;
	return *random >> 8;
}

#define BIG 50000 /* bytes */

/* Pieces of any size at any place, and the ones where mistakes would be made. */
static void assert_reads_pieces(struct image *image, uint32_t max_frame, const struct copy *copy,
				uint32_t page_size)
{
	const uint64_t edges[] = {0,
				  23,
				  99,
				  page_size,
				  2ull * page_size,
				  255ull * page_size,
				  256ull * page_size,
				  257ull * page_size,
				  512ull * page_size,
				  copy->size};
	const size_t sizes[] = {1,
				2,
				24,
				511,
				page_size - 1,
				page_size,
				page_size + 1,
				3ull * page_size,
				131072,
				256ull * page_size - 1,
				256ull * page_size,
				256ull * page_size + 1};
	uint32_t random = page_size;

	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]) * 3; i++) {
		/* One byte before, at, and after the edge; pieces that begin there, and that end there. */
		uint64_t at = edges[i / 3] + i % 3 - 1;

		for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
			if (sizes[k] > BIG && i % 9 != k % 9)
				continue; /* some are enough */
			if (at <= copy->size && at + sizes[k] <= copy->size)
				assert_read(image, max_frame, copy, sizes[k], at);
			if (at >= sizes[k] && at <= copy->size)
				assert_read(image, max_frame, copy, sizes[k], at - sizes[k]);
		}
	}
	for (int i = 0; i < 100; i++) {
		uint64_t at = next_random(&random) % copy->size;
		size_t size = 1 + next_random(&random) % (3u * page_size);

		assert_read(image, max_frame, copy, size < copy->size - at ? size : copy->size - at, at);
	}
	assert_int_equal(image_read(image, max_frame, NULL, 0, 0, NULL), 0);
}

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

/* The application works on below the image. */
static void go_on(struct fixture *f)
{
	app_do(&f->app, "UPDATE t SET b=randomblob(length(b)) WHERE a%4=1");
	app_do(&f->app, "INSERT INTO t(b) SELECT randomblob(length(b)) FROM t WHERE a%9=0");
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
	app_do(&f->app, "DELETE FROM t WHERE a%11=0");
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
}

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
	make_database(f, page_size, rows, bytes);
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

	make_database(f, 512, 50, 400);
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

	make_database(f, 512, 10, 400);
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

/* ---- flat images ------------------------------------------------------------------------------------ */

/* A file of SIZE bytes that tell their place, and the same in memory. */
static int make_flat(struct fixture *f, struct copy *copy, size_t size)
{
	char path[PATH_MAX];
	int fd = open(folder_file(&f->folder, "flat", path), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	copy->size = size;
	copy->bytes = sqlite3_malloc64(size);
	assert_non_null(copy->bytes);
	for (size_t i = 0; i < size; i++)
		copy->bytes[i] = (unsigned char)(i * 31 + i / 256 + 1);
	assert_int_equal(write(fd, copy->bytes, size), size);
	mask(copy->bytes, size, 0);
	return fd;
}

static void test_flat(void **state)
{
	struct fixture *f = *state;
	struct image *image;
	struct copy copy;
	int64_t since;
	char byte;
	int fd = make_flat(f, &copy, 3 * 512);

	assert_int_equal(image_create_flat(&image, fd, 512), 0);
	assert_reads_all(image, 0, &copy);
	for (uint64_t offset = 0; offset < copy.size; offset += 7) {
		for (size_t size = 1; offset + size <= copy.size; size += 11)
			assert_read(image, 0, &copy, size, offset);
	}
	assert_false(image_is_pinned(image, &since));
	assert_null(image_live(image));
	assert_true(image_covers(image, 0));
	assert_false(image_covers(image, 1));
	assert_int_equal(spool(image, 0, copy.size, false, &f->err), 0);
	assert_int_equal(spool(image, 0, copy.size, true, &f->err), 0);
	assert_reads_all(image, 0, &copy);
	/* It has no frames, and an end. */
	assert_int_equal(image_read(image, 1, &byte, 1, 0, &f->err), -EIO);
	assert_true(strlen(f->err.text) > 0);
	assert_int_equal(image_read(image, 0, &byte, 1, 3 * 512, NULL), -EIO);
	assert_ptr_equal(image_ref(image), image);
	image_unref(image);
	assert_reads_all(image, 0, &copy);
	assert_false(image_is_dead(image));
	image_unref(image);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	sqlite3_free(copy.bytes);
}

static void assert_zeros(struct image *image, size_t size, uint64_t offset)
{
	unsigned char *buf = malloc(size);

	assert_non_null(buf);
	memset(buf, 0xa5, size);
	assert_int_equal(image_read(image, 0, buf, size, offset, NULL), 0);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(buf[i], 0);
	free(buf);
}

/* SQLite takes a last page that is cut for one that ends in zeros. */
static void test_flat_cut(void **state)
{
	struct fixture *f = *state;
	struct image *image;
	struct copy copy;
	unsigned char bytes[1024];
	int fd = make_flat(f, &copy, 1024 + 100);

	assert_int_equal(image_create_flat(&image, fd, 512), 0);
	assert_reads_all(image, 0, &copy);
	memset(bytes, 0xa5, sizeof(bytes));
	assert_int_equal(image_read(image, 0, bytes, 1024, 512, NULL), 0);
	assert_memory_equal(bytes, copy.bytes + 512, 612);
	for (int i = 612; i < 1024; i++)
		assert_int_equal(bytes[i], 0);
	assert_zeros(image, 412, 1024 + 100);
	assert_zeros(image, 1, 1535);
	assert_int_equal(image_read(image, 0, bytes, 1, 1536, NULL), -EIO);
	assert_int_equal(image_read(image, 0, bytes, 2, 1535, NULL), -EIO);
	image_unref(image);
	sqlite3_free(copy.bytes);
}

/* SQLite never uses the page of the lock bytes, and leaves it out when it comes last. */
static void test_lock_byte_page(void **state)
{
	static const uint32_t page_sizes[] = {512, 4096, 65536};
	struct fixture *f = *state;
	char path[PATH_MAX];

	for (size_t i = 0; i < 3; i++) {
		uint32_t page_size = page_sizes[i];
		struct image *image;
		char byte;
		int fd = open(folder_file(&f->folder, "big", path), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
			      0600);

		assert_int_equal(ftruncate(fd, 1 << 30), 0);
		assert_int_equal(pwrite(fd, "x", 1, (1 << 30) - 1), 1);
		assert_int_equal(image_create_flat(&image, fd, page_size), 0);
		assert_int_equal(image_read(image, 0, &byte, 1, (1 << 30) - 1, NULL), 0);
		assert_int_equal(byte, 'x');
		assert_zeros(image, page_size, 1 << 30);
		assert_zeros(image, page_size - 1, (1 << 30) + 1);
		assert_int_equal(image_read(image, 0, &byte, 1, (1 << 30) + page_size, NULL), -EIO);
		image_unref(image);
	}
}

static void test_flat_of_nothing(void **state)
{
	struct image *image;
	char byte;

	(void)state;
	assert_int_equal(image_create_flat(&image, -1, 512), 0);
	assert_int_equal(image_read(image, 0, &byte, 0, 0, NULL), 0);
	assert_int_equal(image_read(image, 0, &byte, 1, 0, NULL), -EIO);
	image_unref(image);
	image_unref(NULL);
}

/* ---- what a pin accepts ----------------------------------------------------------------------------- */

static void test_accepts(void **state)
{
	struct fixture *f = *state;
	struct wal_header start, now, other;
	struct image *image;
	struct copy copy;
	uint32_t max_frame;
	uint64_t added;
	int64_t since, before = monotonic_ns();

	make_database(f, 4096, 100, 3000);
	connect_live(f);
	image = pin_image(f, &max_frame, &copy);
	assert_true(image_is_pinned(image, &since));
	assert_in_range(since, before, monotonic_ns());
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

	make_database(f, 4096, 100, 3000);
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

/* ---- readers beside everything ---------------------------------------------------------------------- */

#define READERS 3

struct reader {
	struct image *image;
	const struct copy *copies[2];
	uint32_t max_frames[2];
	atomic_bool *enough;
	atomic_int reads, wrong, failed;
	pthread_t thread;
	uint32_t random;
};

static void *keep_reading(void *arg)
{
	struct reader *r = arg;
	unsigned char *buf = malloc(100002);

	while (buf && !atomic_load(r->enough)) {
		uint32_t which = next_random(&r->random) % 2;
		const struct copy *copy = r->copies[which];
		uint64_t at = next_random(&r->random) % copy->size;
		size_t size = 1 + next_random(&r->random) % 100000;
		int rc;

		if (size > copy->size - at)
			size = copy->size - at;
		rc = read_and_compare(r->image, r->max_frames[which], copy, buf, size, at);
		atomic_fetch_add(rc < 0 ? &r->failed : rc > 0 ? &r->wrong : &r->reads, 1);
		if (rc < 0)
			break;
	}
	free(buf);
	return NULL;
}

static void start_readers(struct reader *readers, const struct reader *like)
{
	for (uint32_t i = 0; i < READERS; i++) {
		readers[i] = (struct reader){.image = like->image, .enough = like->enough, .random = i + 1};
		memcpy(readers[i].copies, like->copies, sizeof(like->copies));
		memcpy(readers[i].max_frames, like->max_frames, sizeof(like->max_frames));
		assert_int_equal(pthread_create(&readers[i].thread, NULL, keep_reading, &readers[i]), 0);
	}
}

/* Until every reader has read N times more; they have all ended, or are alive. */
static void await_reads(struct reader *readers, int n)
{
	for (int i = 0; i < READERS; i++) {
		int from = atomic_load(&readers[i].reads);

		while (atomic_load(&readers[i].reads) < from + n && !atomic_load(&readers[i].failed))
			sched_yield();
	}
}

static void join_readers(struct reader *readers)
{
	for (int i = 0; i < READERS; i++) {
		assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
		assert_int_equal(atomic_load(&readers[i].wrong), 0);
	}
}

/* A database in which frames and file hold pages in turn, an image of it, and one of a later commit. */
static void make_readers(struct fixture *f, struct reader *like, struct copy copies[2])
{
	struct wal_header now;

	app_do(&f->app, "UPDATE t SET b=randomblob(length(b)) WHERE a%3=0");
	like->image = pin_image(f, &like->max_frames[0], &copies[0]);
	app_do(&f->app, "UPDATE t SET b=randomblob(length(b)) WHERE a%4=0");
	assert_int_equal(live_sample(f->live, &now), 0);
	assert_true(image_accepts(like->image, &now, PLENTY));
	like->max_frames[1] = now.max_frame;
	copies[1] = copy_now(f);
	like->copies[0] = &copies[0];
	like->copies[1] = &copies[1];
}

static void test_swap_below_readers(void **state)
{
	struct fixture *f = *state;
	struct reader readers[READERS];
	struct copy copies[2];

	make_database(f, 1024, 800, 700);
	connect_live(f);
	for (int round = 0; round < 5; round++) {
		atomic_bool enough = false;
		struct reader like = {.enough = &enough};

		assert_true(app_can_truncate(f));
		make_readers(f, &like, copies);
		start_readers(readers, &like);
		await_reads(readers, 10);
		go_on(f);
		assert_int_equal(spool(like.image, like.max_frames[1],
				       copies[0].size > copies[1].size ? copies[0].size : copies[1].size,
				       false, &f->err),
				 0);
		go_on(f);
		await_reads(readers, 20);
		/* Whoever began on the pin is done with it. */
		assert_true(app_can_truncate(f));
		go_on(f);
		await_reads(readers, 20);
		atomic_store(&enough, true);
		join_readers(readers);
		for (int i = 0; i < READERS; i++)
			assert_int_equal(atomic_load(&readers[i].failed), 0);
		image_unref(like.image);
		sqlite3_free(copies[0].bytes);
		sqlite3_free(copies[1].bytes);
	}
}

/* New commits are taken in while others read older ones. */
static void test_accept_below_readers(void **state)
{
	struct fixture *f = *state;
	struct reader readers[READERS];
	struct copy copies[2];
	atomic_bool enough = false;
	struct reader like = {.enough = &enough};

	make_database(f, 1024, 300, 700);
	connect_live(f);
	assert_true(app_can_truncate(f));
	make_readers(f, &like, copies);
	start_readers(readers, &like);
	for (int i = 0; i < 20; i++) {
		struct wal_header now;
		struct copy copy;

		go_on(f);
		assert_int_equal(live_sample(f->live, &now), 0);
		assert_true(image_accepts(like.image, &now, PLENTY));
		copy = copy_now(f);
		assert_reads_all(like.image, now.max_frame, &copy);
		sqlite3_free(copy.bytes);
	}
	await_reads(readers, 5);
	atomic_store(&enough, true);
	join_readers(readers);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(atomic_load(&readers[i].failed), 0);
	image_unref(like.image);
	sqlite3_free(copies[0].bytes);
	sqlite3_free(copies[1].bytes);
}

/* ---- the end of an image ---------------------------------------------------------------------------- */

static void assert_dead(struct fixture *f, struct image *image, uint32_t max_frame)
{
	struct wal_header now;
	int64_t since;
	char byte = 'x';

	assert_true(image_is_dead(image));
	assert_false(image_covers(image, max_frame) || image_covers(image, 0));
	for (int i = 0; i < 2; i++) {
		f->err.text[0] = '\0';
		assert_int_equal(image_read(image, max_frame, &byte, 1, 0, &f->err), -EIO);
		assert_true(strlen(f->err.text) > 0);
	}
	assert_int_equal(image_read(image, 0, &byte, 1, 0, NULL), -EIO);
	assert_false(image_is_pinned(image, &since));
	if (live_sample(f->live, &now) == 0)
		assert_false(image_accepts(image, &now, PLENTY));
	assert_int_equal(spool(image, max_frame, 4096, false, &f->err), 0); /* nothing to do */
	assert_true(image_is_dead(image));
}

static void test_kill(void **state)
{
	struct fixture *f = *state;
	struct image *image;
	struct copy copy;
	uint32_t max_frame;

	make_database(f, 4096, 100, 3000);
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

static void test_kill_below_readers(void **state)
{
	struct fixture *f = *state;
	struct reader readers[READERS];
	struct copy copies[2];

	make_database(f, 1024, 300, 700);
	connect_live(f);
	for (int round = 0; round < 10; round++) {
		atomic_bool enough = false;
		struct reader like = {.enough = &enough};

		assert_true(app_can_truncate(f));
		make_readers(f, &like, copies);
		start_readers(readers, &like);
		await_reads(readers, 5);
		if (round % 2)
			assert_int_equal(
				spool(like.image, like.max_frames[1], copies[1].size, false, &f->err), 0);
		image_kill(like.image);
		join_readers(readers);
		for (int i = 0; i < READERS; i++)
			assert_int_equal(atomic_load(&readers[i].failed), 1);
		assert_true(app_can_truncate(f));
		assert_dead(f, like.image, like.max_frames[0]);
		image_unref(like.image);
		sqlite3_free(copies[0].bytes);
		sqlite3_free(copies[1].bytes);
	}
}

/* ---- a lost lock ------------------------------------------------------------------------------------ */

static int fail_reads(void *arg, enum vfs_call call)
{
	return *(bool *)arg && call == VFS_READ ? SQLITE_IOERR_READ : SQLITE_OK;
}

/* An image whose connection was told to fail, for which CONN is kept at hand. */
static struct image *pin_failing(struct fixture *f, struct conn **conn, bool *fail, uint32_t *max_frame)
{
	struct image *image = NULL;

	*conn = pin(f);
	*max_frame = (*conn)->start.max_frame;
	vfs_set_fault((*conn)->db.vfs, fail_reads, fail);
	assert_int_equal(image_create_pinned(&image, *conn, (*conn)->start.page_size), 0);
	return image;
}

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

	make_database(f, 4096, 100, 3000);
	connect_live(f);
	image = pin_failing(f, &conn, &fail, &max_frame);
	copy = copy_now(f);
	fail = true;
	assert_int_equal(image_read(image, max_frame, &byte, 1, 0, &f->err), -EIO);
	assert_true(strlen(f->err.text) > 0);
	assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), -EIO);
	assert_true(strlen(f->err.text) > 0);
	assert_false(image_is_dead(image));
	fail = false;
	assert_reads_all(image, max_frame, &copy);
	assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), 0);
	assert_reads_all(image, max_frame, &copy);
	image_unref(image);
	vfs_set_fault(conn->db.vfs, NULL, NULL);
	sqlite3_free(copy.bytes);
}

/* SQLite rolls back by itself when a statement meets an I/O error, and drops the lock. Whoever looks first
 * finds it. */
static void test_transaction_lost(void **state)
{
	struct fixture *f = *state;

	make_database(f, 4096, 500, 3000);
	connect_live(f);
	for (int who = 0; who < 3; who++) {
		struct image *image;
		struct conn *conn;
		uint32_t max_frame;
		bool fail = false;
		char byte;

		image = pin_failing(f, &conn, &fail, &max_frame);
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

	make_database(f, 1024, 300, 700);
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
		live_unref(f->live);
		f->live = NULL;
	}
}

/* ---- spools that cannot be made, and shared ones ---------------------------------------------------- */

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void mount_store(struct fixture *f, const char *options)
{
	assert_int_equal(mount("test", f->store.path, "tmpfs", 0, options), 0);
	f->store_mounted = true;
}

static void assert_as_it_was(struct image *image, uint32_t max_frame, const struct copy *copy, int fds)
{
	int64_t since;

	assert_int_equal(count_fds(), fds);
	assert_true(image_is_pinned(image, &since));
	assert_false(image_is_dead(image));
	assert_reads_all(image, max_frame, copy);
}

/* Takes what room is left, at the first read once that is armed. */
struct filler {
	bool armed;
	int fd;
};

static int fill_at_read(void *arg, enum vfs_call call)
{
	struct filler *filler = arg;
	char zeros[4096] = "";

	if (filler->armed && call == VFS_READ) {
		while (write(filler->fd, zeros, sizeof(zeros)) > 0)
			;
		filler->armed = false;
	}
	return SQLITE_OK;
}

static void test_spool_fails(void **state)
{
	struct fixture *f = *state;
	struct filler filler = {.armed = false};
	struct image *image = NULL;
	struct conn *conn;
	struct copy copy;
	uint32_t max_frame;
	char path[PATH_MAX];
	int fds;

	make_database(f, 4096, 500, 3500);
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
	mount_store(f, "size=19m");
	connect_live(f);
	conn = pin(f);
	copy = copy_of(conn);
	max_frame = conn->start.max_frame;
	vfs_set_fault(conn->db.vfs, fill_at_read, &filler);
	assert_int_equal(image_create_pinned(&image, conn, 4096), 0);
	/* The file system cannot clone; the descriptor for it stays. */
	assert_int_equal(spool(image, max_frame, copy.size, true, &f->err), -EOPNOTSUPP);
	fds = count_fds();
	assert_int_equal(spool(image, max_frame, copy.size, true, &f->err), -EOPNOTSUPP);
	assert_as_it_was(image, max_frame, &copy, fds);
	/* No room at the beginning. */
	assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), -ENOSPC);
	assert_non_null(strstr(f->err.text, f->store.path));
	assert_as_it_was(image, max_frame, &copy, fds);
	/* No room any more. */
	assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT, "size=40m"), 0);
	filler.fd = open(folder_file(&f->store, "fill", path), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	filler.armed = true;
	assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), -ENOSPC);
	assert_false(filler.armed);
	assert_as_it_was(image, max_frame, &copy, fds + 1);
	assert_int_equal(ftruncate(filler.fd, 0), 0);
	close(filler.fd);
	/* Read-only. */
	assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), -EROFS);
	assert_as_it_was(image, max_frame, &copy, fds);
	assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT, NULL), 0);
	assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), 0);
	assert_reads_all(image, max_frame, &copy);
	image_unref(image);
	assert_int_equal(count_fds(), fds);
	sqlite3_free(copy.bytes);
}

/* Somebody who goes away after some reads. */
struct leaver {
	struct image *image; /* a reference; NULL: gone */
	int reads_left;
};

static int leave_at_read(void *arg, enum vfs_call call)
{
	struct leaver *leaver = arg;

	if (call == VFS_READ && leaver->image && leaver->reads_left-- == 0) {
		image_unref(leaver->image);
		leaver->image = NULL;
	}
	return SQLITE_OK;
}

/* What nobody reads any more is not copied to the end: 3 MiB of file and 2 of WAL, at 16 reads each. */
static void test_spool_unwanted(void **state)
{
	struct fixture *f = *state;
	struct leaver leaver = {.image = NULL};
	struct image *image = NULL;
	struct conn *conn;
	struct copy copy;
	uint32_t max_frame;
	int fds, ended_early = 0;

	make_database(f, 4096, 700, 3500);
	assert_true(app_can_truncate(f));
	app_do(&f->app, "UPDATE t SET b=randomblob(3500) WHERE a<500");
	connect_live(f);
	conn = pin(f);
	copy = copy_of(conn);
	max_frame = conn->start.max_frame;
	vfs_set_fault(conn->db.vfs, leave_at_read, &leaver);
	assert_int_equal(image_create_pinned(&image, conn, 4096), 0);
	assert_int_equal(image_spool(&image, &max_frame, 1, copy.size, false, &f->err), 0);
	fds = count_fds();
	assert_as_it_was(image, max_frame, &copy, fds);
	for (int n = 0;; n += 8) {
		int64_t since;

		leaver = (struct leaver){.image = image_ref(image), .reads_left = n};
		assert_int_equal(image_spool(&image, &max_frame, 1, copy.size, false, &f->err), 0);
		if (leaver.image)
			image_unref(leaver.image);
		leaver.image = NULL;
		if (!image_is_pinned(image, &since))
			break;
		assert_as_it_was(image, max_frame, &copy, fds);
		ended_early++;
	}
	assert_in_range(ended_early, 3, 12);
	assert_reads_all(image, max_frame, &copy);
	image_unref(image);
	sqlite3_free(copy.bytes);
}

#define SEVERAL 5

/* Pins on one WAL at SEVERAL moments. */
static void pin_several(struct fixture *f, struct image *images[SEVERAL], uint32_t max_frames[SEVERAL],
			struct copy copies[SEVERAL], uint64_t *size)
{
	*size = 0;
	for (int i = 0; i < SEVERAL; i++) {
		images[i] = pin_image(f, &max_frames[i], &copies[i]);
		if (copies[i].size > *size)
			*size = copies[i].size;
		go_on(f);
	}
}

static void exchange(struct image **images, uint32_t *max_frames, struct copy *copies, int a, int b)
{
	struct image *image = images[a];
	uint32_t max_frame = max_frames[a];
	struct copy copy = copies[a];

	images[a] = images[b];
	max_frames[a] = max_frames[b];
	copies[a] = copies[b];
	images[b] = image;
	max_frames[b] = max_frame;
	copies[b] = copy;
}

static void test_spool_of_several(void **state)
{
	struct fixture *f = *state;
	struct image *images[SEVERAL + 2];
	uint32_t max_frames[SEVERAL + 2] = {0};
	struct copy copies[SEVERAL];
	uint64_t size;
	int fds;

	make_database(f, 1024, 300, 700);
	connect_live(f);
	assert_true(app_can_truncate(f));
	app_do(&f->app, "UPDATE t SET b=randomblob(700) WHERE a%3=0");
	pin_several(f, images, max_frames, copies, &size);
	/* Others that need nothing may be among them. */
	assert_int_equal(image_create_flat(&images[SEVERAL], -1, 1024), 0);
	assert_int_equal(image_create_flat(&images[SEVERAL + 1], -1, 1024), 0);
	image_kill(images[SEVERAL + 1]);
	/* In no order of time. */
	exchange(images, max_frames, copies, 0, SEVERAL - 1);
	exchange(images, max_frames, copies, 1, 2);
	for (int i = 0; i < SEVERAL; i++)
		assert_ptr_equal(image_live(images[i]), f->live);
	fds = count_fds();
	image_ref(images[SEVERAL]); /* anybody's reader keeps it going */
	assert_int_equal(image_spool(images, max_frames, SEVERAL + 2, size, false, &f->err), 0);
	image_unref(images[SEVERAL]);
	/* One spool for all, and connections that nobody needs any more. */
	assert_true(count_fds() <= fds + 2);
	assert_true(app_can_truncate(f));
	go_on(f);
	for (int i = 0; i < SEVERAL; i++) {
		assert_null(image_live(images[i]));
		assert_reads_pieces(images[i], max_frames[i], &copies[i], 1024);
		assert_reads_all(images[i], max_frames[i], &copies[i]);
	}
	/* It lasts as long as one of them. */
	for (int i = 0; i < SEVERAL + 2; i++) {
		image_unref(images[i]);
		if (i + 1 < SEVERAL)
			assert_reads_all(images[SEVERAL - 1], max_frames[SEVERAL - 1], &copies[SEVERAL - 1]);
	}
	assert_int_equal(image_spool(NULL, NULL, 0, 0, false, NULL), 0);
	for (int i = 0; i < SEVERAL; i++)
		sqlite3_free(copies[i].bytes);
}

/* One that turns out to be lost harms none of the others. */
static void test_spool_of_several_one_lost(void **state)
{
	struct fixture *f = *state;
	struct image *images[3];
	uint32_t max_frames[3];
	struct copy copies[2];
	struct conn *conn;
	bool fail = false;

	make_database(f, 1024, 300, 700);
	connect_live(f);
	for (int lost = 0; lost < 3; lost++) {
		fail = false;
		for (int i = 0, k = 0; i < 3; i++) {
			if (i == lost)
				images[i] = pin_failing(f, &conn, &fail, &max_frames[i]);
			else
				images[i] = pin_image(f, &max_frames[i], &copies[k++]);
		}
		fail = true;
		assert_int_equal(db_exec(&conn->db, "SELECT sum(length(b)) FROM t"), SQLITE_IOERR_READ);
		fail = false;
		image_ref(images[0]);
		assert_int_equal(image_spool(images, max_frames, 3, copies[0].size, false, &f->err), -EIO);
		image_unref(images[0]);
		assert_non_null(strstr(f->err.text, "lock"));
		for (int i = 0, k = 0; i < 3; i++) {
			assert_int_equal(image_is_dead(images[i]), i == lost);
			assert_null(image_live(images[i]));
			if (i != lost)
				assert_reads_all(images[i], max_frames[i], &copies[k++]);
			image_unref(images[i]);
		}
		sqlite3_free(copies[0].bytes);
		sqlite3_free(copies[1].bytes);
		live_unref(f->live); /* with it the connection that was told to fail */
		f->live = NULL;
		connect_live(f);
	}
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_pages_of_512),
		test(test_pages_of_4096),
		test(test_pages_of_65536),
		test(test_every_offset),
		test(test_past_the_end),
		test(test_fresh_wal),
		test(test_flat),
		test(test_flat_cut),
		test(test_lock_byte_page),
		test(test_flat_of_nothing),
		test(test_accepts),
		test(test_spool_has_an_end),
		test(test_swap_below_readers),
		test(test_accept_below_readers),
		test(test_kill),
		test(test_kill_below_readers),
		test(test_disk_error),
		test(test_transaction_lost),
		test(test_locks_lost),
		test(test_spool_fails),
		test(test_spool_unwanted),
		test(test_spool_of_several),
		test(test_spool_of_several_one_lost),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
