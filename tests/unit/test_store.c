/* SPDX-License-Identifier: MIT */
/* test_store.c - the store on real file systems: full ones, read-only ones, and ones that know less. */
#include "../../src/store.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "scratch.h"

#define MIB (1ull << 20)

static struct store *store;
static struct snap_err err;

static int setup(void **state)
{
	store = NULL;
	memset(&err, 0, sizeof(err));
	return scratch_setup(state);
}

static int teardown(void **state)
{
	store_destroy(store);
	return scratch_teardown(state);
}

static void open_store(const char *name)
{
	store_destroy(store);
	store = NULL;
	assert_int_equal(store_create(&store, at("%s", name), &err), 0);
}

static void mount_store(const char *options)
{
	char *path = at("store");

	make_folder("store", 0700);
	assert_int_equal(mount("test", path, "tmpfs", 0, options), 0);
	mounted(path);
	open_store("store");
}

static void make_read_only(const char *name)
{
	assert_int_equal(mount(NULL, at("%s", name), NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
}

static bool exists(const char *name)
{
	struct stat st;

	return lstat(at("%s", name), &st) == 0;
}

static int count_entries(const char *name)
{
	DIR *dir = opendir(at("%s", name));
	int n = -2;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void assert_words(const char *expected)
{
	if (!strstr(err.text, expected))
		fail_msg("\"%s\" does not say \"%s\"", err.text, expected);
}

/* ---- where
 * ---------------------------------------------------------------------------------------------------------
 */

static void set_variable(const char *name, const char *value)
{
	assert_int_equal(value ? setenv(name, value, 1) : unsetenv(name), 0);
}

static void test_default(void **state)
{
	static const struct {
		bool root;
		const char *state_dir, *xdg, *home, *expected;
	} cases[] = {
		{true, NULL, "/x", "/home/u", "/var/lib/sqlsnapfs"},
		{true, "/run/state", "/x", "/home/u", "/run/state"},
		{true, "/run/one:/run/two", NULL, NULL, "/run/one"},
		{true, "relative", NULL, NULL, "/var/lib/sqlsnapfs"},
		{true, "", NULL, NULL, "/var/lib/sqlsnapfs"},
		{false, "/run/state", "/x", "/home/u", "/run/state"},
		{false, NULL, "/x", "/home/u", "/x/sqlsnapfs"},
		{false, NULL, "relative", "/home/u", "/home/u/.local/state/sqlsnapfs"},
		{false, NULL, NULL, "/home/u", "/home/u/.local/state/sqlsnapfs"},
		{false, NULL, NULL, "/root",
		 "/nonexistent/.local/state/sqlsnapfs"}, /* as mount.fuse3 says to all */
		{false, NULL, "", "", NULL},
		{false, NULL, NULL, "relative", NULL},
		{false, NULL, NULL, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct store *s = NULL;
		int rc;

		set_variable("STATE_DIRECTORY", cases[i].state_dir);
		set_variable("XDG_STATE_HOME", cases[i].xdg);
		set_variable("HOME", cases[i].home);
		assert_int_equal(seteuid(cases[i].root ? 0 : NOBODY), 0);
		err.text[0] = '\0';
		rc = store_create(&s, NULL, &err);
		assert_int_equal(seteuid(0), 0);
		assert_int_equal(rc, cases[i].expected ? 0 : -ENOENT);
		if (cases[i].expected)
			assert_string_equal(store_dir(s), cases[i].expected);
		else
			assert_words("store=DIR");
		store_destroy(s);
	}
	store_destroy(NULL);
}

static void test_given(void **state)
{
	char *here = getcwd(NULL, 0);

	(void)state;
	assert_non_null(here);
	make_folder("real", 0755);
	make_link("real", "link");
	open_store("link");
	assert_string_equal(store_dir(store), at("real"));
	assert_int_equal(chdir(scratch.path), 0);
	store_destroy(store);
	store = NULL;
	assert_int_equal(store_create(&store, "real", NULL), 0);
	assert_string_equal(store_dir(store), at("real"));
	open_store("not/there/yet");
	assert_string_equal(store_dir(store), at("not/there/yet"));
	assert_int_equal(chdir(here), 0);
	free(here);
}

static mode_t mode_of(const char *name)
{
	struct stat st;

	assert_int_equal(lstat(at("%s", name), &st), 0);
	return st.st_mode & 07777;
}

static void test_made_when_needed(void **state)
{
	int fd;

	(void)state;
	make_folder("above", 0755);
	open_store("above/a/b/store/");
	assert_int_equal(count_entries("above"), 0);
	fd = store_spool(store, 1, &err);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(mode_of("above"), 0755);
	assert_int_equal(mode_of("above/a"), 0700);
	assert_int_equal(mode_of("above/a/b"), 0700);
	assert_int_equal(mode_of("above/a/b/store"), 0700);
	/* It may be removed below us. */
	assert_int_equal(rmdir(at("above/a/b/store")), 0);
	fd = store_spool(store, 1, &err);
	assert_true(fd >= 0);
	close(fd);
}

/* Every function fails with RC, and leaves the caller words and nothing else. */
static void assert_all_fail(int rc)
{
	struct store_seen seen = {.mtime_ns = 1};
	int fds = count_fds();
	char name[32];

	for (int i = 0; i < 3; i++) {
		memset(&err, 0, sizeof(err));
		assert_int_equal(i == 0	  ? store_spool(store, 1, &err)
				 : i == 1 ? store_make_folder(store, name, &err)
					  : store_save_seen(store, "/db", &seen, &err),
				 rc);
		assert_words(store_dir(store));
		assert_words(strerror(-rc));
	}
	assert_int_equal(store_spool(store, 1, NULL), rc);
	store_drop_folder(store, "x");
	assert_int_equal(count_fds(), fds);
}

static void test_cannot_be_made(void **state)
{
	struct store *none = NULL;

	(void)state;
	put_text("file", "x");
	open_store("file");
	assert_all_fail(-ENOTDIR);
	assert_int_equal(store_create(&none, at("file/below"), &err), -ENOTDIR);
	assert_words("file/below");
	assert_int_equal(store_create(&none, "not/absolute", &err), -ENOENT);
	assert_null(none);
	make_link("nowhere", "dangling");
	open_store("dangling");
	assert_all_fail(-ENOENT);
	make_folder("ro", 0755);
	mount_tmpfs("ro");
	make_read_only("ro");
	open_store("ro/store");
	assert_all_fail(-EROFS);
	assert_words("store=DIR");
	make_folder("closed", 0700);
	open_store("closed/store");
	become(NOBODY);
	assert_all_fail(-EACCES);
}

/* ---- spools ----------------------------------------------------------------------------------------- */

/* 0 when FD is what was promised. */
static int check_spool(int fd)
{
	struct stat st;
	char byte = 0;

	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_nlink != 0 || st.st_size != 0)
		return 1;
	if ((st.st_mode & 07777) != 0600 || !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
		return 2;
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR || pwrite(fd, "abc", 3, 100) != 3 ||
	    pread(fd, &byte, 1, 101) != 1 || byte != 'b')
		return 3;
	return 0;
}

static void test_spool(void **state)
{
	int a, b;

	(void)state;
	open_store("store");
	a = store_spool(store, 4096, &err);
	b = store_spool(store, 0, &err);
	assert_int_equal(check_spool(a), 0);
	assert_int_equal(check_spool(b), 0);
	assert_int_equal(count_entries("store"), 0);
	close(a);
	close(b);
}

/* From now on O_TMPFILE is answered as by a file system that does not have it. */
static int forget_tmpfile(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[2]) + (__BYTE_ORDER == __BIG_ENDIAN ? 4 : 0)),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_TMPFILE & ~O_DIRECTORY, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

static int spool_without_tmpfile(void)
{
	int fd;

	if (forget_tmpfile())
		return 90;
	fd = openat(AT_FDCWD, scratch.path, O_TMPFILE | O_RDWR, 0600);
	if (fd >= 0 || errno != EOPNOTSUPP)
		return 91;
	fd = store_spool(store, 4096, NULL);
	return check_spool(fd);
}

/* In a child, whose exit status FN's answer is. */
static int in_child(int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_spool_by_name(void **state)
{
	(void)state;
	open_store("store");
	assert_int_equal(in_child(spool_without_tmpfile), 0);
	assert_int_equal(count_entries("store"), 0);
}

static uint64_t room(void)
{
	struct statvfs vfs;

	assert_int_equal(statvfs(store_dir(store), &vfs), 0);
	return (uint64_t)vfs.f_bavail * vfs.f_frsize;
}

static void test_spool_needs_room(void **state)
{
	int fd;

	(void)state;
	mount_store("size=20m,mode=700");
	fd = store_spool(store, 1, &err);
	assert_int_equal(check_spool(fd), 0);
	close(fd);
	/* To the byte. */
	fd = store_spool(store, room() - STORE_RESERVE, &err);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(store_spool(store, room() - STORE_RESERVE + 1, &err), -ENOSPC);
	assert_words(store_dir(store));
	assert_words("20 MiB free");
	assert_words("store=DIR");
	assert_int_equal(store_spool(store, 100 * MIB, &err), -ENOSPC);
	assert_words("needs 116 MiB");
	assert_int_equal(store_spool(store, 100 * MIB, NULL), -ENOSPC);
	assert_int_equal(count_entries("store"), 0);
	/* What others have taken since counts, and what they gave back. */
	fd = store_spool(store, 4 * MIB, &err);
	assert_int_equal(posix_fallocate(fd, 0, 3 * (off_t)MIB), 0);
	assert_int_equal(store_spool(store, 2 * MIB, &err), -ENOSPC);
	close(fd);
	fd = store_spool(store, 2 * MIB, &err);
	assert_true(fd >= 0);
	close(fd);
}

/* ---- folders ---------------------------------------------------------------------------------------- */

static int make_work_folder(char name[32])
{
	int fd = store_make_folder(store, name, &err);
	struct stat st;

	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	assert_true(exists("store") && strlen(name) < 32 && !strchr(name, '/'));
	return fd;
}

static void put_into(int folder, const char *name)
{
	int fd = openat(folder, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
}

static void test_folders(void **state)
{
	char a[32], b[32], file[32];
	int fds = count_fds(), fd_a, fd_b;

	(void)state;
	open_store("store");
	fd_a = make_work_folder(a);
	fd_b = make_work_folder(b);
	assert_string_not_equal(a, b);
	for (int i = 0; i < 100; i++) {
		snprintf(file, sizeof(file), "%s%d", i ? "f" : ".f", i);
		put_into(fd_a, file);
	}
	put_into(fd_b, "f");
	close(fd_a);
	store_drop_folder(store, a);
	assert_int_equal(count_entries("store"), 1);
	assert_int_equal(faccessat(fd_b, "f", F_OK, 0), 0);
	/* It may be open still. */
	store_drop_folder(store, b);
	store_drop_folder(store, b);
	assert_int_equal(count_entries("store"), 0);
	close(fd_b);
	assert_int_equal(count_fds(), fds);
}

static void test_drop_follows_no_link(void **state)
{
	(void)state;
	make_folder("store", 0700);
	make_folder("precious", 0700);
	put_text("precious/file", "x");
	make_link("../precious", "store/link");
	open_store("store");
	store_drop_folder(store, "link");
	assert_true(exists("precious/file"));
}

/* ---- what was shown last ---------------------------------------------------------------------------- */

/* Any one; N tells them apart. */
static struct store_seen make_seen(int64_t n)
{
	struct store_seen seen;

	memset(&seen, 0, sizeof(seen));
	seen.version.dev = 10;
	seen.version.ino = (uint64_t)n;
	seen.version.has_counters = true;
	memset(seen.version.counters, (int)n, sizeof(seen.version.counters));
	seen.version.db = (struct version_stat){(uint64_t)n * 4096, n + 1, n + 2};
	seen.version.wal = (struct version_stat){(uint64_t)n, n + 3, n + 4};
	seen.version.seen_ns = n + 5;
	seen.mtime_ns = n + 6;
	return seen;
}

static bool same_seen(const struct store_seen *a, const struct store_seen *b)
{
	return a->version.dev == b->version.dev && a->version.ino == b->version.ino &&
	       a->version.has_counters == b->version.has_counters &&
	       memcmp(a->version.counters, b->version.counters, sizeof(a->version.counters)) == 0 &&
	       memcmp(&a->version.db, &b->version.db, sizeof(a->version.db)) == 0 &&
	       memcmp(&a->version.wal, &b->version.wal, sizeof(a->version.wal)) == 0 &&
	       a->version.seen_ns == b->version.seen_ns && a->mtime_ns == b->mtime_ns;
}

static void save(const char *source, int64_t n)
{
	struct store_seen seen = make_seen(n);

	assert_int_equal(store_save_seen(store, source, &seen, &err), 0);
}

static void assert_seen(const char *source, int64_t n)
{
	struct store_seen expected = make_seen(n), seen;

	assert_int_equal(store_load_seen(store, source, &seen), 0);
	assert_true(same_seen(&seen, &expected));
}

static void test_seen(void **state)
{
	struct store_seen seen;
	char longest[PATH_MAX];

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	open_store("store");
	assert_int_equal(store_load_seen(store, "/srv/db", &seen), -ENOENT);
	assert_false(exists("store")); /* looking makes nothing */
	save("/srv/db", 1);
	assert_int_equal(store_load_seen(store, "/srv/db2", &seen), -ENOENT);
	save("/srv/db2", 2);
	save("/srv/d/b", 3);
	save(longest, 4);
	assert_seen("/srv/db", 1);
	assert_seen("/srv/db2", 2);
	assert_seen("/srv/d/b", 3);
	assert_seen(longest, 4);
	save("/srv/db", 5);
	assert_seen("/srv/db", 5);
	assert_seen("/srv/db2", 2);
	assert_int_equal(count_entries("store"), 4); /* one folder for each source */
	/* Another daemon, or the next one. */
	open_store("store");
	assert_seen("/srv/db", 5);
}

/* Incarnations are numbers of one process; the header stays, as evidence. */
static void test_seen_across_processes(void **state)
{
	struct store_seen seen = make_seen(1), loaded;

	(void)state;
	open_store("store");
	seen.version.incarnation = 7;
	seen.version.has_header = true;
	memset(seen.version.header, 1, sizeof(seen.version.header));
	assert_int_equal(store_save_seen(store, "/db", &seen, &err), 0);
	assert_int_equal(store_load_seen(store, "/db", &loaded), 0);
	assert_int_equal(loaded.version.incarnation, 0);
	assert_true(loaded.version.has_header);
	seen.version.incarnation = 0;
	assert_true(same_seen(&seen, &loaded));
}

/* The file that the one source of this store has. */
static char *seen_file(void)
{
	DIR *dir = opendir(at("store"));
	struct dirent *e;
	char *path = NULL;

	assert_non_null(dir);
	while ((e = readdir(dir)) != NULL) {
		if (e->d_name[0] != '.')
			path = at("store/%s/seen", e->d_name);
	}
	closedir(dir);
	assert_non_null(path);
	return path;
}

#define SEEN_PADDING 7 /* behind the magic's 17 bytes */

static void test_seen_garbage(void **state)
{
	struct store_seen seen;
	char *path;
	int fd;

	(void)state;
	open_store("store");
	save("/db", 1);
	path = seen_file();
	assert_int_equal(truncate(path, 20), 0);
	assert_int_equal(store_load_seen(store, "/db", &seen), -ENOENT);
	assert_int_equal(truncate(path, 1000), 0);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "sqlsnapfs seen 9\n", 17, 0), 17);
	close(fd);
	assert_int_equal(store_load_seen(store, "/db", &seen), -ENOENT);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(store_load_seen(store, "/db", &seen), -ENOENT);
	/* What no program writes into a bool is not taken for one. */
	save("/db", 1);
	path = seen_file();
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "\4", 1,
				(off_t)(strlen("sqlsnapfs seen 1\n") +
					offsetof(struct store_seen, version.has_header) + SEEN_PADDING)),
			 1);
	close(fd);
	assert_int_equal(store_load_seen(store, "/db", &seen), -ENOENT);
	/* Nobody waits for somebody to write to a fifo. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(store_load_seen(store, "/db", &seen), -ENOENT);
	/* A link is not followed, and the next save puts a file in its place. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_true(store_load_seen(store, "/db", &seen) < 0);
	save("/db", 2);
	assert_seen("/db", 2);
}

/* ---- a save that fails: the old one stays, and nothing else does ------------------------------------ */

static void test_save_read_only(void **state)
{
	struct store_seen seen = make_seen(2);

	(void)state;
	mount_store("size=32m,mode=700"); /* there would be room */
	save("/db", 1);
	make_read_only("store");
	assert_all_fail(-EROFS);
	assert_int_equal(store_save_seen(store, "/other", &seen, &err), -EROFS);
	assert_seen("/db", 1);
}

/* In the folder of the one source stand its path and what was seen. */
static void assert_nothing_else(void)
{
	char folder[64];
	char *path = seen_file();

	*strrchr(path, '/') = '\0';
	snprintf(folder, sizeof(folder), "%s", path + strlen(scratch.path) + 1);
	assert_int_equal(count_entries(folder), 2);
	assert_int_equal(access(at("%s/source", folder), F_OK), 0);
	assert_int_equal(access(at("%s/seen", folder), F_OK), 0);
}

static void test_save_without_room(void **state)
{
	struct store_seen seen = make_seen(2);
	char zeros[4096] = "";
	int fd;

	(void)state;
	mount_store("size=64k,mode=700");
	save("/db", 1);
	fd = openat(AT_FDCWD, at("store/fill"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	close(fd);
	assert_int_equal(store_save_seen(store, "/db", &seen, &err), -ENOSPC);
	assert_words(strerror(ENOSPC));
	assert_int_equal(unlink(at("store/fill")), 0);
	assert_seen("/db", 1);
	assert_nothing_else();
	save("/db", 2);
	assert_seen("/db", 2);
}

/* A write that is cut short is a failure too, whatever errno said before. */
static int save_cut_short(void)
{
	struct rlimit limit = {.rlim_cur = 40, .rlim_max = 40};
	struct store_seen seen = make_seen(2);
	int rc;

	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit))
		return 255;
	rc = store_save_seen(store, "/db", &seen, NULL);
	return rc > 0 ? 254 : -rc;
}

static void test_save_cut_short(void **state)
{
	(void)state;
	open_store("store");
	save("/db", 1);
	assert_int_equal(in_child(save_cut_short), ENOSPC);
	assert_seen("/db", 1);
	assert_nothing_else();
}

/* ---- several at once -------------------------------------------------------------------------------- */

#define SAVERS 3

static atomic_bool enough;
static atomic_int failures, loads;

static void *keep_saving(void *arg)
{
	int64_t n = *(int *)arg;

	while (!atomic_load(&enough)) {
		struct store_seen seen = make_seen(n);

		if (store_save_seen(store, "/db", &seen, NULL))
			atomic_fetch_add(&failures, 1);
		n += SAVERS;
	}
	return NULL;
}

static void *keep_loading(void *arg)
{
	(void)arg;
	while (atomic_load(&loads) < 5000) {
		struct store_seen seen, expected;

		if (store_load_seen(store, "/db", &seen))
			atomic_fetch_add(&failures, 1);
		expected = make_seen(seen.mtime_ns - 6);
		if (!same_seen(&seen, &expected))
			atomic_fetch_add(&failures, 1);
		atomic_fetch_add(&loads, 1);
	}
	atomic_store(&enough, true);
	return NULL;
}

/* A reader finds the file whole. */
static void test_whole_or_not_at_all(void **state)
{
	pthread_t savers[SAVERS], loader;
	int from[SAVERS];

	(void)state;
	open_store("store");
	save("/db", 1);
	for (int i = 0; i < SAVERS; i++) {
		from[i] = i + 1;
		assert_int_equal(pthread_create(&savers[i], NULL, keep_saving, &from[i]), 0);
	}
	assert_int_equal(pthread_create(&loader, NULL, keep_loading, NULL), 0);
	assert_int_equal(pthread_join(loader, NULL), 0);
	for (int i = 0; i < SAVERS; i++)
		assert_int_equal(pthread_join(savers[i], NULL), 0);
	assert_int_equal(atomic_load(&failures), 0);
	assert_nothing_else();
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_default),
		test(test_given),
		test(test_made_when_needed),
		test(test_cannot_be_made),
		test(test_spool),
		test(test_spool_by_name),
		test(test_spool_needs_room),
		test(test_folders),
		test(test_drop_follows_no_link),
		test(test_seen),
		test(test_seen_across_processes),
		test(test_seen_garbage),
		test(test_save_read_only),
		test(test_save_without_room),
		test(test_save_cut_short),
		test(test_whole_or_not_at_all),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
