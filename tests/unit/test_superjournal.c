/* SPDX-License-Identifier: MIT */
/* test_superjournal.c - the name at the end of a journal, and what became of what it names. */
#include "../../src/superjournal.h"

#include <endian.h>
#include <sys/mman.h>

#include "../../src/cleanup.h"
#include "scratch.h"

/* ---- in the journal ------------------------------------------------------------------------------------ */

static const uint8_t journal_magic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};

/* The end of a journal: BEFORE bytes, the NAME of LENGTH bytes, and what SQLite writes behind it. */
struct end {
	size_t before;
	const char *name;
	size_t length;
	uint32_t more_length, more_sum; /* added to the true ones */
	uint8_t first, last;		/* changes to the magic */
};

static int journal_with(const struct end *end)
{
	uint8_t bytes[2 * PATH_MAX + 32];
	uint32_t sum = 0, numbers[2];
	uint8_t *at = bytes + end->before;
	int fd = memfd_create("journal", MFD_CLOEXEC);

	memset(bytes, 'j', end->before);
	memcpy(at, end->name, end->length);
	at += end->length;
	for (size_t i = 0; i < end->length; i++) {
		int c = end->name[i]; /* of a char, which has a sign or not, as in SQLite */

		sum += (uint32_t)c;
	}
	numbers[0] = htobe32((uint32_t)end->length + end->more_length);
	numbers[1] = htobe32(sum + end->more_sum);
	memcpy(at, numbers, sizeof(numbers));
	memcpy(at + 8, journal_magic, sizeof(journal_magic));
	at[8] ^= end->first;
	at[15] ^= end->last;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, end->before + end->length + 16), end->before + end->length + 16);
	return fd;
}

/* Reads the name of a journal that ends so: what superjournal_read() answers. */
static int read_end(struct end end)
{
	autoclose int fd = journal_with(&end);
	char name[PATH_MAX];
	int rc = superjournal_read(fd, name);

	if (rc > 0) {
		assert_int_equal(rc, end.length);
		assert_memory_equal(name, end.name, end.length);
		assert_int_equal(name[rc], '\0');
	}
	return rc;
}

static void test_read(void **state)
{
	static const char name[] = "/srv/app/db-mj0123459AB", umlauts[] = "/srv/\xc3\xa4\xff\x80\x7f/db-mj01";
	const size_t n = sizeof(name) - 1, m = sizeof(umlauts) - 1;
	char longest[PATH_MAX];

	(void)state;
	memset(longest, 'l', sizeof(longest));
	assert_int_equal(read_end((struct end){512, name, n, 0, 0, 0, 0}), n);
	assert_int_equal(read_end((struct end){0, name, n, 0, 0, 0, 0}), n);
	assert_int_equal(read_end((struct end){512, "m", 1, 0, 0, 0, 0}), 1);
	assert_int_equal(read_end((struct end){512, umlauts, m, 0, 0, 0, 0}), m);
	assert_int_equal(read_end((struct end){512, longest, PATH_MAX - 1, 0, 0, 0, 0}), PATH_MAX - 1);
	/* None: too long, empty, longer than the journal, another sum, another magic. */
	assert_int_equal(read_end((struct end){512, longest, PATH_MAX, 0, 0, 0, 0}), 0);
	assert_int_equal(read_end((struct end){512, "", 0, 0, 0, 0, 0}), 0);
	assert_int_equal(read_end((struct end){512, "\0name", 5, 0, 0, 0, 0}), 0);
	assert_int_equal(read_end((struct end){0, name, n, 1, 0, 0, 0}), 0);
	assert_int_equal(read_end((struct end){0, name, n, UINT32_MAX - 30, 0, 0, 0}), 0);
	assert_int_equal(read_end((struct end){512, name, n, 0, 1, 0, 0}), 0);
	assert_int_equal(read_end((struct end){512, name, n, 0, UINT32_MAX, 0, 0}), 0);
	assert_int_equal(read_end((struct end){512, name, n, 0, 0, 1, 0}), 0);
	assert_int_equal(read_end((struct end){512, name, n, 0, 0, 0, 1}), 0);
}

/* What is shorter than the end would be, and what cannot be read. */
static void test_read_short(void **state)
{
	struct end end = {0, "n", 1, 0, 0, 0, 0};
	autoclose int fd = journal_with(&end);
	char name[PATH_MAX], path[40];

	(void)state;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	autoclose int unreadable = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(superjournal_read(fd, name), 1);
	assert_int_equal(superjournal_read(unreadable, name), -EBADF);
	assert_int_equal(superjournal_read(-1, name), -EBADF);
	assert_int_equal(superjournal_hide(-1), -EBADF);
	for (off_t size = 16; size >= 0; size--) {
		assert_int_equal(ftruncate(fd, size), 0);
		assert_int_equal(superjournal_read(fd, name), 0);
		assert_int_equal(superjournal_hide(fd), 0);
	}
}

static size_t bytes_of(int fd, uint8_t bytes[256])
{
	ssize_t n = pread(fd, bytes, 256, 0);

	assert_between(n, 0, 255);
	return (size_t)n;
}

/* Of the end nothing is left that SQLite would take for one, and nothing else has changed. */
static void test_hide(void **state)
{
	struct end end = {100, "/x/db-mj1", 9, 0, 0, 0, 0}, none = end;
	autoclose int fd = journal_with(&end);
	uint8_t before[256], after[256];
	char name[PATH_MAX], path[40];
	size_t size = bytes_of(fd, before);

	(void)state;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	autoclose int fixed = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(superjournal_hide(fixed), -EIO);
	assert_int_equal(superjournal_hide(fd), 0);
	assert_int_equal(superjournal_read(fd, name), 0);
	assert_int_equal(bytes_of(fd, after), size);
	memset(before + size - 8, 0, 8);
	assert_memory_equal(after, before, size);
	assert_int_equal(superjournal_hide(fixed), 0); /* there is nothing to hide any more */
	/* Also one that says something else about itself than we believe. */
	end.more_sum = 1;
	autoclose int doubtful = journal_with(&end);
	assert_int_equal(superjournal_hide(doubtful), 0);
	assert_int_equal(bytes_of(doubtful, after), size);
	assert_memory_equal(after + size - 8, ((uint8_t[8]){0}), 8);
	none.last = 1;
	autoclose int another = journal_with(&none);
	size = bytes_of(another, before);
	assert_int_equal(superjournal_hide(another), 0);
	assert_int_equal(bytes_of(another, after), size);
	assert_memory_equal(after, before, size);
}

/* ---- in its folder ------------------------------------------------------------------------------------- */

static int look(int root, const char *dir, const char *name)
{
	struct place place = {.root = root, .dir = strdup(dir), .name = strdup("db")};
	int rc = superjournal_look(&place, name);

	place_finish(&place);
	return rc;
}

static void test_look(void **state)
{
	autoclose int root = open(scratch.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	autoclose int top = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char longest[NAME_MAX + 2], other[PATH_MAX];

	(void)state;
	make_folder("sub", 0755);
	put_text("sub/there", "");
	assert_int_equal(mkfifo(at("sub/fifo"), 0600), 0); /* whoever opens it waits */
	make_link("nowhere", "sub/link");
	/* The file in our folder, whatever the folder is called. */
	assert_int_equal(look(root, "sub", at("sub/there")), SUPER_THERE);
	assert_int_equal(look(root, "sub", "/data/there"), SUPER_THERE);
	assert_int_equal(look(root, "sub", "there"), SUPER_THERE);
	assert_int_equal(look(root, "sub", at("sub/fifo")), SUPER_THERE);
	assert_int_equal(look(root, "sub", at("sub/link")), SUPER_THERE);
	/* None is there: that counts if it is this folder that was meant. */
	assert_int_equal(look(root, "sub", at("sub/none")), SUPER_GONE);
	assert_int_equal(look(root, "", at("there")), SUPER_GONE);
	assert_int_equal(look(top, "", "/no-such-db-mj1"), SUPER_GONE);
	memset(longest, 'n', sizeof(longest));
	longest[NAME_MAX + 1] = '\0';
	assert_int_equal(look(root, "sub", at("sub/%s", longest)), SUPER_GONE);
	assert_int_equal(look(root, "sub", "/data/none"), SUPER_UNKNOWN);
	assert_int_equal(look(root, "sub", "none"), SUPER_UNKNOWN);
	assert_int_equal(look(root, "sub", "/none"), SUPER_UNKNOWN);
	assert_int_equal(look(root, "sub", at("none")), SUPER_UNKNOWN);
	assert_int_equal(look(root, "sub", at("sub/more/none")), SUPER_UNKNOWN);
	assert_int_equal(look(root, "sub", at("subs/none")), SUPER_UNKNOWN);
	assert_int_equal(look(root, "sub", at("sux/none")), SUPER_UNKNOWN);
	assert_int_equal(look(top, "", "/data/no-such-db-mj1"), SUPER_UNKNOWN);
	assert_int_equal(look(top, "", "no-such-db-mj1"), SUPER_UNKNOWN);
	/* No name of a file. */
	snprintf(other, sizeof(other), "%s/sub/", scratch.path);
	assert_int_equal(look(root, "sub", other), SUPER_UNKNOWN);
	assert_int_equal(look(root, "sub", at("sub/.")), SUPER_UNKNOWN);
	assert_int_equal(look(root, "sub", at("sub/..")), SUPER_UNKNOWN);
	assert_int_equal(look(root, "sub", ""), SUPER_UNKNOWN);
	/* Nor a folder. */
	assert_int_equal(look(root, "gone", at("gone/none")), -ENOENT);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_read_short),
		cmocka_unit_test(test_hide),
		cmocka_unit_test_setup_teardown(test_look, scratch_setup, scratch_teardown),
	};

	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
