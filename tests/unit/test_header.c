/* SPDX-License-Identifier: MIT */
/* test_header.c - database headers: made by hand, made by SQLite, and random. */
#include "unit.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/header.h"

/* Offset, bytes, what they are. */
struct patch {
	size_t at, size;
	uint8_t bytes[4];
	int answer;
	const char *why;
};

static void make(uint8_t b[HEADER_SIZE])
{
	static const uint8_t start[] = {0x10, 0x00, 2, 2, 0, 64, 32, 32};

	memset(b, 0, HEADER_SIZE);
	memcpy(b, "SQLite format 3", 16);
	memcpy(b + 16, start, sizeof(start));
	for (uint8_t i = 24; i < 40; i++)
		b[i] = i;
	b[47] = 4;
	b[59] = 1;
	memcpy(b + 60, "\x01\x02\x03\x04", 4);
	memcpy(b + 68, "\x05\x06\x07\x08", 4);
	memcpy(b + 92, b + 24, 4);
}

static void test_fields(void **state)
{
	uint8_t b[HEADER_SIZE];
	struct header h;

	(void)state;
	make(b);
	assert_int_equal(header_decode(&h, b, sizeof(b)), 0);
	assert_int_equal(h.page_size, 4096);
	assert_int_equal(h.write_version, 2);
	assert_int_equal(h.read_version, 2);
	assert_int_equal(h.reserved, 0);
	assert_int_equal(h.change_counter, 0x18191a1b);
	assert_int_equal(h.page_count, 0x1c1d1e1f);
	assert_int_equal(h.schema_format, 4);
	assert_int_equal(h.text_encoding, 1);
	assert_int_equal(h.user_version, 0x01020304);
	assert_int_equal(h.application_id, 0x05060708);
	assert_memory_equal(h.counters, b + 24, 16);
	assert_true(header_is_wal(&h));
}

static void test_rules(void **state)
{
	static const struct patch patches[] = {
		{0, 1, {'s'}, HEADER_NOT_SQLITE, "magic, first byte"},
		{15, 1, {1}, HEADER_NOT_SQLITE, "magic, last byte"},
		{16, 2, {0, 0}, HEADER_MALFORMED, "page size 0"},
		{16, 2, {0, 1}, 0, "page size 65536"},
		{16, 2, {0, 2}, HEADER_MALFORMED, "page size 2"},
		{16, 2, {1, 0}, HEADER_MALFORMED, "page size 256"},
		{16, 2, {2, 0}, 0, "page size 512"},
		{16, 2, {2, 1}, HEADER_MALFORMED, "page size 513"},
		{16, 2, {0x30, 0}, HEADER_MALFORMED, "page size 12288"},
		{16, 2, {0x80, 0}, 0, "page size 32768"},
		{16, 2, {0xff, 0xff}, HEADER_MALFORMED, "page size 65535"},
		{18, 1, {0}, HEADER_MALFORMED, "write version 0"},
		{18, 1, {1}, 0, "write version 1"},
		{18, 1, {3}, HEADER_MALFORMED, "write version 3"},
		{19, 1, {0}, HEADER_MALFORMED, "read version 0"},
		{19, 1, {1}, 0, "read version 1"},
		{19, 1, {3}, HEADER_MALFORMED, "read version 3"},
		{20, 1, {255}, 0, "reserved bytes of a large page"},
		{16, 4, {2, 0, 1, 1}, 0, "a rollback database"},
		{21, 1, {63}, HEADER_MALFORMED, "largest payload fraction"},
		{22, 1, {33}, HEADER_MALFORMED, "smallest payload fraction"},
		{23, 1, {0}, HEADER_MALFORMED, "leaf payload fraction"},
		{44, 4, {0, 0, 0, 0}, 0, "schema format 0"},
		{44, 4, {0, 0, 0, 5}, HEADER_MALFORMED, "schema format 5"},
		{44, 4, {1, 0, 0, 4}, HEADER_MALFORMED, "schema format beyond a byte"},
		{56, 4, {0, 0, 0, 0}, 0, "no encoding yet"},
		{56, 4, {0, 0, 0, 3}, 0, "encoding 3"},
		{56, 4, {0, 0, 0, 4}, HEADER_MALFORMED, "encoding 4"},
		{56, 4, {0, 0, 1, 1}, HEADER_MALFORMED, "encoding beyond a byte"},
	};
	uint8_t b[HEADER_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(patches) / sizeof(patches[0]); i++) {
		const struct patch *p = &patches[i];
		struct header h, untouched;
		int answer;

		make(b);
		memcpy(b + p->at, p->bytes, p->size);
		memset(&h, 0xa5, sizeof(h));
		untouched = h;
		answer = header_decode(&h, b, sizeof(b));
		if (answer != p->answer)
			print_error("%s\n", p->why);
		assert_int_equal(answer, p->answer);
		if (answer)
			assert_memory_equal(&h, &untouched, sizeof(h));
	}
}

static void test_usable_size(void **state)
{
	static const struct {
		uint8_t page_size_high, reserved;
		int answer;
	} cases[] = {{2, 32, 0}, {2, 33, HEADER_MALFORMED}, {2, 255, HEADER_MALFORMED}, {4, 255, 0}};
	uint8_t b[HEADER_SIZE];
	struct header h;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make(b);
		b[16] = cases[i].page_size_high;
		b[20] = cases[i].reserved;
		assert_int_equal(header_decode(&h, b, sizeof(b)), cases[i].answer);
	}
}

static void test_is_wal(void **state)
{
	uint8_t b[HEADER_SIZE];
	struct header h;

	(void)state;
	for (uint8_t write = 1; write <= 2; write++) {
		for (uint8_t read = 1; read <= 2; read++) {
			make(b);
			b[18] = write;
			b[19] = read;
			assert_int_equal(header_decode(&h, b, sizeof(b)), 0);
			assert_int_equal(header_is_wal(&h), write == 2 && read == 2);
		}
	}
}

/* Each byte of the two counters matters. */
static void test_page_count(void **state)
{
	uint8_t b[HEADER_SIZE];
	struct header h;

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		size_t at = i < 4 ? 24 + i : 92 + i - 4;

		make(b);
		b[at] ^= 0x80;
		assert_int_equal(header_decode(&h, b, sizeof(b)), 0);
		assert_int_equal(h.page_count, 0);
	}
	make(b);
	memset(b + 28, 0, 4);
	assert_int_equal(header_decode(&h, b, sizeof(b)), 0);
	assert_int_equal(h.page_count, 0);
	make(b);
	memset(b + 28, 0xff, 4);
	assert_int_equal(header_decode(&h, b, sizeof(b)), 0);
	assert_true(h.page_count == UINT32_MAX);
}

/* Every length in a block of its own, so that a sanitizer sees what is read behind it. */
static void test_short(void **state)
{
	uint8_t b[HEADER_SIZE];
	struct header h;

	(void)state;
	make(b);
	for (size_t size = 0; size <= HEADER_SIZE; size++) {
		uint8_t *copy = malloc(size ? size : 1);

		assert_non_null(copy);
		memcpy(copy, b, size);
		assert_int_equal(header_decode(&h, copy, size), size < HEADER_SIZE ? HEADER_NOT_SQLITE : 0);
		free(copy);
	}
	assert_int_equal(header_decode(&h, NULL, 0), HEADER_NOT_SQLITE);
}

static void test_random(void **state)
{
	unsigned seed = 1;
	struct header h;
	int accepted = 0;

	(void)state;
	for (int round = 0; round < 200000; round++) {
		uint8_t b[HEADER_SIZE];

		make(b);
		/* Half of them all random behind the magic, half with a few bytes changed. */
		for (int i = round % 2 ? 3 : 0; i < HEADER_SIZE - 16; i++) {
			int at = round % 2 ? 16 + rand_r(&seed) % (HEADER_SIZE - 16) : 16 + i;

			b[at] = (uint8_t)rand_r(&seed);
			if (round % 2 && rand_r(&seed) % 3 == 0)
				break;
		}
		if (header_decode(&h, b, sizeof(b)))
			continue;
		accepted++;
		assert_true(h.page_size >= 512 && h.page_size <= 65536);
		assert_int_equal(h.page_size & (h.page_size - 1), 0);
		assert_true(h.page_size - h.reserved >= 480);
		assert_true(h.schema_format <= 4 && h.text_encoding <= 3);
	}
	assert_true(accepted > 100);
}

static void do_sql(sqlite3 *db, const char *sql)
{
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

/* What SQLite itself writes, as sqlite3_serialize() gives it. */
static void test_sqlite(void **state)
{
	static const char *const encodings[] = {"UTF-8", "UTF-16le", "UTF-16be"};

	(void)state;
	for (uint32_t page_size = 512, i = 0; page_size <= 65536; page_size *= 2, i++) {
		char sql[200];
		unsigned char *bytes;
		sqlite3_int64 size;
		struct header h;
		sqlite3 *db;

		assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
		snprintf(sql, sizeof(sql),
			 "PRAGMA page_size=%u; PRAGMA encoding='%s'; PRAGMA user_version=%u; PRAGMA "
			 "application_id=77",
			 page_size, encodings[i % 3], i + 5);
		do_sql(db, sql);
		/* Without a table there is no schema format yet. */
		for (uint32_t tables = 0; tables < 2; tables++) {
			bytes = sqlite3_serialize(db, "main", &size, 0);
			assert_non_null(bytes);
			assert_int_equal(header_decode(&h, bytes, (size_t)size), 0);
			assert_int_equal(h.page_size, page_size);
			assert_int_equal(h.page_count, size / page_size);
			assert_int_equal(h.user_version, i + 5);
			assert_int_equal(h.application_id, 77);
			assert_int_equal(h.schema_format, tables ? 4 : 0);
			if (tables)
				assert_int_equal(h.text_encoding, i % 3 + 1);
			assert_false(header_is_wal(&h));
			sqlite3_free(bytes);
			do_sql(db, "CREATE TABLE IF NOT EXISTS t(a)");
		}
		assert_int_equal(sqlite3_close(db), SQLITE_OK);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),	    cmocka_unit_test(test_rules),
		cmocka_unit_test(test_usable_size), cmocka_unit_test(test_is_wal),
		cmocka_unit_test(test_page_count),  cmocka_unit_test(test_short),
		cmocka_unit_test(test_random),	    cmocka_unit_test(test_sqlite),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
