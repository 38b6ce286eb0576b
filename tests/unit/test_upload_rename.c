/* SPDX-License-Identifier: MIT */
/* test_upload_rename.c - scratch files that become a database, and who may do what. */
#include "upload_gate.h"

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

/* That it could not be checked is no verdict: the rename has it checked, and one after that again. */
static void test_passing_failure(void **state)
{
	static const int codes[] = {-ENOMEM, -EMFILE, -EAGAIN};
	struct upload *u = open_scratch(".db.x");

	(void)state;
	write_all(u, OWNER, &image);
	check_fails = codes[0];
	assert_int_equal(flush(u), 0);
	for (size_t i = 0; i < COUNT(codes); i++) {
		check_fails = codes[i];
		assert_int_equal(become(u), codes[i]);
	}
	assert_int_equal(become(u), 0);
	assert_int_equal(checks, 5);
	assert_int_equal(live_rows(), IMAGE_ROWS);
	assert_int_equal(logged(RESTORED), 1);
	upload_closed(u);
	assert_int_equal(stored(), 0);
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
	victim = process_start(NULL);
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

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		gate_test(test_rename),
		gate_test(test_rename_refused),
		gate_test(test_write_after_verdict),
		gate_test(test_passing_failure),
		gate_test(test_rename_open),
		gate_test(test_rename_nothing),
		gate_test(test_rename_killed),
		gate_test(test_rights),
		gate_test(test_rights_at_release),
		gate_test(test_rights_to_rename),
	};

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
