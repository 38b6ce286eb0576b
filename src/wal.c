/* SPDX-License-Identifier: MIT */
/*
 * wal.c - the wal-index header, where a frame's page number is stored, and frame headers.
 *
 * What must stay true: any bytes are safe to decode, aligned or not; a header that is accepted is one that a
 * commit, a reset or a recovery published whole. Does not verify the checksums of frames: SQLite did that
 * when it let the header count them.
 */
#include "wal.h"

#include <string.h>

#include "header.h"

#define WAL_INDEX_VERSION 3007000u
#define ENTRIES_FIRST 4062u /* the first region begins with 136 bytes of header and locks */
#define ENTRIES 4096u
#define REGION_HEADER 136u

/* Offsets in one copy of the header. */
enum {
	AT_VERSION = 0,
	AT_INIT = 12,
	AT_PAGE_SIZE = 14,
	AT_MAX_FRAME = 16,
	AT_PAGE_COUNT = 20,
	AT_SALT = 32,
	AT_CHECKSUM = 40,
};

_Static_assert(AT_CHECKSUM + 8 == WAL_INDEX_HEADER, "the checksum ends the header");
_Static_assert(AT_CHECKSUM % 8 == 0, "the checksum takes words in pairs");
_Static_assert(REGION_HEADER + ENTRIES_FIRST * 4 == ENTRIES * 4, "page numbers fill half of each region");

static uint32_t load32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* walformat.html 2.2 and walChecksumBytes(), over words of the host's order. */
static bool checksum_holds(const uint8_t *copy)
{
	uint32_t s1 = 0, s2 = 0;

	for (size_t at = 0; at < AT_CHECKSUM; at += 8) {
		s1 += load32(copy + at) + s2;
		s2 += load32(copy + at + 4) + s1;
	}
	return s1 == load32(copy + AT_CHECKSUM) && s2 == load32(copy + AT_CHECKSUM + 4);
}

/* 65536 does not fit into its two bytes and is written as 1. */
static uint32_t load_page_size(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value == 1 ? 65536 : value;
}

static bool is_page_size(uint32_t size)
{
	return size >= 512 && size <= 65536 && (size & (size - 1)) == 0;
}

int wal_header_decode(struct wal_header *out, const uint8_t bytes[2 * WAL_INDEX_HEADER])
{
	struct wal_header h;

	if (memcmp(bytes, bytes + WAL_INDEX_HEADER, WAL_INDEX_HEADER) != 0)
		return WAL_TORN;
	/* A wal-index of zeros has a valid checksum. */
	if (bytes[AT_INIT] == 0 || !checksum_holds(bytes))
		return WAL_TORN;
	if (load32(bytes + AT_VERSION) != WAL_INDEX_VERSION)
		return WAL_MALFORMED;
	h.page_size = load_page_size(bytes + AT_PAGE_SIZE);
	h.max_frame = load32(bytes + AT_MAX_FRAME);
	h.page_count = load32(bytes + AT_PAGE_COUNT);
	/* A commit sets the page size and a page count that is not 0; a reset leaves both and takes only the
	 * frames. */
	if (h.page_size != 0 && !is_page_size(h.page_size))
		return WAL_MALFORMED;
	if ((h.page_size == 0) != (h.page_count == 0) || (h.max_frame > 0 && h.page_count == 0))
		return WAL_MALFORMED;
	memcpy(h.raw, bytes, sizeof(h.raw));
	memcpy(h.salt, bytes + AT_SALT, sizeof(h.salt));
	*out = h;
	return 0;
}

uint32_t wal_file_page_size(const uint8_t header[WAL_FILE_HEADER])
{
	uint32_t size = load_be32(header + 8);

	return is_page_size(size) ? size : 0;
}

struct wal_slot wal_frame_slot(uint32_t frame)
{
	uint32_t after;

	if (frame <= ENTRIES_FIRST)
		return (struct wal_slot){
			.entry = frame - 1,
			.offset = REGION_HEADER,
			.count = ENTRIES_FIRST,
		};
	after = frame - 1 - ENTRIES_FIRST;
	return (struct wal_slot){
		.region = 1 + after / ENTRIES,
		.entry = after % ENTRIES,
		.count = ENTRIES,
	};
}

bool wal_frame_matches(const uint8_t header[WAL_FRAME_HEADER], uint32_t pgno, const uint8_t salt[8])
{
	/* Page number, size of the database or 0, two salts, two checksums; big-endian. */
	return load_be32(header) == pgno && memcmp(header + 8, salt, 8) == 0;
}
