/* SPDX-License-Identifier: MIT */
/*
 * validate_header.c - the rules that hold before SQLite sees a file.
 *
 * What must stay true: any bytes are safe to read; no file is accepted that SQLite would accept only because
 * it does not look (one cut inside its last page), and none is refused that SQLite writes itself (with pages
 * after the last one, which a backup leaves out).
 */
#include "validate.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define PAGES_MAX 0xfffffffeu /* SQLITE_MAX_PAGE_COUNT can be no more */

/* What people put in a database's place by mistake, by its first bytes. */
struct alien {
	const char *begins;
	size_t length;
	const char *words;
};

#define ALIEN(begins, words)                      \
	{                                         \
		begins, sizeof(begins) - 1, words \
	}

static const struct alien aliens[] = {
	ALIEN("\x1f\x8b", "it is compressed with gzip"),
	ALIEN("\x28\xb5\x2f\xfd", "it is compressed with zstd"),
	ALIEN("\xfd"
	      "7zXZ",
	      "it is compressed with xz"),
	ALIEN("BZh", "it is compressed with bzip2"),
	ALIEN("PK\x03\x04", "it is a zip archive"),
	ALIEN("\x37\x7f\x06\x82", "it is the -wal of a database"),
	ALIEN("\x37\x7f\x06\x83", "it is the -wal of a database"),
	ALIEN("\xd9\xd5\x05\xf9", "it is the -journal of a database"),
	ALIEN("PRAGMA ", "it is an SQL dump: sqlite3 NEW <DUMP makes a database of it"),
	ALIEN("BEGIN TRANSACTION", "it is an SQL dump: sqlite3 NEW <DUMP makes a database of it"),
	ALIEN("** This file contains an SQLite 2", "it is of SQLite 2"),
};

static int refuse_alien(const uint8_t *head, size_t got, struct snap_err *err)
{
	static const char magic[] = "SQLite format 3";

	if (!got)
		return err_set(err, -EMEDIUMTYPE, "not an SQLite database: it is empty");
	if (got < HEADER_SIZE && memcmp(head, magic, got < sizeof(magic) ? got : sizeof(magic)) == 0)
		return err_set(err, -EIO, "cut inside its header: %zu bytes", got);
	for (size_t i = 0; i < sizeof(aliens) / sizeof(*aliens); i++) {
		if (got >= aliens[i].length && memcmp(head, aliens[i].begins, aliens[i].length) == 0)
			return err_set(err, -EMEDIUMTYPE, "not an SQLite database: %s", aliens[i].words);
	}
	return err_set(err, -EMEDIUMTYPE, "not an SQLite database, or an encrypted one");
}

static int refuse_malformed(const uint8_t *head, struct snap_err *err)
{
	unsigned page_size = (unsigned)head[16] << 8 | head[17];

	if (page_size != 1 && (page_size < 512 || page_size & (page_size - 1)))
		return err_set(err, -EMEDIUMTYPE, "impossible page size: %u", page_size);
	if (head[18] < 1 || head[18] > 2 || head[19] < 1 || head[19] > 2)
		return err_set(err, -EMEDIUMTYPE, "unknown file format: %u to write, %u to read", head[18],
			       head[19]);
	/* Big-endian numbers with small values. */
	if (memcmp(head + 44, "\0\0\0", 3) != 0 || head[47] > 4)
		return err_set(err, -EMEDIUMTYPE, "unknown schema format");
	if (memcmp(head + 56, "\0\0\0", 3) != 0 || head[59] > 3)
		return err_set(err, -EMEDIUMTYPE, "unknown text encoding");
	return err_set(err, -EMEDIUMTYPE, "its header has values that SQLite never writes");
}

/* Reads as much of the header as there is. */
static ssize_t read_head(int fd, uint64_t size, uint8_t *head)
{
	size_t want = size < HEADER_SIZE ? (size_t)size : HEADER_SIZE, got = 0;

	while (got < want) {
		ssize_t n = pread(fd, head + got, want - got, (off_t)got);

		if (n < 0 && errno != EINTR)
			return -1;
		if (n == 0)
			break;
		got += n > 0 ? (size_t)n : 0;
	}
	return (ssize_t)got;
}

/* How much of the file is the database. */
static int measure(const struct header *h, uint64_t size, struct validate_report *report,
		   struct snap_err *err)
{
	uint64_t pages = h->page_count;

	/* Without a page count the file's length counts, and then part of a page means that the rest is
	 * missing. */
	if (!pages && size % h->page_size)
		return err_set(err, -EIO, "cut inside a page: %" PRIu64 " bytes, in pages of %" PRIu32, size,
			       h->page_size);
	if (!pages)
		pages = size / h->page_size;
	if (!pages || size < pages * h->page_size)
		return err_set(err, -EIO,
			       "shorter than its header says: %" PRIu64 " bytes instead of %" PRIu64, size,
			       (pages ? pages : 1) * h->page_size);
	if (pages > PAGES_MAX)
		return err_set(err, -EMEDIUMTYPE, "more pages than SQLite can have: %" PRIu64, pages);
	report->header = *h;
	report->pages = (uint32_t)pages;
	report->size = pages * h->page_size;
	return 0;
}

int validate_header(int fd, uint64_t size, struct validate_report *out, struct snap_err *err)
{
	struct validate_report report = VALIDATE_REPORT_INIT;
	uint8_t head[HEADER_SIZE] = {0};
	struct header header;
	ssize_t got = read_head(fd, size, head);
	int rc;

	if (got < 0)
		return err_errno(err, "cannot be read");
	rc = header_decode(&header, head, (size_t)got);
	if (rc == HEADER_NOT_SQLITE)
		return refuse_alien(head, (size_t)got, err);
	if (rc == HEADER_MALFORMED)
		return refuse_malformed(head, err);
	/* Both are written with the first table. */
	if (header.schema_format && !header.text_encoding)
		return err_set(err, -EMEDIUMTYPE, "no text encoding");
	rc = measure(&header, size, &report, err);
	if (rc == 0)
		*out = report;
	return rc;
}
