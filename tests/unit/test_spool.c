/* SPDX-License-Identifier: MIT */
/*
 * test_spool.c - copies and clones of what a pin holds still, while the application goes on, compared with
 * what sqlite3_backup gives.
 */
#include "spools.h"

#include "../../src/memory.h"

/* ---- spools of a pin ----------------------------------------------------------------------------------- */

/* The image as the format describes it: the latest frame of a page, else the database file. */
static struct copy compose(const struct spool *s, uint32_t page_size, uint32_t max_frame, size_t size)
{
	struct copy copy = {sqlite3_malloc64(size), size};
	uint8_t header[WAL_FRAME_HEADER];
	size_t done = 0;
	ssize_t got;

	memset(copy.bytes, 0, size);
	while ((got = spool_read_db(s, copy.bytes + done, size - done, done)) > 0)
		done += (size_t)got;
	assert_int_equal(got, 0);
	for (uint32_t frame = 1; frame <= max_frame; frame++) {
		uint64_t at = wal_frame_offset(frame, page_size);
		uint64_t page;

		assert_int_equal(spool_read_wal(s, header, sizeof(header), at), sizeof(header));
		page = (uint64_t)header[0] << 24 | (uint64_t)header[1] << 16 | (uint64_t)header[2] << 8 |
		       header[3];
		assert_true(page > 0);
		if (page * page_size <= size)
			assert_int_equal(spool_read_wal(s, copy.bytes + (page - 1) * page_size, page_size,
							at + WAL_FRAME_HEADER),
					 page_size);
	}
	/* Nothing of what came later. */
	if (max_frame)
		assert_int_equal(spool_read_wal(s, header, 1, wal_frame_offset(max_frame + 1, page_size)), 0);
	mask(copy.bytes, copy.size, 0);
	return copy;
}

static void assert_spool(const struct spool *s, struct conn *conn, uint32_t page_size,
			 const struct copy *expected)
{
	struct copy got = compose(s, page_size, conn->start.max_frame, expected->size);

	assert_same(&got, expected);
	sqlite3_free(got.bytes);
}

/* All that CONN's pin began with. */
static struct spool_order order_of(const struct conn *conn, uint32_t page_size, uint64_t size)
{
	return (struct spool_order){.page_size = page_size, .max_frame = conn->start.max_frame, .size = size};
}

/* The application commits and checkpoints on while its image of one moment is copied. */
static void check_pinned(struct fixture *f, uint32_t page_size, unsigned bytes, bool clone)
{
	struct copy expected;
	struct conn *conn;
	struct stat st;
	char path[PATH_MAX];

	make_database(f, "WAL", page_size, 1500, bytes);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	app_do(&f->app, "UPDATE t SET b=randomblob(length(b)) WHERE a%3=0");
	writer_prepare(&f->writer, folder_file(&f->folder, NAME, path));
	connect_live(f);
	conn = pin(f, 0);
	expected = copy_of(conn->db.handle);
	for (int i = 0; i < 15; i++) {
		struct spool_order order = order_of(conn, page_size, expected.size);
		struct spool s = SPOOL_INIT;

		writer_await(&f->writer, 3);
		order.clone_only = clone;
		assert_int_equal(spool_pinned(&s, conn, &order, &f->err), 0);
		assert_true(conn_intact(conn, conn->start.max_frame, conn->start.salt));
		assert_spool(&s, conn, page_size, &expected);
		assert_int_equal(fstat(s.db_fd, &st), 0);
		assert_int_equal(st.st_nlink, 0);
		assert_true(!clone || (uint64_t)st.st_dev == f->live->dev);
		spool_finish(&s);
		assert_true(s.db_fd == -1 && s.wal_fd == -1);
		spool_finish(&s);
	}
	live_unpin(conn);
	sqlite3_free(expected.bytes);
	writer_stop(&f->writer);
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
}

static void test_pinned_512(void **state)
{
	check_pinned(*state, 512, 300, false);
}

static void test_pinned_4096(void **state)
{
	check_pinned(*state, 4096, 3000, false);
}

static void test_pinned_65536(void **state)
{
	check_pinned(*state, 65536, 3000, false);
}

static void test_pinned_empty_wal(void **state)
{
	struct fixture *f = *state;
	struct spool s = SPOOL_INIT;
	struct spool_order order;
	struct copy expected;
	struct conn *conn;

	make_database(f, "WAL", 4096, 100, 3000);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	connect_live(f);
	conn = pin(f, 0);
	expected = copy_of(conn->db.handle);
	order = order_of(conn, 4096, expected.size);
	app_do(&f->app, "UPDATE t SET b=randomblob(3000)");
	assert_int_equal(spool_pinned(&s, conn, &order, &f->err), 0);
	assert_int_equal(s.wal_fd, -1);
	assert_spool(&s, conn, 4096, &expected);
	spool_finish(&s);
	live_unpin(conn);
	sqlite3_free(expected.bytes);
}

/* Whatever fails, nothing is left, neither in *OUT nor in the store. */
static void test_pinned_fails(void **state)
{
	static const struct {
		const char *store;
		bool clone_only, read_only, read_fails;
		int rc;
	} cases[] = {
		{"size=64m", true, false, false, -EOPNOTSUPP}, {"size=17m", false, false, false, -ENOSPC},
		{"size=64m", false, true, false, -EROFS},      {"size=64m", false, false, true, -EIO},
		{"size=64m", false, false, false, 0},
	};
	struct fixture *f = *state;

	make_database(f, "WAL", 4096, 500, 3000);
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
	connect_live(f);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct spool s = {.db_fd = 1000, .wal_fd = 1001};
		struct conn *conn = pin(f, 0);
		struct spool_order order = order_of(conn, 4096, 500 * 4096);
		bool fail = cases[i].read_fails;
		int fds, rc;

		folder_mount_tmpfs(&f->store, cases[i].store);
		if (cases[i].read_only)
			assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
		vfs_set_fault(conn->db.vfs, fail_reads, &fail);
		f->err.text[0] = '\0';
		order.clone_only = cases[i].clone_only;
		rc = spool_pinned(&s, conn, &order, &f->err);
		fds = count_fds();
		assert_int_equal(rc, cases[i].rc);
		assert_true(rc == 0 || rc == -EOPNOTSUPP || strlen(f->err.text) > 0);
		assert_int_equal(s.db_fd >= 0, rc == 0);
		assert_int_equal(s.wal_fd >= 0, rc == 0);
		assert_int_equal(count_entries(&f->store), 0);
		spool_finish(&s);
		assert_int_equal(count_fds(), rc == 0 ? fds - 2 : fds);
		vfs_set_fault(conn->db.vfs, NULL, NULL);
		live_unpin(conn);
		unmount(&f->store);
	}
}

static bool wanted_for(void *arg)
{
	int *left = arg;

	return (*left)-- > 0;
}

static int pieces_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (int)((st.st_size + COPY_CHUNK - 1) / COPY_CHUNK);
}

/* It is asked before each piece whether anybody still wants it. */
static void test_pinned_unwanted(void **state)
{
	struct fixture *f = *state;
	struct spool s = SPOOL_INIT;
	struct copy expected;
	struct conn *conn;
	int fds = 0, rc = -ECANCELED, n;

	make_database(f, "WAL", 4096, 700, 3500);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	app_do(&f->app, "UPDATE t SET b=randomblob(3500) WHERE a<500");
	connect_live(f);
	conn = pin(f, 0);
	expected = copy_of(conn->db.handle);
	for (n = 0; rc == -ECANCELED; n++) {
		struct spool_order order = order_of(conn, 4096, expected.size);
		int left = n;

		order.wanted = wanted_for;
		order.arg = &left;
		s = (struct spool){.db_fd = 1000, .wal_fd = 1001};
		rc = spool_pinned(&s, conn, &order, &f->err);
		if (rc == 0)
			break;
		assert_int_equal(rc, -ECANCELED);
		assert_true(s.db_fd == -1 && s.wal_fd == -1);
		assert_int_equal(count_entries(&f->store), 0);
		assert_true(n == 0 || count_fds() == fds);
		fds = count_fds();
	}
	assert_int_equal(rc, 0);
	assert_between(n, pieces_of(s.db_fd) + pieces_of(s.wal_fd),
		       pieces_of(s.db_fd) + pieces_of(s.wal_fd) + 1);
	assert_between(n, 10, 40);
	assert_spool(&s, conn, 4096, &expected);
	spool_finish(&s);
	assert_int_equal(count_fds(), fds);
	live_unpin(conn);
	sqlite3_free(expected.bytes);
}

static void test_spool_of_nothing(void **state)
{
	struct spool s = SPOOL_INIT;
	uint64_t size = 1;
	char byte;

	(void)state;
	assert_int_equal(spool_read_db(&s, &byte, 1, 0), 0);
	assert_int_equal(spool_read_wal(&s, &byte, 1, 0), 0);
	assert_int_equal(spool_db_size(&s, &size), 0);
	assert_int_equal(size, 0);
	spool_finish(&s);
}

static void test_image_size(void **state)
{
	static const struct {
		uint32_t page_size, page_count;
		uint64_t file_size, expected;
	} cases[] = {
		{4096, 3, 12288, 12288},
		{4096, 3, 99999, 12288},
		{4096, 5, 12288, 20480},
		{4096, 0, 12288, 12288},
		{4096, 0, 12289, 16384},
		{4096, 0, 100, 4096},
		{512, 0, 0, 0},
		{512, 1, 0, 512},
		{65536, 4294967294u, 1, 65536ull * 4294967294u},
		{65536, 0, (1ull << 47) + 1, (1ull << 47) + 65536},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct header h = {.page_size = cases[i].page_size, .page_count = cases[i].page_count};

		assert_int_equal(spool_image_size(&h, cases[i].file_size), cases[i].expected);
	}
}

/* ---- clones -------------------------------------------------------------------------------------------- */

/* Beside a writer, and without room in the store for a copy. */
static void test_clone_pinned(void **state)
{
	struct fixture *f = *state;

	if (f->available)
		check_pinned(f, 4096, 3000, true);
}

static void test_clone_needs_no_room(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct spool s = SPOOL_INIT;
	struct spool_order order;
	struct copy expected;
	struct conn *conn;
	struct stat st;

	if (!f->available)
		return;
	make_database(f, "WAL", 4096, 500, 3000);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	folder_mount_tmpfs(&f->store, "size=1m");
	connect_live(f);
	conn = pin(f, 0);
	expected = copy_of(conn->db.handle);
	order = order_of(conn, 4096, expected.size);
	order.clone_only = true;
	app_do(&f->app, "UPDATE t SET b=randomblob(3000)");
	assert_int_equal(spool_pinned(&s, conn, &order, &f->err), 0);
	assert_spool(&s, conn, 4096, &expected);
	spool_finish(&s);
	/* The descriptor that is cloned has cost no lock. */
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 1);
	live_unpin(conn);
	sqlite3_free(expected.bytes);
	disconnect_live(f);
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);

	app_do(&f->app, "PRAGMA journal_mode=DELETE");
	expected = read_file(f, NAME);
	connect_live(f);
	assert_int_equal(spool_rollback(&flat, pin(f, PIN_ROLLBACK), &f->err), 0);
	app_do(&f->app, "UPDATE t SET b=randomblob(3000)");
	assert_int_equal(fstat(flat.fd, &st), 0);
	assert_int_equal(st.st_dev, f->live->dev);
	assert_flat(&flat, &expected);
	assert_int_equal(count_entries(&f->folder), 1);
	sqlite3_free(expected.bytes);
}

int main(void)
{
	static char xfs[] = "xfs", btrfs[] = "btrfs";
	const struct CMUnitTest tests[] = {
		test(test_spool_of_nothing),
		test(test_image_size),
		test(test_pinned_512),
		test(test_pinned_4096),
		test(test_pinned_65536),
		test(test_pinned_empty_wal),
		test(test_pinned_fails),
		test(test_pinned_unwanted),
		test_on(test_clone_pinned, xfs),
		test_on(test_clone_pinned, btrfs),
		test_on(test_clone_needs_no_room, xfs),
		test_on(test_clone_needs_no_room, btrfs),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
