/* SPDX-License-Identifier: MIT */
/* test_staging_threads.c - one upload that several threads write, read, cut and ask about at once. */
#include "stagings.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

#define BLOCK 4096u
#define BLOCKS 256u
#define WRITERS 4u

static uint8_t block_bytes[BLOCKS][BLOCK];

static int setup(void **state)
{
	for (unsigned i = 0; i < BLOCKS; i++) {
		for (unsigned j = 0; j < BLOCK; j++)
			block_bytes[i][j] = (uint8_t)((i * 5 + j * 3) & 0x7f); /* no byte of a base */
	}
	return setup_staging(state);
}

static void join(pthread_t thread)
{
	void *rc = NULL;

	assert_int_equal(pthread_join(thread, &rc), 0);
	assert_null(rc);
}

/* What a thread cannot assert. */
#define expect(what)                                                             \
	do {                                                                     \
		if (!(what)) {                                                   \
			fprintf(stderr, "# line %d: not %s\n", __LINE__, #what); \
			return &failed;                                          \
		}                                                                \
	} while (0)
static char failed;

/* ---- in the middle of a write -------------------------------------------------------------------------- */

static void *write_elsewhere(void *arg)
{
	(void)arg;
	expect(staging_write(st, block_bytes[1], BLOCK, BLOCK, NULL) == BLOCK);
	return NULL;
}

static void ask_and_write_elsewhere(void)
{
	uint8_t bytes[2 * BLOCK];
	pthread_t thread;

	assert_int_equal(staging_size(st), 2 * BLOCK);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_PENDING);
	assert_int_equal(staging_changes(st), 1);
	assert_true(staging_fd(st) >= 0);
	assert_int_equal(staging_sync(st, &err), 0);
	assert_int_equal(staging_read(st, bytes, sizeof(bytes), 0, &err), sizeof(bytes));
	assert_int_equal(pthread_create(&thread, NULL, write_elsewhere, NULL), 0);
	join(thread);
}

/* A write that takes long holds up no question, no read, and no other write; and does not count yet. */
static void test_during_a_write(void **state)
{
	(void)state;
	open_store();
	begin();
	assert_int_equal(staging_truncate(st, 2 * BLOCK, &err), 0);
	pwrite_plan.after = ask_and_write_elsewhere;
	assert_int_equal(staging_write(st, block_bytes[0], BLOCK, 0, &err), BLOCK);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_COMPLETE);
	assert_int_equal(staging_changes(st), 3);
}

static struct {
	atomic_int tid;
	atomic_bool done;
	pthread_t thread;
} cutter;

static void *cut(void *arg)
{
	(void)arg;
	atomic_store(&cutter.tid, (int)syscall(SYS_gettid));
	expect(staging_truncate(st, 0, NULL) == 0);
	atomic_store(&cutter.done, true);
	return NULL;
}

/* Whether the thread waits for a lock. */
static bool waits(int tid)
{
	char path[64], line[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	file = fopen(path, "re");
	if (file) {
		if (!fgets(line, sizeof(line), file))
			line[0] = '\0';
		fclose(file);
	}
	return strtol(line, NULL, 10) == SYS_futex;
}

/* Lets it cut the file now if it can. */
static void let_cut(void)
{
	assert_int_equal(pthread_create(&cutter.thread, NULL, cut, NULL), 0);
	while (atomic_load(&cutter.tid) == 0)
		sched_yield();
	while (!atomic_load(&cutter.done) && !waits(atomic_load(&cutter.tid)))
		sched_yield();
}

/* Bytes that are in the file and not noted yet cannot be cut off, to be noted then. */
static void test_cut_during_a_write(void **state)
{
	struct stat file;

	(void)state;
	open_store();
	begin();
	memset(&cutter, 0, sizeof(cutter));
	pwrite_plan.after = let_cut;
	assert_int_equal(staging_write(st, block_bytes[0], BLOCK, 0, &err), BLOCK);
	join(cutter.thread);
	assert_int_equal(staging_size(st), 0);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_EMPTY);
	assert_int_equal(fstat(staging_fd(st), &file), 0);
	assert_int_equal(file.st_size, 0);
}

/* ---- all at once --------------------------------------------------------------------------------------- */

static atomic_bool enough;

/* Every WRITERS-th block, in random order. */
static void *write_blocks(void *arg)
{
	unsigned mine = *(const unsigned *)arg, random = mine, order[BLOCKS / WRITERS];

	for (unsigned i = 0; i < COUNT(order); i++) {
		unsigned other = (unsigned)rand_r(&random) % (i + 1);

		order[i] = order[other];
		order[other] = i * WRITERS + mine;
	}
	for (unsigned i = 0; i < COUNT(order); i++)
		expect(staging_write(st, block_bytes[order[i]], BLOCK, (uint64_t)order[i] * BLOCK, NULL) ==
		       BLOCK);
	return NULL;
}

/* A byte is the base's or what is written there, whenever it is read. */
static void *read_blocks(void *arg)
{
	unsigned random = *(const unsigned *)arg;

	do {
		uint8_t bytes[3 * BLOCK];
		uint64_t from = (uint64_t)rand_r(&random) % (BLOCKS * BLOCK - sizeof(bytes));

		expect(staging_read(st, bytes, sizeof(bytes), from, NULL) == sizeof(bytes));
		for (unsigned i = 0; i < sizeof(bytes); i++) {
			uint64_t n = from + i;

			expect(bytes[i] == block_bytes[n / BLOCK][n % BLOCK] || bytes[i] == base_byte(n));
		}
	} while (!atomic_load(&enough));
	return NULL;
}

static void *ask(void *arg)
{
	uint64_t before = 0;

	(void)arg;
	do {
		enum snap_upload_state state = staging_state(st);
		uint64_t now = staging_changes(st);
		const char *name;

		expect(now >= before && now <= BLOCKS);
		expect(state != SNAP_UPLOAD_COMPLETE || now == BLOCKS);
		expect(state != SNAP_UPLOAD_UNTOUCHED || before == 0);
		expect(staging_size(st) == BLOCKS * BLOCK);
		expect((staging_fd(st) < 0) == (staging_folder(st, &name) < 0) || staging_fd(st) >= 0);
		expect(staging_sync(st, NULL) == 0);
		before = now;
	} while (!atomic_load(&enough));
	return NULL;
}

static void test_write_and_read(void **state)
{
	pthread_t writers[WRITERS], others[3];
	unsigned numbers[WRITERS] = {0, 1, 2, 3};

	(void)state;
	open_store();
	begin();
	lend(BLOCKS * BLOCK);
	lender.at_most = 1000;
	atomic_store(&enough, false);
	for (unsigned i = 0; i < COUNT(others); i++)
		assert_int_equal(pthread_create(&others[i], NULL, i ? read_blocks : ask, &numbers[i]), 0);
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&writers[i], NULL, write_blocks, &numbers[i]), 0);
	for (unsigned i = 0; i < WRITERS; i++)
		join(writers[i]);
	atomic_store(&enough, true);
	for (unsigned i = 0; i < COUNT(others); i++)
		join(others[i]);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_COMPLETE);
	assert_int_equal(atomic_load(&lender.drops), 1);
	for (unsigned i = 0; i < BLOCKS; i++) {
		uint8_t bytes[BLOCK];

		assert_int_equal(pread(staging_fd(st), bytes, BLOCK, (off_t)(i * BLOCK)), BLOCK);
		assert_memory_equal(bytes, block_bytes[i], BLOCK);
	}
}

static void *change_length(void *arg)
{
	unsigned random = *(const unsigned *)arg;

	do {
		uint64_t size = (uint64_t)rand_r(&random) % (BLOCKS * BLOCK);

		if (size % 4 == 0)
			expect(staging_allocate(st, size / 2, 1 + size / 2, size % 8 == 0, NULL) == 0);
		else
			expect(staging_truncate(st, size % 3 ? size : 0, NULL) == 0);
	} while (!atomic_load(&enough));
	return NULL;
}

/* Reads do not fail, though what they ask for may be gone. */
static void *read_anything(void *arg)
{
	unsigned random = *(const unsigned *)arg;

	do {
		uint8_t bytes[3 * BLOCK];

		expect(staging_read(st, bytes, sizeof(bytes), (uint64_t)rand_r(&random) % (BLOCKS * BLOCK),
				    NULL) >= 0);
	} while (!atomic_load(&enough));
	return NULL;
}

/* Whatever came last, the file is what is said of it. */
static void test_write_and_cut(void **state)
{
	static uint8_t whole[BLOCKS * BLOCK + 1], file[BLOCKS * BLOCK + 1];
	pthread_t writers[WRITERS], others[3];
	unsigned numbers[WRITERS] = {0, 1, 2, 3};
	struct stat stat;

	(void)state;
	open_store();
	begin();
	lend(BLOCKS * BLOCK);
	atomic_store(&enough, false);
	for (unsigned i = 0; i < COUNT(others); i++)
		assert_int_equal(
			pthread_create(&others[i], NULL, i ? read_anything : change_length, &numbers[i]), 0);
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&writers[i], NULL, write_blocks, &numbers[i]), 0);
	for (unsigned i = 0; i < WRITERS; i++)
		join(writers[i]);
	atomic_store(&enough, true);
	for (unsigned i = 0; i < COUNT(others); i++)
		join(others[i]);
	assert_int_equal(fstat(staging_fd(st), &stat), 0);
	assert_int_equal(stat.st_size, staging_size(st));
	assert_int_equal(staging_truncate(st, 0, &err), 0);
	for (unsigned i = 0; i < WRITERS; i += 2)
		assert_null(write_blocks(&numbers[i]));
	assert_int_equal(staging_state(st), SNAP_UPLOAD_COMPLETE);
	assert_int_equal(pread(staging_fd(st), file, sizeof(file), 0), staging_size(st));
	assert_int_equal(staging_read(st, whole, sizeof(whole), 0, &err), staging_size(st));
	assert_memory_equal(whole, file, staging_size(st));
}

#undef test
#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown_staging)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_during_a_write),
		test(test_cut_during_a_write),
		test(test_write_and_read),
		test(test_write_and_cut),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
