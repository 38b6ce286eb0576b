/* SPDX-License-Identifier: MIT */
/*
 * header.h - pure decoding of the 100-byte database header: bytes in, answer out. Opens nothing.
 * Source: fileformat2.html part 1.3; the page count rule is lockBtree() in btree.c.
 */
#ifndef SQLSNAP_HEADER_H
#define SQLSNAP_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEADER_SIZE 100

struct header {
	uint32_t page_size;    /* bytes, a power of two from 512 to 65536 */
	uint8_t write_version; /* 1 rollback journal, 2 WAL */
	uint8_t read_version;
	uint8_t reserved;	 /* bytes at the end of each page */
	uint32_t change_counter; /* offset 24 */
	uint32_t page_count; /* offset 28; 0 when it is not valid (24..27 differ from 92..95): use the file's
				size */
	uint32_t schema_format;	 /* offset 44 */
	uint32_t text_encoding;	 /* offset 56: 1 UTF-8, 2 UTF-16le, 3 UTF-16be */
	uint32_t user_version;	 /* offset 60 */
	uint32_t application_id; /* offset 68 */
	uint8_t counters[16];	 /* bytes 24..39: what changes with a commit in rollback mode */
};

enum header_answer {
	HEADER_NOT_SQLITE = 1, /* no magic, or fewer than 100 bytes */
	HEADER_MALFORMED,      /* the magic, but values that no SQLite writes */
};

/* 0 and *OUT filled, or an answer. SIZE is the number of bytes at BYTES. */
int header_decode(struct header *out, const void *bytes, size_t size);

/* Integers in SQLite's files are big-endian, except in the wal-index. */
static inline uint32_t load_be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline bool header_is_wal(const struct header *h)
{
	return h->write_version == 2 && h->read_version == 2;
}

/* Bytes that SQLite's checksum VFS (cksumvfs.html) keeps at the end of each page. If that many are reserved,
 * the application may use that VFS, which cannot read pages written without it, such as ours. */
#define HEADER_CHECKSUM_BYTES 8

#endif
