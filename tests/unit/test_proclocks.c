/* SPDX-License-Identifier: MIT */
/* test_proclocks.c - texts as /proc/locks has them, random ones, and locks that another process really holds.
 */
#include "unit.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "locks_now.h"

#define SELF 100
#define DEV makedev(0xfe, 0)
#define INO 1234

/* ---- text ---------------------------------------------------------------------------------------------- */

/* One letter per lock, in the order of proclocks.h: WRITE CKPT RECOVER READ0..4 DMS PENDING RESERVED SHARED.
 * '.' nobody, 's' this process, 'o' others, 'b' both; a capital letter when somebody holds it for writing. */
static void show(const struct proclocks_seen *seen, char out[PROCLOCKS_COUNT + 1])
{
	static const uint64_t bytes[PROCLOCKS_COUNT] = {120, 121, 122, 123,	   124,	       125,
							126, 127, 128, 1073741824, 1073741825, 1073741826};

	for (size_t i = 0; i < PROCLOCKS_COUNT; i++) {
		bool self = proclocks_self_holds(seen, bytes[i], bytes[i]);
		bool others = proclocks_others_hold(seen, bytes[i], bytes[i]);

		out[i] = ".sob"[self + 2 * others];
		if (proclocks_writer(seen, bytes[i]))
			out[i] = (char)(out[i] - 'a' + 'A');
	}
	out[PROCLOCKS_COUNT] = '\0';
}

/* Of a database: whether another process reads or writes it now or, in WAL mode, has it open. */
static bool others_in_db(const struct proclocks_seen *db)
{
	return proclocks_others_hold(db, PROCLOCKS_PENDING, PROCLOCKS_SHARED_LAST);
}

static void parse(struct proclocks_seen *seen, const char *text)
{
	size_t size = strlen(text);
	char *copy = malloc(
		size ? size : 1); /* without a terminator, so that a sanitizer sees what is read behind it */

	assert_non_null(copy);
	memcpy(copy, text, size);
	memset(seen, 0xff, sizeof(*seen));
	proclocks_parse(seen, copy, size, DEV, INO, SELF);
	free(copy);
}

struct text_case {
	const char *text, *shown, *why;
};

static void check_texts(const struct text_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct proclocks_seen seen;
		char shown[PROCLOCKS_COUNT + 1];

		parse(&seen, cases[i].text);
		show(&seen, shown);
		if (strcmp(shown, cases[i].shown) != 0)
			print_error("%s\n", cases[i].why);
		assert_string_equal(shown, cases[i].shown);
	}
}

#define NOBODY "............"

static void test_ranges(void **state)
{
	static const struct text_case cases[] = {
		{"", NOBODY, "no locks"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:1234 120 120\n", "O...........", "WRITE"},
		{"1: POSIX  ADVISORY  READ 7 fe:00:1234 120 120\n", "o...........", "WRITE for reading"},
		{"1: POSIX  ADVISORY  WRITE 100 fe:00:1234 120 121\n", "SS..........",
		 "ours, two bytes in one"},
		{"1: POSIX  ADVISORY  READ 7 fe:00:1234 124 124\n", "....o.......", "READ1"},
		{"1: POSIX  ADVISORY  READ 7 fe:00:1234 128 128\n", "........o...", "DMS"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:1234 1073741824 1073741824\n", ".........O..", "PENDING"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:1234 1073741825 1073741825\n", "..........O.",
		 "RESERVED"},
		{"1: POSIX  ADVISORY  READ 7 fe:00:1234 1073741826 1073742335\n", "...........o", "SHARED"},
		{"1: POSIX  ADVISORY  READ 7 fe:00:1234 1073742335 1073742335\n", "...........o",
		 "one byte of SHARED"},
		{"1: POSIX  ADVISORY  READ 7 fe:00:1234 1073742336 EOF\n", NOBODY, "behind SHARED"},
		{"1: POSIX  ADVISORY  READ 7 fe:00:1234 0 119\n", NOBODY, "before WRITE"},
		{"1: POSIX  ADVISORY  READ 7 fe:00:1234 129 1073741823\n", NOBODY, "between DMS and PENDING"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:1234 0 EOF\n", "OOOOOOOOOOOO", "everything"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:1234 0 9223372036854775807\n", "OOOOOOOOOOOO",
		 "to the last byte"},
		{"1: POSIX  ADVISORY  READ 7 fe:00:1234 128 128\n2: POSIX  ADVISORY  READ 100 fe:00:1234 128 "
		 "128\n",
		 "........b...", "shared by two"},
		{"1: OFDLCK ADVISORY  READ -1 fe:00:1234 128 128\n", "........o...",
		 "an open file description"},
		{"1: OFDLCK ADVISORY  WRITE -1 fe:00:1234 128 128\n", "........O...", "the same for writing"},
		{"1: POSIX  ADVISORY  READ 0 fe:00:1234 128 128\n", "........o...",
		 "a process without number"},
		{"1: POSIX  MANDATORY READ 7 fe:00:1234 128 128\n", "........o...",
		 "mandatory, of older kernels"},
	};

	(void)state;
	check_texts(cases, sizeof(cases) / sizeof(cases[0]));
}

#define GOOD "9: POSIX  ADVISORY  READ 7 fe:00:1234 123 123\n"
#define SEEN_GOOD "...o........"

static void test_passed_over(void **state)
{
	static const struct text_case cases[] = {
		{GOOD, SEEN_GOOD, "the line that the others stand beside"},
		{"1: -> POSIX  ADVISORY  WRITE 7 fe:00:1234 120 120\n" GOOD, SEEN_GOOD, "a waiter"},
		{"1:  -> POSIX  ADVISORY  WRITE 7 fe:00:1234 120 120\n" GOOD, SEEN_GOOD,
		 "a waiter for a waiter"},
		{"1: FLOCK  ADVISORY  WRITE 7 fe:00:1234 0 EOF\n" GOOD, SEEN_GOOD, "flock(2)"},
		{"1: LEASE  ACTIVE    WRITE 7 fe:00:1234 0 EOF\n" GOOD, SEEN_GOOD, "a lease"},
		{"1: DELEG  ACTIVE    READ 7 fe:00:1234 0 EOF\n" GOOD, SEEN_GOOD, "a delegation"},
		{"1: ACCESS ADVISORY  READ 7 fe:00:1234 120 120\n" GOOD, SEEN_GOOD, "an access check"},
		{"1: POSIX  *NOINODE* READ 7 <none>:0 120 120\n" GOOD, SEEN_GOOD, "no inode"},
		{"1: POSIX  ADVISORY  UNLCK 7 fe:00:1234 120 120\n" GOOD, SEEN_GOOD,
		 "neither read nor write"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:1235 120 120\n" GOOD, SEEN_GOOD, "another inode"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:12345 120 120\n" GOOD, SEEN_GOOD,
		 "an inode that begins so"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:1234 121 120\n" GOOD, SEEN_GOOD, "backwards"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:1234 1073742000 1073741900\n" GOOD, SEEN_GOOD,
		 "the same"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:1234 120\n" GOOD, SEEN_GOOD, "no end"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:1234 120 EO\n" GOOD, SEEN_GOOD, "half an end"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:1234 120 12x\n" GOOD, SEEN_GOOD, "a letter in a number"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:1234 120 120 1\n" GOOD, SEEN_GOOD, "one word more"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00 120 120\n" GOOD, SEEN_GOOD, "no inode number"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:g0:1234 120 120\n" GOOD, SEEN_GOOD, "no hexadecimal number"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:4d2 120 120\n" GOOD, SEEN_GOOD, "a hexadecimal inode"},
		{"1: POSIX  ADVISORY  WRITE 7 fe:00:18446744073709552850 120 120\n" GOOD, SEEN_GOOD,
		 "2^64 + inode"},
		{"1: POSIX  ADVISORY  WRITE 7 1000000fe:00:1234 120 120\n" GOOD, SEEN_GOOD,
		 "a device of 33 bits"},
		{"1: POSIX  ADVISORY  WRITE 9999999999 fe:00:1234 120 120\n" GOOD, SEEN_GOOD,
		 "no process number"},
		{"1: POSIX  ADVISORY  WRITE - fe:00:1234 120 120\n" GOOD, SEEN_GOOD, "a sign alone"},
		{"1 POSIX  ADVISORY  WRITE 7 fe:00:1234 120 120\n" GOOD, SEEN_GOOD, "no colon"},
		{"1:x POSIX  ADVISORY  WRITE 7 fe:00:1234 120 120\n" GOOD, SEEN_GOOD, "more than a colon"},
		{"\n\n:\n \n1:\n1: \n" GOOD "\n", SEEN_GOOD, "next to nothing"},
		{GOOD "1: POSIX  ADVISORY  WRITE 7 fe:00:1234 120 120", SEEN_GOOD,
		 "a line that has not ended"},
	};

	(void)state;
	check_texts(cases, sizeof(cases) / sizeof(cases[0]));
}

/* Which device is believed. The first number of a line is its device, the second its process. */
static void test_device(void **state)
{
#define ON(dev, pid, byte) "1: POSIX  ADVISORY  READ " #pid " " dev ":1234 " #byte " " #byte "\n"
	static const struct text_case cases[] = {
		{ON("fe:00", 7, 120) ON("00:27", 8, 121), "o...........",
		 "st_dev is there: nothing else counts"},
		{ON("00:27", 8, 121) ON("00:27", 100, 122) ON("fe:00", 7, 120), "o...........",
		 "wherever it stands"},
		{ON("00:27", 8, 121) ON("00:28", 9, 122), ".oo.........", "neither is known: both count"},
		{ON("00:27", 8, 121) ON("00:28", 9, 122) ON("00:28", 100, 128), "..o.....s...",
		 "where our own lock is"},
		{ON("00:28", 100, 128) ON("00:27", 8, 121) ON("00:28", 100, 124), "....s...s...",
		 "our own alone"},
		{ON("00:27", 100, 120) ON("00:28", 100, 121) ON("00:27", 8, 123), "ss.o........",
		 "ours on two devices"},
		{ON("00:27", 100, 120) ON("00:28", 100, 121) ON("00:27", 100, 122), "sss.........",
		 "and back again"},
		{ON("fe:00", 7, 7) ON("00:27", 8, 121), ".o..........",
		 "not for bytes that are not SQLite's"},
		{ON("00:28", 100, 7) ON("00:27", 8, 121), ".o..........", "ours neither"},
		{ON("00:fe", 7, 120) ON("fe:00", 7, 121), ".o..........", "major and minor are not mixed up"},
		{ON("fe:100", 7, 120) ON("fe:00", 7, 121), ".o..........", "a minor of three digits"},
	};

	(void)state;
	check_texts(cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_questions(void **state)
{
	struct proclocks_seen seen;

	(void)state;
	parse(&seen, "1: POSIX  ADVISORY  READ 7 fe:00:1234 1073741826 1073742335\n"
		     "2: POSIX  ADVISORY  WRITE 100 fe:00:1234 124 125\n");
	assert_true(others_in_db(&seen));
	assert_false(proclocks_others_in_shm(&seen));
	assert_true(proclocks_others_hold(&seen, 0, UINT64_MAX));
	assert_false(proclocks_others_hold(&seen, 0, 1073741825));
	assert_false(proclocks_others_hold(&seen, 1073742336, UINT64_MAX));
	assert_true(proclocks_others_hold(&seen, 1073742000, 1073742000));
	assert_false(proclocks_self_holds(&seen, 0, 123));
	assert_true(proclocks_self_holds(&seen, 0, 124));
	assert_true(proclocks_self_holds(&seen, 125, 200));
	assert_false(proclocks_self_holds(&seen, 126, 200));
	assert_int_equal(proclocks_writer(&seen, 123), 0);
	assert_int_equal(proclocks_writer(&seen, 124), SELF);
	assert_int_equal(proclocks_writer(&seen, 1073741826), 0);
	assert_int_equal(proclocks_writer(&seen, 5), 0);
	parse(&seen, "1: POSIX  ADVISORY  READ 100 fe:00:1234 1073741826 1073742335\n"
		     "2: POSIX  ADVISORY  READ 7 fe:00:1234 128 128\n");
	assert_false(others_in_db(&seen));
	assert_true(proclocks_others_in_shm(&seen));
	parse(&seen, "1: POSIX  ADVISORY  WRITE 7 fe:00:1234 1073741824 1073741824\n");
	assert_true(others_in_db(&seen));
}

static void test_awaited(void **state)
{
#define WR(pid, first, last) "1: POSIX  ADVISORY  WRITE " #pid " fe:00:1234 " #first " " #last "\n"
#define RD(pid, first, last) "1: POSIX  ADVISORY  READ " #pid " fe:00:1234 " #first " " #last "\n"
	static const struct {
		const char *text;
		bool awaited;
	} cases[] = {
		{"", false},
		{WR(7, 120, 120), false},
		{WR(7, 121, 121), false},
		{WR(7, 120, 121), true},
		{WR(7, 121, 121) RD(100, 124, 124) WR(7, 120, 120), true},
		{WR(7, 120, 120) WR(8, 121, 121), false},
		{WR(100, 120, 121), false},
		{WR(7, 120, 120) RD(7, 121, 121), false},
		{RD(7, 120, 121), false},
		{WR(7, 120, 122), false}, /* recovery */
		{WR(7, 120, 121) WR(8, 122, 122), true},
		{"1: OFDLCK ADVISORY  WRITE -1 fe:00:1234 120 121\n", false},
		{"1: -> POSIX  ADVISORY  WRITE 7 fe:00:1234 120 120\n" WR(7, 121, 121), false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct proclocks_seen seen;

		parse(&seen, cases[i].text);
		if (proclocks_readers_awaited(&seen, SELF) != cases[i].awaited)
			print_error("%s\n", cases[i].text);
		assert_int_equal(proclocks_readers_awaited(&seen, SELF), cases[i].awaited);
	}
}

static void test_random(void **state)
{
	static const char line[] = "1: POSIX  ADVISORY  WRITE 7 fe:00:1234 120 1073742335\n";
	static const char alphabet[] = "0123456789abcdef: -\nPOSIXEFLCKWRITEADN";
	unsigned seed = 6;
	int held = 0;

	(void)state;
	for (int round = 0; round < 100000; round++) {
		size_t size = (size_t)rand_r(&seed) % 200;
		char *text = malloc(size ? size : 1);
		struct proclocks_seen seen;

		assert_non_null(text);
		for (size_t i = 0; i < size; i++)
			text[i] = round % 3 == 0   ? (char)rand_r(&seed)
				  : round % 3 == 1 ? alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)]
						   : line[i % (sizeof(line) - 1)];
		for (int changes = rand_r(&seed) % 4; size > 0 && changes > 0; changes--)
			text[(size_t)rand_r(&seed) % size] = (char)rand_r(&seed);
		proclocks_parse(&seen, text, size, DEV, INO, SELF);
		held += proclocks_others_hold(&seen, 0, UINT64_MAX);
		free(text);
	}
	assert_true(held > 10000);
}

/* ---- another process ----------------------------------------------------------------------------------- */

struct file {
	char path[40];
	int fd;
	struct stat st;
};

static void file_make(struct file *file)
{
	snprintf(file->path, sizeof(file->path), "/tmp/sqlsnap-test-XXXXXX");
	file->fd = mkostemp(file->path, O_CLOEXEC);
	assert_true(file->fd >= 0);
	assert_int_equal(fstat(file->fd, &file->st), 0);
}

static void file_remove(struct file *file)
{
	assert_int_equal(unlink(file->path), 0);
	close(file->fd);
}

static int set_lock(int fd, int command, short type, off_t start, off_t length)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	return fcntl(fd, command, &lock);
}

/* A process that holds locks until its standard end of the pipe closes. */
struct holder {
	pid_t pid;
	int stop; /* closing it ends the process */
};

typedef int (*take_fn)(const struct file *file);

static void holder_start(struct holder *holder, const struct file *file, take_fn take)
{
	int ready[2], stop[2];
	char byte;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(stop, O_CLOEXEC), 0);
	holder->pid = fork();
	assert_true(holder->pid >= 0);
	if (holder->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(stop[1]);
		if (take(file) == 0 && write(ready[1], "r", 1) == 1)
			_exit(read(stop[0], &byte, 1) == 0 ? 0 : 1);
		_exit(2);
	}
	close(ready[1]);
	close(stop[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	holder->stop = stop[1];
}

static void holder_stop(struct holder *holder)
{
	int status;

	close(holder->stop);
	assert_int_equal(waitpid(holder->pid, &status, 0), holder->pid);
	assert_int_equal(status, 0);
}

/* A long list may skip a line while others' locks come and go, but not every time. Returns what was EXPECTED,
 * as the process SELF sees it. */
static struct proclocks_seen scan_as(uint64_t dev, uint64_t ino, pid_t self, const char *expected)
{
	struct proclocks_seen seen;
	char shown[PROCLOCKS_COUNT + 1] = "";

	for (int i = 0; i < 1000 && strcmp(shown, expected) != 0; i++) {
		assert_int_equal(locks_now(dev, ino, self, &seen), 0);
		show(&seen, shown);
	}
	assert_string_equal(shown, expected);
	return seen;
}

static struct proclocks_seen check_scan(const struct file *file, const char *expected)
{
	return scan_as(file->st.st_dev, file->st.st_ino, getpid(), expected);
}

/* What a WAL connection that waits for readers holds, and more locks elsewhere than one read of /proc/locks
 * returns. */
static int take_many(const struct file *file)
{
	if (set_lock(file->fd, F_SETLK, F_RDLCK, 128, 1) || set_lock(file->fd, F_SETLK, F_WRLCK, 120, 1) ||
	    set_lock(file->fd, F_SETLK, F_WRLCK, 121, 1) ||
	    set_lock(file->fd, F_SETLK, F_RDLCK, PROCLOCKS_SHARED_FIRST, 510))
		return -1;
	for (off_t byte = 1000; byte < 3000; byte += 2)
		if (set_lock(file->fd, F_SETLK, F_WRLCK, byte, 1))
			return -1;
	return 0;
}

static void test_other_process(void **state)
{
	struct proclocks_seen seen;
	struct holder holder;
	struct file file;

	(void)state;
	file_make(&file);
	check_scan(&file, NOBODY);
	holder_start(&holder, &file, take_many);
	check_scan(&file, "OO......o..o");
	assert_int_equal(set_lock(file.fd, F_SETLK, F_RDLCK, 128, 1), 0);
	assert_int_equal(set_lock(file.fd, F_SETLK, F_WRLCK, 124, 1), 0);
	seen = check_scan(&file, "OO..S...b..o");
	assert_int_equal(proclocks_writer(&seen, 120), holder.pid);
	assert_int_equal(proclocks_writer(&seen, 124), getpid());
	assert_true(proclocks_readers_awaited(&seen, getpid()));
	assert_true(others_in_db(&seen));
	assert_true(proclocks_others_in_shm(&seen));
	/* From where the other process stands. */
	seen = scan_as(file.st.st_dev, file.st.st_ino, holder.pid, "SS..O...b..s");
	assert_false(proclocks_readers_awaited(&seen, holder.pid));
	assert_false(others_in_db(&seen));
	/* A device that nobody names: our own lock tells the real one. */
	seen = scan_as(makedev(0xffe, 0xfffe), file.st.st_ino, getpid(), "OO..S...b..o");
	assert_true(proclocks_readers_awaited(&seen, getpid()));
	holder_stop(&holder);
	check_scan(&file, "....S...s...");
	file_remove(&file);
}

/* What was read is good for all who ask soon. */
static void test_shared_look(void **state)
{
	struct proclocks *locks;
	struct proclocks_seen seen;
	struct file file;

	(void)state;
	file_make(&file);
	assert_int_equal(proclocks_create(&locks), 0);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(
			proclocks_look(locks, INT64_MAX, file.st.st_dev, file.st.st_ino, getpid(), &seen), 0);
		assert_false(proclocks_self_holds(&seen, 124, 124));
		assert_int_equal(set_lock(file.fd, F_SETLK, F_WRLCK, 124, 1), 0);
	}
	for (int i = 0; i < 1000 && !proclocks_self_holds(&seen, 124, 124); i++)
		assert_int_equal(proclocks_look(locks, 0, file.st.st_dev, file.st.st_ino, getpid(), &seen),
				 0);
	assert_true(proclocks_self_holds(&seen, 124, 124));
	/* Of another file, in the same text. */
	assert_int_equal(
		proclocks_look(locks, INT64_MAX, file.st.st_dev, file.st.st_ino + 1, getpid(), &seen), 0);
	assert_false(proclocks_self_holds(&seen, 124, 124));
	proclocks_destroy(locks);
	proclocks_destroy(NULL);
	file_remove(&file);
}

static int take_descriptions(const struct file *file)
{
	int fd = open(file->path, O_RDWR | O_CLOEXEC);

	return fd < 0 || set_lock(fd, F_OFD_SETLK, F_RDLCK, 123, 1) ||
	       set_lock(fd, F_OFD_SETLK, F_WRLCK, 120, 2);
}

static void test_descriptions(void **state)
{
	struct proclocks_seen seen;
	struct holder holder;
	struct file file;

	(void)state;
	file_make(&file);
	holder_start(&holder, &file, take_descriptions);
	seen = check_scan(&file, "OO.o........");
	assert_int_equal(proclocks_writer(&seen, 120), -1);
	assert_false(proclocks_readers_awaited(&seen, getpid()));
	holder_stop(&holder);
	check_scan(&file, NOBODY);
	file_remove(&file);
}

/* Whether /proc/locks shows somebody who waits for a lock on FILE. */
static bool has_waiter(const struct file *file)
{
	FILE *locks = fopen("/proc/locks", "re");
	char inode[32], line[256];
	bool found = false;

	assert_non_null(locks);
	snprintf(inode, sizeof(inode), ":%llu ", (unsigned long long)file->st.st_ino);
	while (!found && fgets(line, sizeof(line), locks))
		found = strstr(line, "->") && strstr(line, inode);
	fclose(locks);
	return found;
}

static int take_write_lock(const struct file *file)
{
	return set_lock(file->fd, F_SETLK, F_WRLCK, 120, 1);
}

static void test_waiter(void **state)
{
	struct holder holder;
	struct file file;
	int status;
	pid_t waiter;

	(void)state;
	file_make(&file);
	holder_start(&holder, &file, take_write_lock);
	waiter = fork();
	assert_true(waiter >= 0);
	if (waiter == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(holder.stop);
		_exit(set_lock(file.fd, F_SETLKW, F_WRLCK, 120, 3) ? 1 : 0);
	}
	while (!has_waiter(&file))
		sched_yield();
	/* The waiter holds nothing. */
	check_scan(&file, "O...........");
	holder_stop(&holder);
	assert_int_equal(waitpid(waiter, &status, 0), waiter);
	assert_int_equal(status, 0);
	file_remove(&file);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),	      cmocka_unit_test(test_passed_over),
		cmocka_unit_test(test_device),	      cmocka_unit_test(test_questions),
		cmocka_unit_test(test_awaited),	      cmocka_unit_test(test_random),
		cmocka_unit_test(test_other_process), cmocka_unit_test(test_shared_look),
		cmocka_unit_test(test_descriptions),  cmocka_unit_test(test_waiter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
