/* SPDX-License-Identifier: MIT */
/* test_validate_header.c - what is refused before SQLite sees it, each file with its reason. */
#include "hostile.h"

struct header_case {
	off_t offset;
	size_t size;
	const char *bytes;
	int code;
	const char *words;
};

static const struct header_case header_cases[] = {
	{0, BYTES("SQLite format 4"), -EMEDIUMTYPE, "not an SQLite database"},
	{15, BYTES("3"), -EMEDIUMTYPE, "not an SQLite database"},
	{0, BYTES("\x1f\x8b"), -EMEDIUMTYPE, "gzip"},
	{0, BYTES("\x37\x7f\x06\x82"), -EMEDIUMTYPE, "-wal"},
	{0, BYTES("PRAGMA foreign_keys=OFF;\n"), -EMEDIUMTYPE, "SQL dump"},
	{16, BYTES("\0\0"), -EMEDIUMTYPE, "page size: 0"},
	{16, BYTES("\0\3"), -EMEDIUMTYPE, "page size: 3"},
	{16, BYTES("\1\0"), -EMEDIUMTYPE, "page size: 256"},
	{16, BYTES("\x80\1"), -EMEDIUMTYPE, "page size: 32769"},
	{18, BYTES("\3\1"), -EMEDIUMTYPE, "file format: 3 to write, 1 to read"},
	{18, BYTES("\2\3"), -EMEDIUMTYPE, "file format: 2 to write, 3 to read"},
	{18, BYTES("\0\0"), -EMEDIUMTYPE, "file format"},
	{16, BYTES("\2\0\1\1\x21"), -EMEDIUMTYPE, "values that SQLite never writes"}, /* 479 usable bytes */
	{21, BYTES("\x3f"), -EMEDIUMTYPE, "values that SQLite never writes"},
	{44, BYTES("\0\0\0\5"), -EMEDIUMTYPE, "schema format"},
	{44, BYTES("\1\0\0\4"), -EMEDIUMTYPE, "schema format"},
	{56, BYTES("\0\0\0\4"), -EMEDIUMTYPE, "text encoding"},
	{56, BYTES("\0\0\0\0"), -EMEDIUMTYPE, "no text encoding"},
	{28, BYTES("\x00\x10\x00\x00"), -EIO, "instead of 4294967296"},
	{28, BYTES("\xff\xff\xff\xff"), -EIO, "instead of 17592186040320"},
	/* The page count does not hold: a counter of an SQLite that knows nothing of it. The size says it. */
	{92, BYTES("\0\0\0\0"), 0, ""},
	/* A length that begins anew at page size 65536. */
	{16, BYTES("\0\1"), -EIO, "shorter than its header says"},
};

static void test_header(void **state)
{
	struct validate_report report;

	(void)state;
	make_db("base", SAMPLE);
	for (size_t i = 0; i < COUNT(header_cases); i++) {
		const struct header_case *c = &header_cases[i];

		copy_file("base", "db");
		patch("db", c->offset, c->bytes, c->size);
		print_message("# case %zu\n", i);
		if (c->code) {
			assert_refused("db", false, c->code, c->words);
			continue;
		}
		assert_accepted("db", false, &report);
		assert_int_equal(report.size, size_of("db"));
		assert_int_equal(report.pages, size_of("db") / 4096);
		validate_report_finish(&report);
	}
}

static void test_lengths(void **state)
{
	static const struct {
		off_t size;
		int code;
		const char *words;
	} cases[] = {
		{0, -EMEDIUMTYPE, "it is empty"},
		{1, -EIO, "cut inside its header"},
		{99, -EIO, "cut inside its header: 99 bytes"},
		{100, -EIO, "shorter than its header says: 100 bytes"},
		{108, -EIO, "shorter than its header says: 108 bytes"},
		{511, -EIO, "shorter"},
		{4096, -EIO, "shorter"},
		{-4096, -EIO, "shorter"},
		{-8192, -EIO, "shorter"},
		{-1, -EIO, "shorter"},
		{-4095, -EIO, "shorter"},
	};
	struct snap_err err;
	struct validate_report report = {.tables = 12345};
	off_t size;
	int fd;

	(void)state;
	make_db("base", SAMPLE);
	size = size_of("base");
	for (size_t i = 0; i < COUNT(cases); i++) {
		copy_file("base", "db");
		cut("db", cases[i].size < 0 ? size + cases[i].size : cases[i].size);
		assert_refused("db", false, cases[i].code, cases[i].words);
	}
	/* Where the header does not say how many pages there are. */
	copy_file("base", "db");
	patch("db", 92, "\0\0\0\0", 4);
	cut("db", size - 100);
	assert_refused("db", false, -EIO, "cut inside a page");
	cut("db", 108);
	assert_refused("db", false, -EIO, "cut inside a page");
	cut("db", size - 4096);
	assert_refused("db", false, -EUCLEAN, "");
	put_text("db", "hello\n");
	assert_refused("db", false, -EMEDIUMTYPE, "not an SQLite database, or an encrypted one");
	put("db", (const char[4096]){0}, 4096);
	assert_refused("db", false, -EMEDIUMTYPE, "not an SQLite database");

	/* Shorter than it was said to be. */
	fd = open(at("base"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(validate_header(fd, (uint64_t)size, &report, &err), 0);
	cut("base", 50);
	report.tables = 12345;
	assert_int_equal(validate_header(fd, (uint64_t)size, &report, &err), -EIO);
	close(fd);
	assert_int_equal(validate_header(fd, (uint64_t)size, &report, &err), -EBADF);
	assert_int_equal(report.tables, 12345);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_header, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_lengths, scratch_setup, scratch_teardown),
	};

	if (argc > 1 && strcmp(argv[1], VALIDATE_ARGUMENT) == 0)
		return validate_child_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
