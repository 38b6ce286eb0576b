/* SPDX-License-Identifier: MIT */
/* test_upload_names.c - who finds which upload by its name, and for how long. */
#include "upload_table.h"

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

/* How often FOLDER and the next nodeid are held. */
static int held[2];

static void count_held(struct nodes *nodes, uint64_t id, bool hold)
{
	(void)nodes;
	assert_between(id, FOLDER, FOLDER + 1);
	held[id - FOLDER] += hold ? 1 : -1;
}

/* The folder keeps its nodeid as long as there is something that is found by it. */
static void test_holds_folder(void **state)
{
	struct upload *u, *v, *refused = NULL;
	struct snap_err err;

	(void)state;
	all.holder.hold = count_held;
	u = open_scratch(".x");
	assert_int_equal(held[0], 1);
	assert_int_equal(try_create(UPLOAD_SCRATCH, FOLDER, ".x", &refused, &err), -EEXIST);
	assert_int_equal(held[0], 1);
	upload_closed(u);
	v = open_cut();
	assert_int_equal(held[0], 2);
	assert_int_equal(upload_rename(u, FOLDER, ".y", ".y"), 0);
	assert_int_equal(held[0], 2);
	assert_int_equal(upload_rename(u, FOLDER + 1, ".y", "sub/.y"), 0);
	assert_int_equal(held[0], 1);
	assert_int_equal(held[1], 1);
	upload_unname(u);
	assert_int_equal(held[1], 0);
	upload_closed(v);
	assert_int_equal(held[0], 0);
	/* There are no nodes any more. */
	u = open_scratch(".z");
	uploads_abandon(&all);
	upload_unname(u);
	upload_closed(u);
	assert_int_equal(held[0], 1);
	assert_true(is_empty());
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		test(test_same_name),
		test(test_scratch),
		test(test_pending),
		test(test_holds_folder),
	};

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
