/* SPDX-License-Identifier: MIT */
/* test_staging_room.c - uploads on full disks, on disks that fail, and uploads that are too much. */
#include "stagings.h"

#include <sys/statvfs.h>

#include "../../src/ranges.h"
#include "syscalls.h"

#define MIB (1ull << 20)
#define PAGE 4096u

static uint8_t bytes[8 * MIB], back[8 * MIB];

/* ---- system calls -------------------------------------------------------------------------------------- */

static bool no_memory;
static int fallocate_error, fallocate_interrupts;

void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
int __real_fallocate64(int fd, int mode, off_t offset, off_t size);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t size);

void *__wrap_realloc(void *p, size_t size)
{
	if (!no_memory)
		return __real_realloc(p, size);
	errno = ENOMEM;
	return NULL;
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t size)
{
	if (fallocate_interrupts > 0) {
		fallocate_interrupts--;
		errno = EINTR;
		return -1;
	}
	if (fallocate_error) {
		errno = fallocate_error;
		return -1;
	}
	return __real_fallocate64(fd, mode, offset, size);
}

/* ---- help ---------------------------------------------------------------------------------------------- */

static int setup(void **state)
{
	no_memory = false;
	fallocate_error = fallocate_interrupts = 0;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 31 + i / 4096 + 1);
	return setup_staging(state);
}

static uint64_t room(void)
{
	struct statvfs vfs;

	assert_int_equal(statvfs(store_dir(store), &vfs), 0);
	return (uint64_t)vfs.f_bavail * vfs.f_frsize;
}

/* Takes room for something else until LEFT bytes are free. */
static void fill(uint64_t left)
{
	int fd = open(at("store/filler"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0 && room() >= left);
	if (room() > left)
		assert_int_equal(__real_fallocate64(fd, 0, 0, (off_t)(room() - left)), 0);
	close(fd);
	assert_int_equal(room(), left);
}

static void make_room(void)
{
	assert_int_equal(unlink(at("store/filler")), 0);
}

/* Writes the bytes of BYTES that belong there. */
static ssize_t put_bytes(uint64_t offset, uint64_t size)
{
	return staging_write(st, bytes + offset, size, offset, &err);
}

static void assert_complete(uint64_t size)
{
	assert_int_equal(staging_state(st), SNAP_UPLOAD_COMPLETE);
	assert_int_equal(staging_size(st), size);
	assert_int_equal(staging_read(st, back, sizeof(back), 0, &err), size);
	assert_memory_equal(back, bytes, size);
	assert_int_equal(pread(staging_fd(st), back, sizeof(back), 0), size);
	assert_memory_equal(back, bytes, size);
}

static void assert_no_room(ssize_t rc, const char *need, const char *have)
{
	assert_int_equal(rc, -ENOSPC);
	assert_words(store_dir(store));
	assert_words(need);
	assert_words(have);
	assert_words("store=DIR");
	err.text[0] = '\0';
}

/* ---- full disks ---------------------------------------------------------------------------------------- */

/* What must stay free stays free, to the byte; what has its place can always be written again. */
static void test_growth_needs_room(void **state)
{
	uint64_t most;

	(void)state;
	mount_store("size=20m,mode=700");
	open_store();
	begin();
	assert_int_equal(put_bytes(0, PAGE), PAGE);
	most = room() - STORE_RESERVE;
	assert_no_room(put_bytes(PAGE, most + 1), "needs 20 MiB more", "19 MiB free");
	assert_int_equal(staging_write(st, bytes, most + 1, PAGE, NULL), -ENOSPC);
	assert_int_equal(staging_size(st), PAGE);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_INCOMPLETE);
	assert_int_equal(put_bytes(PAGE, most), most);
	assert_int_equal(room(), STORE_RESERVE);
	assert_no_room(put_bytes(PAGE + most, 1), "needs 17 MiB more", "16 MiB free");
	assert_int_equal(staging_state(st), SNAP_UPLOAD_INCOMPLETE);
	assert_int_equal(staging_truncate(st, PAGE + most, &err), 0);
	assert_complete(PAGE + most);
	fill(0);
	assert_int_equal(put_bytes(0, PAGE + most), PAGE + most);
	assert_no_room(put_bytes(PAGE + most, 1), "needs 17 MiB more", " 0 MiB free");
	make_room();
	assert_int_equal(staging_truncate(st, PAGE, &err), 0);
	assert_int_equal(put_bytes(PAGE, PAGE), PAGE);
	assert_complete(2 * PAGE);
}

/* A hole needs room as well, the written half of a write does not. */
static void test_only_new_bytes_need_room(void **state)
{
	(void)state;
	mount_store("size=24m,mode=700");
	open_store();
	begin();
	assert_int_equal(put_bytes(0, MIB), MIB);
	assert_int_equal(put_bytes(3 * MIB, MIB), MIB);
	fill(STORE_RESERVE + MIB);
	assert_no_room(put_bytes(MIB, 2 * MIB), "needs 18 MiB more", "17 MiB free");
	assert_int_equal(put_bytes(0, 2 * MIB), 2 * MIB);
	assert_no_room(put_bytes(2 * MIB, 2 * MIB), "needs 17 MiB more", "16 MiB free");
	make_room();
	assert_int_equal(put_bytes(2 * MIB, 2 * MIB), 2 * MIB);
	assert_complete(4 * MIB);
}

/* The room was there when it was looked for: the disk's own answer. */
static void test_disk_is_full(void **state)
{
	(void)state;
	mount_store("size=24m,mode=700");
	open_store();
	begin();
	assert_int_equal(put_bytes(0, MIB), MIB);
	assert_int_equal(
		__real_fallocate64(staging_fd(st), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 64 * PAGE),
		0);
	fill(2 * PAGE);
	assert_int_equal(put_bytes(0, 64 * PAGE), 2 * PAGE);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_INCOMPLETE);
	assert_no_room(put_bytes(2 * PAGE, 62 * PAGE), "needs 17 MiB more", " 0 MiB free");
	assert_int_equal(staging_write(st, bytes, PAGE, 2 * PAGE, NULL), -ENOSPC);
	assert_int_equal(staging_size(st), MIB);
	make_room();
	assert_int_equal(put_bytes(2 * PAGE, 62 * PAGE), 62 * PAGE);
	assert_complete(MIB);
}

/* ---- room that was put aside --------------------------------------------------------------------------- */

static void test_allocated_room_is_kept(void **state)
{
	(void)state;
	mount_store("size=28m,mode=700");
	open_store();
	for (int keep_size = 0; keep_size < 2; keep_size++) {
		begin();
		assert_int_equal(staging_allocate(st, 0, 2 * MIB, keep_size, &err), 0);
		assert_int_equal(staging_allocate(st, 2 * MIB, 2 * MIB, keep_size, &err), 0);
		assert_int_equal(staging_size(st), keep_size ? 0 : 4 * MIB);
		assert_int_equal(staging_state(st), keep_size ? SNAP_UPLOAD_UNTOUCHED : SNAP_UPLOAD_PENDING);
		fill(MIB);
		assert_int_equal(put_bytes(0, 4 * MIB), 4 * MIB);
		assert_int_equal(room(), MIB);
		assert_no_room(put_bytes(4 * MIB, 1), "needs 17 MiB more", " 1 MiB free");
		make_room();
		assert_int_equal(put_bytes(4 * MIB, 1), 1);
		assert_complete(4 * MIB + 1);
	}
}

/* What was cut off has given its room back. */
static void test_allocated_and_cut(void **state)
{
	static const uint64_t to[] = {0, MIB, 4 * MIB};

	(void)state;
	mount_store("size=28m,mode=700");
	open_store();
	for (size_t i = 0; i < COUNT(to); i++) {
		begin();
		assert_int_equal(staging_allocate(st, 0, 4 * MIB, false, &err), 0);
		assert_int_equal(staging_allocate(st, 2 * MIB, 4 * MIB, true, &err), 0);
		assert_int_equal(staging_truncate(st, to[i], &err), 0);
		fill(MIB);
		assert_int_equal(put_bytes(0, to[i]), to[i]);
		assert_no_room(put_bytes(to[i], 1), "needs 17 MiB more", " 1 MiB free");
		make_room();
	}
}

static void assert_untouched(void)
{
	assert_int_equal(staging_size(st), 100);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_UNTOUCHED);
	assert_int_equal(staging_changes(st), 0);
}

static void test_allocate_fails(void **state)
{
	(void)state;
	mount_store("size=20m,mode=700");
	open_store();
	begin();
	lend(100);
	assert_no_room(staging_allocate(st, 0, 8 * MIB, false, &err), "needs 24 MiB more", "MiB free");
	assert_int_equal(staging_allocate(st, 0, 8 * MIB, true, NULL), -ENOSPC);
	fallocate_error = ENOSPC;
	assert_no_room(staging_allocate(st, 0, MIB, false, &err), "needs 17 MiB more", "MiB free");
	fallocate_error = EIO;
	assert_int_equal(staging_allocate(st, 0, MIB, false, &err), -EIO);
	assert_words(store_dir(store));
	assert_int_equal(staging_allocate(st, 0, 0, false, &err), -EINVAL);
	assert_int_equal(staging_allocate(st, UINT64_MAX, 1, false, &err), -EFBIG);
	assert_int_equal(staging_allocate(st, 1, UINT64_MAX, false, &err), -EFBIG);
	assert_untouched();
	/* None of them has left room that is not there. */
	fallocate_error = 0;
	fill(0);
	assert_no_room(put_bytes(0, 1), "needs 17 MiB more", " 0 MiB free");
}

/* A file system that does not know fallocate(2) lets restic in all the same. */
static void test_allocate_is_not_known(void **state)
{
	static const int errors[] = {EOPNOTSUPP, ENOSYS, 0};

	(void)state;
	mount_store("size=28m,mode=700");
	open_store();
	for (size_t i = 0; i < COUNT(errors); i++) {
		begin();
		fallocate_error = errors[i];
		fallocate_interrupts = 3;
		assert_int_equal(staging_allocate(st, 0, MIB, true, &err), 0);
		assert_int_equal(staging_state(st), SNAP_UPLOAD_UNTOUCHED);
		assert_int_equal(staging_allocate(st, 0, MIB, false, &err), 0);
		assert_int_equal(staging_size(st), MIB);
		assert_int_equal(staging_state(st), SNAP_UPLOAD_PENDING);
		fill(MIB);
		if (errors[i])
			assert_no_room(put_bytes(0, MIB), "needs 17 MiB more", " 1 MiB free");
		make_room();
		assert_int_equal(put_bytes(0, MIB), MIB);
		assert_complete(MIB);
	}
}

/* ---- disks that fail ----------------------------------------------------------------------------------- */

static void fail_from_now_on(void)
{
	pwrite_plan.fail_with = EIO;
}

/* Signals and short writes are nobody's business; an error counts from where it was met. */
static void test_write_in_parts(void **state)
{
	(void)state;
	open_store();
	begin();
	pwrite_plan.interrupts = 2;
	pwrite_plan.at_most = 1000;
	assert_int_equal(put_bytes(0, 10 * PAGE), 10 * PAGE);
	assert_complete(10 * PAGE);
	pwrite_plan.after = fail_from_now_on;
	assert_int_equal(put_bytes(10 * PAGE, PAGE), 1000);
	assert_int_equal(staging_size(st), 10 * PAGE + 1000);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_INCOMPLETE);
	assert_int_equal(put_bytes(10 * PAGE + 1000, PAGE - 1000), -EIO);
	assert_words(store_dir(store));
	assert_words(strerror(EIO));
	pwrite_plan.fail_with = 0;
	assert_int_equal(put_bytes(10 * PAGE + 1000, PAGE - 1000), PAGE - 1000);
	assert_complete(11 * PAGE);
}

static int first_write(void *arg)
{
	(void)arg;
	return (int)put_bytes(0, PAGE);
}

/* Whichever call fails, the next attempt finds a way, and nothing is left. */
static void test_first_write_fails(void **state)
{
	int fds = count_fds(), rc;
	unsigned n;

	(void)state;
	make_folder("store", 0700);
	open_store();
	for (n = 1;; n++) {
		bool failed;

		begin();
		failed = run_failing(n, EIO, first_write, NULL, &rc);
		if (!failed)
			break;
		if (rc < 0) {
			assert_int_equal(rc, -EIO);
			assert_int_equal(staging_size(st), 0);
			assert_int_equal(staging_state(st), SNAP_UPLOAD_INCOMPLETE);
			assert_int_equal(put_bytes(0, PAGE), PAGE);
		}
		assert_complete(PAGE);
		staging_destroy(st);
		st = NULL;
		/* A folder that the store was not sure of is left to its cleaning, for another was made. */
		assert_true(rc > 0 || entries_in("store") == 0);
		assert_int_equal(store_clean(store, &err), 0);
		assert_int_equal(entries_in("store"), 0);
		assert_int_equal(count_fds(), fds);
	}
	assert_int_equal(rc, PAGE);
	assert_true(n > 4); /* a folder, a file, bytes */
}

static void test_no_store(void **state)
{
	(void)state;
	put_text("file", "x");
	assert_int_equal(store_create(&store, at("file"), &err), 0);
	begin();
	lend(100);
	assert_int_equal(staging_allocate(st, 0, 200, false, &err), -ENOTDIR);
	assert_untouched();
	assert_int_equal(put_bytes(0, 10), -ENOTDIR);
	assert_words(at("file"));
	assert_int_equal(staging_write(st, bytes, 10, 0, NULL), -ENOTDIR);
	assert_int_equal(staging_fd(st), -1);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_INCOMPLETE);
	assert_int_equal(staging_read(st, back, 200, 0, &err), 100);
	assert_int_equal(back[99], base_byte(99));
	assert_int_equal(staging_truncate(st, 0, &err), 0);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_EMPTY);
}

/* ---- too much ------------------------------------------------------------------------------------------ */

/* Whether one file of the store's can have SIZE bytes: of ext4 not STAGING_MAX, of tmpfs it can. */
static bool is_possible(uint64_t size)
{
	int fd = open(store_dir(store), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	bool is;

	assert_true(fd >= 0);
	is = ftruncate(fd, (off_t)size) == 0;
	assert_true(is || errno == EFBIG);
	close(fd);
	return is;
}

static void test_too_long(void **state)
{
	static const uint64_t offsets[] = {STAGING_MAX, STAGING_MAX - 9, STAGING_MAX + 1, UINT64_MAX};

	(void)state;
	open_store();
	begin();
	assert_int_equal(put_bytes(0, 100), 100);
	for (size_t i = 0; i < COUNT(offsets); i++) {
		assert_int_equal(staging_write(st, bytes, 10, offsets[i], &err), -EFBIG);
		assert_words("that long");
		assert_int_equal(staging_state(st), SNAP_UPLOAD_INCOMPLETE);
		assert_int_equal(staging_truncate(st, 100, &err), 0);
		assert_complete(100);
	}
	assert_int_equal(staging_truncate(st, STAGING_MAX + 1, &err), -EFBIG);
	assert_words("that long");
	assert_complete(100);
	if (is_possible(STAGING_MAX)) {
		assert_int_equal(staging_truncate(st, STAGING_MAX, &err), 0);
		assert_int_equal(staging_truncate(st, 100, &err), 0);
	} else {
		assert_int_equal(staging_truncate(st, STAGING_MAX, &err), -EFBIG);
		assert_words(store_dir(store));
	}
	assert_complete(100);
}

/* Every other byte, until that is too many pieces. */
static void test_too_many_pieces(void **state)
{
	(void)state;
	mount_store("size=32m,mode=700");
	open_store();
	begin();
	for (uint64_t i = 0; i < RANGES_MAX; i++)
		assert_int_equal(put_bytes(2 * i, 1), 1);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_COMPLETE);
	assert_int_equal(put_bytes(2 * RANGES_MAX, 1), -EFBIG);
	assert_words("too many pieces");
	assert_int_equal(staging_size(st), 2 * RANGES_MAX - 1);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_INCOMPLETE);
	assert_int_equal(put_bytes(0, 2 * RANGES_MAX), 2 * RANGES_MAX);
	assert_int_equal(put_bytes(2 * RANGES_MAX, 1), 1);
	assert_complete(2 * RANGES_MAX + 1);
}

/* Neither the bytes nor that they failed could be noted: nothing but a new beginning is trusted. */
static void test_no_memory(void **state)
{
	(void)state;
	open_store();
	begin();
	no_memory = true;
	assert_int_equal(put_bytes(0, 100), -ENOMEM);
	assert_words("Cannot allocate memory");
	no_memory = false;
	assert_int_equal(put_bytes(0, 100), 100);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_INCOMPLETE);
	assert_int_equal(staging_truncate(st, 50, &err), 0);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_INCOMPLETE);
	assert_int_equal(staging_truncate(st, 0, &err), 0);
	assert_int_equal(staging_state(st), SNAP_UPLOAD_EMPTY);
	assert_int_equal(put_bytes(0, 100), 100);
	assert_complete(100);
}

#undef test
#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown_staging)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_growth_needs_room),
		test(test_only_new_bytes_need_room),
		test(test_disk_is_full),
		test(test_allocated_room_is_kept),
		test(test_allocated_and_cut),
		test(test_allocate_fails),
		test(test_allocate_is_not_known),
		test(test_write_in_parts),
		test(test_first_write_fails),
		test(test_no_store),
		test(test_too_long),
		test(test_too_many_pieces),
		test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
