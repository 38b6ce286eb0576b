/* SPDX-License-Identifier: MIT */
/*
 * stagings.h - what the tests of staging.h share: a staging in a store of its own, a base that counts its
 * calls, writes that fail when told to, and a model that knows each byte and where it is from.
 */
#ifndef SQLSNAP_TEST_STAGINGS_H
#define SQLSNAP_TEST_STAGINGS_H

#include "scratch.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "../../src/staging.h"

#define MODEL_MAX 4096u

static struct store *store;
static struct staging *st;
static struct snap_err err;

/* ---- system calls -------------------------------------------------------------------------------------- */

/* Consulted before each pwrite(2), in the thread that makes it; NULL: never. */
static struct {
	int fail_with;	     /* errno; 0: succeeds */
	int interrupts;	     /* so many calls fail with EINTR first */
	size_t at_most;	     /* bytes that one call takes; 0: any number */
	void (*after)(void); /* called after the next one; once */
} pwrite_plan;

ssize_t __real_pwrite64(int fd, const void *buf, size_t size, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t size, off_t offset);

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t size, off_t offset)
{
	void (*after)(void) = pwrite_plan.after;
	ssize_t n;

	if (pwrite_plan.interrupts > 0) {
		pwrite_plan.interrupts--;
		errno = EINTR;
		return -1;
	}
	if (pwrite_plan.fail_with) {
		errno = pwrite_plan.fail_with;
		return -1;
	}
	if (pwrite_plan.at_most && size > pwrite_plan.at_most)
		size = pwrite_plan.at_most;
	n = __real_pwrite64(fd, buf, size, offset);
	if (after) {
		pwrite_plan.after = NULL;
		after();
	}
	return n;
}

/* ---- a base -------------------------------------------------------------------------------------------- */

static struct lender {
	uint64_t size;	/* what it says */
	uint64_t holds; /* what it has */
	size_t at_most; /* bytes that one read answers; 0: any number */
	int fail_with;	/* -errno */
	atomic_int reads, drops;
	void (*during)(void); /* called in the next read; once */
} lender;

static inline uint8_t base_byte(uint64_t at)
{
	return (uint8_t)(0x80 | (at * 7 + at / 128));
}

static inline ssize_t lender_read(void *arg, void *buf, size_t size, uint64_t offset, struct snap_err *e)
{
	struct lender *l = arg;
	void (*during)(void) = l->during;
	uint8_t *to = buf;

	atomic_fetch_add(&l->reads, 1);
	if (during) {
		l->during = NULL;
		during();
	}
	if (l->fail_with) {
		if (e)
			snprintf(e->text, sizeof(e->text), "the lender failed");
		return l->fail_with;
	}
	if (offset >= l->holds)
		return 0;
	if (size > l->holds - offset)
		size = (size_t)(l->holds - offset);
	if (l->at_most && size > l->at_most)
		size = l->at_most;
	for (size_t i = 0; i < size; i++)
		to[i] = base_byte(offset + i);
	return (ssize_t)size;
}

static inline void lender_drop(void *arg)
{
	struct lender *l = arg;

	atomic_fetch_add(&l->drops, 1);
}

static inline void lend(uint64_t size)
{
	struct staging_base base = {.size = size, .read = lender_read, .drop = lender_drop, .arg = &lender};

	lender.size = lender.holds = size;
	staging_set_base(st, &base);
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static inline void open_store(void)
{
	assert_int_equal(store_create(&store, at("store"), &err), 0);
}

static inline void begin(void)
{
	staging_destroy(st);
	st = NULL;
	memset(&lender, 0, sizeof(lender));
	memset(&err, 0, sizeof(err));
	assert_int_equal(staging_create(&st, store, &err), 0);
}

/* In a file system of its own. */
static inline void mount_store(const char *options)
{
	char *path = at("store");

	make_folder("store", 0700);
	assert_int_equal(mount("test", path, "tmpfs", 0, options), 0);
	mounted(path);
}

static inline int setup_staging(void **state)
{
	memset(&pwrite_plan, 0, sizeof(pwrite_plan));
	return scratch_setup(state);
}

static inline int teardown_staging(void **state)
{
	memset(&pwrite_plan, 0, sizeof(pwrite_plan));
	staging_destroy(st);
	store_destroy(store);
	st = NULL;
	store = NULL;
	return scratch_teardown(state);
}

static inline void assert_words(const char *expected)
{
	if (!strstr(err.text, expected))
		fail_msg("\"%s\" does not say \"%s\"", err.text, expected);
}

/* ---- the model ----------------------------------------------------------------------------------------- */

static struct {
	uint8_t bytes[MODEL_MAX]; /* zeros past SIZE */
	bool written[MODEL_MAX], failed[MODEL_MAX];
	uint64_t size;
	bool touched, was_empty, announced;
	uint8_t turn; /* so that no two writes bring the same bytes */
} model;

static inline void model_begin(uint64_t base)
{
	memset(&model, 0, sizeof(model));
	begin();
	if (base != UINT64_MAX)
		lend(base);
	else
		base = 0;
	for (uint64_t i = 0; i < base; i++)
		model.bytes[i] = base_byte(i);
	model.size = base;
	model.was_empty = base == 0;
}

static inline void model_write(uint64_t offset, size_t size)
{
	uint8_t bytes[MODEL_MAX] = {0};

	model.turn++;
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)((i * 13 + model.turn) & 0x7f);
	assert_int_equal(staging_write(st, bytes, size, offset, &err), size);
	memcpy(model.bytes + offset, bytes, size);
	memset(model.written + offset, true, size);
	memset(model.failed + offset, false, size);
	if (size > 0 && offset + size > model.size)
		model.size = offset + size;
	model.touched = model.touched || size > 0;
}

static inline void model_fail(uint64_t offset, size_t size)
{
	uint8_t bytes[MODEL_MAX] = {0};

	pwrite_plan.fail_with = EIO;
	assert_int_equal(staging_write(st, bytes, size, offset, &err), -EIO);
	pwrite_plan.fail_with = 0;
	memset(model.failed + offset, true, size);
	model.touched = true;
}

static inline void model_resize(uint64_t size)
{
	memset(model.failed + size, false, MODEL_MAX - size);
	if (size == model.size && size > 0)
		return;
	memset(model.bytes + size, 0, MODEL_MAX - size);
	memset(model.written + size, false, MODEL_MAX - size);
	model.announced = size > 0 && (model.announced || model.size == 0);
	model.was_empty = model.was_empty || size == 0;
	model.size = size;
	model.touched = true;
}

static inline void model_truncate(uint64_t size)
{
	assert_int_equal(staging_truncate(st, size, &err), 0);
	model_resize(size);
}

static inline void model_allocate(uint64_t offset, uint64_t size, bool keep_size)
{
	assert_int_equal(staging_allocate(st, offset, size, keep_size, &err), 0);
	if (!keep_size && offset + size > model.size)
		model_resize(offset + size);
}

static inline enum snap_upload_state model_state(void)
{
	bool failed = memchr(model.failed, true, MODEL_MAX) != NULL;
	bool all = memchr(model.written, false, (size_t)model.size) == NULL && !failed;

	if (!model.touched)
		return SNAP_UPLOAD_UNTOUCHED;
	if (model.size == 0 && !failed)
		return SNAP_UPLOAD_EMPTY;
	if (all)
		return SNAP_UPLOAD_COMPLETE;
	if (model.announced)
		return SNAP_UPLOAD_PENDING;
	return model.was_empty && !failed ? SNAP_UPLOAD_COMPLETE : SNAP_UPLOAD_INCOMPLETE;
}

/* Asserts that what can be read is what the model has; if the staging is complete, the file has the same, and
 * no more. */
static inline void assert_model(void)
{
	uint8_t bytes[MODEL_MAX + 1];
	struct stat file;

	assert_int_equal(staging_size(st), model.size);
	assert_int_equal(staging_read(st, bytes, sizeof(bytes), 0, &err), model.size);
	assert_memory_equal(bytes, model.bytes, model.size);
	assert_int_equal(staging_state(st), model_state());
	if (staging_state(st) != SNAP_UPLOAD_COMPLETE)
		return;
	assert_int_equal(fstat(staging_fd(st), &file), 0);
	assert_int_equal(file.st_size, model.size);
	assert_int_equal(pread(staging_fd(st), bytes, sizeof(bytes), 0), model.size);
	assert_memory_equal(bytes, model.bytes, model.size);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup_staging, teardown_staging)

#endif
