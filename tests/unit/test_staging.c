/* SPDX-License-Identifier: MIT */
/* test_staging.c - when an upload is complete, what is read from it, and what it leaves behind. */
#include "stagings.h"

#define MIB (1ull << 20)

/* ---- the rules ----------------------------------------------------------------------------------------- */

/*
 * One step: w OFFSET + SIZE writes, f tries to and fails, a allocates, k allocates without a new size, t SIZE
 * truncates. Returns what follows it.
 */
static const char *take_step(const char *step)
{
	char *end;
	uint64_t a = strtoull(step + 1, &end, 10), b = 0;

	if (*end == '+')
		b = strtoull(end + 1, &end, 10);
	assert_between(a + b, 0, MODEL_MAX);
	switch (*step) {
	case 'w':
		model_write(a, b);
		break;
	case 'f':
		model_fail(a, b);
		break;
	case 'a':
	case 'k':
		model_allocate(a, b, *step == 'k');
		break;
	case 't':
		model_truncate(a);
		break;
	default:
		fail_msg("what is \"%s\"?", step);
	}
	return end + strspn(end, " ");
}

#define NO_BASE (-1)

static const struct {
	int base; /* bytes */
	const char *steps;
	enum snap_upload_state expected;
} rules[] = {
	/* Nothing was said about its content. */
	{NO_BASE, "", SNAP_UPLOAD_UNTOUCHED},
	{NO_BASE, "w0+0", SNAP_UPLOAD_UNTOUCHED},
	{NO_BASE, "k0+100", SNAP_UPLOAD_UNTOUCHED},
	{100, "", SNAP_UPLOAD_UNTOUCHED},
	{100, "t100", SNAP_UPLOAD_UNTOUCHED},
	{100, "a0+100", SNAP_UPLOAD_UNTOUCHED},
	{0, "", SNAP_UPLOAD_UNTOUCHED},
	/* : > file */
	{NO_BASE, "t0", SNAP_UPLOAD_EMPTY},
	{100, "t0", SNAP_UPLOAD_EMPTY},
	{100, "w0+200 t0", SNAP_UPLOAD_EMPTY},
	{NO_BASE, "t100 t0", SNAP_UPLOAD_EMPTY},
	{NO_BASE, "f0+10 t0", SNAP_UPLOAD_EMPTY},
	/* cat, cp: cut or new, then from front to back */
	{NO_BASE, "w0+10", SNAP_UPLOAD_COMPLETE},
	{NO_BASE, "w0+10 w10+10 w20+1", SNAP_UPLOAD_COMPLETE},
	{100, "t0 w0+10", SNAP_UPLOAD_COMPLETE},
	{NO_BASE, "k0+100 w0+50", SNAP_UPLOAD_COMPLETE},
	/* cp --sparse, tar -S: holes are zeros, and the last one is made by a truncation */
	{NO_BASE, "w0+10 w50+10", SNAP_UPLOAD_COMPLETE},
	{NO_BASE, "w5+5", SNAP_UPLOAD_COMPLETE},
	{NO_BASE, "w0+10 t100", SNAP_UPLOAD_COMPLETE},
	{100, "t0 w0+10 w50+10 t80", SNAP_UPLOAD_COMPLETE},
	{100, "t0 w0+10 t5", SNAP_UPLOAD_COMPLETE},
	{0, "w0+10 w50+10 t80", SNAP_UPLOAD_COMPLETE},
	/* Over what stood there: every byte, or it is a mix. */
	{100, "w0+99", SNAP_UPLOAD_INCOMPLETE},
	{100, "w1+99", SNAP_UPLOAD_INCOMPLETE},
	{100, "w0+50 w51+49", SNAP_UPLOAD_INCOMPLETE},
	{100, "w0+100", SNAP_UPLOAD_COMPLETE},
	{100, "w50+50 w0+50", SNAP_UPLOAD_COMPLETE},
	{100, "w0+60 w40+60", SNAP_UPLOAD_COMPLETE},
	{100, "w0+150", SNAP_UPLOAD_COMPLETE},
	{100, "w100+50", SNAP_UPLOAD_INCOMPLETE},
	{100, "w100+50 w0+100", SNAP_UPLOAD_COMPLETE},
	/* rsync --inplace: a truncation at the end cuts off and completes nothing. */
	{100, "w0+50 t50", SNAP_UPLOAD_COMPLETE},
	{100, "w0+49 t50", SNAP_UPLOAD_INCOMPLETE},
	{100, "w0+50 t60", SNAP_UPLOAD_INCOMPLETE},
	{100, "w0+100 t200", SNAP_UPLOAD_INCOMPLETE},
	{100, "w0+100 t200 w100+100", SNAP_UPLOAD_COMPLETE},
	{100, "t50", SNAP_UPLOAD_INCOMPLETE},
	{100, "t200", SNAP_UPLOAD_INCOMPLETE},
	{100, "a0+200", SNAP_UPLOAD_INCOMPLETE},
	{100, "t50 t100 w0+50", SNAP_UPLOAD_INCOMPLETE},
	{100, "w0+100 t50 t100", SNAP_UPLOAD_INCOMPLETE},
	{100, "t50 w0+50", SNAP_UPLOAD_COMPLETE},
	/* restic, rclone: the length first, then the blocks in any order */
	{NO_BASE, "t100", SNAP_UPLOAD_PENDING},
	{NO_BASE, "a0+100", SNAP_UPLOAD_PENDING},
	{NO_BASE, "a50+50", SNAP_UPLOAD_PENDING},
	{0, "t100", SNAP_UPLOAD_PENDING},
	{100, "t0 a0+100", SNAP_UPLOAD_PENDING},
	{100, "w0+100 t0 t100", SNAP_UPLOAD_PENDING},
	{NO_BASE, "t100 w0+99", SNAP_UPLOAD_PENDING},
	{NO_BASE, "t100 w0+100", SNAP_UPLOAD_COMPLETE},
	{NO_BASE, "a0+100 w60+40 w0+30 w30+30", SNAP_UPLOAD_COMPLETE},
	{NO_BASE, "t100 w0+50 t50", SNAP_UPLOAD_COMPLETE},
	{NO_BASE, "t100 w0+100 t120", SNAP_UPLOAD_PENDING},
	{NO_BASE, "t100 w0+100 w100+10", SNAP_UPLOAD_COMPLETE},
	{NO_BASE, "t100 w0+100 w110+10", SNAP_UPLOAD_PENDING},
	{NO_BASE, "t100 t0 w5+5", SNAP_UPLOAD_COMPLETE}, /* taken back */
	/* Bytes that failed are missing until they are written or cut off. */
	{NO_BASE, "f0+10", SNAP_UPLOAD_INCOMPLETE},
	{NO_BASE, "t0 f0+10", SNAP_UPLOAD_INCOMPLETE},
	{NO_BASE, "w0+10 f10+10", SNAP_UPLOAD_INCOMPLETE},
	{NO_BASE, "w0+10 f10+10 w30+10", SNAP_UPLOAD_INCOMPLETE},
	{NO_BASE, "w0+10 f10+10 t10", SNAP_UPLOAD_COMPLETE},
	{NO_BASE, "w0+10 f10+10 w10+9", SNAP_UPLOAD_INCOMPLETE},
	{NO_BASE, "w0+10 f10+10 w10+10", SNAP_UPLOAD_COMPLETE},
	{NO_BASE, "w0+40 f5+2", SNAP_UPLOAD_INCOMPLETE},
	{NO_BASE, "w0+40 f5+2 f20+2 w5+2", SNAP_UPLOAD_INCOMPLETE},
	{NO_BASE, "w0+40 f5+2 f20+2 w5+2 w20+2", SNAP_UPLOAD_COMPLETE},
	{NO_BASE, "w0+40 f5+2 t0 w0+40", SNAP_UPLOAD_COMPLETE},
	{NO_BASE, "t40 w0+40 f5+2", SNAP_UPLOAD_PENDING},
	{NO_BASE, "f30+10 t20", SNAP_UPLOAD_PENDING},
	{100, "w0+100 f5+2", SNAP_UPLOAD_INCOMPLETE},
	{100, "f0+10", SNAP_UPLOAD_INCOMPLETE},
};

static void test_rules(void **state)
{
	(void)state;
	open_store();
	for (size_t i = 0; i < COUNT(rules); i++) {
		const char *step = rules[i].steps;

		model_begin(rules[i].base < 0 ? UINT64_MAX : (uint64_t)rules[i].base);
		while (*step)
			step = take_step(step);
		if (staging_state(st) != rules[i].expected)
			fail_msg("%d, \"%s\" is %d", rules[i].base, rules[i].steps, staging_state(st));
		assert_model();
	}
}

/* Whatever is done in whatever order, one byte beside the other. */
static void test_any_order(void **state)
{
	(void)state;
	open_store();
	for (unsigned seed = 1; seed <= 150; seed++) {
		unsigned random = seed;

		model_begin(seed % 3 ? (uint64_t)rand_r(&random) % 100 : UINT64_MAX);
		for (int i = 0; i < 30; i++) {
			uint64_t a = (uint64_t)rand_r(&random) % 150, b = 1 + (uint64_t)rand_r(&random) % 60;

			switch (rand_r(&random) % 16) {
			case 0:
				model_truncate(a % 8 ? a : 0);
				break;
			case 1:
				model_allocate(a, b, a % 2);
				break;
			case 2:
				model_fail(a, b);
				break;
			default:
				model_write(a, b);
			}
			assert_model();
		}
	}
}

/* A file of 60 MiB in random order; each block by an open and a close of its own, which ask for the state. */
static void receive_blocks(bool allocate)
{
	enum { BLOCKS = 60 };
	uint8_t *block = malloc(MIB);
	unsigned order[BLOCKS], random = 1;
	struct stat file;

	assert_non_null(block);
	begin();
	for (unsigned i = 0; i < BLOCKS; i++) {
		unsigned other = (unsigned)rand_r(&random) % (i + 1);

		order[i] = order[other];
		order[other] = i;
	}
	assert_int_equal(allocate ? staging_allocate(st, 0, BLOCKS * MIB, false, &err)
				  : staging_truncate(st, BLOCKS * MIB, &err),
			 0);
	for (unsigned i = 0; i < BLOCKS; i++) {
		assert_int_equal(staging_state(st), SNAP_UPLOAD_PENDING);
		memset(block, (int)order[i] + 1, MIB);
		assert_int_equal(staging_write(st, block, MIB, order[i] * MIB, &err), MIB);
	}
	assert_int_equal(staging_state(st), SNAP_UPLOAD_COMPLETE);
	assert_int_equal(fstat(staging_fd(st), &file), 0);
	assert_int_equal(file.st_size, BLOCKS * MIB);
	for (unsigned i = 0; i < BLOCKS; i++) {
		assert_int_equal(pread(staging_fd(st), block, MIB, (off_t)(i * MIB)), MIB);
		assert_true(block[0] == i + 1 && memcmp(block, block + 1, MIB - 1) == 0);
	}
	free(block);
}

static void test_blocks(void **state)
{
	(void)state;
	open_store();
	receive_blocks(false);
	receive_blocks(true);
}

static void test_changes(void **state)
{
	uint64_t before, other;

	(void)state;
	open_store();
	model_begin(100);
	assert_int_equal(staging_changes(st), 0);
	model_truncate(100);
	model_allocate(0, 100, false);
	model_allocate(0, 500, true);
	assert_model();
	assert_int_equal(staging_changes(st), 0);
	for (int i = 0; i < 6; i++) {
		static void (*const writes[])(uint64_t, size_t) = {model_write, model_write, model_fail};

		before = staging_changes(st);
		if (i < 3)
			writes[i](0, 10); /* the same place again is a change too */
		else if (i < 5)
			model_truncate(i == 3 ? 50 : 0);
		else
			model_allocate(0, 50, false);
		other = staging_changes(st);
		assert_true(other > before);
		assert_model();
		assert_int_equal(staging_changes(st), other);
	}
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* Each offset and each size, over what was written, a base, its end, a hole, and the end. */
static void test_read_anywhere(void **state)
{
	uint8_t bytes[128];

	(void)state;
	open_store();
	model_begin(50);
	model_write(10, 7);
	model_write(17, 3);
	model_write(45, 10);
	model_write(70, 10);
	model_truncate(90);
	for (size_t offset = 0; offset <= 95; offset++) {
		for (size_t size = 0; size <= 100; size++) {
			size_t left = offset < 90 ? 90 - offset : 0, expected = size < left ? size : left;

			memset(bytes, 0x55, sizeof(bytes));
			assert_int_equal(staging_read(st, bytes, size, offset, &err), expected);
			assert_memory_equal(bytes, model.bytes + offset, expected);
			assert_int_equal(bytes[expected], 0x55);
		}
	}
	assert_int_equal(staging_read(st, bytes, sizeof(bytes), UINT64_MAX, &err), 0);
}

/* What was cut off does not come back when the file grows again, and comes out of no base either. */
static void test_cut_and_grown(void **state)
{
	(void)state;
	open_store();
	model_begin(100);
	model_write(20, 60);
	model_truncate(30);
	assert_model();
	model_truncate(90);
	assert_model();
	model_write(110, 10);
	assert_model();
	model_truncate(10);
	model_truncate(100);
	assert_model();
}

static void test_short_base(void **state)
{
	uint8_t bytes[100];

	(void)state;
	open_store();
	model_begin(100);
	model_write(30, 10);
	lender.at_most = 3;
	assert_model();
	lender.at_most = 0;
	/* It has become shorter than it said. */
	lender.holds = 70;
	assert_int_equal(staging_read(st, bytes, 70, 0, &err), 70);
	assert_int_equal(staging_read(st, bytes, 100, 0, &err), -EIO);
	assert_words("shorter");
	assert_int_equal(staging_read(st, bytes, 100, 0, NULL), -EIO);
	lender.fail_with = -ESTALE;
	assert_int_equal(staging_read(st, bytes, 100, 0, &err), -ESTALE);
	assert_words("the lender failed");
	assert_int_equal(staging_read(st, bytes, 10, 30, &err), 10);
	lender.fail_with = 0;
	lender.holds = 100;
	assert_model();
}

/* Somebody else has cut the file. */
static void test_lost_bytes(void **state)
{
	uint8_t bytes[100];

	(void)state;
	open_store();
	model_begin(UINT64_MAX);
	model_write(0, 100);
	assert_int_equal(ftruncate(staging_fd(st), 50), 0);
	assert_int_equal(staging_read(st, bytes, 50, 0, &err), 50);
	assert_int_equal(staging_read(st, bytes, 100, 0, &err), -EIO);
	assert_words("shorter");
}

/* ---- the base ------------------------------------------------------------------------------------------ */

static void assert_drops(int expected)
{
	assert_int_equal(atomic_load(&lender.drops), expected);
}

/* It is given back as soon as nothing of it can be read, and once. */
static void test_base_is_dropped(void **state)
{
	static const struct {
		const char *before, *last;
	} cases[] = {
		{"w0+50", "t0"},
		{"", "t0"},
		{"w0+50 w60+40", "w50+10"},
		{"w10+10", "w0+100"},
		{"w0+50", "t50"},
		{"w0+50 w60+40", "t50"},
		{"t200 w0+99", "w99+1"},
		{"t50 t100", "w0+50"},
	};

	(void)state;
	open_store();
	for (size_t i = 0; i < COUNT(cases); i++) {
		model_begin(100);
		for (const char *step = cases[i].before; *step;)
			step = take_step(step);
		assert_model();
		assert_drops(0);
		take_step(cases[i].last);
		assert_drops(1);
		atomic_store(&lender.reads, 0);
		assert_model();
		model_truncate(100);
		assert_model();
		assert_int_equal(atomic_load(&lender.reads), 0);
		staging_destroy(st);
		st = NULL;
		assert_drops(1);
	}
	model_begin(0);
	assert_drops(1);
	model_begin(100);
	model_write(0, 99);
	staging_destroy(st);
	st = NULL;
	assert_drops(1);
}

static void truncate_meanwhile(void)
{
	uint8_t bytes[10] = {1};

	assert_int_equal(staging_write(st, bytes, 10, 0, &err), 10);
	assert_int_equal(staging_truncate(st, 0, &err), 0);
	assert_drops(0); /* it is being read */
}

/* A read of the base may take long: everything goes on meanwhile, and it stays until it has answered. */
static void test_base_is_read_under_no_lock(void **state)
{
	uint8_t bytes[100];

	(void)state;
	open_store();
	model_begin(100);
	lender.during = truncate_meanwhile;
	lender.at_most = 20;
	assert_int_equal(staging_read(st, bytes, 100, 0, &err), 20);
	assert_int_equal(bytes[19], base_byte(19));
	assert_drops(1);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_EMPTY);
}

/* ---- the file ------------------------------------------------------------------------------------------ */

/* It has a real name, by which SQLite can open it, and belongs to nobody else. */
static void test_file(void **state)
{
	struct stat file, named, folder;
	const char *name = NULL;

	(void)state;
	open_store();
	model_begin(100);
	assert_int_equal(staging_fd(st), -1);
	assert_int_equal(staging_folder(st, &name), -1);
	assert_int_equal(staging_sync(st, &err), 0);
	model_write(20, 5);
	assert_int_equal(staging_sync(st, &err), 0);
	assert_int_equal(fstat(staging_fd(st), &file), 0);
	assert_int_equal(file.st_mode, S_IFREG | 0600);
	assert_int_equal(file.st_size, 100); /* with holes */
	assert_int_equal(fcntl(staging_fd(st), F_GETFL) & O_ACCMODE, O_RDWR);
	assert_true(fcntl(staging_fd(st), F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(staging_folder(st, &name), F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fstat(staging_folder(st, &name), &folder), 0);
	assert_int_equal(folder.st_mode, S_IFDIR | 0700);
	assert_int_equal(fstatat(staging_folder(st, &name), name, &named, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(named.st_dev == file.st_dev && named.st_ino == file.st_ino);
}

/* However it ends: no file, no folder, no descriptor. */
static void test_leaves_nothing(void **state)
{
	int fds = count_fds();

	(void)state;
	staging_destroy(NULL);
	open_store();
	begin();
	assert_int_equal(staging_truncate(st, 100, &err), 0);
	staging_destroy(st);
	st = NULL;
	assert_int_equal(access(at("store"), F_OK), -1); /* nothing had to be stored */
	for (size_t i = 0; i < COUNT(rules); i++) {
		model_begin(rules[i].base < 0 ? UINT64_MAX : (uint64_t)rules[i].base);
		for (const char *step = rules[i].steps; *step;)
			step = take_step(step);
		assert_true(staging_fd(st) < 0 || entries_in("store") == 1);
		staging_destroy(st);
		st = NULL;
		assert_true(access(at("store"), F_OK) || entries_in("store") == 0);
		assert_int_equal(count_fds(), fds);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_rules),
		test(test_any_order),
		test(test_blocks),
		test(test_changes),
		test(test_read_anywhere),
		test(test_cut_and_grown),
		test(test_short_base),
		test(test_lost_bytes),
		test(test_base_is_dropped),
		test(test_base_is_read_under_no_lock),
		test(test_file),
		test(test_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
