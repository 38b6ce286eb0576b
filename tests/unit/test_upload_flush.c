/* SPDX-License-Identifier: MIT */
/* test_upload_flush.c - when a close() restores and what it answers. */
#include "upload_gate.h"

#include <sys/resource.h>

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

/* A child that was given the descriptor has written, and has ended as such do: who waited for it is told. */
static void test_refused_to_child(void **state)
{
	struct upload *u = open_cut();

	(void)state;
	write_part(u, OWNER, &image, 0, 8192);
	assert_int_equal(flush_as(u, (struct closing){.owner = OWNER + 1}), 0); /* undecided yet */
	assert_int_equal(flush(u), -EIO);
	assert_int_equal(flush_as(u, (struct closing){.owner = OWNER + 1}), -EIO);
	assert_int_equal(logged(REFUSED), 1);
	upload_drop(u);
	assert_int_equal(flush_as(u, (struct closing){.owner = OWNER + 1}), 0);
	upload_closed(u);
	assert_untouched();
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

/* No file may grow beyond SIZE bytes: writing to the store fails. */
static void limit_files(rlim_t size)
{
	struct rlimit limit;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = size == RLIM_INFINITY ? limit.rlim_max : size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void fail_to_write(struct upload *u, size_t offset)
{
	struct snap_err err = {""};

	assert_int_equal(upload_write(u, image.bytes + offset, 4096, offset, OWNER, &err), -EFBIG);
}

static void remember_refusal(void *arg, const struct task_end *end)
{
	*(struct task_end *)arg = *end;
}

/* Where writing failed, that is the reason, and not that something is missing afterwards. */
static void test_write_failed(void **state)
{
	struct upload *u = open_cut();
	struct snap_err err;

	(void)state;
	write_part(u, OWNER, &image, 0, 8192);
	limit_files(8192);
	fail_to_write(u, 8192);
	assert_int_equal(flush(u), -EFBIG);
	limit_files(RLIM_INFINITY);
	assert_int_equal(logged(REFUSED), 1);
	assert_int_equal(logged("File too large"), 1);
	assert_int_equal(logged("never written"), 0);
	truncate_to(u, 12288); /* makes nothing good */
	assert_int_equal(flush(u), -EFBIG);
	/* It is begun anew: what failed before is over. */
	truncate_to(u, 0);
	assert_int_equal(flush(u), 0);
	write_part(u, OWNER, &image, 0, 8192);
	assert_int_equal(close_upload(u), -EIO);
	assert_int_equal(logged("shorter than its header says"), 1);
	/* Not even the first byte. */
	u = open_cut();
	limit_files(0);
	fail_to_write(u, 0);
	assert_int_equal(close_upload(u), -EFBIG);
	limit_files(RLIM_INFINITY);
	assert_int_equal(logged("File too large"), 3);
	/* Nor the room that it asked for. */
	u = open_cut();
	assert_int_equal(upload_allocate(u, 0, UINT64_MAX / 4, false, &err), -EFBIG);
	assert_int_equal(close_upload(u), -EFBIG);
	assert_untouched();
}

/* A temporary name that says what it was to become: that restore is refused, once, though no rename comes. */
static void test_write_failed_under_temporary_name(void **state)
{
	static const char *const targets[] = {"db", "none", NULL};
	struct task_end end = {.time_ns = 0};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct upload *u = open_scratch(".db.XyZ123");

		if (targets[i])
			upload_expect(u, targets[i]);
		write_part(u, OWNER, &image, 0, 8192);
		limit_files(8192);
		fail_to_write(u, 8192);
		assert_int_equal(flush(u), i == 0 ? -EFBIG : 0);
		assert_int_equal(flush(u), i == 0 ? -EFBIG : 0);
		limit_files(RLIM_INFINITY);
		upload_unname(u);
		upload_closed(u);
		assert_int_equal(logged(REFUSED), 1);
		assert_int_equal(logged("File too large"), 1);
	}
	tasks_each_failed(&all.tasks, 0, remember_refusal, &end);
	assert_string_equal(end.path, "db");
	assert_int_equal(end.error, -EFBIG);
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

/* The process ends with gaps: nobody will fill them. Who had given it the descriptor is told. */
static void test_pending_exits(void **state)
{
	static const struct {
		int sig, rc;
		const char *line;
	} ends[] = {{0, -EIO, REFUSED},
		    {SIGKILL, -EINTR, "whoever wrote it was killed, nothing was restored"}};

	(void)state;
	for (size_t i = 0; i < COUNT(ends); i++) {
		struct upload *u = open_cut();
		struct closing end = {.tid = ended_process(ends[i].sig)};

		truncate_to(u, image.size);
		write_part(u, OWNER, &image, 0, 4096);
		assert_int_equal(flush(u), 0);
		assert_int_equal(flush_as(u, end), ends[i].rc);
		assert_null(pending());
		assert_int_equal(logged(ends[i].line), 1);
		assert_int_equal(flush_as(u, (struct closing){.owner = OWNER + 1}), -EIO);
		upload_closed(u);
		assert_int_equal(logged("thrown away"), 0); /* it was said */
		assert_untouched();
		reap(end.tid);
	}
}

/* Its times are set by its name, which tools do last: what has not come by then will not. Whoever has it open
 * goes on. */
static void test_pending_taken_for_whole(void **state)
{
	const struct actor who = {.tid = gettid()};
	struct upload *u = open_cut();

	(void)state;
	truncate_to(u, image.size);
	write_part(u, OWNER, &image, 0, 4096);
	assert_int_equal(upload_taken_for_whole(u, &who), 0);
	assert_int_equal(flush(u), 0);
	assert_int_equal(upload_taken_for_whole(u, &who), 0);
	upload_closed(u);
	upload_ref(u); /* the kernel knows it yet */
	assert_int_equal(logged(REFUSED), 0);
	assert_int_equal(upload_taken_for_whole(u, &who), -EIO);
	assert_null(pending());
	assert_int_equal(logged(REFUSED), 1);
	assert_int_equal(logged("of another moment"), 1);
	assert_untouched(); /* nor does the store hold anything */
	assert_int_equal(upload_opened(u, gettid()), -ESTALE);
	assert_int_equal(upload_taken_for_whole(u, &who), 0);
	upload_unref(u);
	assert_int_equal(logged("thrown away"), 0);
	/* What is whole is none of that. */
	u = open_cut();
	upload_ref(u);
	write_all(u, OWNER, &image);
	assert_int_equal(close_upload(u), 0);
	assert_int_equal(upload_taken_for_whole(u, &who), 0);
	upload_unref(u);
	assert_int_equal(logged(REFUSED), 1);
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

static void commit_more(void)
{
	app_do(&f.app, APP_ROWS(3000));
}

/* What was restored is read through the same descriptor, whatever is committed then. What has been replaced
 * before its size was told is not: of another state there would be a part. */
static void test_read_after(void **state)
{
	char *buf = malloc(image.size);
	struct upload *u = open_cut();
	struct snap_err err = {""};

	(void)state;
	assert_non_null(buf);
	write_all(u, OWNER, &image);
	assert_int_equal(flush(u), 0);
	commit_more();
	assert_int_equal(upload_read(u, buf, image.size, 0, &err), image.size);
	assert_memory_equal(buf + 100, image.bytes + 100,
			    image.size - 100); /* the header tells the version */
	upload_closed(u);

	u = open_cut();
	write_all(u, OWNER, &image);
	at_durable = commit_more;
	assert_int_equal(flush(u), 0);
	commit_more();
	assert_int_equal(upload_read(u, buf, image.size, 0, &err), -ESTALE);
	upload_closed(u);
	free(buf);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		gate_test(test_close),
		gate_test(test_nothing_written),
		gate_test(test_other_owner),
		gate_test(test_release_restores),
		gate_test(test_refused_to_child),
		gate_test(test_two_writers),
		gate_test(test_incomplete),
		gate_test(test_incomplete_for_good),
		gate_test(test_write_failed),
		gate_test(test_write_failed_under_temporary_name),
		gate_test(test_half),
		gate_test(test_refusals),
		gate_test(test_write_after),
		gate_test(test_read_after),
		gate_test(test_unchanged),
		gate_test(test_mtime),
		gate_test(test_pending),
		gate_test(test_pending_other_owner),
		gate_test(test_pending_exits),
		gate_test(test_pending_taken_for_whole),
		gate_test(test_pending_cut),
		gate_test(test_allocated),
		gate_test(test_late_release),
		gate_test(test_release_before_open),
	};

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
