/* SPDX-License-Identifier: MIT */
/* test_rawfd.c - real descriptors and real POSIX locks: what a close drops, and when it happens. */
#include "rawfd_file.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

static void test_descriptor(void **state)
{
	struct rawfd raw = open_file();
	char bytes[8] = "";

	(void)state;
	assert_int_equal(pread(raw.fd, bytes, 7, 0), 7);
	assert_string_equal(bytes, "content");
	assert_int_equal(fcntl(raw.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fcntl(raw.fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
	rawfd_close(f.table, &raw);
	assert_int_equal(raw.fd, -1);
	rawfd_close(f.table, &raw); /* nothing more to close */
}

static void test_access_time_stays(void **state)
{
	struct timespec times[2] = {{.tv_sec = 1000000}, {.tv_nsec = UTIME_OMIT}};
	struct stat st;
	struct rawfd raw;
	char byte;

	(void)state;
	assert_int_equal(futimens(f.file, times), 0);
	raw = open_file();
	assert_int_equal(pread(raw.fd, &byte, 1, 0), 1);
	rawfd_close(f.table, &raw);
	assert_int_equal(fstat(f.file, &st), 0);
	assert_int_equal(st.st_atim.tv_sec, 1000000);
}

/* Whoever holds a lease on his file keeps nobody waiting for the 45 s that he has to give it up. */
static void test_lease(void **state)
{
	struct rawfd raw = RAWFD_INIT;
	struct timespec began, ended;

	(void)state;
	close(f.second); /* a lease is for the only descriptor */
	f.second = -1;
	assert_true(signal(SIGIO, SIG_IGN) != SIG_ERR);
	assert_int_equal(fcntl(f.file, F_SETLEASE, F_WRLCK), 0);
	clock_gettime(CLOCK_MONOTONIC, &began);
	assert_int_equal(rawfd_open(f.table, f.root, "file", &raw, NULL), -EAGAIN);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	assert_true(ended.tv_sec - began.tv_sec < 30);
	assert_int_equal(fcntl(f.file, F_SETLEASE, F_UNLCK), 0);
	assert_int_equal(rawfd_open(f.table, f.root, "file", &raw, NULL), 0);
	rawfd_close(f.table, &raw);
}

/* Somebody who does not own the file reads it all the same, with the mark that this leaves. */
static void test_not_the_owner(void **state)
{
	struct rawfd raw;

	(void)state;
	become(NOBODY);
	raw = open_file();
	rawfd_close(f.table, &raw);
}

static void test_refused(void **state)
{
	static const struct {
		const char *path;
		int code;
	} cases[] = {
		{"fifo", -EINVAL}, {"socket", -EINVAL}, {"device", -EINVAL},  {"folder", -EINVAL},
		{"link", -EINVAL}, {"none", -ENOENT},	{"file/x", -ENOTDIR}, {"linked/x", -ELOOP},
	};
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int before;

	(void)state;
	assert_int_equal(mkfifo(at("fifo"), 0600), 0);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", at("socket"));
	assert_int_equal(bind(sock, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(mknod(at("device"), S_IFCHR | 0600, makedev(1, 3)), 0);
	make_folder("folder", 0755);
	make_link("file", "link");
	make_link("folder", "linked");
	before = count_fds();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rawfd raw = RAWFD_INIT;
		int rc = rawfd_open(f.table, f.root, cases[i].path, &raw, NULL);

		if (rc != cases[i].code)
			fail_msg("%s: %d instead of %d", cases[i].path, rc, cases[i].code);
		assert_int_equal(raw.fd, -1);
	}
	assert_int_equal(count_fds(), before);
	close(sock);
}

/* The trap itself, so that the tests below are known to see it. */
static void test_plain_close_drops_locks(void **state)
{
	struct rawfd raw = open_file();

	(void)state;
	lock();
	assert_true(is_locked());
	rawfd_close(f.table, &raw);
	assert_false(is_locked());
}

static void test_close_waits_for_connection(void **state)
{
	int before = count_fds();
	struct rawfd early = open_file(), late;

	(void)state;
	assert_false(rawfd_connected(f.table, f.st.st_dev, f.st.st_ino));
	connect_file();
	connect_file();
	assert_true(rawfd_connected(f.table, f.st.st_dev, f.st.st_ino));
	assert_false(rawfd_connected(f.table, f.st.st_dev, f.st.st_ino + 1));
	assert_false(rawfd_connected(f.table, f.st.st_dev + 1, f.st.st_ino));
	lock();
	late = open_file();
	rawfd_close(f.table, &early);
	rawfd_close(f.table, &late);
	assert_true(is_locked());
	assert_int_equal(count_fds(), before + 3); /* and the one that holds the inode */
	disconnect_file();
	assert_true(is_locked());
	assert_int_equal(count_fds(), before + 3);
	disconnect_file();
	assert_int_equal(count_fds(), before);
	assert_false(rawfd_connected(f.table, f.st.st_dev, f.st.st_ino));
	disconnect_file(); /* one too many does no harm */
}

/* However often it is opened while it is connected, there are as many descriptors as were in use at once. */
static void test_put_off_serves_again(void **state)
{
	struct rawfd first, second, other = RAWFD_INIT;
	int before = count_fds();
	char byte;

	(void)state;
	connect_file();
	lock();
	for (int i = 0; i < 20; i++) {
		first = open_file();
		second = open_file();
		assert_int_not_equal(first.fd, second.fd);
		assert_int_equal(count_fds(), before + 1 + 2);
		rawfd_close(f.table, &first);
		assert_int_equal(pread(second.fd, &byte, 1, 0), 1);
		rawfd_close(f.table, &second);
		assert_int_equal(count_fds(), before + 1 + 2);
	}
	assert_true(is_locked());
	put_text("new", "replace"); /* another inode's: it is no descriptor for that */
	assert_int_equal(rename(at("new"), at("file")), 0);
	assert_int_equal(rawfd_open(f.table, f.root, "file", &other, NULL), 0);
	assert_int_not_equal(other.ino, f.st.st_ino);
	assert_int_equal(pread(other.fd, &byte, 1, 0), 1);
	assert_int_equal(byte, 'r');
	rawfd_close(f.table, &other);
	assert_int_equal(count_fds(), before + 1 + 2);
	disconnect_file();
	assert_int_equal(count_fds(), before);
}

/* Whether a file takes O_DIRECT is asked of a descriptor that may have to serve others afterwards. */
static void test_asked_for_direct(void **state)
{
	struct rawfd raw;
	int flags;

	(void)state;
	connect_file();
	raw = open_file();
	flags = fcntl(raw.fd, F_GETFL);
	rawfd_close(f.table, &raw);
	for (int i = 0; i < 3; i++) {
		rawfd_takes_direct(f.table, f.second);
		raw = open_file();
		assert_int_equal(fcntl(raw.fd, F_GETFL), flags);
		rawfd_close(f.table, &raw);
	}
	disconnect_file();
}

static void test_other_inodes_close_at_once(void **state)
{
	struct rawfd raw = RAWFD_INIT;
	int before = count_fds();

	(void)state;
	put_text("other", "x");
	connect_file();
	assert_int_equal(rawfd_open(f.table, f.root, "other", &raw, NULL), 0);
	rawfd_close(f.table, &raw);
	assert_int_equal(count_fds(), before + 1);
	disconnect_file();
}

/* A name may get another inode; what was opened stays what it was. */
static void test_replaced_file(void **state)
{
	struct rawfd raw = open_file();

	(void)state;
	connect_file();
	lock();
	put_text("new", "x");
	assert_int_equal(rename(at("new"), at("file")), 0);
	rawfd_close(f.table, &raw);
	assert_true(is_locked());
	disconnect_file();
}

static void test_destroy_closes(void **state)
{
	struct rawfd_table *table;
	struct rawfd raw = RAWFD_INIT;
	int before = count_fds();

	(void)state;
	assert_int_equal(rawfd_table_create(&table), 0);
	assert_int_equal(rawfd_open(table, f.root, "file", &raw, NULL), 0);
	assert_int_equal(rawfd_connect(table, f.root, "file", raw.dev, raw.ino), 0);
	rawfd_close(table, &raw);
	assert_int_equal(count_fds(), before + 2);
	rawfd_table_destroy(table);
	assert_int_equal(count_fds(), before);
	rawfd_table_destroy(NULL);
}

static void test_many_connections(void **state)
{
	enum { FILES = 300 };
	struct stat st[FILES];

	(void)state;
	for (int i = 0; i < FILES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "many-%d", i);
		put_text(name, "");
		assert_int_equal(stat(at("%s", name), &st[i]), 0);
		assert_int_equal(rawfd_connect(f.table, f.root, name, st[i].st_dev, st[i].st_ino), 0);
	}
	for (int i = 0; i < FILES; i += 2)
		rawfd_disconnect(f.table, st[i].st_dev, st[i].st_ino);
	for (int i = 0; i < FILES; i++)
		assert_int_equal(rawfd_connected(f.table, st[i].st_dev, st[i].st_ino), i % 2);
}

static void test_connect_another(void **state)
{
	int before = count_fds();

	(void)state;
	put_text("other", "");
	assert_int_equal(rawfd_connect(f.table, f.root, "other", f.st.st_dev, f.st.st_ino), -ESTALE);
	assert_int_equal(rawfd_connect(f.table, f.root, "none", f.st.st_dev, f.st.st_ino), -ESTALE);
	assert_false(rawfd_connected(f.table, f.st.st_dev, f.st.st_ino));
	assert_int_equal(count_fds(), before);
}

/* The next file would get the number of the last one that was deleted, on ext4 and xfs, and be taken for it.
 */
static void test_number_stays(void **state)
{
	enum { FILES = 200 };
	struct stat db, st;

	(void)state;
	put_text("deleted", "");
	assert_int_equal(stat(at("deleted"), &db), 0);
	assert_int_equal(rawfd_connect(f.table, f.root, "deleted", db.st_dev, db.st_ino), 0);
	assert_int_equal(unlink(at("deleted")), 0);
	for (int i = 0; i < FILES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "db-%d", i);
		put_text(name, "");
		assert_int_equal(stat(at("%s", name), &st), 0);
		assert_int_not_equal(st.st_ino, db.st_ino);
	}
	assert_true(rawfd_connected(f.table, db.st_dev, db.st_ino));
	rawfd_disconnect(f.table, db.st_dev, db.st_ino);
	assert_false(rawfd_connected(f.table, db.st_dev, db.st_ino));
}

/* ---- threads ------------------------------------------------------------------------------------------- */

static void test_closes_beside_connections(void **state)
{
	(void)state;
	check_closes_beside(connect_file, disconnect_file);
}

/* All begin with one inode at once: it is held by one descriptor, and gone when the last has ended. */
static void *connect_and_disconnect(void *arg)
{
	(void)arg;
	for (int i = 0; i < 1000; i++) {
		if (rawfd_connect(f.table, f.root, "file", f.st.st_dev, f.st.st_ino))
			atomic_fetch_add(&failures, 1);
		if (!rawfd_connected(f.table, f.st.st_dev, f.st.st_ino))
			atomic_fetch_add(&failures, 1);
		rawfd_disconnect(f.table, f.st.st_dev, f.st.st_ino);
	}
	return NULL;
}

static void test_connections_beside_each_other(void **state)
{
	pthread_t threads[3];
	int before = count_fds();

	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, connect_and_disconnect, NULL), 0);
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&failures), 0);
	assert_false(rawfd_connected(f.table, f.st.st_dev, f.st.st_ino));
	assert_int_equal(count_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RAWFD_TEST(test_descriptor),
		RAWFD_TEST(test_access_time_stays),
		RAWFD_TEST(test_lease),
		RAWFD_TEST(test_not_the_owner),
		RAWFD_TEST(test_refused),
		RAWFD_TEST(test_plain_close_drops_locks),
		RAWFD_TEST(test_close_waits_for_connection),
		RAWFD_TEST(test_put_off_serves_again),
		RAWFD_TEST(test_asked_for_direct),
		RAWFD_TEST(test_other_inodes_close_at_once),
		RAWFD_TEST(test_replaced_file),
		RAWFD_TEST(test_destroy_closes),
		RAWFD_TEST(test_many_connections),
		RAWFD_TEST(test_connect_another),
		RAWFD_TEST(test_number_stays),
		RAWFD_TEST(test_closes_beside_connections),
		RAWFD_TEST(test_connections_beside_each_other),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
