/* SPDX-License-Identifier: MIT */
/*
 * test_sniff.c - which files are databases, and when the answer is remembered. A file that may no longer be
 * read tells the two apart: what is remembered is still known of it, what would have to be read is not.
 */
#include "../../src/sniff.h"

#include <pthread.h>
#include <sys/resource.h>

#include "../../src/version.h"
#include "scratch.h"
#include "syscalls.h"

static struct rawfd_table *table;
static struct sniff *sniff;

static int setup(void **state)
{
	return scratch_setup(state) || rawfd_table_create(&table) || sniff_create(&sniff, table);
}

static int teardown(void **state)
{
	sniff_destroy(sniff);
	rawfd_table_destroy(table);
	return scratch_teardown(state);
}

static struct sniffed look(const char *name, struct stat *st)
{
	int fd = open(at("%s", name), O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct sniffed found = {0};

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, st), 0);
	assert_int_equal(sniff_look(sniff, fd, st, &found), 0);
	close(fd);
	return found;
}

static bool is_database(const char *name)
{
	struct stat st;

	return look(name, &st).database;
}

static void test_content(void **state)
{
	uint8_t page[512], odd[512];
	struct stat st;
	struct sniffed found;

	(void)state;
	database_bytes(page, 42);
	memcpy(odd, page, sizeof(odd));
	odd[16] = 3; /* no power of two */
	put("db", page, sizeof(page));
	put("odd", odd, sizeof(odd));
	put("head", page, 100);
	put("short", page, 99);
	put("empty", page, 0);
	page[0] = 's';
	put("plain", page, sizeof(page));

	found = look("db", &st);
	assert_true(found.database);
	assert_true(found.has_header);
	assert_int_equal(found.header.user_version, 42);
	assert_int_equal(found.header.page_size, 512);
	found = look("odd", &st);
	assert_true(found.database);
	assert_false(found.has_header);
	assert_true(is_database("head"));
	assert_false(is_database("short"));
	assert_false(is_database("empty"));
	assert_false(is_database("plain"));
}

static void test_unreadable_is_plain(void **state)
{
	(void)state;
	put_database("db");
	put_database("secret");
	assert_int_equal(chmod(at("secret"), 0600), 0);
	become(NOBODY);
	assert_true(is_database("db"));
	assert_false(is_database("secret"));
}

static void test_remembered(void **state)
{
	struct stat st;

	(void)state;
	put_database("db");
	put_text("plain",
		 "no database at all, and longer than the hundred bytes that a header has, so that it is read"
		 " and is remembered too");
	assert_int_equal(chmod(at("db"), 0600), 0);
	let_age("db");
	assert_true(is_database("db"));
	assert_false(is_database("plain"));
	become(NOBODY);
	assert_true(is_database("db"));
	assert_true(look("db", &st).has_header);
	assert_false(is_database("plain"));
}

/* Times that a change could still hide behind are not trusted; a time to come is such a one for ever. */
static void test_young_is_read_again(void **state)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {0}};

	(void)state;
	put_database("db");
	assert_int_equal(chmod(at("db"), 0600), 0);
	clock_gettime(CLOCK_REALTIME, &times[1]);
	times[1].tv_sec += 3600;
	assert_int_equal(utimensat(AT_FDCWD, at("db"), times, 0), 0);
	let_age("db");
	assert_true(is_database("db"));
	become(NOBODY);
	assert_false(is_database("db"));
}

static void test_changed_is_read_again(void **state)
{
	uint8_t page[512];
	struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct stat st;

	(void)state;
	database_bytes(page, 1);
	put("db", page, sizeof(page));
	assert_int_equal(utimensat(AT_FDCWD, at("db"), times, 0), 0);
	let_age("db");
	assert_int_equal(look("db", &st).header.user_version, 1);
	/* The same size, and a program sets the same mtime: ctime tells. */
	database_bytes(page, 2);
	put("db", page, sizeof(page));
	assert_int_equal(utimensat(AT_FDCWD, at("db"), times, 0), 0);
	assert_int_equal(look("db", &st).header.user_version, 2);
	page[0] = 0;
	put("db", page, sizeof(page));
	assert_false(look("db", &st).database);
}

static void test_connected_is_not_touched(void **state)
{
	struct stat st;
	struct sniffed found;

	(void)state;
	put_text("db", "");
	put_database("known");
	let_age("known");
	found = look("known", &st);
	assert_true(found.has_header);
	assert_int_equal(rawfd_connect(table, AT_FDCWD, at("known"), st.st_dev, st.st_ino), 0);
	found = look("known", &st);
	assert_true(found.database);
	assert_true(found.has_header);
	rawfd_disconnect(table, st.st_dev, st.st_ino);

	assert_false(look("db", &st).database);
	assert_int_equal(rawfd_connect(table, AT_FDCWD, at("db"), st.st_dev, st.st_ino), 0);
	found = look("db", &st);
	assert_true(found.database);
	assert_false(found.has_header);
	put_database("db");
	found = look("db", &st);
	assert_true(found.database);
	assert_false(found.has_header);
	rawfd_disconnect(table, st.st_dev, st.st_ino);
	assert_true(look("db", &st).has_header);
}

/* A -shm that SQLite has open is none, whatever is in it; a file that merely has such a name may be one. */
static void test_shm_is_no_database(void **state)
{
	struct stat st;
	int fd;

	(void)state;
	put_database("db-shm");
	let_age("db-shm");
	assert_true(look("db-shm", &st).database);
	fd = open(at("db-shm"), O_RDWR | O_CLOEXEC);
	assert_int_equal(rawfd_shm_opened(fd), 0);
	assert_false(look("db-shm", &st).database);
	/* Unless a connection has it open as its database: its raw bytes are nobody's. */
	assert_int_equal(rawfd_connect(table, AT_FDCWD, at("db-shm"), st.st_dev, st.st_ino), 0);
	assert_true(look("db-shm", &st).database);
	rawfd_disconnect(table, st.st_dev, st.st_ino);
	assert_false(look("db-shm", &st).database);
	assert_int_equal(rawfd_shm_close(fd), 0);
	assert_true(look("db-shm", &st).database);
}

/* More files than the tables of headers have room for: answers push each other out and are never mixed up. */
static void test_crowded(void **state)
{
	enum { FILES = 5000 };
	uint8_t page[512];
	struct stat st;
	char name[16];

	(void)state;
	for (unsigned i = 0; i < FILES; i++) {
		database_bytes(page, (uint8_t)(i % 251));
		snprintf(name, sizeof(name), "%u", i);
		put(name, page, i % 7 == 0 ? 99 : 100);
	}
	let_age(name);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < FILES; i++) {
			struct sniffed found;

			snprintf(name, sizeof(name), "%u", i);
			found = look(name, &st);
			assert_int_equal(found.database, i % 7 != 0);
			assert_int_equal(found.has_header, i % 7 != 0);
			if (found.has_header)
				assert_int_equal(found.header.user_version, i % 251);
		}
	}
}

static void test_out_of_descriptors(void **state)
{
	struct sniffed found;
	struct stat st;
	struct rlimit usual, few;
	int fds[64], count = 0, fd;

	(void)state;
	put_database("db");
	fd = open(at("db"), O_PATH | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
	few = (struct rlimit){.rlim_cur = 64, .rlim_max = usual.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	while (count < 64 && (fds[count] = dup(fd)) >= 0)
		count++;
	assert_int_equal(sniff_look(sniff, fd, &st, &found), -EMFILE);
	while (count > 0)
		close(fds[--count]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
	assert_int_equal(sniff_look(sniff, fd, &st, &found), 0);
	assert_true(found.database);
	close(fd);
}

static void *look_often(void *arg)
{
	bool *right = arg;

	*right = true;
	for (unsigned i = 0; i < 2000; i++) {
		struct sniffed found = {0};
		struct stat st;
		char path[64];
		int fd;

		snprintf(path, sizeof(path), "%s/%u", scratch.path, i % 16);
		fd = open(path, O_PATH | O_CLOEXEC);
		if (fstat(fd, &st) || sniff_look(sniff, fd, &st, &found) || !found.has_header ||
		    found.header.user_version != i % 16)
			*right = false;
		close(fd);
	}
	return NULL;
}

struct sight {
	int fd;
	struct stat st;
	struct sniffed found;
};

static int look_again(void *arg)
{
	struct sight *sight = arg;

	return sniff_look(sniff, sight->fd, &sight->st, &sight->found);
}

/* A disk that does not tell makes no plain file of a database: nobody would be kept off its raw bytes. */
static void test_unknown_is_not_plain(void **state)
{
	unsigned n = 0, unknown = 0;
	struct sight sight;
	bool failed;
	int rc;

	(void)state;
	put_database("db");
	sight.fd = open(at("db"), O_PATH | O_NOFOLLOW | O_CLOEXEC);
	assert_int_equal(fstat(sight.fd, &sight.st), 0);
	do {
		sight.found = (struct sniffed){0};
		failed = run_failing(++n, EIO, look_again, &sight, &rc);
		if (rc == 0)
			assert_true(sight.found.database);
		else
			assert_int_equal(rc, -EIO);
		unknown += rc != 0;
	} while (failed);
	assert_int_equal(rc, 0);
	assert_true(unknown > 0);
	close(sight.fd);
}

static void test_threads(void **state)
{
	pthread_t threads[4];
	bool right[4];
	uint8_t page[512];
	char name[16];

	(void)state;
	for (unsigned i = 0; i < 16; i++) {
		database_bytes(page, (uint8_t)i);
		snprintf(name, sizeof(name), "%u", i);
		put(name, page, sizeof(page));
	}
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, look_often, &right[i]), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < 4; i++)
		assert_true(right[i]);
}

#define SNIFF_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SNIFF_TEST(test_content),
		SNIFF_TEST(test_unreadable_is_plain),
		SNIFF_TEST(test_remembered),
		SNIFF_TEST(test_young_is_read_again),
		SNIFF_TEST(test_changed_is_read_again),
		SNIFF_TEST(test_connected_is_not_touched),
		SNIFF_TEST(test_shm_is_no_database),
		SNIFF_TEST(test_crowded),
		SNIFF_TEST(test_out_of_descriptors),
		SNIFF_TEST(test_unknown_is_not_plain),
		SNIFF_TEST(test_threads),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
