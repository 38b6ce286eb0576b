/* SPDX-License-Identifier: MIT */
/* test_upload_flush.c - when a close() restores and what it answers: every row of the rules of DESIGN part 7,
 * and what comes at the same time. */
#include "uploads.h"

#include <pthread.h>

#include "../../src/restore.h"
#include "../../src/validate.h"

/* ---- the gate, as a test may stand in it --------------------------------------------------------------- */

int __real_validate_file(const struct validate_order *order, struct validate_report *out,
			 struct snap_err *err);
int __wrap_validate_file(const struct validate_order *order, struct validate_report *out,
			 struct snap_err *err);

static int checks;
static void (*at_check)(void); /* called once, before the gate looks */

int __wrap_validate_file(const struct validate_order *order, struct validate_report *out,
			 struct snap_err *err)
{
	void (*call)(void) = at_check;

	checks++;
	at_check = NULL;
	if (call)
		call();
	return __real_validate_file(order, out, err);
}

int __real_restore_run(const struct restore_order *order, struct restore_result *out, struct snap_err *err);
int __wrap_restore_run(const struct restore_order *order, struct restore_result *out, struct snap_err *err);

static bool disk_refuses; /* after the commit */

int __wrap_restore_run(const struct restore_order *order, struct restore_result *out, struct snap_err *err)
{
	struct restore_order untold = *order;
	int rc;

	if (!disk_refuses)
		return __real_restore_run(order, out, err);
	untold.durable = NULL;
	rc = __real_restore_run(&untold, out, err);
	assert_int_equal(rc, 0);
	return err_set(err, -EIO, "restored, but the disk refused to make it durable");
}

void __real_task_restored(struct task *task, const struct snap_restored *done);
void __wrap_task_restored(struct task *task, const struct snap_restored *done);

static void (*at_end)(void); /* called once, when a restore is over and before anybody knows */

void __wrap_task_restored(struct task *task, const struct snap_restored *done)
{
	void (*call)(void) = at_end;

	at_end = NULL;
	if (call)
		call();
	__real_task_restored(task, done);
}

static int setup_gate(void **state)
{
	checks = 0;
	at_check = at_end = NULL;
	disk_refuses = false;
	return setup(state);
}

#define gate_test(name) cmocka_unit_test_setup_teardown(name, setup_gate, teardown)

/* ---- what must be so ----------------------------------------------------------------------------------- */

#define RESTORED "\"db\" was restored by"
#define REFUSED "restore of \"db\" refused, live database unchanged"

static void assert_restored(void)
{
	assert_int_equal(live_rows(), IMAGE_ROWS);
	assert_int_equal(logged(RESTORED), 1);
	assert_int_equal(logged(REFUSED), 0);
	assert_int_equal(stored(), 0);
}

static void assert_untouched(void)
{
	assert_int_equal(live_rows(), LIVE_ROWS);
	assert_int_equal(logged(RESTORED), 0);
	assert_int_equal(stored(), 0);
}

/* An image that is none: its last page is not what SQLite wrote. */
static void damage(struct image *i)
{
	memset(i->bytes + 4096, 0xff, 64);
}

/* ---- who closes ---------------------------------------------------------------------------------------- */

static void test_close(void **state)
{
	struct upload *u = open_cut();

	(void)state;
	write_all(u, OWNER, &image);
	assert_int_equal(flush(u), 0);
	assert_restored();
	/* Once for one content, whoever closes yet. */
	assert_int_equal(flush(u), 0);
	assert_int_equal(flush_as(u, (struct closing){.owner = OWNER + 1}), 0);
	assert_int_equal(checks, 1);
	upload_closed(u);
	assert_restored();
}

/* Early FLUSHes, as shells and dd send them, and an open that writes nothing. */
static void test_nothing_written(void **state)
{
	struct upload *u = open_cut(), *over = open_over();

	(void)state;
	assert_int_equal(flush(u), 0);
	assert_int_equal(close_upload(over), 0);
	assert_untouched();
	write_all(u, OWNER, &image);
	truncate_to(u, 0);
	assert_int_equal(flush(u), 0);
	upload_closed(u);
	assert_int_equal(checks, 0);
	assert_int_equal(logged("thrown away"), 0);
	assert_untouched();
}

/* A forked child's close is not the writer's; the last RELEASE is somebody's. */
static void test_other_owner(void **state)
{
	struct upload *u = open_cut();
	struct closing child = {.owner = OWNER + 1};

	(void)state;
	write_all(u, OWNER, &image);
	assert_int_equal(flush_as(u, child), 0);
	assert_int_equal(live_rows(), LIVE_ROWS);
	assert_int_equal(flush(u), 0);
	assert_restored();
	upload_closed(u);
	assert_restored();
}

static void test_release_restores(void **state)
{
	struct upload *u = open_cut();

	(void)state;
	write_all(u, OWNER, &image);
	assert_int_equal(flush_as(u, (struct closing){.owner = OWNER + 1}), 0);
	upload_opened(u, gettid()); /* a second descriptor that does not write */
	upload_closed(u);
	assert_int_equal(live_rows(), LIVE_ROWS);
	assert_false(upload_closes_idle(u));
	upload_closed(u);
	assert_restored();
}

/* (head; tail) > file */
static void test_two_writers(void **state)
{
	struct upload *u = open_cut();
	struct closing head = {.owner = 1}, tail = {.owner = 2}, shell = {.owner = 3};

	(void)state;
	write_part(u, 1, &image, 0, 8192);
	assert_int_equal(flush_as(u, head), -EIO);
	assert_int_equal(flush_as(u, head), -EIO);
	assert_int_equal(logged(REFUSED), 1);
	write_part(u, 2, &image, 8192, image.size - 8192);
	assert_int_equal(flush_as(u, head), 0); /* it is not the last writer's any more */
	assert_int_equal(live_rows(), LIVE_ROWS);
	assert_int_equal(flush_as(u, tail), 0);
	assert_int_equal(flush_as(u, shell), 0);
	upload_closed(u);
	assert_int_equal(live_rows(), IMAGE_ROWS);
	assert_int_equal(logged(RESTORED), 1);
}

/* ---- killed -------------------------------------------------------------------------------------------- */

static const struct {
	int sig;	  /* that ended it; 0: it exited; -1: it lives; -2: it cannot be looked at */
	bool interrupted; /* INTERRUPT has come */
	bool restores;
} ends[] = {
	{-1, false, true},	{-1, true, true},	 /* SIGALRM, SIGWINCH, SIGCHLD while it closes */
	{0, false, true},				 /* gpg -d > file, which never closes */
	{0, true, false},	{SIGKILL, false, false}, /* INTERRUPT comes some milliseconds later */
	{SIGKILL, true, false}, {SIGTERM, false, false}, {SIGTERM, true, false},
	{SIGHUP, true, false},	{-2, false, true},	 {-2, true, false},
};

static void test_ends(void **state)
{
	for (size_t i = 0; i < COUNT(ends); i++) {
		struct upload *u = open_cut();
		struct closing c = {.interrupted = ends[i].interrupted, .unknown = ends[i].sig == -2};
		int64_t rows;
		int rc;

		if (ends[i].sig >= 0)
			c.tid = ended_process(ends[i].sig);
		write_all(u, OWNER, &image);
		rc = flush_as(u, c);
		upload_closed(u);
		rows = live_rows();
		if (rc != (ends[i].restores ? 0 : -EINTR) || (rows == IMAGE_ROWS) != ends[i].restores)
			fail_msg("end %zu: %d, %d rows", i, rc, (int)rows);
		if (!ends[i].restores) {
			assert_int_equal(logged("whoever wrote it was killed, nothing was restored"), 1);
			assert_int_equal(logged("thrown away"), 0); /* it was said */
			assert_int_equal(checks, 0);
			assert_untouched();
		}
		if (c.tid)
			reap(c.tid);
		teardown(state);
		setup_gate(state);
	}
}

/* What was killed had two descriptors, and others have it open. */
static void test_killed_twice(void **state)
{
	struct upload *u = open_cut();
	struct closing c = {.tid = ended_process(SIGKILL)};
	struct snap_err err;

	(void)state;
	write_all(u, OWNER, &image);
	assert_int_equal(flush_as(u, c), -EINTR);
	assert_int_equal(flush_as(u, c), -EINTR);
	assert_true(upload_closes_idle(u));
	assert_int_equal(flush_as(u, (struct closing){.owner = 5}), 0);
	/* What fails changes nothing about that. */
	assert_int_equal(upload_truncate(u, UINT64_MAX / 4, &err), -EFBIG);
	assert_int_equal(snap_upload_state(u->data), SNAP_UPLOAD_COMPLETE);
	assert_true(upload_closes_idle(u));
	upload_closed(u);
	assert_untouched();
	reap(c.tid);
}

/* Somebody else goes on with the same descriptor, and closes it. */
static void test_killed_and_continued(void **state)
{
	struct upload *u = open_cut();
	struct closing c = {.tid = ended_process(SIGTERM), .owner = 1};

	(void)state;
	write_part(u, 1, &image, 0, 10000);
	assert_int_equal(flush_as(u, c), -EINTR);
	write_part(u, 2, &image, 10000, image.size - 10000);
	assert_int_equal(flush_as(u, (struct closing){.owner = 2}), 0);
	upload_closed(u);
	assert_int_equal(live_rows(), IMAGE_ROWS);
	reap(c.tid);
}

/* Killed while it waits: before the point of no return. */
static pid_t victim;

static void kill_victim(void)
{
	siginfo_t info;

	assert_int_equal(kill(victim, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)victim, &info, WEXITED | WNOWAIT), 0);
}

static void test_killed_meanwhile(void **state)
{
	struct upload *u = open_cut();

	(void)state;
	victim = start_process();
	at_check = kill_victim;
	write_all(u, OWNER, &image);
	assert_int_equal(flush_as(u, (struct closing){.tid = victim}), -EINTR);
	assert_int_equal(logged("was killed; live database unchanged"), 1);
	upload_closed(u);
	assert_int_equal(logged("thrown away"), 0);
	assert_untouched();
	reap(victim);
}

/* ---- complete or not ----------------------------------------------------------------------------------- */

static void test_incomplete(void **state)
{
	struct upload *u = open_over();
	size_t size = (size_t)snap_upload_size(u->data);

	(void)state;
	write_part(u, OWNER, &image, 0, 4096);
	assert_int_equal(flush(u), -EIO);
	assert_int_equal(flush(u), -EIO);
	assert_int_equal(logged(REFUSED), 1);
	assert_int_equal(logged("of another moment"), 1);
	assert_int_equal(live_rows(), LIVE_ROWS);
	/* It stays open: the rest may come. A final ftruncate alone completes nothing. */
	truncate_to(u, size + 4096);
	assert_int_equal(flush(u), -EIO);
	assert_int_equal(checks, 0);
	write_part(u, OWNER, &image, 4096, image.size - 4096);
	truncate_to(u, image.size);
	assert_int_equal(flush(u), 0);
	upload_closed(u);
	assert_int_equal(live_rows(), IMAGE_ROWS);
	assert_int_equal(logged(RESTORED), 1);
	assert_int_equal(logged(REFUSED), 2);
}

static void test_incomplete_for_good(void **state)
{
	struct upload *u = open_over();

	(void)state;
	write_part(u, OWNER, &image, 4096, 4096);
	assert_int_equal(close_upload(u), -EIO);
	assert_int_equal(logged(REFUSED), 1);
	assert_int_equal(logged("thrown away"), 0); /* once is enough */
	assert_untouched();
	/* Nobody was told anything: that is said at the end. */
	u = open_over();
	write_part(u, OWNER, &image, 4096, 4096);
	assert_int_equal(flush_as(u, (struct closing){.owner = 9}), 0);
	upload_closed(u);
	assert_int_equal(logged("\"db\" was closed before it was whole: thrown away"), 1);
	assert_untouched();
}

/* Whole as far as that can be told, but for what its header says. */
static void test_half(void **state)
{
	struct upload *u = open_cut();

	(void)state;
	write_part(u, OWNER, &image, 0, image.size / 2);
	assert_int_equal(flush(u), -EIO);
	assert_int_equal(live_rows(), LIVE_ROWS);
	write_part(u, OWNER, &image, image.size / 2, image.size - image.size / 2);
	assert_int_equal(flush(u), 0);
	upload_closed(u);
	assert_int_equal(live_rows(), IMAGE_ROWS);
}

static void test_refusals(void **state)
{
	static const char text[] = "this is no database, whatever its name says";
	struct upload *u = open_cut();
	struct snap_err err;

	(void)state;
	assert_int_equal(upload_write(u, text, sizeof(text), 0, OWNER, &err), sizeof(text));
	assert_int_equal(flush(u), -EMEDIUMTYPE);
	assert_int_equal(flush(u), -EMEDIUMTYPE);
	assert_int_equal(checks, 1);
	upload_closed(u);
	assert_untouched();
	damage(&image);
	u = open_cut();
	write_all(u, OWNER, &image);
	assert_int_equal(close_upload(u), -EUCLEAN);
	assert_int_equal(logged(REFUSED), 2);
	assert_untouched();
}

/* What is written after a verdict is another content. */
static void test_write_after(void **state)
{
	struct upload *u = open_cut();
	struct image second = image_of(30);

	(void)state;
	write_all(u, OWNER, &image);
	assert_int_equal(flush(u), 0);
	assert_int_equal(live_rows(), IMAGE_ROWS);
	/* A page of what was restored: two moments in one file. */
	write_part(u, OWNER, &second, 4096, 4096);
	assert_int_equal(flush(u), -EIO);
	assert_int_equal(live_rows(), IMAGE_ROWS);
	truncate_to(u, 0);
	write_all(u, OWNER, &second);
	assert_int_equal(flush(u), 0);
	upload_closed(u);
	assert_int_equal(live_rows(), 30);
	assert_int_equal(logged(RESTORED), 2);
	assert_int_equal(stored(), 0);
	sqlite3_free(second.bytes);
}

/* The same once more is no news, and no work. */
static void test_unchanged(void **state)
{
	struct upload *u = open_cut();

	(void)state;
	write_all(u, OWNER, &image);
	assert_int_equal(close_upload(u), 0);
	u = open_cut();
	write_all(u, OWNER, &image);
	assert_int_equal(close_upload(u), 0);
	assert_int_equal(logged(RESTORED), 1);
	assert_int_equal(logged("nothing was changed"), 1);
	assert_restored();
}

/* The time that cp -p sets before it closes. */
static void test_mtime(void **state)
{
	struct upload *u = open_cut();
	struct snap_attr attr;

	(void)state;
	upload_set(u, NULL, NULL, NULL, 1234567890123456789);
	write_all(u, OWNER, &image); /* moves it */
	upload_set(u, NULL, NULL, NULL, 1500000000123456789);
	assert_int_equal(close_upload(u), 0);
	snap_gen_unref(look(&f, &attr));
	assert_int_equal(attr.mtime.tv_sec, 1500000000);
	assert_int_equal(attr.mtime.tv_nsec, 123456789);
}

/* ---- announced lengths --------------------------------------------------------------------------------- */

static struct upload *pending(void)
{
	return upload_pending(&all, getpid(), FOLDER, "db");
}

static void test_pending(void **state)
{
	struct upload *u = open_cut(), *again;
	size_t half = image.size / 2;

	(void)state;
	truncate_to(u, image.size);
	write_part(u, OWNER, &image, half, image.size - half);
	assert_null(pending());
	assert_int_equal(close_upload(u), 0);
	assert_int_equal(checks, 0);
	/* The same process goes on, many times. */
	for (size_t at = 0; at < half; at += half / 20) {
		size_t size = half - at < half / 20 ? half - at : half / 20;

		again = pending();
		assert_ptr_equal(again, u);
		opened(again);
		write_part(again, OWNER, &image, at, size);
		assert_int_equal(flush(again), 0);
		assert_int_equal(live_rows(), at + size < half ? LIVE_ROWS : IMAGE_ROWS);
		if (at + size == half)
			assert_null(pending());
		upload_closed(again);
	}
	assert_restored();
	assert_null(pending());
}

/* Closed by somebody else, which says nothing about what its writer will do. */
static void test_pending_other_owner(void **state)
{
	struct upload *u = open_cut();

	(void)state;
	truncate_to(u, image.size);
	write_part(u, OWNER, &image, 0, 4096);
	assert_int_equal(flush_as(u, (struct closing){.owner = 5}), 0);
	assert_null(pending());
	upload_closed(u);
	assert_int_equal(logged("thrown away"), 1);
	assert_untouched();
}

/* The process ends with gaps: nobody will fill them. */
static void test_pending_exits(void **state)
{
	static const int signals[] = {0, SIGKILL};

	(void)state;
	for (size_t i = 0; i < COUNT(signals); i++) {
		struct upload *u = open_cut();
		struct closing end = {.tid = ended_process(signals[i])};

		truncate_to(u, image.size);
		write_part(u, OWNER, &image, 0, 4096);
		assert_int_equal(flush(u), 0);
		assert_int_equal(flush_as(u, end), 0);
		assert_null(pending());
		upload_closed(u);
		assert_int_equal(logged("\"db\" was closed before it was whole: thrown away"), i + 1);
		assert_untouched();
		reap(end.tid);
	}
}

/* Opened again to be cut: what was announced is over. */
static void test_pending_cut(void **state)
{
	struct upload *u = open_cut();

	(void)state;
	truncate_to(u, image.size);
	write_part(u, OWNER, &image, 0, 4096);
	assert_int_equal(close_upload(u), 0);
	opened(pending());
	truncate_to(u, 0);
	assert_int_equal(close_upload(u), 0);
	assert_null(pending());
	assert_untouched();
}

/* fallocate(2) announces, too. */
static void test_allocated(void **state)
{
	struct upload *u = open_cut();
	struct snap_err err;

	(void)state;
	assert_int_equal(upload_allocate(u, 0, image.size, false, &err), 0);
	write_part(u, OWNER, &image, 4096, image.size - 4096);
	assert_int_equal(flush(u), 0);
	assert_int_equal(live_rows(), LIVE_ROWS);
	write_part(u, OWNER, &image, 0, 4096);
	assert_int_equal(close_upload(u), 0);
	assert_restored();
}

/* RELEASE comes when it likes, so also after the same process has opened the file again and written the rest.
 */
static void test_late_release(void **state)
{
	struct upload *u = open_cut();

	(void)state;
	truncate_to(u, image.size);
	write_part(u, OWNER, &image, 0, 4096);
	assert_int_equal(flush(u), 0);
	opened(pending());
	write_part(u, OWNER, &image, 4096, image.size - 4096);
	upload_closed(u); /* of the first */
	assert_int_equal(live_rows(), LIVE_ROWS);
	assert_int_equal(close_upload(u), 0);
	assert_restored();
}

/* The same while the second open is on its way: whoever comes goes on with what is there. */
static void test_release_before_open(void **state)
{
	struct upload *u = open_cut();

	(void)state;
	truncate_to(u, image.size);
	write_part(u, OWNER, &image, 0, 4096);
	assert_int_equal(flush(u), 0);
	assert_int_equal(upload_lead(u, 5), 0);
	write_part(u, OWNER, &image, 4096, image.size - 4096);
	upload_closed(u);
	assert_int_equal(live_rows(), LIVE_ROWS);
	assert_ptr_equal(upload_led(&all, 5, FOLDER, "db"), u);
	upload_opened(u, 5);
	upload_unref(u);
	assert_int_equal(close_upload(u), 0);
	assert_restored();
}

/* ---- scratch files ------------------------------------------------------------------------------------- */

static struct upload *named(const char *name)
{
	struct upload *u = upload_scratch(&all, FOLDER, name);

	upload_unref(u);
	return u;
}

/* What rsync does. */
static void test_rename(void **state)
{
	struct upload *u = open_scratch(".db.x");

	(void)state;
	write_all(u, OWNER, &image);
	assert_int_equal(flush(u), 0);
	assert_int_equal(checks, 1);
	upload_ref(u); /* the kernel remembers it */
	upload_closed(u);
	assert_int_equal(live_rows(), LIVE_ROWS);
	assert_int_equal(stored(), 1);
	assert_int_equal(become(u), 0);
	assert_int_equal(checks, 1); /* the directory waits: the verdict was made before */
	assert_null(named(".db.x"));
	upload_unref(u);
	assert_restored();
}

static void test_rename_refused(void **state)
{
	struct upload *u = open_scratch(".db.x");
	struct image good = image_of(IMAGE_ROWS);

	(void)state;
	damage(&image);
	write_all(u, OWNER, &image);
	assert_int_equal(flush(u), 0); /* nobody has said that this is to be a database */
	assert_int_equal(logged(REFUSED), 0);
	assert_int_equal(become(u), -EUCLEAN);
	assert_int_equal(become(u), -EUCLEAN);
	assert_int_equal(checks, 1);
	assert_int_equal(logged(REFUSED), 2);
	assert_ptr_equal(named(".db.x"), u); /* it stays, for mv and rsync remove it themselves */
	assert_int_equal(live_rows(), LIVE_ROWS);
	/* What is written afterwards is looked at again. */
	write_part(u, OWNER, &good, 0, good.size);
	assert_int_equal(flush(u), 0);
	assert_int_equal(checks, 2);
	assert_int_equal(become(u), 0);
	assert_int_equal(checks, 2);
	assert_int_equal(live_rows(), IMAGE_ROWS);
	upload_closed(u);
	assert_int_equal(stored(), 0);
	sqlite3_free(good.bytes);
}

/* A verdict is void when something was written after it, closed or not. */
static void test_write_after_verdict(void **state)
{
	struct upload *u = open_scratch(".db.x");

	(void)state;
	write_all(u, OWNER, &image);
	assert_int_equal(flush(u), 0);
	damage(&image);
	write_part(u, OWNER, &image, 4096, 64);
	assert_int_equal(become(u), -EUCLEAN);
	assert_int_equal(checks, 2);
	upload_unname(u);
	upload_closed(u);
	assert_untouched();
}

/* NamedTemporaryFile and os.replace(): renamed while it is open, never closed before. */
static void test_rename_open(void **state)
{
	struct upload *u = open_scratch("tmpx");
	struct snap_err err;

	(void)state;
	write_all(u, OWNER, &image);
	assert_int_equal(become(u), 0);
	assert_int_equal(live_rows(), IMAGE_ROWS);
	/* It is the database's now. */
	assert_int_equal(upload_write(u, "x", 1, 0, OWNER, &err), -EIO);
	assert_int_equal(upload_truncate(u, 0, &err), -EIO);
	assert_int_equal(upload_allocate(u, 0, 5, false, &err), -EIO);
	assert_int_equal(flush(u), 0);
	assert_true(upload_closes_idle(u));
	upload_closed(u);
	assert_restored();
}

static void test_rename_nothing(void **state)
{
	struct upload *u = open_scratch(".x"), *gaps = open_scratch(".y");

	(void)state;
	assert_int_equal(flush(u), 0);
	assert_int_equal(become(u), -EMEDIUMTYPE);
	truncate_to(gaps, image.size);
	write_part(gaps, OWNER, &image, 0, 4096);
	assert_int_equal(flush(gaps), 0);
	assert_int_equal(become(gaps), -EIO);
	assert_int_equal(logged("parts of it were never written;"), 1);
	assert_int_equal(checks, 0);
	/* Both can be written on. */
	write_all(u, OWNER, &image);
	write_part(gaps, OWNER, &image, 4096, image.size - 4096);
	assert_int_equal(become(gaps), 0);
	assert_int_equal(become(u), 0);
	upload_closed(u);
	upload_closed(gaps);
	assert_int_equal(live_rows(), IMAGE_ROWS);
	assert_int_equal(stored(), 0);
}

/* Killed in the rename; what was written stays. */
static void test_rename_killed(void **state)
{
	struct upload *u = open_scratch(".x");

	(void)state;
	write_all(u, OWNER, &image);
	victim = start_process();
	at_check = kill_victim;
	assert_int_equal(become_as(u, (struct closing){.tid = victim}), -EINTR);
	assert_int_equal(live_rows(), LIVE_ROWS);
	reap(victim);
	assert_int_equal(become(u), 0);
	upload_closed(u);
	assert_int_equal(live_rows(), IMAGE_ROWS);
}

/* ---- rights -------------------------------------------------------------------------------------------- */

#define SOMEBODY 4711

static void set_live_mode(mode_t mode)
{
	assert_int_equal(fchmodat(f.folder.fd, "db", mode, 0), 0);
}

/* An upload of SOMEBODY's; OVER a live file that he was allowed to write when it had MODE. */
static struct upload *open_as_somebody(bool over, mode_t mode)
{
	struct upload_order order = {.kind = UPLOAD_DATABASE,
				     .parent = FOLDER,
				     .name = "db",
				     .path = "db",
				     .mode = mode,
				     .who = {.uid = SOMEBODY, .gid = SOMEBODY, .tid = gettid()},
				     .creator = getpid(),
				     .over = over};
	struct snap_err err;
	struct upload *u;

	assert_int_equal(upload_create(&u, &all, &order, &err), 0);
	opened(u);
	truncate_to(u, 0);
	write_all(u, OWNER, &image);
	return u;
}

static const struct {
	mode_t at_open; /* of the live file, which is root's; 0: there was none */
	mode_t now;
	uid_t closes;
	bool may;
} rights[] = {
	{0646, 0646, SOMEBODY, true},
	{0646, 0646, 0, true},
	{0646, 0646, 99, true}, /* the descriptor counts, as everywhere */
	/* It may not be written any more by who opened it, whoever closes it for him. */
	{0646, 0644, SOMEBODY, false},
	{0646, 0644, 0, false},
	{0640, 0646, SOMEBODY, true},
	/* There was nothing, and now there is something. */
	{0, 0644, SOMEBODY, false},
	{0, 0644, 0, false},
	{0, 0646, 0, true},
};

static void test_rights(void **state)
{
	for (size_t i = 0; i < COUNT(rights); i++) {
		struct upload *u = open_as_somebody(rights[i].at_open != 0, rights[i].at_open);
		int rc;

		set_live_mode(rights[i].now);
		rc = flush_as(u, (struct closing){.uid = rights[i].closes});
		upload_closed(u);
		if (rc != (rights[i].may ? 0 : -EACCES) || (live_rows() == IMAGE_ROWS) != rights[i].may)
			fail_msg("case %zu: %d", i, rc);
		teardown(state);
		setup_gate(state);
	}
}

/* Nobody is asked at the last RELEASE, and some other thread may have the opener's number by then. */
static void test_rights_at_release(void **state)
{
	struct upload *u = open_as_somebody(false, 0);

	(void)state;
	set_live_mode(0644);
	upload_closed(u);
	assert_int_equal(logged("Permission denied"), 1);
	assert_untouched();
}

static void test_rights_to_rename(void **state)
{
	struct upload *u = open_scratch(".x");

	(void)state;
	write_all(u, OWNER, &image);
	set_live_mode(0644);
	assert_int_equal(become_as(u, (struct closing){.uid = SOMEBODY}), -EACCES);
	assert_int_equal(live_rows(), LIVE_ROWS);
	assert_int_equal(checks, 0);
	set_live_mode(0646);
	assert_int_equal(become_as(u, (struct closing){.uid = SOMEBODY}), 0);
	upload_closed(u);
	assert_int_equal(live_rows(), IMAGE_ROWS);
}

/* ---- at the same time ---------------------------------------------------------------------------------- */

static struct upload *shared;
static pthread_t other;
static int other_rc;

static void *flush_shared(void *arg)
{
	(void)arg;
	other_rc = flush(shared);
	return NULL;
}

static void flush_meanwhile(void)
{
	assert_int_equal(pthread_create(&other, NULL, flush_shared, NULL), 0);
}

/* Two threads close two descriptors: one verdict, and both hear it. */
static void test_two_closes(void **state)
{
	(void)state;
	for (int good = 0; good < 2; good++) {
		shared = open_cut();
		if (!good)
			damage(&image);
		write_all(shared, OWNER, &image);
		other_rc = 1;
		at_check = flush_meanwhile;
		assert_int_equal(flush(shared), good ? 0 : -EUCLEAN);
		assert_int_equal(pthread_join(other, NULL), 0);
		assert_int_equal(other_rc, good ? 0 : -EUCLEAN);
		assert_int_equal(checks, good + 1);
		assert_int_equal(logged(good ? RESTORED : REFUSED), 1);
		upload_closed(shared);
		sqlite3_free(image.bytes);
		image = image_of(IMAGE_ROWS);
	}
	assert_int_equal(live_rows(), IMAGE_ROWS);
}

static ssize_t written;

static void write_meanwhile(void)
{
	struct snap_err err;

	written = upload_write(shared, "xxxx", 4, 5000, OWNER, &err);
}

/* What the verdict is about does not change while it is made; who wants that hears so. */
static void test_write_meanwhile(void **state)
{
	(void)state;
	shared = open_cut();
	write_all(shared, OWNER, &image);
	at_check = write_meanwhile;
	assert_int_equal(flush(shared), 0);
	assert_int_equal(written, -EBUSY);
	upload_closed(shared);
	assert_restored();
}

static void test_write_in_rename(void **state)
{
	(void)state;
	shared = open_scratch(".x");
	write_all(shared, OWNER, &image);
	at_check = write_meanwhile;
	assert_int_equal(become(shared), 0);
	assert_int_equal(written, -EIO);
	upload_closed(shared);
	assert_restored();
}

/* The writer is answered before everything is over; he closes, and the kernel lets go of it. */
static void close_meanwhile(void)
{
	upload_closed(shared);
}

static void test_closed_when_answered(void **state)
{
	(void)state;
	shared = open_cut();
	upload_ref(shared); /* the request's */
	write_all(shared, OWNER, &image);
	assert_int_equal(flush_as(shared, (struct closing){.answered = close_meanwhile}), 0);
	assert_restored();
	assert_int_equal(shared->refs, 1);
	upload_unref(shared);
}

/* He has written something else before that, which no FLUSH has seen: decided about all the same. */
static struct image later;

static void write_and_close_meanwhile(void)
{
	truncate_to(shared, 0);
	write_all(shared, OWNER, &later);
	upload_closed(shared);
}

static void test_written_when_answered(void **state)
{
	(void)state;
	later = image_of(33);
	shared = open_cut();
	upload_ref(shared);
	write_all(shared, OWNER, &image);
	assert_int_equal(flush_as(shared, (struct closing){.answered = write_and_close_meanwhile}), 0);
	upload_unref(shared);
	assert_int_equal(live_rows(), 33);
	assert_int_equal(logged(RESTORED), 2);
	assert_int_equal(stored(), 0);
	sqlite3_free(later.bytes);
}

/* What is written once it is over is not what was decided about, known or not. */
static void write_part_meanwhile(void)
{
	write_part(shared, OWNER, &image, 4096, 4096);
}

static void test_not_swallowed(void **state)
{
	(void)state;
	shared = open_cut();
	write_all(shared, OWNER, &image);
	assert_int_equal(flush_as(shared, (struct closing){.answered = write_part_meanwhile}), 0);
	assert_int_equal(flush(shared), -EIO);
	truncate_to(shared, 0);
	write_all(shared, OWNER, &image);
	at_end = write_part_meanwhile;
	assert_int_equal(flush(shared), 0);
	assert_int_equal(flush(shared), -EIO);
	upload_closed(shared);
	assert_int_equal(live_rows(), IMAGE_ROWS);
}

/* The answer is what is true: it is restored, and not safe. */
static void test_not_durable(void **state)
{
	struct upload *u = open_cut(), *scratch = open_scratch(".x");

	(void)state;
	disk_refuses = true;
	write_all(u, OWNER, &image);
	assert_int_equal(flush(u), -EIO);
	assert_int_equal(flush(u), -EIO);
	upload_closed(u);
	assert_int_equal(live_rows(), IMAGE_ROWS);
	assert_int_equal(logged("unchanged"), 0);
	assert_int_equal(logged("the disk refused to make it durable"), 1);
	write_all(scratch, OWNER, &image);
	assert_int_equal(become(scratch), -EIO);
	assert_int_equal(logged("live database unchanged"), 0);
	upload_unname(scratch);
	upload_closed(scratch);
	assert_int_equal(stored(), 0);
}

/* ---- given up ------------------------------------------------------------------------------------------ */

/* The writer removes the name that he writes to: gone is gone, as with any file. */
static void test_removed(void **state)
{
	struct upload *u = open_cut(), *announced = open_cut(), *other_name, *of_another;

	(void)state;
	other_name = opened(make_upload(UPLOAD_DATABASE, "db2", getpid()));
	of_another = opened(make_upload(UPLOAD_DATABASE, "db", getppid()));
	assert_false(uploads_drop(&all, getpid(), FOLDER + 1, "db"));
	assert_false(uploads_drop(&all, 0, FOLDER, "db"));
	write_all(u, OWNER, &image);
	truncate_to(announced, image.size);
	write_part(announced, OWNER, &image, 0, 4096);
	assert_int_equal(close_upload(announced), 0);
	assert_true(uploads_drop(&all, getpid(), FOLDER, "db"));
	assert_null(pending());
	assert_int_equal(flush(u), 0);
	assert_true(upload_closes_idle(u));
	upload_closed(u);
	assert_int_equal(logged("\"db\" was given up: thrown away"), 1);
	assert_untouched();
	assert_false(uploads_drop(&all, getpid(), FOLDER, "db"));
	upload_closed(other_name);
	/* Whatever another process writes there is its own. */
	truncate_to(of_another, 0);
	write_all(of_another, OWNER, &image);
	assert_int_equal(close_upload(of_another), 0);
	assert_restored();
}

/* Everybody is busy: who has heard that is not surprised by a restore. */
static void test_refuse(void **state)
{
	struct upload *u = open_cut();
	struct actor who = {.tid = gettid()};

	(void)state;
	write_all(u, OWNER, &image);
	upload_refuse(u, &who, -EBUSY);
	assert_int_equal(logged(REFUSED), 1);
	assert_int_equal(flush(u), -EBUSY);
	assert_true(upload_closes_idle(u));
	upload_closed(u);
	assert_untouched();
}

/* The session is over before it was closed. */
static void test_session_over(void **state)
{
	struct upload *u = open_cut(), *scratch = open_scratch(".x");

	(void)state;
	write_all(u, OWNER, &image);
	write_all(scratch, OWNER, &image);
	uploads_abandon(&all);
	assert_true(upload_closes_idle(u));
	upload_closed(u);
	upload_closed(scratch);
	assert_int_equal(live_rows(), LIVE_ROWS);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		gate_test(test_close),
		gate_test(test_nothing_written),
		gate_test(test_other_owner),
		gate_test(test_release_restores),
		gate_test(test_two_writers),
		gate_test(test_ends),
		gate_test(test_killed_twice),
		gate_test(test_killed_and_continued),
		gate_test(test_killed_meanwhile),
		gate_test(test_incomplete),
		gate_test(test_incomplete_for_good),
		gate_test(test_half),
		gate_test(test_refusals),
		gate_test(test_write_after),
		gate_test(test_unchanged),
		gate_test(test_mtime),
		gate_test(test_pending),
		gate_test(test_pending_other_owner),
		gate_test(test_pending_exits),
		gate_test(test_pending_cut),
		gate_test(test_allocated),
		gate_test(test_late_release),
		gate_test(test_release_before_open),
		gate_test(test_rename),
		gate_test(test_rename_refused),
		gate_test(test_write_after_verdict),
		gate_test(test_rename_open),
		gate_test(test_rename_nothing),
		gate_test(test_rename_killed),
		gate_test(test_rights),
		gate_test(test_rights_at_release),
		gate_test(test_rights_to_rename),
		gate_test(test_two_closes),
		gate_test(test_write_meanwhile),
		gate_test(test_write_in_rename),
		gate_test(test_closed_when_answered),
		gate_test(test_written_when_answered),
		gate_test(test_not_swallowed),
		gate_test(test_not_durable),
		gate_test(test_removed),
		gate_test(test_refuse),
		gate_test(test_session_over),
	};

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
