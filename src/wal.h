/* SPDX-License-Identifier: MIT */
/*
 * wal.h - pure decoding of the wal-index header and of WAL frame headers: bytes in, answer out. Opens
 * nothing, trusts nothing. Sources: walformat.html; wal.c (WalIndexHdr, walFramePage, sqlite3WalOpen's
 * assertions).
 */
#ifndef SQLSNAP_WAL_H
#define SQLSNAP_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WAL_INDEX_HEADER 48u	/* bytes of one copy of the header; two copies are at offsets 0 and 48 */
#define WAL_INDEX_REGION 32768u /* bytes of one region of the wal-index */
#define WAL_FILE_HEADER 32u	/* bytes before the first frame of the -wal */
#define WAL_FRAME_HEADER 24u	/* bytes before each page in the -wal */

/* The header of the wal-index, as of one commit. Integers of the wal-index are in the host's byte order. */
struct wal_header {
	uint8_t raw[WAL_INDEX_HEADER]; /* the bytes that versions are compared by */
	uint32_t page_size;	       /* bytes; 0 when no WAL was ever written (header all zero but valid) */
	uint32_t max_frame;	       /* frames 1..max_frame belong to committed transactions; 0: empty */
	uint32_t page_count;	       /* pages of the database; 0 with max_frame 0: ask the database file */
	uint8_t salt[8];	       /* as in the WAL's own header */
};

enum wal_answer {
	WAL_TORN = 1,  /* the two copies differ or the checksum is wrong: a writer is active, or died */
	WAL_MALFORMED, /* consistent, but no SQLite writes that */
};

/* Decodes both copies (2 * WAL_INDEX_HEADER bytes). 0, or an answer. */
int wal_header_decode(struct wal_header *out, const uint8_t bytes[2 * WAL_INDEX_HEADER]);

/* The page size in the -wal's own header; 0: an impossible one. */
uint32_t wal_file_page_size(const uint8_t header[WAL_FILE_HEADER]);

/* Where the wal-index stores the page number of frame FRAME, which counts from 1. */
struct wal_slot {
	uint32_t region;
	uint32_t entry;	 /* index into the region's array of page numbers */
	uint32_t offset; /* bytes from the region's start to that array */
	uint32_t count;	 /* entries of that array */
};
struct wal_slot wal_frame_slot(uint32_t frame);

/* Byte offset of frame FRAME's header in the -wal. */
static inline uint64_t wal_frame_offset(uint32_t frame, uint32_t page_size)
{
	return WAL_FILE_HEADER + (uint64_t)(frame - 1) * (page_size + WAL_FRAME_HEADER);
}

/* Whether the 24 bytes of a frame's header name page PGNO and carry SALT. */
bool wal_frame_matches(const uint8_t header[WAL_FRAME_HEADER], uint32_t pgno, const uint8_t salt[8]);

#endif
