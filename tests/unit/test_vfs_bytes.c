/* SPDX-License-Identifier: MIT */
/*
 * test_vfs_bytes.c - what the shim reads past SQLite: the wal-index, frames and the database file; and reads
 * that fail.
 */
#include "reader.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "../../src/shmguard.h"

static struct sigaction guard_action; /* cmocka puts a handler of its own around every test */

static uint32_t be32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- the wal-index ------------------------------------------------------------------------------------- */

/* Puts HEADER, with a checksum that holds, where both copies stand: another process does, for ours would lose
 * its locks with the descriptor. */
static void put_header(struct fixture *f, uint8_t header[WAL_INDEX_HEADER])
{
	uint32_t sums[2] = {0}, words[2];
	char path[PATH_MAX];
	int status;
	pid_t pid;

	for (size_t at = 0; at < WAL_INDEX_HEADER - sizeof(sums); at += sizeof(words)) {
		memcpy(words, header + at, sizeof(words));
		sums[0] += words[0] + sums[1];
		sums[1] += words[1] + sums[0];
	}
	memcpy(header + WAL_INDEX_HEADER - sizeof(sums), sums, sizeof(sums));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int fd = open(folder_file(&f->folder, NAME "-shm", path), O_WRONLY | O_CLOEXEC);

		_exit(pwrite(fd, header, WAL_INDEX_HEADER, WAL_INDEX_HEADER) != WAL_INDEX_HEADER ||
		      pwrite(fd, header, WAL_INDEX_HEADER, 0) != WAL_INDEX_HEADER);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* It is whole, and none that SQLite writes. */
static void test_malformed_header(void **state)
{
	struct fixture *f = *state;
	uint8_t good[WAL_INDEX_HEADER], bytes[WAL_INDEX_HEADER];
	struct wal_header now;

	app_do(&f->app, APP_WAL);
	open_reader(f);
	assert_int_equal(begin(&f->db), SQLITE_OK);
	assert_int_equal(vfs_wal_header(f->db.vfs, &now), 0);
	memcpy(good, now.raw, sizeof(good));
	memcpy(bytes, now.raw, sizeof(bytes));
	memset(bytes + 14, 0xff, 2); /* the page size */
	put_header(f, bytes);
	assert_int_equal(vfs_wal_header(f->db.vfs, &now), WAL_MALFORMED);
	put_header(f, good);
	assert_int_equal(vfs_wal_header(f->db.vfs, &now), 0);
}

static void test_header(void **state)
{
	struct fixture *f = *state;
	struct wal_header now, last;
	unsigned char head[32];
	uint32_t backfill;

	app_do(&f->app, APP_WAL);
	open_reader(f);
	assert_int_equal(vfs_wal_header(f->db.vfs, &now), -ENXIO);
	assert_int_equal(vfs_wal_backfill(f->db.vfs, &backfill), -ENXIO);
	assert_int_equal(begin(&f->db), SQLITE_OK);
	assert_int_equal(vfs_wal_header(f->db.vfs, &last), 0);
	for (int i = 0; i < 20; i++) {
		uint64_t end;

		app_do(&f->app, APP_ROWS(20));
		assert_int_equal(vfs_wal_header(f->db.vfs, &now), 0);
		assert_true(now.max_frame > last.max_frame);
		assert_int_equal(now.page_size, 4096);
		end = 32 + (uint64_t)now.max_frame * (4096 + 24);
		assert_int_equal(vfs_read_wal(f->db.vfs, head, sizeof(head), end - 1), 1);
		assert_int_equal(now.page_count, app_get(&f->app, "PRAGMA page_count"));
		assert_int_equal(vfs_read_wal(f->db.vfs, head, sizeof(head), 0), sizeof(head));
		assert_memory_equal(now.salt, head + 16, 8);
		last = now;
	}
	/* A checkpoint copies what the pin allows and changes no header. */
	assert_int_equal(vfs_wal_backfill(f->db.vfs, &backfill), 0);
	assert_int_equal(backfill, 0);
	assert_int_equal(db_exec(&f->db, "ROLLBACK"), SQLITE_OK);
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
	assert_int_equal(vfs_wal_backfill(f->db.vfs, &backfill), 0);
	assert_int_equal(backfill, now.max_frame);
	assert_int_equal(vfs_wal_header(f->db.vfs, &now), 0);
	assert_memory_equal(now.raw, last.raw, sizeof(now.raw));
}

static uint32_t pgno_in_file(struct vfs *vfs, uint32_t frame)
{
	unsigned char head[WAL_FRAME_HEADER];

	assert_int_equal(vfs_read_wal(vfs, head, sizeof(head), wal_frame_offset(frame, 512)), sizeof(head));
	return be32(head);
}

static void test_pgnos(void **state)
{
	static const struct {
		uint32_t first, last;
	} ranges[] = {
		{1, 1},	      {1, 4062},    {4062, 4063}, {4063, 4063},
		{4000, 9000}, {8158, 8159}, {8159, 8159}, {7, 6},
	};
	struct fixture *f = *state;
	struct wal_header now;
	uint32_t *pgnos;

	app_do(&f->app, "PRAGMA page_size=512; " APP_WAL);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	open_reader(f);
	assert_int_equal(begin(&f->db), SQLITE_OK);
	/* Frames that come after the transaction began: SQLite has not mapped their regions here. */
	app_do(&f->app, APP_ROWS(12000));
	assert_int_equal(vfs_wal_header(f->db.vfs, &now), 0);
	assert_int_equal(now.page_size, 512);
	assert_true(now.max_frame > 9000);
	pgnos = calloc(now.max_frame, sizeof(*pgnos));
	assert_non_null(pgnos);
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		memset(pgnos, 0xee, now.max_frame * sizeof(*pgnos));
		assert_int_equal(vfs_wal_pgnos(f->db.vfs, ranges[i].first, ranges[i].last, pgnos), 0);
		for (uint32_t k = ranges[i].first; k <= ranges[i].last; k++)
			assert_int_equal(pgnos[k - ranges[i].first], pgno_in_file(f->db.vfs, k));
		if (ranges[i].last >= ranges[i].first)
			assert_int_equal(pgnos[ranges[i].last - ranges[i].first + 1], 0xeeeeeeee);
		else
			assert_int_equal(pgnos[0], 0xeeeeeeee);
	}
	assert_int_equal(vfs_wal_pgnos(f->db.vfs, 1, now.max_frame, pgnos), 0);
	for (uint32_t k = 1; k <= now.max_frame; k++)
		assert_int_equal(pgnos[k - 1], pgno_in_file(f->db.vfs, k));
	assert_int_equal(vfs_wal_pgnos(f->db.vfs, 0, 1, pgnos), -EINVAL);
	assert_int_equal(vfs_wal_pgnos(f->db.vfs, 10000000, 10000001, pgnos), -EIO);
	/* A region whose end is past 2 GiB, where xShmMap()'s int overflows. */
	assert_int_equal(vfs_wal_pgnos(f->db.vfs, 300000000, 300000001, pgnos), -EIO);
	assert_int_equal(vfs_wal_pgnos(f->db.vfs, UINT32_MAX, UINT32_MAX, pgnos), -EIO);
	free(pgnos);
	db_close(&f->db);
	open_reader(f);
	assert_int_equal(vfs_wal_pgnos(f->db.vfs, 1, 1, &(uint32_t){0}), -EIO);
}

/* The answer to a header whose copies never agree. */
static void test_torn_header(void **state)
{
	struct fixture *f = *state;
	struct wal_header now;
	sqlite3_file *file;
	void volatile *shm;

	begin_reader(f, APP_ROWS(10));
	file = raw_file(&f->db, SQLITE_FCNTL_FILE_POINTER);
	assert_int_equal(file->pMethods->xShmMap(file, 0, 32768, 0, &shm), SQLITE_OK);
	((volatile unsigned char *)shm)[50] ^= 1;
	assert_int_equal(vfs_wal_header(f->db.vfs, &now), WAL_TORN);
	((volatile unsigned char *)shm)[50] ^= 1;
	assert_int_equal(vfs_wal_header(f->db.vfs, &now), 0);
}

static void test_truncated_shm(void **state)
{
	struct fixture *f = *state;
	struct db other = DB_INIT;
	struct wal_header now;
	uint32_t n;
	char path[PATH_MAX];

	assert_int_equal(sigaction(SIGBUS, &guard_action, NULL), 0);
	begin_reader(f, APP_ROWS(10));
	vfs_watch(f->db.vfs);
	/* It would be killed by the same SIGBUS. */
	app_kill(&f->app);
	f->app.pid = 0;
	assert_int_equal(truncate(folder_file(&f->folder, NAME "-shm", path), 0), 0);
	assert_int_equal(vfs_wal_header(f->db.vfs, &now), -ENXIO);
	assert_true(vfs_lost(f->db.vfs));
	assert_int_equal(vfs_wal_backfill(f->db.vfs, &n), -ENXIO);
	assert_int_equal(vfs_wal_pgnos(f->db.vfs, 1, 1, &n), -EIO);
	/* Neither this connection nor another one of this process goes on with private zeros. */
	db_exec(&f->db, "ROLLBACK");
	assert_int_equal(begin(&f->db), SQLITE_IOERR_SHMLOCK);
	assert_int_equal(db_open(&other, f->folder.fd, NAME, DB_READER, NULL), 0);
	assert_int_equal(begin(&other), SQLITE_IOERR_SHMMAP);
	db_close(&other);
	vfs_unwatch(f->db.vfs);
	assert_true(vfs_lost(f->db.vfs));
	db_close(&f->db);
	/* Once all are closed, everything is as ever. */
	open_reader(f);
	assert_int_equal(begin(&f->db), SQLITE_OK);
	assert_false(vfs_lost(f->db.vfs));
	assert_int_equal(vfs_wal_header(f->db.vfs, &now), 0);
	assert_true(now.max_frame > 0);
}

/* What one connection lost of the mapping that all of this process share is lost to those that come later,
 * also when it has gone and the one that is left never looked there. */
static void test_truncated_part(void **state)
{
	struct fixture *f = *state;
	struct db other = DB_INIT;
	struct wal_header now;
	uint32_t n;
	char path[PATH_MAX];

	assert_int_equal(sigaction(SIGBUS, &guard_action, NULL), 0);
	app_do(&f->app, "PRAGMA page_size=512");
	begin_reader(f, APP_ROWS(10));
	vfs_watch(f->db.vfs);
	app_do(&f->app, APP_ROWS(12000));
	assert_int_equal(db_open(&other, f->folder.fd, NAME, DB_READER, NULL), 0);
	assert_int_equal(begin(&other), SQLITE_OK);
	app_kill(&f->app);
	f->app.pid = 0;
	assert_int_equal(truncate(folder_file(&f->folder, NAME "-shm", path), 32768), 0);
	assert_int_equal(vfs_wal_pgnos(other.vfs, 4063, 4063, &n), -EIO);
	assert_true(vfs_lost(other.vfs));
	db_close(&other);
	assert_false(vfs_lost(f->db.vfs));
	assert_int_equal(vfs_wal_header(f->db.vfs, &now), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(db_open(&other, f->folder.fd, NAME, DB_READER, NULL), 0);
		assert_int_equal(begin(&other), SQLITE_IOERR_SHMMAP);
		assert_true(vfs_lost(other.vfs));
		db_close(&other);
	}
	assert_int_equal(vfs_wal_pgnos(f->db.vfs, 4063, 4063, &n), -EIO);
	db_close(&f->db);
	open_reader(f);
	assert_int_equal(begin(&f->db), SQLITE_OK);
	assert_int_equal(vfs_wal_pgnos(f->db.vfs, 4063, 4063, &n), 0);
	assert_int_equal(n, pgno_in_file(f->db.vfs, 4063));
}

struct sampler {
	struct vfs *vfs;
	atomic_int sampled;
	atomic_bool end;
};

static void *sample(void *arg)
{
	struct sampler *s = arg;
	struct wal_header now;

	while (!atomic_load(&s->end)) {
		int rc = vfs_wal_header(s->vfs, &now);

		if (rc != 0 && rc != -ENXIO)
			abort();
		atomic_fetch_add(&s->sampled, 1);
		vfs_lost(s->vfs);
	}
	return NULL;
}

/* A thread that samples while another one closes never reads what is unmapped. */
static void test_sampling_while_closing(void **state)
{
	struct fixture *f = *state;

	app_do(&f->app, APP_WAL);
	for (int i = 0; i < 50; i++) {
		struct sampler s = {.end = false};
		pthread_t thread;

		open_reader(f);
		s.vfs = f->db.vfs;
		assert_int_equal(pthread_create(&thread, NULL, sample, &s), 0);
		assert_int_equal(begin(&f->db), SQLITE_OK);
		while (atomic_load(&s.sampled) < 100)
			sched_yield();
		assert_int_equal(sqlite3_close(f->db.handle), SQLITE_OK);
		f->db.handle = NULL;
		atomic_store(&s.end, true);
		assert_int_equal(pthread_join(thread, NULL), 0);
		db_close(&f->db);
	}
}

/* ---- files --------------------------------------------------------------------------------------------- */

static void test_reads(void **state)
{
	static const struct {
		uint64_t offset;
		size_t size;
	} cases[] = {
		{0, 1}, {0, 100},    {1, 4096},	    {0, 65536},	     {0, 65537}, {3, 200000},
		{0, 0}, {100000, 0}, {0, 10000000}, {65536, 131072}, {99, 1},
	};
	struct fixture *f = *state;
	unsigned char *want, *got;
	uint64_t size;
	struct app_reply n;

	app_do(&f->app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
	app_do(&f->app, APP_ROWS(2000));
	open_reader(f);
	assert_int_equal(begin(&f->db), SQLITE_OK);
	assert_false(vfs_wal_is_open(f->db.vfs));
	assert_int_equal(vfs_db_size(f->db.vfs, &size), 0);
	n = app_ask(&f->app, "PRAGMA page_count");
	assert_int_equal(size, n.value * 4096);
	want = calloc(2, (size_t)size);
	got = calloc(2, 10000000);
	assert_non_null(want);
	assert_non_null(got);
	assert_int_equal(vfs_read_db(f->db.vfs, want, (size_t)size, 0), size);
	assert_memory_equal(want, "SQLite format 3", 16);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t there = cases[i].offset < size ? (size_t)(size - cases[i].offset) : 0;
		size_t expect = cases[i].size < there ? cases[i].size : there;

		assert_int_equal(vfs_read_db(f->db.vfs, got, cases[i].size, cases[i].offset), expect);
		assert_memory_equal(got, want + cases[i].offset, expect);
	}
	for (uint64_t past = 0; past < 3; past++)
		assert_int_equal(vfs_read_db(f->db.vfs, got, 10, size - 1 + past), past == 0);
	assert_int_equal(vfs_read_db(f->db.vfs, got, 10, UINT64_MAX), -EINVAL);
	assert_int_equal(vfs_read_wal(f->db.vfs, got, 10, 0), -ENXIO);
	free(want);
	free(got);
	db_exec(&f->db, "ROLLBACK");
}

/* ---- faults -------------------------------------------------------------------------------------------- */

/* A connection that fails at its Nth call of a kind: nothing stays locked, nothing was written. */
static void test_faults_one_by_one(void **state)
{
	static const struct {
		enum vfs_call call;
		int code;
	} cases[] = {
		{VFS_OPEN, SQLITE_CANTOPEN},	   {VFS_READ, SQLITE_IOERR_READ},
		{VFS_LOCK, SQLITE_IOERR_LOCK},	   {VFS_SHM_MAP, SQLITE_IOERR_SHMMAP},
		{VFS_SHM_MAP, SQLITE_IOERR_NOMEM}, {VFS_SHM_LOCK, SQLITE_IOERR_SHMLOCK},
		{VFS_LOCK, SQLITE_BUSY},
	};
	struct fixture *f = *state;
	char path[PATH_MAX];

	app_do(&f->app, APP_WAL);
	app_do(&f->app, APP_ROWS(10));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int n = 0, rc;

		do {
			struct countdown c = {.call = cases[i].call, .left = ++n, .code = cases[i].code};
			sqlite3 *handle;
			struct vfs *vfs;

			assert_int_equal(vfs_create(&vfs, VFS_READER), 0);
			vfs_set_fault(vfs, count_down, &c);
			rc = sqlite3_open_v2(folder_file(&f->folder, NAME, path), &handle,
					     SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, vfs_name(vfs));
			if (rc == SQLITE_OK)
				rc = sqlite3_exec(handle, "BEGIN; PRAGMA user_version", NULL, NULL, NULL);
			assert_int_equal(rc == SQLITE_OK, c.left > 0);
			if (rc == SQLITE_OK)
				assert_between(vfs_read_slot(vfs), 1, 4);
			else
				assert_int_equal(vfs_read_slot(vfs), -1);
			if (c.left > 0)
				n = -1;
			sqlite3_close(handle);
			assert_int_equal(vfs_read_slot(vfs), -1);
			vfs_destroy(vfs);
			assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
			app_do(&f->app, APP_ROWS(1));
		} while (n > 0);
		assert_int_equal(rc, SQLITE_OK);
	}
}

static void test_faults_in_reads(void **state)
{
	struct fixture *f = *state;
	unsigned char buf[200000];

	begin_reader(f, APP_ROWS(2000));
	for (int n = 1; n < 4; n++) {
		struct countdown c = {.call = VFS_READ, .left = n, .code = SQLITE_IOERR_READ};

		vfs_set_fault(f->db.vfs, count_down, &c);
		assert_int_equal(vfs_read_wal(f->db.vfs, buf, sizeof(buf), 0), -EIO);
		assert_int_equal(c.seen, n);
	}
	vfs_set_fault(f->db.vfs, NULL, NULL);
	assert_int_equal(vfs_read_wal(f->db.vfs, buf, sizeof(buf), 0), sizeof(buf));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_header),
		test(test_malformed_header),
		test(test_pgnos),
		test(test_torn_header),
		test(test_truncated_shm),
		test(test_truncated_part),
		test(test_sampling_while_closing),
		test(test_reads),
		test(test_faults_one_by_one),
		test(test_faults_in_reads),
	};

	if (shmguard_install() < 0 || sigaction(SIGBUS, NULL, &guard_action) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
