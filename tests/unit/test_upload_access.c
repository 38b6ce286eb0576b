/* SPDX-License-Identifier: MIT */
/* test_upload_access.c - who may restore what: by the rights of whoever opened or renames it, on what stands
 * there now. */
#include "upload_table.h"

#include <grp.h>

#define OWNS 6000   /* the live file's user and group */
#define WRITER 6001 /* a user and his group */
#define OTHER 6002

/* The process with the further group OWNS. */
static void join_group(void)
{
	const gid_t group = OWNS;

	if (setgroups(1, &group))
		_exit(1);
}

struct access_case {
	enum upload_kind kind;
	mode_t live; /* mode of the live file, of OWNS; 0: there is none */
	bool over;   /* it could be written when it was opened, with mode OPENED */
	mode_t opened;
	uid_t uid;     /* opened it */
	uid_t closes;  /* asks for the restore now */
	bool member;   /* as a member of the group OWNS */
	bool nobody;   /* it is the last RELEASE that asks */
	mode_t folder; /* mode of the folder, of OWNS; 0: 0755 */
	int rc;
};

static const struct access_case access_cases[] = {
	/* Root, whatever it says. */
	{UPLOAD_DATABASE, 0400, false, 0, 0, 0, false, false, 0, 0},
	{UPLOAD_SCRATCH, 0400, false, 0, WRITER, 0, false, false, 0, 0},
	{UPLOAD_DATABASE, 0, true, 0600, 0, WRITER, false, false, 0, 0},
	/* The name of a database: whoever opened it counts, */
	{UPLOAD_DATABASE, 0640, false, 0, OWNS, OTHER, false, false, 0, 0},
	{UPLOAD_DATABASE, 0440, false, 0, OWNS, OTHER, false, false, 0, -EACCES},
	{UPLOAD_DATABASE, 0640, false, 0, WRITER, WRITER, false, false, 0, -EACCES},
	{UPLOAD_DATABASE, 0642, false, 0, WRITER, WRITER, false, false, 0, 0},
	{UPLOAD_DATABASE, 0640, false, 0, WRITER, OWNS, false, false, 0, -EACCES},
	{UPLOAD_DATABASE, 0640, false, 0, WRITER, 0, false, false, 0, -EACCES},
	/* with the groups of whoever closes it, if that is the same user, */
	{UPLOAD_DATABASE, 0660, false, 0, WRITER, WRITER, false, false, 0, -EACCES},
	{UPLOAD_DATABASE, 0660, false, 0, WRITER, WRITER, true, false, 0, 0},
	{UPLOAD_DATABASE, 0660, false, 0, WRITER, OTHER, true, false, 0, -EACCES},
	{UPLOAD_DATABASE, 0660, false, 0, WRITER, WRITER, true, true, 0, -EACCES},
	/* and what was found at the open, as long as the file has the rights that it had then. */
	{UPLOAD_DATABASE, 0640, true, 0640, WRITER, OTHER, false, false, 0, 0},
	{UPLOAD_DATABASE, 0640, true, 0660, WRITER, OTHER, false, false, 0, -EACCES},
	{UPLOAD_DATABASE, 0640, false, 0640, WRITER, OTHER, false, false, 0, -EACCES},
	/* A temporary name: whoever renames it. */
	{UPLOAD_SCRATCH, 0640, false, 0, WRITER, OWNS, false, false, 0, 0},
	{UPLOAD_SCRATCH, 0640, false, 0, OWNS, WRITER, false, false, 0, -EACCES},
	{UPLOAD_SCRATCH, 0660, false, 0, OTHER, WRITER, true, false, 0, 0},
	{UPLOAD_SCRATCH, 0640, true, 0640, WRITER, WRITER, false, false, 0, -EACCES},
	/* There is nothing: then the folder has decided, unless it was over something. */
	{UPLOAD_DATABASE, 0, false, 0, WRITER, WRITER, false, false, 0, 0},
	{UPLOAD_SCRATCH, 0, false, 0, WRITER, WRITER, false, false, 0, 0},
	{UPLOAD_DATABASE, 0, true, 0640, WRITER, WRITER, false, false, 0, -EACCES},
	{UPLOAD_DATABASE, 0, true, 0640, WRITER, WRITER, false, false, 0757, 0},
	{UPLOAD_DATABASE, 0, true, 0640, OWNS, WRITER, false, false, 0, 0},
};

/* Gives the folder, and "db" in it, the rights of C. */
static void arrange(const struct access_case *c, const char *db)
{
	assert_int_equal(chown(f.folder.path, OWNS, OWNS), 0);
	assert_int_equal(chmod(f.folder.path, c->folder ? c->folder : 0755), 0);
	if (!c->live)
		return;
	assert_int_equal(chown(db, OWNS, OWNS), 0);
	assert_int_equal(chmod(db, c->live), 0);
}

static struct snap_inode inode_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (struct snap_inode){st.st_dev, st.st_ino};
}

static void assert_same_inode(struct snap_inode a, struct snap_inode b)
{
	assert_int_equal(a.dev, b.dev);
	assert_int_equal(a.ino, b.ino);
}

static void test_access(void **state)
{
	char db[PATH_MAX];
	pid_t member = process_start(join_group), stranger = process_start(NULL);

	(void)state;
	snprintf(db, sizeof(db), "%s/db", f.folder.path);
	for (size_t i = 0; i < COUNT(access_cases); i++) {
		const struct access_case *c = &access_cases[i];
		struct snap_inode folder = inode_of(f.folder.path), none = {0};
		struct closing by = {.uid = c->closes, .tid = c->member ? member : stranger};
		struct snap_restore order = {.path = c->live ? "db" : "none"};
		struct upload_flush flush = closing_flush(&by);
		struct upload_order made = {.kind = c->kind,
					    .parent = FOLDER,
					    .name = order.path,
					    .path = order.path,
					    .mode = S_IFREG | c->opened,
					    .uid = OWNS,
					    .gid = OWNS,
					    .who = {.uid = c->uid, .gid = c->uid},
					    .over = c->over};
		uid_t asks = c->kind == UPLOAD_DATABASE ? c->uid : c->closes;
		struct snap_err err = {""};
		struct upload *u = NULL;

		arrange(c, db);
		if (c->nobody)
			flush.interrupted = NULL;
		*(c->kind == UPLOAD_DATABASE ? &made.folder : &flush.folder) =
			folder; /* the other says nothing */
		assert_int_equal(upload_create(&u, &all, &made, &err), 0);
		if (upload_check_access(u, &flush, &order) != c->rc)
			fail_msg("case %zu", i);
		/* What is written is what was asked about. */
		if (c->live)
			assert_same_inode(order.file, asks ? inode_of(db) : none);
		assert_same_inode(order.folder, c->live ? none : folder);
		/* Another folder by now: only root goes on. */
		u->folder.ino++;
		flush.folder.ino++;
		assert_int_equal(upload_check_access(u, &flush, &order), asks ? -ESTALE : 0);
		upload_unname(u);
		upload_unref(u);
	}
	assert_int_equal(kill(member, SIGKILL), 0);
	assert_int_equal(kill(stranger, SIGKILL), 0);
	reap(member);
	reap(stranger);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		test(test_access),
	};

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
