/* SPDX-License-Identifier: MIT */
/* test_version.c - which looks are equal. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "../../src/clock.h"
#include "../../src/version.h"

#define T0 1795219453000000000ll /* a whole second */
#define CHANGED (T0 + 123456789)
#define SEEN (CHANGED + NS_PER_S)
#define PAGE 4096u
#define FRAME (PAGE + WAL_FRAME_HEADER)

static void put32(uint8_t *b, size_t at, uint32_t value)
{
	memcpy(b + at, &value, sizeof(value));
}

/* Gives V a wal-index header of MAX_FRAME frames, with any other byte than zero at AT. */
static void set_header_with(struct version *v, uint64_t incarnation, uint32_t max_frame, size_t at,
			    uint8_t byte)
{
	static const uint16_t page_size = PAGE;
	uint32_t words[10], s1 = 0, s2 = 0;
	uint8_t *b = v->header;

	v->has_header = true;
	v->incarnation = incarnation;
	memset(b, 0, sizeof(v->header));
	put32(b, 0, 3007000);
	put32(b, 8, 17);
	b[12] = 1;
	memcpy(b + 14, &page_size, sizeof(page_size));
	put32(b, 16, max_frame);
	put32(b, 20, 9);
	memcpy(b + 24, "checksumsaltsalt", 16);
	if (byte)
		b[at] = byte;
	memcpy(words, b, sizeof(words));
	for (size_t i = 0; i < 10; i += 2) {
		s1 += words[i] + s2;
		s2 += words[i + 1] + s1;
	}
	put32(b, 40, s1);
	put32(b, 44, s2);
}

static void set_header(struct version *v, uint64_t incarnation, uint32_t max_frame)
{
	set_header_with(v, incarnation, max_frame, 0, 0);
}

static void set_counters(struct version *v, uint64_t incarnation)
{
	v->has_counters = true;
	v->incarnation = incarnation;
	memset(v->counters, 5, sizeof(v->counters));
}

/* stat(2) alone, of a -wal of three frames. */
static struct version plain(void)
{
	return (struct version){
		.dev = 1,
		.ino = 2,
		.db = {.size = 8 * PAGE, .mtime_ns = CHANGED - 5, .ctime_ns = CHANGED - 5},
		.wal = {.size = WAL_FILE_HEADER + 3 * FRAME, .mtime_ns = CHANGED, .ctime_ns = CHANGED},
		.seen_ns = SEEN,
	};
}

/* The samples that the table below is about; each sees the same files. */
enum sample {
	STAT,	 /* stat(2) alone */
	COUNT,	 /* rollback mode, not connected */
	COUNT_1, /* rollback mode, in incarnation 1 */
	HEAD_0,	 /* a header from another process */
	HEAD_1,	 /* in incarnation 1: the three frames are committed */
	HEAD_2,	 /* the same in incarnation 2 */
	FEWER_1, /* two of them are */
	FEWER_2,
	SAMPLES,
};

static struct version make(enum sample sample)
{
	struct version v = plain();

	switch (sample) {
	case COUNT:
	case COUNT_1:
		set_counters(&v, sample == COUNT_1);
		break;
	case HEAD_0:
	case HEAD_1:
	case HEAD_2:
		set_header(&v, (uint64_t)(sample - HEAD_0), 3);
		break;
	case FEWER_1:
	case FEWER_2:
		set_header(&v, (uint64_t)(sample - FEWER_1 + 1), 2);
		break;
	case STAT:
	case SAMPLES:
		break;
	}
	return v;
}

/* Every pair of kinds, when stat(2) has seen no change. */
static const char *const when_quiet[SAMPLES] = {
	/*             S C C H H H F F */
	[STAT] = "= = = = = = . .",    [COUNT] = "= = = . . . . .",   [COUNT_1] = "= = = . . . . .",
	[HEAD_0] = "= . . = = = . .",  [HEAD_1] = "= . . = = = . .",  [HEAD_2] = "= . . = = = . .",
	[FEWER_1] = ". . . . . . = =", [FEWER_2] = ". . . . . . = =",
};

/* The same when the files have changed in between: within an incarnation the header alone decides. */
static const char *const when_changed[SAMPLES] = {
	/*             S C C H H H F F */
	[STAT] = ". . . . . . . .",    [COUNT] = ". . . . . . . .",   [COUNT_1] = ". . . . . . . .",
	[HEAD_0] = ". . . . . . . .",  [HEAD_1] = ". . . . = . . .",  [HEAD_2] = ". . . . . = . .",
	[FEWER_1] = ". . . . . . = .", [FEWER_2] = ". . . . . . . =",
};

static void check_equal(const struct version *older, const struct version *newer, bool equal, int older_id,
			int newer_id)
{
	if (version_equal(older, newer) != equal)
		print_error("samples %d and %d\n", older_id, newer_id);
	assert_int_equal(version_equal(older, newer), equal);
}

static void test_kinds(void **state)
{
	(void)state;
	for (int o = 0; o < SAMPLES; o++) {
		for (int n = 0; n < SAMPLES; n++) {
			struct version older = make((enum sample)o), newer = make((enum sample)n), other;

			newer.seen_ns += NS_PER_S;
			check_equal(&older, &newer, when_quiet[o][2 * n] == '=', o, n);
			newer.wal.ctime_ns++;
			check_equal(&older, &newer, when_changed[o][2 * n] == '=', o, n);
			newer = make((enum sample)n);
			/* Too soon after the last change: a later one may not show. */
			older.seen_ns = CHANGED + VERSION_RACY_NS;
			check_equal(&older, &newer, when_changed[o][2 * n] == '=', o, n);
			older.seen_ns++;
			check_equal(&older, &newer, when_quiet[o][2 * n] == '=', o, n);
			/* Another inode is another database. */
			other = newer;
			other.dev++;
			check_equal(&older, &other, false, o, n);
			other = newer;
			other.ino++;
			check_equal(&older, &other, false, o, n);
		}
	}
}

static void test_every_stat_field(void **state)
{
	static const size_t fields[] = {
		offsetof(struct version, db.size),	offsetof(struct version, db.mtime_ns),
		offsetof(struct version, db.ctime_ns),	offsetof(struct version, wal.size),
		offsetof(struct version, wal.mtime_ns), offsetof(struct version, wal.ctime_ns),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		struct version older = plain(), newer = plain();
		uint64_t value;

		memcpy(&value, (uint8_t *)&newer + fields[i], sizeof(value));
		value++;
		memcpy((uint8_t *)&newer + fields[i], &value, sizeof(value));
		assert_false(version_equal(&older, &newer));
		assert_true(version_equal(&newer, &newer));
	}
}

static void test_every_counter(void **state)
{
	(void)state;
	for (size_t i = 0; i < 16; i++) {
		struct version older = make(COUNT), newer = make(COUNT_1);

		newer.counters[i]++;
		assert_false(version_equal(&older, &newer));
	}
}

/* Within an incarnation every byte of the header counts; across, those that say which frames are committed.
 */
static void test_every_header_byte(void **state)
{
	(void)state;
	for (size_t at = 8; at < 40; at++) {
		struct version older = make(HEAD_1), newer = make(HEAD_1);
		bool lives = at < 13; /* the change counter and "initialised" */

		if (at == 14 || at == 15)
			continue; /* other page sizes follow */
		set_header_with(&newer, 1, 3, at, 0x77);
		assert_memory_not_equal(older.header, newer.header, WAL_INDEX_HEADER);
		assert_false(version_equal(&older, &newer));
		newer.incarnation = 2;
		assert_int_equal(version_equal(&older, &newer), lives);
		assert_int_equal(version_equal(&newer, &older), lives);
	}
}

/* Without committed frames a header holds what an earlier WAL left, or zeros. */
static void test_empty_wal(void **state)
{
	struct version older = plain(), newer;

	(void)state;
	older.wal = (struct version_stat){.size = 0};
	newer = older;
	set_header(&older, 1, 0);
	set_header_with(&newer, 2, 0, 35, 0x77);
	assert_true(version_equal(&older, &newer));
	newer.incarnation = 1;
	assert_false(version_equal(&older, &newer));
	/* A commit, a checkpoint and the last close rebuild the same header. */
	newer = older;
	newer.incarnation = 2;
	newer.db.mtime_ns += NS_PER_S;
	assert_false(version_equal(&older, &newer));
	newer.incarnation = 1;
	assert_true(version_equal(&older, &newer));
	/* The first commit. */
	newer = older;
	set_header(&newer, 2, 1);
	assert_false(version_equal(&older, &newer));
}

static void test_torn_header(void **state)
{
	struct version older = make(HEAD_1), newer = make(HEAD_2);

	(void)state;
	older.header[40]++;
	newer.header[40]++;
	assert_false(version_equal(&older, &newer));
	newer = make(STAT);
	assert_false(version_equal(&older, &newer));
	assert_false(version_equal(&newer, &older));
}

/* What stands behind the last committed frame may become a commit without any stat(2) changing. */
static void test_uncommitted_tail(void **state)
{
	static const struct {
		uint64_t size;
		uint32_t max_frame;
		bool equal;
	} cases[] = {
		{WAL_FILE_HEADER + 3 * FRAME, 3, true},
		{WAL_FILE_HEADER + 3 * FRAME + 1, 3, false},
		{WAL_FILE_HEADER + 3 * FRAME - 1, 3, false}, /* a commit after the stat(2) */
		{WAL_FILE_HEADER + 4 * FRAME, 3, false},
		{WAL_FILE_HEADER + 3 * FRAME, 4, false},
		{WAL_FILE_HEADER + FRAME, 1, true},
		{WAL_FILE_HEADER, 0, true},
		{WAL_FILE_HEADER - 1, 0, true},
		{WAL_FILE_HEADER + 1, 0, false},
		{WAL_FILE_HEADER + 5 * FRAME, 0, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct version bare = plain(), header;

		bare.wal.size = cases[i].size;
		header = bare;
		set_header(&header, 1, cases[i].max_frame);
		check_equal(&bare, &header, cases[i].equal, (int)i, 0);
		check_equal(&header, &bare, cases[i].equal, (int)i, 1);
	}
}

static void test_settled(void **state)
{
	static const struct {
		int64_t db_mtime, db_ctime, wal_ctime, seen;
		bool equal;
	} cases[] = {
		{CHANGED, CHANGED, CHANGED, SEEN, true},
		{CHANGED, CHANGED, CHANGED, CHANGED, false},
		{CHANGED, CHANGED, CHANGED, CHANGED + VERSION_RACY_NS, false},
		{CHANGED, CHANGED, CHANGED, CHANGED + VERSION_RACY_NS + 1, true},
		{CHANGED, CHANGED + 9, CHANGED, CHANGED + VERSION_RACY_NS + 9, false},
		{CHANGED, CHANGED, CHANGED + 9, CHANGED + VERSION_RACY_NS + 9, false},
		/* Anybody can set an mtime. */
		{SEEN + 3600 * NS_PER_S, CHANGED, CHANGED, SEEN, true},
		{INT64_MAX, CHANGED, CHANGED, SEEN, true},
		/* The clock was set back. */
		{CHANGED, SEEN + 1, CHANGED, SEEN, false},
		{CHANGED, INT64_MAX, CHANGED, SEEN, false},
		{CHANGED, INT64_MIN, CHANGED, SEEN, true},
		/* A file system that counts in seconds. */
		{T0, T0, T0 - 1, T0 + NS_PER_S, false},
		{T0, T0, T0 - 1, T0 + 2 * NS_PER_S + VERSION_RACY_NS, false},
		{T0, T0, T0 - 1, T0 + 2 * NS_PER_S + VERSION_RACY_NS + 1, true},
		{T0 + 1, T0 + 1, T0, T0 + 2 * NS_PER_S, false},
		/* What a damaged store may remember. */
		{CHANGED, CHANGED, CHANGED, 0, false},
		{CHANGED, CHANGED, CHANGED, INT64_MIN, false},
		{CHANGED, CHANGED, CHANGED, INT64_MAX, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct version older = plain(), newer;

		older.db.mtime_ns = cases[i].db_mtime;
		older.db.ctime_ns = cases[i].db_ctime;
		older.wal.ctime_ns = cases[i].wal_ctime;
		newer = older;
		older.seen_ns = cases[i].seen;
		check_equal(&older, &newer, cases[i].equal, (int)i, 0);
		/* Only the older look matters. */
		older.seen_ns = SEEN + 3600 * NS_PER_S;
		newer.seen_ns = cases[i].seen;
		check_equal(&older, &newer, cases[i].db_ctime != INT64_MAX, (int)i, 1);
	}
}

/* An absent -wal has no times that could be too fresh. */
static void test_absent_wal(void **state)
{
	struct version older = plain(), newer;

	(void)state;
	version_stat_set(&older.wal, NULL);
	newer = older;
	assert_true(version_equal(&older, &newer));
	newer.wal = plain().wal;
	assert_false(version_equal(&older, &newer));
	assert_false(version_equal(&newer, &older));
}

static void test_stat_set(void **state)
{
	struct stat st = {
		.st_size = 77,
		.st_mtim = {.tv_sec = 3, .tv_nsec = 4},
		.st_ctim = {.tv_sec = -1, .tv_nsec = 999999999},
		.st_atim = {.tv_sec = 8, .tv_nsec = 8},
	};
	struct version_stat out;

	(void)state;
	memset(&out, 0xff, sizeof(out));
	version_stat_set(&out, &st);
	assert_int_equal(out.size, 77);
	assert_true(out.mtime_ns == 3 * NS_PER_S + 4);
	assert_true(out.ctime_ns == -1);
	/* Times that do not fit are the nearest that do. */
	st.st_mtim.tv_sec = INT64_MAX;
	st.st_ctim.tv_sec = INT64_MIN;
	version_stat_set(&out, &st);
	assert_true(out.mtime_ns == INT64_MAX);
	assert_true(out.ctime_ns == INT64_MIN);
	version_stat_set(&out, NULL);
	assert_memory_equal(&out, &(struct version_stat){.size = 0}, sizeof(out));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_every_stat_field),
		cmocka_unit_test(test_every_counter),
		cmocka_unit_test(test_every_header_byte),
		cmocka_unit_test(test_empty_wal),
		cmocka_unit_test(test_torn_header),
		cmocka_unit_test(test_uncommitted_tail),
		cmocka_unit_test(test_settled),
		cmocka_unit_test(test_absent_wal),
		cmocka_unit_test(test_stat_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
