/* SPDX-License-Identifier: MIT */
/* test_upload.c - the table of uploads: who finds which, for how long, and what they hold. */
#include "uploads.h"

#include <pthread.h>
#include <stdatomic.h>

#include "../../src/staging.h"

static bool is_empty(void)
{
	bool empty;

	pthread_mutex_lock(&all.lock);
	empty = !all.first;
	pthread_mutex_unlock(&all.lock);
	return empty;
}

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Whether FOUND, a reference or NULL, is U. */
static bool found(struct upload *found_one, const struct upload *u)
{
	bool is = found_one == u;

	upload_unref(found_one);
	return is;
}

static bool led_to(pid_t tid, const struct upload *u)
{
	return found(upload_led(&all, tid, FOLDER, "db"), u);
}

static bool pending_for(pid_t tgid, const struct upload *u)
{
	return found(upload_pending(&all, tgid, FOLDER, "db"), u);
}

static bool scratch_is(const char *name, const struct upload *u)
{
	return found(upload_scratch(&all, FOLDER, name), u);
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

static int try_create(enum upload_kind kind, uint64_t parent, const char *name, struct upload **out,
		      struct snap_err *err)
{
	struct upload_order order = {.kind = kind, .parent = parent, .name = name, .path = name};

	return upload_create(out, &all, &order, err);
}

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

	(void)state;
	for (size_t i = 0; i < COUNT(times); i++) {
		upload_set(u, NULL, NULL, NULL, times[i]);
		upload_stat(u, &attr);
		assert_in_range(attr.mtime.tv_nsec, 0, 999999999);
		assert_int_equal((uint64_t)attr.mtime.tv_sec * 1000000000 + (uint64_t)attr.mtime.tv_nsec,
				 (uint64_t)times[i]);
		assert_memory_equal(&attr.ctime, &attr.mtime, sizeof(attr.mtime));
	}
	upload_set(u, NULL, NULL, NULL, 0); /* stays */
	upload_stat(u, &attr);
	assert_true(attr.mtime.tv_sec < 0);
	/* What is written moves it to now. */
	clock_gettime(CLOCK_REALTIME, &before);
	write_part(u, OWNER, &image, 0, 1);
	clock_gettime(CLOCK_REALTIME, &after);
	upload_stat(u, &attr);
	assert_in_range(attr.mtime.tv_sec, before.tv_sec, after.tv_sec);
	close_upload(u);
}

/* ---- content ------------------------------------------------------------------------------------------- */

static void assert_reads(struct upload *u, const unsigned char *expected, size_t size)
{
	unsigned char *buf = malloc(size + 1);
	struct snap_err err;

	assert_non_null(buf);
	assert_int_equal(upload_read(u, buf, size + 1, 0, &err), size);
	assert_memory_equal(buf, expected, size);
	free(buf);
}

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

/* One name, made twice at once. */
static void test_same_name(void **state)
{
	struct upload *u = open_scratch(".x"), *second = NULL, *a, *b;
	struct snap_err err = {""};

	(void)state;
	assert_int_equal(try_create(UPLOAD_SCRATCH, FOLDER, ".x", &second, &err), -EEXIST);
	assert_null(second);
	assert_int_equal(try_create(UPLOAD_SCRATCH, FOLDER + 1, ".x", &second, &err), 0);
	upload_unname(second);
	upload_unref(second);
	upload_unname(u);
	assert_int_equal(try_create(UPLOAD_SCRATCH, FOLDER, ".x", &second, &err), 0);
	upload_unname(second);
	upload_unref(second);
	upload_closed(u);
	/* What is written to a database's name is its writer's own affair. */
	a = open_cut();
	b = open_cut();
	assert_ptr_not_equal(a, b);
	upload_closed(a);
	upload_closed(b);
	assert_true(is_empty());
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

/* ---- intents ------------------------------------------------------------------------------------------- */

static void test_intent(void **state)
{
	struct upload *u = make_upload(UPLOAD_DATABASE, "db", getpid());

	(void)state;
	assert_true(led_to(5, NULL));
	assert_int_equal(upload_lead(u, 5), 0);
	upload_unref(u); /* the intent keeps it */
	assert_false(is_empty());
	assert_true(led_to(5, u));
	assert_true(led_to(5, u)); /* the kernel looks twice */
	assert_true(led_to(6, NULL));
	assert_true(led_to(0, NULL));
	assert_true(found(upload_led(&all, 5, FOLDER + 1, "db"), NULL));
	assert_true(found(upload_led(&all, 5, FOLDER, "db2"), NULL));
	upload_opened(u, 6); /* through /proc/self/fd: not who was led */
	assert_true(led_to(5, u));
	upload_opened(u, 5);
	assert_true(led_to(5, NULL)); /* the next open(2) is another */
	upload_closed(u);
	upload_closed(u);
	assert_true(is_empty());
}

/* Threads that share an upload, and are on their way to it at once. */
static void test_intents(void **state)
{
	struct upload *u = make_upload(UPLOAD_DATABASE, "db", getpid());

	(void)state;
	for (pid_t tid = 1; tid < 50; tid++)
		assert_int_equal(upload_lead(u, tid), 0);
	upload_unref(u);
	for (pid_t tid = 1; tid < 50; tid++)
		assert_true(led_to(tid, u));
	for (pid_t tid = 1; tid < 50; tid += 2) {
		upload_opened(u, tid);
		assert_true(led_to(tid, NULL));
		assert_true(led_to(tid + 1, tid + 1 < 50 ? u : NULL));
	}
	uploads_tend(&all, now() + UPLOAD_INTENT_NS + 1000000000);
	assert_true(led_to(2, NULL));
	for (pid_t tid = 1; tid < 50; tid += 2)
		upload_closed(u);
	assert_true(is_empty());
}

/* Who asks again without having come has given up what he was led to. */
static void test_intent_again(void **state)
{
	struct upload *u, *v;

	(void)state;
	u = make_upload(UPLOAD_DATABASE, "db", getpid());
	assert_int_equal(upload_lead(u, 5), 0);
	assert_int_equal(upload_lead(u, 5), 0);
	assert_true(led_to(5, u));
	upload_unref(u);
	v = make_upload(UPLOAD_DATABASE, "db", getpid());
	assert_int_equal(upload_lead(v, 5), 0);
	upload_unref(v);
	assert_true(led_to(5, v));
	assert_ptr_equal(all.first, v);
	assert_null(v->next); /* the first is gone */
	assert_int_equal(upload_lead(v, 6), 0);
	assert_true(led_to(5, v));
	assert_true(led_to(6, v));
	upload_opened(v, 6);
	upload_opened(v, 5);
	upload_closed(v);
	upload_closed(v);
	assert_true(is_empty());
}

/* Whether a reader keeps the WAL from starting over. */
static bool is_read(void)
{
	return app_ask(&f.app, "PRAGMA wal_checkpoint(TRUNCATE)").value != 0;
}

/* Who never comes (he was killed) leaves nothing behind, above all no reader of the live database. */
static void test_intent_lost(void **state)
{
	const struct timespec step = {.tv_nsec = 10000000};
	struct upload *u = make_upload(UPLOAD_DATABASE, "db", getpid());
	struct snap_gen *gen = look(&f, NULL);

	(void)state;
	assert_int_equal(snap_upload_begin_with(u->data, gen, true, NULL), 0);
	snap_gen_unref(gen);
	assert_int_equal(upload_lead(u, 5), 0);
	app_do(&f.app, APP_ROWS(5));
	assert_true(is_read());
	uploads_tend(&all, now() + UPLOAD_INTENT_NS / 2);
	assert_true(led_to(5, u));
	uploads_tend(&all, now() + UPLOAD_INTENT_NS + 1000000000);
	assert_true(led_to(5, NULL));
	for (int i = 0; i < 6000 && is_read(); i++)
		nanosleep(&step, NULL);
	assert_false(is_read()); /* although the kernel still knows its nodeid */
	assert_int_equal(upload_opened(u, 5), -ESTALE);
	assert_int_equal(u->opens, 0);
	upload_unref(u);
	assert_true(is_empty());
}

/* What its last close has thrown away is not opened again by who still has its nodeid. */
static void test_closed_for_good(void **state)
{
	struct upload *u = open_cut(), *pending = open_cut();

	(void)state;
	upload_ref(u);
	upload_ref(pending);
	write_part(u, OWNER, &image, 0, image.size / 2);
	upload_closed(u);
	assert_int_equal(upload_opened(u, gettid()), -ESTALE);
	upload_unref(u);
	/* What is still to come is. */
	truncate_to(pending, 10000);
	write_part(pending, OWNER, &image, 0, 5000);
	assert_int_equal(flush(pending), 0);
	upload_closed(pending);
	assert_int_equal(upload_opened(pending, gettid()), 0);
	upload_unname(pending);
	upload_closed(pending);
	assert_int_equal(upload_opened(pending, gettid()), -ESTALE);
	upload_unref(pending);
	assert_true(is_empty());
}

/* ---- names --------------------------------------------------------------------------------------------- */

static void test_scratch(void **state)
{
	struct upload *u = open_scratch(".x"), *v = open_scratch(".y"), *w;

	(void)state;
	assert_true(scratch_is(".x", u));
	assert_true(scratch_is(".z", NULL));
	assert_true(found(upload_scratch(&all, FOLDER + 1, ".x"), NULL));
	upload_closed(u);
	assert_true(scratch_is(".x", u)); /* it stays until it is removed */
	/* Over another, which its writer goes on with. */
	write_part(v, OWNER, &image, 0, 100);
	assert_int_equal(upload_rename(u, FOLDER, ".y", "sub/.y"), 0);
	assert_true(scratch_is(".y", u));
	assert_true(scratch_is(".x", NULL));
	assert_string_equal(u->path, "sub/.y");
	write_part(v, OWNER, &image, 100, 100);
	assert_reads(v, image.bytes, 200);
	upload_closed(v);
	assert_ptr_equal(all.first, u);
	assert_null(u->next);
	assert_int_equal(stored(), 0);
	/* Onto itself, to another folder. */
	assert_int_equal(upload_rename(u, FOLDER, ".y", ".y"), 0);
	assert_true(scratch_is(".y", u));
	assert_int_equal(upload_rename(u, FOLDER + 1, ".y", ".y"), 0);
	assert_true(scratch_is(".y", NULL));
	assert_int_equal(upload_rename(u, FOLDER, ".y", ".y"), 0);
	/* Removed while it is open: the name is free, the descriptor goes on. */
	upload_opened(u, gettid());
	upload_unname(u);
	upload_unname(u);
	w = open_scratch(".y");
	assert_true(scratch_is(".y", w));
	write_part(u, OWNER, &image, 0, 300);
	assert_reads(u, image.bytes, 300);
	upload_closed(u);
	upload_unname(w);
	upload_closed(w);
	assert_true(is_empty());
	assert_int_equal(stored(), 0);
}

static void test_pending(void **state)
{
	struct upload *u = open_cut(), *scratch = open_scratch("db");

	(void)state;
	assert_false(upload_any_pending(&all));
	assert_true(pending_for(getpid(), NULL));
	upload_name(u);
	upload_name(u);
	assert_true(upload_any_pending(&all));
	assert_true(pending_for(getpid(), u));
	assert_true(pending_for(getpid() + 1, NULL));
	assert_true(pending_for(0, NULL));
	assert_true(found(upload_pending(&all, getpid(), FOLDER, "other"), NULL));
	assert_true(found(upload_pending(&all, getpid(), FOLDER + 1, "db"), NULL));
	assert_true(scratch_is("db", scratch)); /* nobody else finds it */
	upload_unname(u);
	assert_false(upload_any_pending(&all));
	upload_unname(scratch);
	upload_closed(scratch);
	upload_closed(u);
	assert_true(is_empty());
}

/* ---- what goes by itself ------------------------------------------------------------------------------- */

static void test_silent(void **state)
{
	struct upload *scratch = open_scratch(".x"), *pending = open_cut();

	(void)state;
	truncate_to(pending, 10000);
	write_part(pending, OWNER, &image, 0, 5000);
	write_part(scratch, OWNER, &image, 0, 5000);
	assert_int_equal(flush(pending), 0);
	/* Nothing happens to what is open. */
	uploads_tend(&all, now() + 2 * UPLOAD_SCRATCH_NS);
	assert_true(scratch_is(".x", scratch));
	assert_true(pending_for(getpid(), pending));
	upload_closed(pending);
	upload_closed(scratch);
	uploads_tend(&all, now() + UPLOAD_SILENCE_NS - 1000000000);
	assert_true(pending_for(getpid(), pending));
	assert_int_equal(stored(), 2);
	upload_ref(pending); /* the kernel still remembers it */
	uploads_tend(&all, now() + UPLOAD_SILENCE_NS + 1000000000);
	assert_true(pending_for(getpid(), NULL));
	assert_true(scratch_is(".x", scratch));
	assert_int_equal(stored(), 1);
	assert_int_equal(logged("\"db\" was never finished: thrown away, nothing was restored"), 1);
	upload_unref(pending);
	uploads_tend(&all, now() + UPLOAD_SCRATCH_NS - 1000000000);
	assert_true(scratch_is(".x", scratch));
	uploads_tend(&all, now() + UPLOAD_SCRATCH_NS + 1000000000);
	assert_true(is_empty());
	assert_int_equal(stored(), 0);
	assert_int_equal(live_rows(), LIVE_ROWS);
}

/* As long as something comes it is not silent. */
static void test_not_silent(void **state)
{
	struct upload *pending = open_cut();
	int64_t touched;

	(void)state;
	truncate_to(pending, 10000);
	write_part(pending, OWNER, &image, 0, 5000);
	assert_int_equal(close_upload(pending), 0);
	touched = pending->touched;
	upload_opened(pending, gettid());
	assert_true(pending->touched >= touched);
	upload_closed(pending);
	uploads_tend(&all, touched + UPLOAD_SILENCE_NS);
	assert_true(pending_for(getpid(), pending));
}

static void wait_until_empty(void)
{
	const struct timespec step = {.tv_nsec = 10000000};

	for (int i = 0; i < 6000 && !is_empty(); i++)
		nanosleep(&step, NULL);
	assert_true(is_empty());
}

/* The process that has announced a length ends: nobody has to ask for anything. */
static void test_orphan(void **state)
{
	pid_t pid = start_process();
	struct upload *u = opened(make_upload(UPLOAD_DATABASE, "db", pid));

	(void)state;
	truncate_to(u, 0);
	truncate_to(u, 10000);
	write_part(u, OWNER, &image, 0, 5000);
	assert_int_equal(flush_as(u, (struct closing){.tid = pid}), 0);
	upload_closed(u);
	uploads_tend(&all, now());
	assert_true(pending_for(pid, u));
	assert_int_equal(kill(pid, SIGKILL), 0);
	reap(pid);
	wait_until_empty();
	assert_int_equal(stored(), 0);
}

/* The end does not wait for anything either, and afterwards nobody tends. */
static void test_abandoned(void **state)
{
	struct upload *u = open_cut();
	pid_t pid = start_process();

	(void)state;
	write_all(u, OWNER, &image);
	uploads_abandon(&all);
	upload_closed(u);
	assert_int_equal(live_rows(), LIVE_ROWS);
	assert_int_equal(stored(), 0);
	assert_int_equal(logged("\"db\" was given up: thrown away"), 1);
	u = opened(make_upload(UPLOAD_DATABASE, "db", pid));
	upload_name(u);
	assert_false(all.has_tender);
	upload_unname(u);
	upload_closed(u);
	assert_int_equal(kill(pid, SIGKILL), 0);
	reap(pid);
	uploads_abandon(&all);
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
		struct upload *u, *seen;
		struct snap_attr attr;

		snprintf(name, sizeof(name), ".x%d", i % 7);
		if (try_create(UPLOAD_SCRATCH, FOLDER, name, &u, &err) == 0) {
			upload_opened(u, gettid());
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
		uploads_tend(&all, now() + (i % 10 ? 0 : 2 * UPLOAD_SCRATCH_NS));
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
	uploads_tend(&all, now() + 2 * UPLOAD_SCRATCH_NS);
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
		test(test_left_over),
		test(test_same_name),
		test(test_limit),
		test(test_limit_of_one),
		test(test_intent),
		test(test_intents),
		test(test_intent_again),
		test(test_intent_lost),
		test(test_closed_for_good),
		test(test_scratch),
		test(test_pending),
		test(test_silent),
		test(test_not_silent),
		test(test_orphan),
		test(test_abandoned),
		test(test_threads),
		test(test_large_is_freed_elsewhere),
	};

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
