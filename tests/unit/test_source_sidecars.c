/* SPDX-License-Identifier: MIT */
/* test_source_sidecars.c - what a source makes beside a database, and what it takes for absent there. */
#include "gens.h"

#include <errno.h>
#include <grp.h>
#include <sys/resource.h>

#include "../../src/source.h"

/* Another user of the database's group: what he makes there is not the owner's. */
struct user {
	struct fixture *f;
	uid_t uid;
	gid_t gid;
	bool opens;
	int answer; /* what opening is to answer */
};

enum { OWNER = 1001, ANOTHER = 1002, TEAM = 2000 };

/* As the daemon of an ordinary user; whatever is found is told by the exit status. */
static int reads_as(void *arg)
{
	const struct user *user = arg;
	struct snap_config config = {
		.wal_limit = 1 << 20, .wal_max = 64 << 20, .store = user->f->store.path, .event = quiet};
	struct snap_gen *gen = NULL, *moved = NULL;
	struct snap *snap;
	struct snap_attr attr;
	gid_t team = TEAM;
	char byte;
	int rc;

	if (setgroups(1, &team) || setgid(user->gid) || setuid(user->uid))
		return 90;
	if (snap_create(&snap, &config, NULL) || snap_add_folder(snap, user->f->folder.path, NULL) ||
	    snap_start(snap, NULL) || snap_lookup(snap, "db", &attr, &gen, NULL))
		return 91;
	rc = user->opens ? snap_gen_open(gen, 0, &moved, NULL) : 0;
	if (rc == SNAP_MOVED) {
		gen = moved;
		rc = snap_gen_open(gen, 0, &moved, NULL);
	}
	if (rc != user->answer || (user->opens && !rc && snap_gen_read(gen, &byte, 1, 0, NULL) != 1))
		return 92;
	_exit(0); /* as one that is killed: what it has made stays */
}

static void assert_writable_by(struct fixture *f, uid_t uid)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "setpriv --reuid=%d --regid=%d --clear-groups sqlite3 %s/db 'INSERT INTO t(a) VALUES(9)'",
		 (int)uid, TEAM, f->folder.path);
	assert_int_equal(system(command), 0);
}

static void test_other_users_sidecars_lock_nobody_out(void **state)
{
	static const struct {
		uid_t uid, app;
		gid_t gid;
		mode_t file, folder;
		bool opens, has_wal;
		int answer;
	} cases[] = {
		{ANOTHER, OWNER, TEAM, 0644, 02775, false, true, 0}, /* a look alone */
		{ANOTHER, OWNER, TEAM, 0644, 02775, true, true, -EBUSY},
		{OWNER, ANOTHER, 3001, 0660, 0770, true, false, 0}, /* of another group than the database */
		{OWNER, ANOTHER, 3001, 0660, 0770, true, true, -EBUSY},
		{OWNER, ANOTHER, 3001, 0660, 02770, true, true, 0}, /* the folder gives its own */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;
		struct user user = {.f = &f,
				    .uid = cases[i].uid,
				    .gid = cases[i].gid,
				    .opens = cases[i].opens,
				    .answer = cases[i].answer};
		char command[512];

		app_up(&f, APP_WAL "; INSERT INTO t(a) VALUES(1)");
		if (cases[i].has_wal)
			app_kill(&f.app);
		else
			app_stop(&f.app);
		snprintf(command, sizeof(command),
			 "cd %s && rm -f db-shm && chown %d:%d . db* && chmod %o db* && chmod %o . && chown "
			 "%d:%d %s",
			 f.folder.path, OWNER, TEAM, (unsigned)cases[i].file, (unsigned)cases[i].folder,
			 (int)cases[i].uid, (int)cases[i].gid, f.store.path);
		assert_int_equal(system(command), 0);
		assert_int_equal(in_child(reads_as, &user), 0);
		assert_writable_by(&f, cases[i].app);
		folder_remove(&f.folder);
		folder_remove(&f.store);
	}
}

/* A -wal that cannot be looked at is not one that is absent: what it holds would be missing. */
static void test_wal_without_a_descriptor_left(void **state)
{
	struct fixture f;
	struct rlimit usual, few;
	struct sample sample;
	int fds[64], count = 0;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(3));
	snap_up_still(&f);
	struct snap_gen *gen = look(&f, NULL);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
	few = (struct rlimit){.rlim_cur = 64, .rlim_max = usual.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	while (count < 64 && (fds[count] = dup(f.folder.fd)) >= 0)
		count++;
	int rc = source_sample_stat(gen->source, &sample, 1, 2, 3, (struct timespec){0}, (struct timespec){0},
				    4);
	while (count > 0)
		close(fds[--count]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
	assert_int_equal(rc, -EMFILE);
	assert_int_equal(source_sample_stat(gen->source, &sample, 1, 2, 3, (struct timespec){0},
					    (struct timespec){0}, 4),
			 0);
	assert_true(sample.version.wal.size > 0);
	snap_gen_unref(gen);
	app_stop(&f.app);
	down(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_other_users_sidecars_lock_nobody_out),
		cmocka_unit_test(test_wal_without_a_descriptor_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
