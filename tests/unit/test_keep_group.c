/* SPDX-License-Identifier: MIT */
/*
 * test_keep_group.c - snapshots of several databases: all of them are kept or none is, wherever a daemon dies
 * or a call fails; names that are reserved; what the next start removes.
 */
#define CALLS_MIN 30
#define CALLS_MAX 1500 /* more than any of these makes */

#include "keep_deaths.h"

#include <sys/file.h>

#define MEMBERS 3

static const char *const sources[MEMBERS] = {"/srv/app/a.db", "/srv/app/b.db", "/srv/app/sub/c.db"};

static char group[KEEP_GROUP_SIZE]; /* the last one */

static int keep_all_until(const char *name, bool publish, struct keep **keeps)
{
	struct keep_meta meta = meta_at(1);
	int rc = keep_group_name(group);

	for (int i = 0; i < MEMBERS && !rc; i++) {
		rc = keep_begin(&keeps[i], store, sources[i], name, &err);
		rc = rc ? rc : keep_reserve(keeps[i], &err);
		if (!rc && pwrite(keep_fd(keeps[i]), sources[i], strlen(sources[i]), 0) < 0)
			rc = -errno;
	}
	for (int i = 0; i < MEMBERS && !rc; i++)
		rc = keep_seal(keeps[i], &meta, group, &err);
	return rc || !publish ? rc : keep_publish(keeps, MEMBERS, group, &err);
}

static int keep_all(const char *name)
{
	struct keep *keeps[MEMBERS] = {NULL};
	int rc = keep_all_until(name, true, keeps);

	for (int i = 0; i < MEMBERS; i++)
		keep_destroy(keeps[i]);
	return rc;
}

static bool any(void *arg, const char *source)
{
	(void)source;
	return arg == NULL;
}

/* As kept_tree_drop() does it. */
static int drop_all(const char *name)
{
	char ended[KEEP_GROUP_SIZE];
	int rc = keep_group_end(store, sources[0], name, any, NULL, ended, &err);

	for (int i = 0; i < MEMBERS; i++) {
		int one = keep_drop(store, sources[i], name, &err);

		rc = rc || one == -ENOENT ? rc : one;
	}
	if (ended[0])
		keep_group_over(store, ended);
	return rc;
}

static int do_keep(void *arg)
{
	(void)arg;
	return keep_all("one");
}

static void keep_one(void)
{
	assert_int_equal(do_keep(NULL), 0);
}

static int do_drop(void *arg)
{
	(void)arg;
	return drop_all("one");
}

/* Whether NAME is kept: of all, with their bytes, or of none. */
static bool is_kept_as(const char *name)
{
	int count = 0;

	for (int i = 0; i < MEMBERS; i++) {
		struct keep_entry entry;

		if (keep_find(store, sources[i], name, &entry) == 0) {
			assert_content(sources[i], name, "", sources[i]);
			count++;
		}
	}
	if (count != 0 && count != MEMBERS)
		fail_msg("%d of %d databases are kept", count, MEMBERS);
	return count != 0;
}

static bool is_kept(void)
{
	return is_kept_as("one");
}

static void assert_clean(void)
{
	bool there = is_kept();
	int groups = 0;

	assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
	assert_int_equal(is_kept(), there);
	for (int i = 0; i < MEMBERS; i++)
		if (store_knows(store, sources[i]) && exists(in_source(sources[i], "kept")))
			assert_string_equal(names_in(in_source(sources[i], "kept")), there ? "one " : "");
	if (exists(at("fast/a/store/groups"))) {
		const char *names = names_in(at("fast/a/store/groups"));

		assert_null(strchr(names, '.'));
		groups = names[0] != '\0';
	}
	assert_int_equal(groups, there);
}

/* ---- death --------------------------------------------------------------------------------------------- */

static void test_killed_keeping(void **state)
{
	bool was_kept = false;
	unsigned n;

	(void)state;
	for (n = 1; run_killed(n, do_keep, NULL); n++) {
		assert_true(n < CALLS_MAX);
		assert_true(!was_kept || is_kept());
		was_kept = is_kept();
		/* The name is free whether a start has come between or not. */
		if (!was_kept && n % 2 == 0) {
			assert_int_equal(keep_all("one"), 0);
			assert_true(is_kept());
			assert_int_equal(drop_all("one"), 0);
		}
		assert_clean();
		if (exists(at("fast/a")))
			wipe();
	}
	assert_true(n > 60);
	assert_true(was_kept && is_kept());
	assert_clean();
}

/* A daemon dies between the name of one member and the group's file. */
static int do_half(void)
{
	struct keep *keeps[MEMBERS] = {NULL}, *late = NULL;
	static const char text[] = "/srv/app/a.db\n/srv/app/b.db\n/srv/app/sub/c.db\nend\n";
	char pending[PATH_MAX];

	if (keep_all_until("half", false, keeps))
		return -1;
	snprintf(pending, sizeof(pending), "%s/groups/.group-%s", store_dir(store), group);
	write_file(pending, text, sizeof(text) - 1);
	return keep_publish(keeps, 2, NULL, NULL) || keep_begin(&late, store, sources[0], "reserved", NULL) ||
	       keep_reserve(late, NULL);
}

static void test_killed_cleaning(void **state)
{
	unsigned n;

	(void)state;
	assert_int_equal(keep_all("one"), 0);
	for (n = 1;; n++) {
		assert_true(n < CALLS_MAX);
		leave(do_half);
		assert_false(is_kept_as("half"));
		if (!run_killed(n, do_clean, NULL))
			break;
		assert_true(is_kept());
		assert_false(is_kept_as("half"));
	}
	assert_true(n > 30);
	assert_clean();
	assert_true(is_kept());
}

static void note_lost(void *arg, const char *source, const char *name)
{
	unsigned *told = arg;

	assert_non_null(source);
	assert_string_equal(name, "one");
	++*told;
}

/* Whether a name of "one" is taken. */
static bool is_taken(void)
{
	bool is = false;

	for (int i = 0; i < MEMBERS; i++)
		is |= store_knows(store, sources[i]) && exists(in_source(sources[i], "kept/one"));
	return is;
}

/* Wherever a daemon dies: a name that it had taken, and that has not become a snapshot, is told by the next
 * start; one that it was dropping is not. */
static void test_killed_is_told(void **state)
{
	unsigned n, lost = 0, told;

	(void)state;
	for (n = 1; run_killed(n, do_keep, NULL); n++) {
		bool is_lost = is_taken() && !is_kept();

		told = 0;
		assert_int_equal(keep_clean(store, NULL, note_lost, &told, &err), 0);
		if (is_lost != (told > 0))
			fail_msg("killed at call %u: %s, and told %u times", n, is_lost ? "lost" : "not lost",
				 told);
		lost += is_lost;
		if (exists(at("fast/a")))
			wipe();
	}
	assert_true(lost > 30);
	for (n = 1;; n++) {
		if (!is_kept())
			keep_one();
		if (!run_killed(n, do_drop, NULL))
			break;
		told = 0;
		assert_int_equal(keep_clean(store, NULL, note_lost, &told, &err), 0);
		assert_int_equal(told, 0);
	}
	assert_true(n > CALLS_MIN);
}

/* ---- failure ------------------------------------------------------------------------------------------- */

static void test_failed_keeping(void **state)
{
	(void)state;
	fail_each_call(ENOSPC, do_keep, false, true);
	wipe();
	fail_each_call(EIO, do_keep, false, true);
}

/* Whatever cannot be read at a start is no leaving: the next start finds all of it. */
static void test_failed_cleaning(void **state)
{
	int fds = count_fds(), rc;
	unsigned n = 0;

	(void)state;
	assert_int_equal(keep_all("one"), 0);
	while (run_failing(++n, EIO, do_clean, NULL, &rc)) {
		assert_true(n < CALLS_MAX);
		assert_true(is_kept());
		assert_clean();
		assert_true(is_kept());
		assert_int_equal(count_fds(), fds);
	}
	assert_true(n > 30);
}

/* Each of it, one after the other. */
static int fail_metas(void *arg, const struct seccomp_data *call)
{
	(void)arg;
	return call->nr == SYS_openat && strcmp(watch_text(call->args[1]), "meta") == 0 ? EIO : 0;
}

static int fail_groups(void *arg, const struct seccomp_data *call)
{
	unsigned *count = arg;

	*count += call->nr == SYS_faccessat2;
	return call->nr == SYS_faccessat2 ? EIO : 0;
}

static int do_reserve(void *arg)
{
	struct keep *k = NULL;
	int rc = keep_begin(&k, store, sources[0], "one", &err);

	(void)arg;
	rc = rc ? rc : keep_reserve(k, &err);
	keep_destroy(k);
	return rc;
}

static void test_nothing_can_be_read(void **state)
{
	unsigned count = 0;
	struct watch metas = {.fn = do_clean, .judge = fail_metas};
	struct watch groups = {.fn = do_clean, .judge = fail_groups, .judge_arg = &count};

	(void)state;
	assert_int_equal(keep_all("one"), 0);
	watch_run(&metas);
	assert_clean();
	assert_true(is_kept());
	watch_run(&groups);
	assert_true(count > 0);
	assert_clean();
	assert_true(is_kept());
	/* Nor is the name free for another. */
	groups.fn = do_reserve;
	assert_true(watch_run(&groups) < 0);
	assert_true(is_kept());
}

/* ---- names --------------------------------------------------------------------------------------------- */

static void test_reserved(void **state)
{
	struct keep *k = NULL, *other = NULL;
	struct keep_meta meta = meta_at(1);

	(void)state;
	assert_int_equal(keep_begin(&k, store, DB, "one", &err), 0);
	assert_int_equal(keep_reserve(k, &err), 0);
	assert_string_equal(kept(DB), ""); /* nothing to be seen */
	assert_int_equal(keep_begin(&other, store, DB, "one", &err), 0);
	assert_int_equal(keep_reserve(other, &err), -EEXIST);
	keep_destroy(other);
	assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0); /* somebody is at work on it */
	assert_int_equal(keep_drop(store, DB, "one", &err), -EBUSY);
	assert_int_equal(keep_seal(k, &meta, NULL, &err), 0);
	assert_string_equal(kept(DB), "");
	assert_int_equal(keep_publish(&k, 1, NULL, &err), 0);
	keep_destroy(k);
	assert_string_equal(kept(DB), "one ");
	/* What is kept stays. */
	assert_int_equal(keep_begin(&k, store, DB, "one", &err), 0);
	assert_int_equal(keep_reserve(k, &err), -EEXIST);
	keep_destroy(k);
	assert_string_equal(kept(DB), "one ");
	/* Whoever gives up leaves the name free. */
	assert_int_equal(keep_begin(&k, store, DB, "two", &err), 0);
	assert_int_equal(keep_reserve(k, &err), 0);
	keep_destroy(k);
	assert_string_equal(names_in(in_source(DB, "kept")), "one ");
}

static bool is_first(void *arg, const char *source)
{
	(void)arg;
	return strcmp(source, sources[0]) == 0;
}

static bool is_other(void *arg, const char *source)
{
	return !is_first(arg, source);
}

/* Paths are made of any bytes but NUL; a line of the group's file is not. */
static void keep_odd(const char *const odd[2])
{
	struct keep *keeps[2] = {NULL};
	struct keep_meta meta = meta_at(1);
	char ended[KEEP_GROUP_SIZE];
	struct keep_entry entry;

	assert_int_equal(keep_group_name(group), 0);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(keep_begin(&keeps[i], store, odd[i], "one", &err), 0);
		assert_int_equal(keep_reserve(keeps[i], &err), 0);
		assert_int_equal(keep_seal(keeps[i], &meta, group, &err), 0);
	}
	assert_int_equal(keep_publish(keeps, 2, group, &err), 0);
	for (size_t i = 0; i < 2; i++)
		keep_destroy(keeps[i]);
	for (int k = 0; k < 2; k++) {
		assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
		for (size_t i = 0; i < 2; i++)
			assert_int_equal(keep_find(store, odd[i], "one", &entry), 0);
	}
	assert_int_equal(keep_group_end(store, odd[0], "one", any, NULL, ended, &err), 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(keep_find(store, odd[i], "one", &entry), -ENOENT);
}

static void test_odd_paths(void **state)
{
	static const char *const odd[][2] = {{"/srv/a\nb/x.db", "/srv/a\nb/y.db"},
					     {"/srv/evil\n/x.db", "/srv/y.db"},
					     {"/srv/c\\nd\\/x.db", "/srv/c\\nd\\/y.db"}};

	(void)state;
	for (size_t i = 0; i < COUNT(odd); i++)
		keep_odd(odd[i]);
}

/* A file that nobody understands is nobody's to remove. */
static void test_odd_group(void **state)
{
	static const char *const texts[] = {"", "/gone/a.db\n", "gone\nend\n", "/gone/a.db\nx\nend\n"};
	char name[32];

	(void)state;
	assert_int_equal(keep_all("one"), 0);
	for (size_t i = 0; i < COUNT(texts); i++) {
		snprintf(name, sizeof(name), "store/groups/%016zx", i);
		put_text(name, texts[i]);
	}
	put_text("store/groups/00000000000000ff", "/gone/a.db\nend\n"); /* of one that has been dropped */
	assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
	for (size_t i = 0; i < COUNT(texts); i++) {
		snprintf(name, sizeof(name), "store/groups/%016zx", i);
		assert_true(exists(at("%s", name)));
	}
	assert_false(exists(at("store/groups/00000000000000ff")));
	assert_true(is_kept());
}

static void count_damaged(void *arg, const char *source, const char *name, const char *folder)
{
	unsigned *count = arg;

	assert_string_equal(name, "one");
	assert_string_equal(folder, in_source(source, "kept/one"));
	*count += 1;
}

/* A store that came back from a backup without the groups' files, say: that nobody was at work on it, nobody
 * had dropped it. */
static void test_lost_group(void **state)
{
	unsigned count = 0;

	(void)state;
	assert_int_equal(keep_all("one"), 0);
	assert_int_equal(keep_each_damaged(store, count_damaged, &count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(nftw(at("store/groups"), remove_one, 32, FTW_DEPTH | FTW_PHYS), 0);
	for (int i = 0; i < 2; i++) {
		assert_false(is_kept());
		assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
		for (int m = 0; m < MEMBERS; m++)
			assert_true(exists(in_source(sources[m], "kept/one/db")));
	}
	assert_int_equal(keep_each_damaged(store, count_damaged, &count), 0);
	assert_int_equal(count, MEMBERS);
	assert_int_equal(drop_all("one"), 0);
	for (int m = 0; m < MEMBERS; m++)
		assert_string_equal(names_in(in_source(sources[m], "kept")), "");
}

/* A mount that starts while another one drops a snapshot, or after that one was killed at it. */
static void test_dropped_is_not_damaged(void **state)
{
	char ended[KEEP_GROUP_SIZE];
	unsigned count = 0;

	(void)state;
	assert_int_equal(keep_all("one"), 0);
	assert_int_equal(keep_group_end(store, sources[0], "one", any, NULL, ended, &err), 0);
	assert_int_equal(keep_each_damaged(store, count_damaged, &count), 0);
	assert_int_equal(keep_drop(store, sources[0], "one", &err), 0);
	assert_int_equal(keep_each_damaged(store, count_damaged, &count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
	assert_clean();
	assert_false(is_kept());
}

struct held {
	int fd;
	unsigned tries;
};

/* Whoever has the lock lets go of it when it has been asked for in vain. */
static int let_go_after_one(void *arg, const struct seccomp_data *call)
{
	struct held *held = arg;

	if (call->nr == SYS_flock && ++held->tries == 2)
		close(held->fd);
	return 0;
}

/* Somebody clears away what was left of the group while it is dropped. */
static void test_drop_waits(void **state)
{
	struct held held = {.fd = -1};
	struct watch w = {.fn = do_drop, .judge = let_go_after_one, .judge_arg = &held};

	(void)state;
	assert_int_equal(keep_all("one"), 0);
	held.fd = open(in_source(sources[0], "kept/one"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(flock(held.fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(watch_run(&w), 0);
	assert_clean();
	assert_false(is_kept());
}

/* A start of another mount leaves it to ours to tell what was lost. */
static void test_killed_is_told_ours(void **state)
{
	unsigned told = 0;
	struct keep *k;

	(void)state;
	assert_int_equal(keep_begin(&k, store, sources[0], "one", &err), 0);
	assert_int_equal(keep_reserve(k, &err), 0);
	keep_leave_name(k);
	keep_destroy(k);
	assert_int_equal(keep_clean(store, is_other, note_lost, &told, &err), 0);
	assert_int_equal(told, 0);
	assert_int_equal(keep_clean(store, is_first, note_lost, &told, &err), 0);
	assert_int_equal(told, 1);
	assert_string_equal(names_in(in_source(sources[0], "kept")), "");
}

/* What nobody would find is not said to be kept. */
static void test_store_replaced(void **state)
{
	struct keep *keeps[MEMBERS] = {NULL}, *k;
	struct keep_meta meta = meta_at(1);

	(void)state;
	assert_int_equal(keep_begin(&k, store, DB, "alone", &err), 0);
	assert_int_equal(keep_all_until("one", false, keeps), 0);
	assert_int_equal(rename(at("store"), at("moved")), 0);
	make_folder("store", 0700);
	assert_int_equal(keep_publish(keeps, MEMBERS, group, &err), -EBUSY);
	assert_words("was moved or replaced");
	assert_int_equal(keep_commit(k, &meta, &err), -EBUSY);
	keep_destroy(k);
	for (int i = 0; i < MEMBERS; i++)
		keep_destroy(keeps[i]);
	assert_string_equal(names_in(at("store/groups")), "");
}

/* Who shows only some of the databases drops only these. */
static void test_foreign_member(void **state)
{
	char ended[KEEP_GROUP_SIZE];
	struct keep_entry entry;

	(void)state;
	assert_int_equal(keep_all("one"), 0);
	assert_int_equal(keep_group_end(store, sources[0], "one", is_first, NULL, ended, &err), 0);
	assert_true(is_kept());
	assert_int_equal(keep_drop(store, sources[0], "one", &err), 0);
	assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
	assert_int_equal(keep_find(store, sources[1], "one", &entry), 0);
	for (int i = 1; i < MEMBERS; i++)
		assert_int_equal(keep_drop(store, sources[i], "one", &err), 0);
	assert_int_equal(keep_clean(store, NULL, NULL, NULL, &err), 0);
	assert_string_equal(names_in(at("store/groups")), "");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_lost_group),
		test(test_dropped_is_not_damaged),
		test(test_drop_waits),
		test(test_killed_is_told_ours),
		test(test_store_replaced),
		test_fast(test_killed_keeping),
		test_fast(test_killed_dropping),
		test_fast(test_killed_cleaning),
		test_fast(test_killed_is_told),
		test_fast(test_failed_keeping),
		test_fast(test_failed_dropping),
		test_fast(test_failed_cleaning),
		test_fast(test_nothing_can_be_read),
		test(test_odd_paths),
		test(test_odd_group),
		test(test_reserved),
		test(test_foreign_member),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
