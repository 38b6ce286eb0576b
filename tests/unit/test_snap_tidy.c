/* SPDX-License-Identifier: MIT */
/* test_snap_tidy.c - what a mount takes for gone, of all that its store knows, and when it looks. */
#include "scratch.h"

#include <stdatomic.h>

#include "../../src/clock.h"
#include "../../src/snap_private.h"

#define DAY_NS (86400 * NS_PER_S)

static struct snap *snap;
static atomic_uint looks;

int __real_snap_tidy_store(struct snap *of, int64_t now);
int __wrap_snap_tidy_store(struct snap *of, int64_t now);

int __wrap_snap_tidy_store(struct snap *of, int64_t now)
{
	atomic_fetch_add(&looks, 1);
	return __real_snap_tidy_store(of, now);
}

static atomic_uint forgets; /* that have ended */

int __real_store_forget(struct store *store, int (*is_gone)(void *arg, const char *source), void *arg,
			int64_t now_ns);
int __wrap_store_forget(struct store *store, int (*is_gone)(void *arg, const char *source), void *arg,
			int64_t now_ns);

int __wrap_store_forget(struct store *store, int (*is_gone)(void *arg, const char *source), void *arg,
			int64_t now_ns)
{
	int rc = __real_store_forget(store, is_gone, arg, now_ns);

	atomic_fetch_add(&forgets, 1);
	return rc;
}

static int setup(void **state)
{
	snap = NULL;
	if (scratch_setup(state))
		return -1;
	make_folder("src", 0755);
	make_folder("src/folder", 0755);
	make_folder("store", 0700);
	return 0;
}

static int teardown(void **state)
{
	snap_destroy(snap);
	return scratch_teardown(state);
}

/* A mount of the folder NAME begins. */
static void begin(const char *name)
{
	struct snap_config config = {.wal_limit = 1 << 20, .wal_max = 64 << 20, .store = at("store")};

	assert_int_equal(snap_create(&snap, &config, NULL), 0);
	assert_int_equal(snap_add_folder(snap, at("%s", name), NULL), 0);
	assert_int_equal(snap_known_as(snap, at("%s", name), NULL), 0);
}

/* Starts it, and ends it when all that the start had to do is done. */
static void start_and_end(void)
{
	unsigned before = atomic_load(&forgets);

	assert_int_equal(snap_start(snap, NULL), 0);
	while (atomic_load(&forgets) == before)
		usleep(1000);
	snap_destroy(snap);
	snap = NULL;
}

static char *source(const char *path)
{
	return at("src/%s", path);
}

/* A mount has shown PATH a long time ago, on the file system that FOLDER (absolute) is on. */
static void remember(struct store *store, const char *path, const char *folder)
{
	int64_t then = realtime_ns() - 3 * DAY_NS;
	struct timespec times[2] = {ns_timespec(then), ns_timespec(then)};
	struct store_seen seen = {.mtime_ns = 1};
	static const char *const files[] = {"source", "seen", "gone"};
	struct stat st;

	assert_int_equal(stat(folder, &st), 0);
	seen.version.dev = st.st_dev;
	assert_int_equal(store_save_seen(store, source(path), &seen), 0);
	int fd = store_open_source(store, source(path), false, NULL);
	assert_true(fd >= 0);
	int mark = openat(fd, "gone", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(mark >= 0);
	for (size_t i = 0; i < COUNT(files); i++)
		assert_int_equal(utimensat(fd, files[i], times, 0), 0);
	close(mark);
	close(fd);
}

static bool knows(const char *path)
{
	struct store *store;
	bool is;

	assert_int_equal(store_create(&store, at("store"), NULL), 0);
	is = store_knows(store, source(path));
	store_destroy(store);
	return is;
}

static void test_what_is_gone(void **state)
{
	(void)state;
	put_database("src/there");
	put_text("src/garbage", "no database any more");
	make_link("nowhere", "src/link");
	make_link("folder", "src/led");
	put_text("src/file", "no folder any more");
	begin("src");
	static const char *const stay[] = {"there",  "garbage", "link",	     "folder-gone/db",
					   "led/db", "file/db", "../beside", "folder/other-device"};
	for (size_t i = 0; i < COUNT(stay) - 1; i++)
		remember(snap->core.store, stay[i], at("src"));
	remember(snap->core.store, stay[COUNT(stay) - 1], "/proc");
	remember(snap->core.store, "vanished", at("src"));
	remember(snap->core.store, "folder/vanished", at("src"));
	start_and_end();
	for (size_t i = 0; i < COUNT(stay); i++)
		if (!knows(stay[i]))
			fail_msg("\"%s\" is forgotten", stay[i]);
	assert_false(knows("vanished"));
	assert_false(knows("folder/vanished"));
}

/* A file system that is not mounted at the moment shows an empty folder in its place, or none. */
static void test_not_mounted(void **state)
{
	(void)state;
	mount_tmpfs("src/folder");
	put_database("src/folder/db");
	begin("src/folder");
	remember(snap->core.store, "folder/db", at("src/folder"));
	start_and_end();
	assert_true(knows("folder/db"));
	assert_int_equal(umount(source("folder")), 0);
	scratch.mount_count--;
	for (int i = 0; i < 2; i++) {
		begin(i ? "src" : "src/folder");
		start_and_end();
		assert_true(knows("folder/db"));
	}
}

/* The folder that is mounted is not the one any more that applications know by its name. */
static void test_replaced_folder(void **state)
{
	(void)state;
	begin("src");
	remember(snap->core.store, "db", at("src"));
	assert_int_equal(rename(at("src"), at("old")), 0);
	make_folder("src", 0755);
	start_and_end();
	assert_true(knows("db"));
}

static bool forgotten(const char *path)
{
	for (int i = 0; i < 10000 && knows(path); i++)
		usleep(1000);
	return !knows(path);
}

static void test_once_a_day(void **state)
{
	int64_t later;

	(void)state;
	begin("src");
	atomic_store(&snap->core.tidy_at, monotonic_ns() + DAY_NS);
	remember(snap->core.store, "db", at("src"));
	assert_int_equal(snap_start(snap, NULL), 0);
	/* The janitor asks in every round, and it is not due. */
	atomic_store(&looks, 0);
	while (atomic_load(&looks) < 3) {
		core_wake(&snap->core);
		usleep(1000);
	}
	assert_int_equal(__real_snap_tidy_store(snap, monotonic_ns() + DAY_NS / 2), 0);
	snap_destroy(snap);
	assert_true(knows("db"));
	begin("src");
	assert_int_equal(snap_start(snap, NULL), 0);
	assert_true(forgotten("db"));
	remember(snap->core.store, "db", at("src"));
	later = monotonic_ns() + DAY_NS;
	assert_int_equal(__real_snap_tidy_store(snap, later), 0);
	assert_true(forgotten("db"));
	remember(snap->core.store, "db", at("src"));
	assert_int_equal(__real_snap_tidy_store(snap, later + DAY_NS / 2), 0);
	snap_stop(snap, 0);
	assert_true(knows("db"));
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_what_is_gone),
		test(test_not_mounted),
		test(test_replaced_folder),
		test(test_once_a_day),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
