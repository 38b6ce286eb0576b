/* SPDX-License-Identifier: MIT */
/* test_wal.c - wal-index headers: made by hand, made by SQLite, and random; where frames stand. */
#include "unit.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/wal.h"

#define BOTH (2 * WAL_INDEX_HEADER)

static void put32(uint8_t *b, size_t at, uint32_t value)
{
	memcpy(b + at, &value, sizeof(value));
}

static void put16(uint8_t *b, size_t at, uint16_t value)
{
	memcpy(b + at, &value, sizeof(value));
}

/* Sets the checksum and makes the second copy. */
static void seal(uint8_t b[BOTH])
{
	uint32_t words[10], s1 = 0, s2 = 0;

	memcpy(words, b, sizeof(words));
	for (size_t i = 0; i < 10; i += 2) {
		s1 += words[i] + s2;
		s2 += words[i + 1] + s1;
	}
	put32(b, 40, s1);
	put32(b, 44, s2);
	memcpy(b + WAL_INDEX_HEADER, b, WAL_INDEX_HEADER);
}

static void make(uint8_t b[BOTH])
{
	memset(b, 0, BOTH);
	put32(b, 0, 3007000);
	put32(b, 8, 17); /* iChange */
	b[12] = 1;
	put16(b, 14, 4096);
	put32(b, 16, 20);
	put32(b, 20, 9);
	memcpy(b + 24, "checksum", 8);
	memcpy(b + 32, "saltsalt", 8);
	seal(b);
}

static void test_fields(void **state)
{
	uint8_t b[BOTH];
	struct wal_header h;

	(void)state;
	make(b);
	assert_int_equal(wal_header_decode(&h, b), 0);
	assert_int_equal(h.page_size, 4096);
	assert_int_equal(h.max_frame, 20);
	assert_int_equal(h.page_count, 9);
	assert_memory_equal(h.salt, "saltsalt", 8);
	assert_memory_equal(h.raw, b, WAL_INDEX_HEADER);
}

static void test_values(void **state)
{
	static const struct {
		uint16_t page_size;
		uint32_t max_frame, page_count;
		int answer;
		uint32_t bytes;
	} cases[] = {
		{0, 0, 0, 0, 0},       /* no WAL was ever written */
		{4096, 0, 9, 0, 4096}, /* after a reset */
		{512, 1, 1, 0, 512},
		{32768, 1, 1, 0, 32768},
		{1, 1, 1, 0, 65536},
		{1, 0, 1, 0, 65536},
		{4096, UINT32_MAX, UINT32_MAX, 0, 4096},
		{0, 1, 9, WAL_MALFORMED, 0},
		{0, 0, 9, WAL_MALFORMED, 0},
		{4096, 1, 0, WAL_MALFORMED, 0},
		{4096, 0, 0, WAL_MALFORMED, 0},
		{0, 1, 0, WAL_MALFORMED, 0},
		{256, 1, 1, WAL_MALFORMED, 0},
		{2, 1, 1, WAL_MALFORMED, 0},
		{513, 1, 1, WAL_MALFORMED, 0},
		{1536, 1, 1, WAL_MALFORMED, 0},
		{1536, 0, 1, WAL_MALFORMED, 0},
		{0x1001, 1, 1, WAL_MALFORMED, 0},
		{0xffff, 1, 1, WAL_MALFORMED, 0},
	};
	uint8_t b[BOTH];
	struct wal_header h;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make(b);
		put16(b, 14, cases[i].page_size);
		put32(b, 16, cases[i].max_frame);
		put32(b, 20, cases[i].page_count);
		seal(b);
		if (wal_header_decode(&h, b) != cases[i].answer)
			print_error("case %zu\n", i);
		assert_int_equal(wal_header_decode(&h, b), cases[i].answer);
		if (cases[i].answer)
			continue;
		assert_int_equal(h.page_size, cases[i].bytes);
		assert_true(h.max_frame == cases[i].max_frame);
		assert_true(h.page_count == cases[i].page_count);
	}
}

static void test_never_initialised(void **state)
{
	uint8_t b[BOTH] = {0};
	struct wal_header h;

	(void)state;
	assert_int_equal(wal_header_decode(&h, b), WAL_TORN);
	make(b);
	b[12] = 0;
	seal(b);
	assert_int_equal(wal_header_decode(&h, b), WAL_TORN);
	/* SQLite takes any value but 0 for yes, and checksums of frames in either order. */
	make(b);
	b[12] = 2;
	b[13] = 1;
	seal(b);
	assert_int_equal(wal_header_decode(&h, b), 0);
}

static void test_other_version(void **state)
{
	uint8_t b[BOTH];
	struct wal_header h;

	(void)state;
	make(b);
	put32(b, 0, 3007001);
	seal(b);
	assert_int_equal(wal_header_decode(&h, b), WAL_MALFORMED);
	/* Torn comes first: the version may be half of one. */
	b[95] ^= 1;
	assert_int_equal(wal_header_decode(&h, b), WAL_TORN);
}

/* Every bit of either copy is noticed, and so is every bit that differs in both. */
static void test_every_bit(void **state)
{
	uint8_t good[BOTH], b[BOTH];
	struct wal_header h;

	(void)state;
	make(good);
	for (size_t bit = 0; bit < BOTH * 8; bit++) {
		memcpy(b, good, BOTH);
		b[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(wal_header_decode(&h, b), WAL_TORN);
		memcpy(b + (bit < BOTH * 4 ? WAL_INDEX_HEADER : 0),
		       b + (bit < BOTH * 4 ? 0 : WAL_INDEX_HEADER), WAL_INDEX_HEADER);
		assert_int_equal(wal_header_decode(&h, b), WAL_TORN);
	}
}

static void test_unaligned(void **state)
{
	uint8_t b[BOTH + 1];
	struct wal_header h;

	(void)state;
	make(b);
	memmove(b + 1, b, BOTH);
	assert_int_equal(wal_header_decode(&h, b + 1), 0);
	assert_int_equal(h.max_frame, 20);
}

static void test_random(void **state)
{
	unsigned seed = 2;
	int accepted = 0;

	(void)state;
	for (int round = 0; round < 100000; round++) {
		uint8_t b[BOTH];
		struct wal_header h;
		int changes = 1 + rand_r(&seed) % 3;

		make(b);
		while (changes--)
			b[rand_r(&seed) % 40] = (uint8_t)rand_r(&seed);
		if (round % 4)
			seal(b);
		if (round % 7 == 0)
			for (size_t i = 0; i < BOTH; i++)
				b[i] = (uint8_t)rand_r(&seed);
		if (wal_header_decode(&h, b))
			continue;
		accepted++;
		if (h.max_frame || h.page_count) {
			assert_true(h.page_size >= 512 && h.page_size <= 65536 && h.page_count > 0);
			assert_int_equal(h.page_size & (h.page_size - 1), 0);
		}
	}
	assert_true(accepted > 1000);
}

static void test_slots(void **state)
{
	static const struct {
		uint32_t frame, region, entry;
	} cases[] = {
		{1, 0, 0},    {4062, 0, 4061}, {4063, 1, 0},	 {8158, 1, 4095},
		{8159, 2, 0}, {8160, 2, 1},    {12254, 2, 4095}, {UINT32_MAX, 1048576, 32},
	};
	uint32_t region = 0, entry = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wal_slot slot = wal_frame_slot(cases[i].frame);

		assert_int_equal(slot.region, cases[i].region);
		assert_int_equal(slot.entry, cases[i].entry);
	}
	/* One entry behind the other, without a gap. */
	for (uint32_t frame = 1; frame < 40000; frame++) {
		struct wal_slot slot = wal_frame_slot(frame);

		assert_int_equal(slot.region, region);
		assert_int_equal(slot.entry, entry);
		assert_int_equal(slot.offset, region ? 0 : 136);
		assert_int_equal(slot.count, region ? 4096 : 4062);
		assert_true(slot.offset + slot.count * 4 <= 16384);
		if (++entry == slot.count) {
			entry = 0;
			region++;
		}
	}
}

static void test_frame_offset(void **state)
{
	(void)state;
	assert_int_equal(wal_frame_offset(1, 4096), 32);
	assert_int_equal(wal_frame_offset(3, 512), 32 + 2 * 536);
	assert_true(wal_frame_offset(UINT32_MAX, 65536) == 32 + 4294967294ull * 65560);
}

static void test_frame_matches(void **state)
{
	static const uint8_t frame[WAL_FRAME_HEADER + 1] = "\x01\x02\x03\x04"
							   "size"
							   "saltSALT"
							   "checksum";
	static const uint8_t salt[8] = {'s', 'a', 'l', 't', 'S', 'A', 'L', 'T'};

	(void)state;
	assert_true(wal_frame_matches(frame, 0x01020304, salt));
	assert_false(wal_frame_matches(frame, 0x04030201, salt));
	for (size_t i = 0; i < WAL_FRAME_HEADER; i++) {
		uint8_t b[WAL_FRAME_HEADER];

		memcpy(b, frame, sizeof(b));
		b[i] ^= 0x10;
		assert_int_equal(wal_frame_matches(b, 0x01020304, salt), (i >= 4 && i < 8) || i >= 16);
	}
}

/* ---- beside SQLite ------------------------------------------------------------------------------------- */

struct live {
	char dir[40], db[48], wal[60], shm[60];
	sqlite3 *conn;
	uint8_t *shm_bytes;
};

static void do_sql(sqlite3 *db, const char *sql)
{
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

static void live_open(struct live *live, uint32_t page_size)
{
	char sql[100];

	snprintf(live->dir, sizeof(live->dir), "/tmp/sqlsnap-test-XXXXXX");
	assert_non_null(mkdtemp(live->dir));
	snprintf(live->db, sizeof(live->db), "%s/db", live->dir);
	snprintf(live->wal, sizeof(live->wal), "%s-wal", live->db);
	snprintf(live->shm, sizeof(live->shm), "%s-shm", live->db);
	assert_int_equal(sqlite3_open(live->db, &live->conn), SQLITE_OK);
	snprintf(sql, sizeof(sql),
		 "PRAGMA page_size=%u; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0", page_size);
	do_sql(live->conn, sql);
	do_sql(live->conn, "CREATE TABLE t(a, b)");
}

static void live_close(struct live *live)
{
	assert_int_equal(sqlite3_close(live->conn), SQLITE_OK);
	assert_int_equal(unlink(live->db), 0);
	assert_int_equal(rmdir(live->dir), 0);
}

/* The first SIZE bytes of PATH. Closing it drops our own locks, which nobody else is there to mind. */
static uint8_t *slurp(const char *path, size_t size)
{
	uint8_t *bytes = malloc(size);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_non_null(bytes);
	assert_int_equal(read(fd, bytes, size), size);
	close(fd);
	return bytes;
}

static void sample(struct live *live, struct wal_header *h)
{
	uint8_t *bytes = slurp(live->shm, BOTH);

	assert_int_equal(wal_header_decode(h, bytes), 0);
	free(bytes);
}

/* Frames in the WAL as SQLite counts them. */
static uint32_t frames_of(struct live *live)
{
	int frames, done;

	assert_int_equal(
		sqlite3_wal_checkpoint_v2(live->conn, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames, &done),
		SQLITE_OK);
	return (uint32_t)frames;
}

static void test_sqlite_header(void **state)
{
	(void)state;
	for (uint32_t page_size = 512; page_size <= 65536; page_size *= 2) {
		struct wal_header before, after;
		struct live live;

		live_open(&live, page_size);
		sample(&live, &before);
		assert_int_equal(before.page_size, page_size);
		assert_int_equal(before.page_count, 2);
		do_sql(live.conn, "INSERT INTO t VALUES(1, zeroblob(70000))");
		sample(&live, &after);
		assert_true(after.max_frame > before.max_frame);
		assert_memory_equal(after.salt, before.salt, 8);
		assert_int_equal(frames_of(&live), after.max_frame);
		/* The next commit starts the WAL over. */
		do_sql(live.conn, "PRAGMA wal_checkpoint(RESTART); INSERT INTO t VALUES(2, 2)");
		sample(&live, &before);
		assert_true(before.max_frame < after.max_frame);
		assert_memory_not_equal(before.salt, after.salt, 8);
		live_close(&live);
	}
}

/* An empty WAL, found anew. */
static void test_sqlite_empty(void **state)
{
	struct wal_header h;
	struct live live;

	(void)state;
	live_open(&live, 4096);
	assert_int_equal(sqlite3_close(live.conn), SQLITE_OK);
	assert_int_equal(sqlite3_open(live.db, &live.conn), SQLITE_OK);
	do_sql(live.conn, "SELECT * FROM t");
	sample(&live, &h);
	assert_int_equal(h.page_size, 0);
	assert_int_equal(h.max_frame, 0);
	assert_int_equal(h.page_count, 0);
	live_close(&live);
}

/* Page numbers stand in the wal-index where wal_frame_slot() says, over the edges of three regions. */
static void test_sqlite_frames(void **state)
{
	struct wal_header h;
	struct live live;
	uint8_t *shm, *wal;

	(void)state;
	live_open(&live, 512);
	do_sql(live.conn, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<9500) "
			  "INSERT INTO t SELECT x, zeroblob(400) FROM c");
	sample(&live, &h);
	assert_true(h.max_frame > 4062 + 4096);
	shm = slurp(live.shm, 3 * WAL_INDEX_REGION);
	wal = slurp(live.wal, (size_t)wal_frame_offset(h.max_frame + 1, h.page_size));
	for (uint32_t frame = 1; frame <= h.max_frame; frame++) {
		struct wal_slot slot = wal_frame_slot(frame);
		uint32_t pgno;

		memcpy(&pgno, shm + slot.region * WAL_INDEX_REGION + slot.offset + slot.entry * 4, 4);
		assert_true(pgno > 0);
		assert_true(wal_frame_matches(wal + wal_frame_offset(frame, h.page_size), pgno, h.salt));
		assert_false(wal_frame_matches(wal + wal_frame_offset(frame, h.page_size), pgno + 1, h.salt));
	}
	free(shm);
	free(wal);
	live_close(&live);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_never_initialised),
		cmocka_unit_test(test_other_version),
		cmocka_unit_test(test_every_bit),
		cmocka_unit_test(test_unaligned),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_slots),
		cmocka_unit_test(test_frame_offset),
		cmocka_unit_test(test_frame_matches),
		cmocka_unit_test(test_sqlite_header),
		cmocka_unit_test(test_sqlite_empty),
		cmocka_unit_test(test_sqlite_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
