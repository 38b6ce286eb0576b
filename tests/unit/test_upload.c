/* SPDX-License-Identifier: MIT */
/* test_upload.c - uploads: what they hold, how long they live, and how many there may be; threads at all of
 * it. */
#include "upload_table.h"

#include <pthread.h>
#include <stdatomic.h>

#include "../../src/staging.h"

/* ---- attributes ---------------------------------------------------------------------------------------- */

static void test_stat(void **state)
{
	struct upload_order order = {.kind = UPLOAD_DATABASE,
				     .parent = FOLDER,
				     .name = "db",
				     .path = "db",
				     .ino = 4711,
				     .mode = S_IFREG | 0604,
				     .uid = 12,
				     .gid = 34};
	struct upload *u, *scratch = open_scratch(".x"), *other = open_scratch(".y");
	struct snap_attr attr, more;
	struct snap_err err;
	const mode_t mode = 0755;
	const uid_t uid = 5;
	const gid_t gid = 6;

	(void)state;
	assert_int_equal(upload_create(&u, &all, &order, &err), 0);
	u = opened(u);
	upload_stat(u, &attr);
	assert_int_equal(attr.kind, SNAP_PLAIN);
	assert_int_equal(attr.ino, 4711); /* tools compare it with the name's */
	assert_int_equal(attr.mode, S_IFREG | 0604);
	assert_int_equal(attr.uid, 12);
	assert_int_equal(attr.gid, 34);
	assert_int_equal(attr.nlink, 1);
	assert_int_equal(attr.size, 0);
	assert_int_equal(attr.blocks, 0);
	write_part(u, OWNER, &image, 0, 513);
	upload_stat(u, &attr);
	assert_int_equal(attr.size, 513);
	assert_int_equal(attr.blocks, 2); /* tar -S archives zeros otherwise */
	/* Those of a live database are not changed by what is written over it. */
	upload_set(u, &mode, &uid, &gid, 0);
	upload_stat(u, &attr);
	assert_int_equal(attr.mode, S_IFREG | 0604);
	assert_int_equal(attr.uid, 12);
	/* A scratch file's are its own. */
	upload_set(scratch, &mode, &uid, &gid, 0);
	upload_stat(scratch, &attr);
	assert_int_equal(attr.mode, S_IFREG | 0755);
	assert_int_equal(attr.uid, 5);
	assert_int_equal(attr.gid, 6);
	upload_set(scratch, NULL, NULL, NULL, 0);
	upload_stat(scratch, &more);
	assert_int_equal(more.mode, S_IFREG | 0755);
	assert_int_equal(more.uid, 5);
	/* No two of them are one file. */
	upload_stat(other, &more);
	assert_true(more.ino != attr.ino && more.key_ino != attr.key_ino);
	assert_int_equal(more.key_dev, attr.key_dev);
	close_upload(other);
	close_upload(scratch);
	upload_closed(u);
}

static void test_times(void **state)
{
	static const int64_t times[] = {1,	     1500000000123456789, -1,	     -1000000000,
					-1500000000, -1999999999,	  INT64_MAX, INT64_MIN};
	struct upload *u = open_scratch(".x");
	struct snap_attr attr;
	struct timespec before, after;
	struct snap_err err;

	(void)state;
	for (size_t i = 0; i < COUNT(times); i++) {
		upload_set(u, NULL, NULL, NULL, times[i]);
		upload_stat(u, &attr);
		assert_between(attr.mtime.tv_nsec, 0, 999999999);
		assert_int_equal((uint64_t)attr.mtime.tv_sec * 1000000000 + (uint64_t)attr.mtime.tv_nsec,
				 (uint64_t)times[i]);
		assert_memory_equal(&attr.ctime, &attr.mtime, sizeof(attr.mtime));
	}
	upload_set(u, NULL, NULL, NULL, 0); /* stays */
	upload_stat(u, &attr);
	assert_true(attr.mtime.tv_sec < 0);
	/* What is written moves it to now, and so does each change of its size. */
	for (int i = 0; i < 3; i++) {
		upload_set(u, NULL, NULL, NULL, 1500000000123456789);
		clock_gettime(CLOCK_REALTIME, &before);
		if (i == 0)
			write_part(u, OWNER, &image, 0, 1);
		else if (i == 1)
			truncate_to(u, 4096);
		else
			assert_int_equal(upload_allocate(u, 0, 8192, false, &err), 0);
		clock_gettime(CLOCK_REALTIME, &after);
		upload_stat(u, &attr);
		assert_between(attr.mtime.tv_sec, before.tv_sec, after.tv_sec);
	}
	close_upload(u);
}

/* ---- the verdict --------------------------------------------------------------------------------------- */

struct second {
	struct snap_upload *upload;
	int rc; /* of the second check */
};

static bool check_again(void *arg)
{
	const struct snap_restore order = {.path = "db"};
	struct second *second = arg;
	struct snap_err err;

	second->rc = snap_upload_check(second->upload, &order, &err);
	return true;
}

/* Of one upload there is one at a time. */
static void test_one_verdict_at_a_time(void **state)
{
	struct upload *u = open_scratch(".x");
	struct second second = {.upload = u->data};
	const struct snap_restore order = {.path = "db", .cancelled = check_again, .arg = &second};
	struct snap_err err;

	(void)state;
	write_part(u, OWNER, &image, 0, image.size);
	assert_int_equal(snap_upload_check(u->data, &order, &err), -ECANCELED);
	assert_int_equal(second.rc, -EBUSY);
	close_upload(u);
}

/* ---- content ------------------------------------------------------------------------------------------- */

static void test_content(void **state)
{
	struct upload *u = open_over();
	struct snap_gen *gen = open_now(&f);
	unsigned char *live = bytes_of(gen);
	size_t size = (size_t)size_of(gen);
	struct snap_err err;

	(void)state;
	/* What stood there, and what is written over it. */
	assert_reads(u, live, size);
	write_part(u, OWNER, &image, 1000, 3000);
	memcpy(live + 1000, image.bytes + 1000, 3000);
	assert_reads(u, live, size);
	truncate_to(u, 2000);
	assert_reads(u, live, 2000);
	assert_int_equal(upload_allocate(u, 0, 3000, true, &err), 0);
	assert_int_equal(snap_upload_size(u->data), 2000);
	assert_int_equal(upload_allocate(u, 0, 3000, false, &err), 0);
	memset(live + 2000, 0, 1000);
	assert_reads(u, live, 3000);
	upload_closed(u);
	assert_int_equal(stored(), 0);
	free(live);
	close_gen(gen);
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static void test_references(void **state)
{
	struct upload *u = make_upload(UPLOAD_DATABASE, "db", getpid());

	(void)state;
	assert_ptr_equal(upload_ref(u), u);
	upload_unref(u);
	assert_false(is_empty());
	upload_opened(u, gettid());
	upload_unref(u);
	assert_false(is_empty());
	write_all(u, OWNER, &image);
	upload_ref(u); /* a nodeid's, which the kernel has not forgotten yet */
	upload_drop(u);
	upload_closed(u);
	assert_int_equal(stored(), 0); /* what nobody comes back for is gone all the same */
	assert_false(is_empty());
	upload_unref(u);
	assert_true(is_empty());
	upload_unref(NULL);
}

/* ---- who frees what ------------------------------------------------------------------------------------ */

void __real_staging_destroy(struct staging *st);
void __wrap_staging_destroy(struct staging *st);

static _Atomic(pid_t) freed_by; /* the thread that has freed a large one; 0: none yet */

void __wrap_staging_destroy(struct staging *st)
{
	bool large = st && staging_size(st) >= 8 << 20;

	__real_staging_destroy(st);
	if (large)
		atomic_store(&freed_by, gettid());
}

/* Freeing the room of a large file takes a disk its time: not the caller's, who may be the kernel's only one.
 */
static void test_large_is_freed_elsewhere(void **state)
{
	struct upload *u;

	(void)state;
	for (int i = 0; i < 3; i++) {
		atomic_store(&freed_by, 0);
		u = i == 2 ? open_scratch(".x") : open_cut();
		write_part(u, OWNER, &image, 0, image.size / 2);
		truncate_to(u, 8 << 20);
		if (i == 1)
			upload_ref(u); /* it is thrown away while somebody knows it yet */
		if (i == 2)
			upload_unname(u);
		upload_closed(u);
		while (atomic_load(&freed_by) == 0)
			usleep(1000);
		assert_int_not_equal(freed_by, gettid());
		if (i == 1)
			upload_unref(u);
		assert_true(is_empty());
		assert_int_equal(stored(), 0);
	}
}

/* Whatever is left, nobody refers to it: teardown takes it. */
static void test_left_over(void **state)
{
	(void)state;
	write_all(open_scratch(".x"), OWNER, &image);
	write_all(open_cut(), OWNER, &image);
	assert_int_equal(upload_lead(make_upload(UPLOAD_DATABASE, "db", getpid()), 5), 0);
}

/* One that user UID begins, as NAME; NULL with *RC when he may not. */
static struct upload *create_by(uid_t uid, const char *name, int *rc)
{
	struct upload_order order = {
		.kind = UPLOAD_SCRATCH, .parent = FOLDER, .name = name, .path = name, .who = {.uid = uid}};
	struct upload *u = NULL;
	struct snap_err err = {""};

	*rc = upload_create(&u, &all, &order, &err);
	assert_true(*rc == 0 || strlen(err.text) > 0);
	return u;
}

/* One user's files keep nobody else from writing his. */
static void test_limit_of_one(void **state)
{
	static struct upload *many[UPLOADS_EACH];
	struct upload *others[3];
	char name[32];
	int rc;

	(void)state;
	for (int i = 0; i < UPLOADS_EACH; i++) {
		snprintf(name, sizeof(name), ".x%d", i);
		many[i] = create_by(1000, name, &rc);
		assert_int_equal(rc, 0);
	}
	assert_null(create_by(1000, ".one", &rc));
	assert_int_equal(rc, -ENFILE);
	others[0] = create_by(1001, ".other", &rc);
	assert_non_null(others[0]);
	upload_unname(many[0]);
	upload_unref(many[0]);
	others[1] = create_by(1000, ".one", &rc);
	assert_non_null(others[1]);
	others[2] = create_by(0, ".root", &rc);
	assert_non_null(others[2]);
	for (int i = 1; i < UPLOADS_EACH + 3; i++) {
		struct upload *u = i < UPLOADS_EACH ? many[i] : others[i - UPLOADS_EACH];

		upload_unname(u);
		upload_unref(u);
	}
	assert_true(is_empty());
}

uid_t __wrap_geteuid(void);

static uid_t mounter; /* who mounted */

uid_t __wrap_geteuid(void)
{
	return mounter;
}

/* However many others write, whoever mounted can restore, and as much as root. */
static void test_limit_of_others(void **state)
{
	static struct upload *many[UPLOADS_MAX];
	char name[32];
	int rc;

	(void)state;
	mounter = 1000;
	for (int i = 0; i < UPLOADS_MAX; i++) {
		if (i == UPLOADS_OTHERS) {
			assert_null(create_by(2000, ".one", &rc));
			assert_int_equal(rc, -ENFILE);
		}
		snprintf(name, sizeof(name), ".x%d", i);
		many[i] = create_by(i < UPLOADS_OTHERS ? 1001 + (uid_t)i % 4 : mounter, name, &rc);
		assert_int_equal(rc, 0);
	}
	upload_unname(many[0]);
	upload_unref(many[0]);
	many[0] = create_by(mounter, ".one", &rc); /* his UPLOADS_EACH and one */
	assert_non_null(many[0]);
	for (int i = 0; i < UPLOADS_MAX; i++) {
		upload_unname(many[i]);
		upload_unref(many[i]);
	}
	mounter = 0;
	assert_true(is_empty());
}

static void test_limit(void **state)
{
	static struct upload *many[UPLOADS_MAX];
	struct upload *one = NULL;
	struct snap_err err = {""};
	char name[32];

	(void)state;
	for (int i = 0; i < UPLOADS_MAX; i++) {
		snprintf(name, sizeof(name), ".x%d", i);
		many[i] = i % 2 ? open_scratch(name) : open_cut();
	}
	assert_int_equal(try_create(UPLOAD_SCRATCH, FOLDER, ".y", &one, &err), -ENFILE);
	assert_true(strlen(err.text) > 0);
	assert_int_equal(try_create(UPLOAD_DATABASE, FOLDER, "db", &one, &err), -ENFILE);
	assert_null(one);
	/* What the kernel only remembers is in nobody's way; a closed scratch file is there still. */
	upload_ref(many[0]);
	upload_closed(many[0]);
	upload_closed(many[1]);
	assert_int_equal(try_create(UPLOAD_DATABASE, FOLDER, "db", &one, &err), 0);
	upload_opened(one, gettid());
	upload_unref(one);
	assert_int_equal(try_create(UPLOAD_DATABASE, FOLDER, "db", &one, &err), -ENFILE);
	upload_unref(many[0]);
}

/* ---- threads ------------------------------------------------------------------------------------------- */

#define THREADS 6
#define TURNS 150

static void *make_and_move(void *arg)
{
	const int own = *(const int *)arg;
	struct snap_err err;
	char name[32];

	for (int i = 0; i < TURNS; i++) {
		struct upload *u = NULL, *seen;
		struct snap_attr attr;

		snprintf(name, sizeof(name), ".x%d", i % 7);
		if (try_create(UPLOAD_SCRATCH, FOLDER, name, &u, &err) == 0 && upload_opened(u, gettid())) {
			upload_unref(u); /* another thread's clock has thrown it away already */
		} else if (u) {
			upload_truncate(u, 0, &err);
			upload_write(u, name, sizeof(name), 0, OWNER, &err);
			snprintf(name, sizeof(name), ".x%d", (i + own) % 7);
			upload_rename(u, FOLDER, name, name);
			upload_closed(u);
			if (i % 3)
				upload_unname(u);
			upload_unref(u);
		}
		seen = upload_scratch(&all, FOLDER, name);
		if (seen)
			upload_stat(seen, &attr);
		upload_unref(seen);
		u = open_cut();
		upload_ref(u);
		assert_int_equal(upload_lead(u, 100 + own), 0);
		upload_unref(upload_led(&all, 100 + own, FOLDER, "db"));
		upload_name(u);
		upload_unref(upload_pending(&all, getpid(), FOLDER, "db"));
		upload_unname(u);
		upload_closed(u);
		upload_unref(u);
		uploads_tend(&all, monotonic_ns() + (i % 10 ? 0 : 2 * UPLOAD_SCRATCH_NS));
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[THREADS];
	int numbers[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++) {
		numbers[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, make_and_move, &numbers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	uploads_tend(&all, monotonic_ns() + 2 * UPLOAD_SCRATCH_NS);
	assert_true(is_empty());
	assert_int_equal(stored(), 0);
	assert_int_equal(live_rows(), LIVE_ROWS);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		test(test_stat),
		test(test_times),
		test(test_content),
		test(test_references),
		test(test_one_verdict_at_a_time),
		test(test_left_over),
		test(test_limit),
		test(test_limit_of_one),
		test(test_limit_of_others),
		test(test_threads),
		test(test_large_is_freed_elsewhere),
	};

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
