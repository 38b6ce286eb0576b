/* SPDX-License-Identifier: MIT */
/*
 * header.c - the database header.
 *
 * What must stay true: any bytes are safe to decode, and an accepted header is one that SQLite would not
 * reject because of these 100 bytes. Does not compare them with the length of the file.
 */
#include "header.h"

#include <string.h>

#define USABLE_MIN 480u /* bytes of a page without the reserved ones; lockBtree() */

static const char magic[16] = "SQLite format 3";

/* 65536 does not fit into its two bytes and is written as 1. */
static uint32_t load_page_size(const uint8_t *at)
{
	uint32_t size = (uint32_t)at[0] << 8 | at[1];

	return size == 1 ? 65536 : size;
}

static bool is_page_size(uint32_t size)
{
	return size >= 512 && size <= 65536 && (size & (size - 1)) == 0;
}

static bool is_file_version(uint8_t version)
{
	return version == 1 || version == 2;
}

static bool is_well_formed(const struct header *h, const uint8_t *b)
{
	/* Largest and smallest share of a page that a cell of an index takes, and of a table's leaf. */
	static const uint8_t fractions[3] = {64, 32, 32};

	if (!is_page_size(h->page_size) || h->page_size - h->reserved < USABLE_MIN)
		return false;
	if (!is_file_version(h->write_version) || !is_file_version(h->read_version))
		return false;
	if (memcmp(b + 21, fractions, sizeof(fractions)) != 0)
		return false;
	/* Both are 0 until the first table is made. */
	return h->schema_format <= 4 && h->text_encoding <= 3;
}

int header_decode(struct header *out, const void *bytes, size_t size)
{
	const uint8_t *b = bytes;
	struct header h;

	if (size < HEADER_SIZE || memcmp(b, magic, sizeof(magic)) != 0)
		return HEADER_NOT_SQLITE;
	h = (struct header){
		.page_size = load_page_size(b + 16),
		.write_version = b[18],
		.read_version = b[19],
		.reserved = b[20],
		.change_counter = load_be32(b + 24),
		.page_count = load_be32(b + 28),
		.schema_format = load_be32(b + 44),
		.text_encoding = load_be32(b + 56),
		.user_version = load_be32(b + 60),
		.application_id = load_be32(b + 68),
	};
	memcpy(h.counters, b + 24, sizeof(h.counters));
	/* SQLite before 3.7.0 changes the counter and knows nothing of the page count. */
	if (memcmp(b + 24, b + 92, 4) != 0)
		h.page_count = 0;
	if (!is_well_formed(&h, b))
		return HEADER_MALFORMED;
	*out = h;
	return 0;
}
