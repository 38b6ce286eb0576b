/* SPDX-License-Identifier: MIT */
/* test_source_sidecars.c - what a source makes beside a database, and what it takes for absent there. */
#include "gens.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>

#include "../../src/clock.h"
#include "../../src/snap_private.h"
#include "../../src/source_private.h"

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

/* Takes all descriptors below 64 but for FREE; returns how many were put into FDS. */
static int take_descriptors(struct fixture *f, int free, int fds[64])
{
	int count = 0;

	while (count < 64 && (fds[count] = dup(f->folder.fd)) >= 0)
		count++;
	while (free-- > 0 && count > 0)
		close(fds[--count]);
	return count;
}

/* What a connection made that then lacked a descriptor is closed by a later one: by the janitor's, whose
 * rounds this makes, or the one at the end. True: there was something. */
static bool closes_what_failed(int free, bool at_end)
{
	struct fixture f;
	struct rlimit usual, few;
	struct snap_gen *opened = NULL;
	int fds[64], count, rc;
	bool left;

	app_up(&f, APP_WAL ";" APP_ROWS(3));
	app_stop(&f.app);
	snap_up_still(&f);
	struct snap_gen *gen = look(&f, NULL);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
	few = (struct rlimit){.rlim_cur = 64, .rlim_max = usual.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	count = take_descriptors(&f, free, fds);
	rc = snap_gen_open(gen, 0, &opened, NULL);
	while (count > 0)
		close(fds[--count]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
	if (rc == 0)
		snap_gen_close(gen);
	left = rc < 0 && file_exists(&f.folder, "db-wal");
	/* Until there is no more to do: then another thread is at the close, or has made it. */
	for (int i = 0; left && !at_end && i < 6000 && source_tend(gen->source, monotonic_ns()); i++) {
		assert_false(source_is_unused(gen->source));
		nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
	}
	if (left && !at_end)
		work_stop(f.snap->core.work);
	if (left && !at_end) {
		assert_false(file_exists(&f.folder, "db-wal"));
		assert_false(file_exists(&f.folder, "db-shm"));
	}
	snap_gen_unref(gen);
	snap_destroy(f.snap);
	assert_false(file_exists(&f.folder, "db-wal"));
	assert_false(file_exists(&f.folder, "db-shm"));
	folder_remove(&f.folder);
	folder_remove(&f.store);
	return left;
}

static void test_what_a_failed_connection_made_is_closed(void **state)
{
	(void)state;
	for (int at_end = 0; at_end < 2; at_end++) {
		int met = 0;

		for (int free = 0; free < 16; free++)
			met += closes_what_failed(free, at_end);
		assert_true(met > 0);
	}
}

/* Makes the janitor's rounds until there is nothing of GEN's but the database. */
static void tend_to_the_end(struct fixture *f, struct snap_gen *gen)
{
	for (int i = 0; i < 6000 && file_exists(&f->folder, "db-wal"); i++) {
		source_tend(gen->source, monotonic_ns());
		nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
	}
	assert_false(file_exists(&f->folder, "db-wal"));
	assert_false(file_exists(&f->folder, "db-shm"));
}

/* An application's last close was left to us, and descriptors have run out when we close: FREE are left. What
 * it has committed is brought to the database all the same, by a later close. True: it took one. */
static bool closes_later(int free, bool reopens)
{
	struct fixture f;
	struct rlimit usual, few;
	struct snap_gen *gen;
	int fds[64], count;
	bool left;

	app_up(&f, APP_WAL ";" APP_ROWS(3));
	snap_up_still(&f);
	gen = open_now(&f);
	app_stop(&f.app);
	assert_true(file_exists(&f.folder, "db-wal"));
	snap_gen_close(gen);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
	few = (struct rlimit){.rlim_cur = 64, .rlim_max = usual.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	count = take_descriptors(&f, free, fds);
	source_shed(gen->source);
	while (count > 0)
		close(fds[--count]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
	left = file_exists(&f.folder, "db-wal");
	if (left && reopens)
		close_gen(open_now(&f));
	tend_to_the_end(&f, gen);
	snap_gen_unref(gen);
	snap_destroy(f.snap);
	folder_remove(&f.folder);
	folder_remove(&f.store);
	return left;
}

static void test_close_without_a_descriptor_left(void **state)
{
	(void)state;
	for (int reopens = 0; reopens < 2; reopens++) {
		int met = 0;

		for (int free = 0; free < 6; free++)
			met += closes_later(free, reopens);
		assert_true(met > 0);
	}
}

/* Somebody opens it in the moment when the close is made that an application has left to us: then that is
 * made when he has gone. */
static void test_close_beside_an_open(void **state)
{
	struct fixture f;
	struct live *closing;
	struct snap_gen *gen;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(3));
	snap_up_still(&f);
	gen = open_now(&f);
	app_stop(&f.app);
	closing = live_ref(gen->source->live);
	snap_gen_close(gen);
	source_shed(gen->source);
	snap_gen_unref(gen);
	gen = open_now(&f);
	live_unref(closing);
	assert_true(file_exists(&f.folder, "db-wal"));
	snap_gen_close(gen);
	tend_to_the_end(&f, gen);
	snap_gen_unref(gen);
	snap_destroy(f.snap);
	folder_remove(&f.folder);
	folder_remove(&f.store);
}

/* The -shm that a close removes is its own database's, whatever has by now the number of the descriptor by
 * which it was opened: another incarnation's folder, which is closed. */
static void test_close_removes_its_own(void **state)
{
	struct fixture f;
	struct folder other;
	struct live *closing;
	struct snap_gen *gen;
	int number;

	(void)state;
	folder_make(&other);
	app_up(&f, APP_WAL ";" APP_ROWS(3));
	snap_up_still(&f);
	gen = open_now(&f);
	closing = live_ref(gen->source->live);
	number = closing->dirfd;
	snap_gen_close(gen);
	source_shed(gen->source);
	snap_gen_unref(gen);
	gen = open_now(&f);
	live_unref(closing);
	app_stop(&f.app);
	assert_int_equal(fcntl(number, F_GETFD), -1);
	assert_int_equal(dup2(other.fd, number), number);
	close(openat(other.fd, "db-shm", O_CREAT | O_WRONLY, 0600));
	snap_gen_close(gen);
	source_shed(gen->source);
	assert_true(file_exists(&other, "db-shm"));
	assert_false(file_exists(&f.folder, "db-shm"));
	assert_false(file_exists(&f.folder, "db-wal"));
	close(number);
	folder_remove(&other);
	snap_gen_unref(gen);
	snap_destroy(f.snap);
	folder_remove(&f.folder);
	folder_remove(&f.store);
}

/* Another process that is connected makes the last close itself: nobody connects for that. */
static void test_close_beside_an_application(void **state)
{
	struct fixture f;
	struct snap_gen *gen;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(3));
	snap_up_still(&f);
	gen = open_now(&f);
	snap_gen_close(gen);
	source_shed(gen->source);
	assert_false(source_tend(gen->source, monotonic_ns()));
	assert_null(gen->source->live);
	app_stop(&f.app);
	assert_false(file_exists(&f.folder, "db-wal"));
	snap_gen_unref(gen);
	snap_destroy(f.snap);
	folder_remove(&f.folder);
	folder_remove(&f.store);
}

/* A close that another incarnation of ours is in the way of waits until that has ended: two that connected
 * again and again would keep each other from it. */
static void test_close_beside_another(void **state)
{
	struct fixture f;
	struct live *other;
	struct snap_gen *gen;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(3));
	snap_up_still(&f);
	gen = open_now(&f);
	other = live_ref(gen->source->live);
	snap_gen_close(gen);
	source_shed(gen->source);
	snap_gen_unref(gen);
	gen = open_now(&f);
	assert_ptr_not_equal(gen->source->live, other);
	app_do(&f.app, APP_ROWS(3));
	app_stop(&f.app);
	snap_gen_close(gen);
	source_shed(gen->source);
	assert_true(gen->source->owes_close);
	for (int i = 0; i < 5; i++) {
		source_tend(gen->source, monotonic_ns());
		work_stop(f.snap->core.work); /* waits for what it began; what follows is done at once */
		assert_null(gen->source->live);
	}
	assert_true(file_exists(&f.folder, "db-wal"));
	live_unref(other);
	tend_to_the_end(&f, gen);
	source_tend(gen->source, monotonic_ns());
	assert_false(gen->source->owes_close);
	snap_gen_unref(gen);
	snap_destroy(f.snap);
	folder_remove(&f.folder);
	folder_remove(&f.store);
}

/* A -wal that cannot be looked at is not one that is absent: what it holds would be missing. */
static void test_wal_without_a_descriptor_left(void **state)
{
	struct fixture f;
	struct rlimit usual, few;
	struct sample sample;
	int fds[64], count;

	(void)state;
	app_up(&f, APP_WAL ";" APP_ROWS(3));
	snap_up_still(&f);
	struct snap_gen *gen = look(&f, NULL);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
	few = (struct rlimit){.rlim_cur = 64, .rlim_max = usual.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	count = take_descriptors(&f, 0, fds);
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
		cmocka_unit_test(test_what_a_failed_connection_made_is_closed),
		cmocka_unit_test(test_close_without_a_descriptor_left),
		cmocka_unit_test(test_close_beside_an_open),
		cmocka_unit_test(test_close_removes_its_own),
		cmocka_unit_test(test_close_beside_another),
		cmocka_unit_test(test_close_beside_an_application),
		cmocka_unit_test(test_wal_without_a_descriptor_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
