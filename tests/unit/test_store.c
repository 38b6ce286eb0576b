/* SPDX-License-Identifier: MIT */
/* test_store.c - where the store is, and spools and folders in it. */
#include "stores.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#define MIB (1ull << 20)

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
	assert_int_equal(entries_in("above"), 0);
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
	assert_int_equal(store_check(store, &err), -EROFS);
	make_folder("closed", 0700);
	open_store("closed/store");
	assert_int_equal(store_check(store, &err), 0);
	open_store("closed/a/b/store");
	assert_int_equal(store_check(store, &err), 0);
	store_destroy(store);
	assert_int_equal(store_create(&store, "/sqlsnapfs-test-nothing", &err), 0);
	assert_int_equal(store_check(store, &err), 0);
	become(NOBODY);
	assert_all_fail(-EACCES);
	assert_int_equal(store_check(store, &err), -EACCES);
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
	assert_int_equal(entries_in("store"), 0);
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

static void test_spool_by_name(void **state)
{
	(void)state;
	open_store("store");
	assert_int_equal(in_child(spool_without_tmpfile), 0);
	assert_int_equal(entries_in("store"), 0);
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
	assert_int_equal(entries_in("store"), 0);
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
	assert_int_equal(entries_in("store"), 1);
	assert_int_equal(faccessat(fd_b, "f", F_OK, 0), 0);
	/* It may be open still. */
	store_drop_folder(store, b);
	store_drop_folder(store, b);
	assert_int_equal(entries_in("store"), 0);
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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_default),	     test(test_given),	 test(test_made_when_needed),
		test(test_cannot_be_made),   test(test_spool),	 test(test_spool_by_name),
		test(test_spool_needs_room), test(test_folders), test(test_drop_follows_no_link),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
