/* SPDX-License-Identifier: MIT */
/*
 * test_pin_stress.c - pins beside a writer that never stops: what is read past SQLite under a pin is a whole
 * database of one moment, and what SQLite's own transaction reads.
 */
#include "copy.h"
#include "reader.h"

#define ACCOUNTS 400
#define TOTAL 40000

#define SPILL_AND_ROLL_BACK                                        \
	"BEGIN; UPDATE acc SET n = n + 1, pad = randomblob(900); " \
	"INSERT INTO junk SELECT NULL, randomblob(9000) FROM acc; ROLLBACK"

/* Moves money between accounts, grows and shrinks, and checkpoints in every mode, until it is killed. */
static int write_at_random(void *arg)
{
	static const char *const others[] = {
		"PRAGMA wal_checkpoint(PASSIVE)",
		"PRAGMA wal_checkpoint(FULL)",
		"PRAGMA wal_checkpoint(RESTART)",
		"PRAGMA wal_checkpoint(TRUNCATE)",
		"INSERT INTO junk SELECT NULL, randomblob(3000) FROM acc LIMIT 60",
		"DELETE FROM junk WHERE a % 3 = abs(random()) % 3",
		SPILL_AND_ROLL_BACK,
		"PRAGMA incremental_vacuum(20)",
	};
	const char *path = arg;
	unsigned random = 12345;
	sqlite3 *db;
	char sql[200];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, "unix") != SQLITE_OK)
		return 1;
	sqlite3_exec(db, "PRAGMA synchronous=OFF; PRAGMA cache_size=30; PRAGMA wal_autocheckpoint=100", NULL,
		     NULL, NULL);
	for (;;) {
		random = random * 1103515245u + 12345u;
		if ((random >> 16) % 12 < 8) {
			sqlite3_exec(db, others[(random >> 16) % 12 % 8], NULL, NULL, NULL);
			if (!sqlite3_get_autocommit(db))
				sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
		}
		snprintf(sql, sizeof(sql),
			 "BEGIN; UPDATE acc SET n=n-7 WHERE a=%u; UPDATE acc SET n=n+7, pad=randomblob(700) "
			 "WHERE a=%u; COMMIT",
			 (random >> 8) % ACCOUNTS + 1, (random >> 20) % ACCOUNTS + 1);
		if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK && !sqlite3_get_autocommit(db))
			sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	}
}

/* The image as of NOW, put together from frames and database. */
static struct copy build_image(struct vfs *vfs, const struct wal_header *now, uint32_t page_size,
			       uint32_t pages)
{
	size_t size = (size_t)pages * page_size;
	unsigned char *image = sqlite3_malloc64(size);
	uint32_t *pgnos = calloc(now->max_frame + 1u, sizeof(*pgnos));

	assert_non_null(image);
	assert_non_null(pgnos);
	memset(image, 0, size);
	assert_true(vfs_read_db(vfs, image, size, 0) >= 0);
	assert_int_equal(vfs_wal_pgnos(vfs, 1, now->max_frame, pgnos), 0);
	for (uint32_t frame = 1; frame <= now->max_frame; frame++) {
		uint64_t at = wal_frame_offset(frame, page_size);
		unsigned char head[WAL_FRAME_HEADER];
		uint32_t pgno = pgnos[frame - 1];

		assert_true(pgno > 0);
		assert_int_equal(vfs_read_wal(vfs, head, sizeof(head), at), sizeof(head));
		assert_true(wal_frame_matches(head, pgno, now->salt));
		if (pgno > pages)
			continue;
		assert_int_equal(vfs_read_wal(vfs, image + (size_t)(pgno - 1) * page_size, page_size,
					      at + WAL_FRAME_HEADER),
				 page_size);
	}
	free(pgnos);
	return (struct copy){image, size};
}

/* Whether the image, which it takes over, is a whole database in which no money was lost. */
static void check_image(struct copy image)
{
	sqlite3 *db = copy_open(image);

	assert_int_equal(copy_ask(db, "SELECT sum(n) FROM acc"), TOTAL);
	assert_int_equal(copy_ask(db, "SELECT count(*) FROM acc"), ACCOUNTS);
	assert_whole(db);
}

/* The same bytes as SQLite's own copy of the same transaction. */
static void check_against_backup(struct db *from, const struct copy *image)
{
	struct copy expected = copy_of(from->handle);
	unsigned char *masked = malloc(image->size);

	assert_non_null(masked);
	memcpy(masked, image->bytes, image->size);
	mask(masked, image->size, 0);
	assert_int_equal(expected.size, image->size);
	assert_memory_equal(expected.bytes, masked, image->size);
	sqlite3_free(expected.bytes);
	free(masked);
}

static uint32_t page_count(struct vfs *vfs, const struct wal_header *now)
{
	uint64_t size;

	if (now->page_count)
		return now->page_count;
	assert_int_equal(vfs_db_size(vfs, &size), 0);
	return (uint32_t)(size / 1024);
}

/* Two seconds, and on a busy machine until there was ENOUGH, for 40 at most. */
static bool goes_on(int64_t began, bool enough)
{
	int64_t took = monotonic_ns() - began;

	return took < 2 * NS_PER_S || (!enough && took < 40 * NS_PER_S);
}

static void test_stress(void **state)
{
	struct fixture *f = *state;
	struct wal_header before, now;
	int pins = 0, compared = 0, with_frames = 0;
	char path[PATH_MAX];
	int64_t began;
	pid_t pid;

	app_do(&f->app,
	       "PRAGMA page_size=1024; PRAGMA auto_vacuum=2; PRAGMA journal_mode=WAL;"
	       "CREATE TABLE acc(a INTEGER PRIMARY KEY, n, pad); CREATE TABLE junk(a INTEGER PRIMARY KEY, b);"
	       "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<400) "
	       "INSERT INTO acc SELECT x, 100, randomblob(500) FROM c");
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* Not through the fixture's connections. */
		folder_file(&f->folder, NAME, path);
		_exit(write_at_random(path));
	}
	open_reader(f);
	assert_int_equal(pin(f, 2000), 0);
	pin_end(&f->db);
	for (began = monotonic_ns(); goes_on(began, pins > 10 && with_frames > 5 && compared > 5); pins++) {
		struct copy image;
		int sampled = vfs_wal_header(f->db.vfs, &before);

		assert_int_equal(pin(f, 5000), 0);
		while (vfs_wal_header(f->db.vfs, &now) == WAL_TORN)
			continue;
		image = build_image(f->db.vfs, &now, 1024, page_count(f->db.vfs, &now));
		/* Without a commit in between, SQLite's transaction is this very version. */
		if (sampled == 0 && memcmp(before.raw, now.raw, sizeof(now.raw)) == 0) {
			check_against_backup(&f->db, &image);
			compared++;
		}
		assert_false(vfs_lost(f->db.vfs));
		pin_end(&f->db);
		with_frames += now.max_frame > 0;
		check_image(image);
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(pins > 10);
	assert_true(with_frames > 5);
	assert_true(compared > 5);
	if (getenv("STRESS_FIGURES"))
		print_message("%d pins, %d with frames, %d compared\n", pins, with_frames, compared);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_stress),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
