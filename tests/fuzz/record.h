/* SPDX-License-Identifier: MIT */
/* record.h - the text that stands beside each kept snapshot: made up by an input, and understood. */
#ifndef SQLSNAP_FUZZ_RECORD_H
#define SQLSNAP_FUZZ_RECORD_H

#include <stdlib.h>
#include <string.h>

#include "../../src/clock.h"
#include "../../src/keep_private.h"
#include "fuzz.h"

/* Text as the store writes it, of a record that the input makes up. */
static inline size_t make_record(struct bytes *bytes, char text[KEEP_RECORD_SIZE])
{
	struct keep_record record = {.meta = {.why = "a reason"}};
	uint8_t how = bytes_u8(bytes);
	size_t size;

	record.meta.made_ns = how & 1 ? (int64_t)bytes_u64(bytes) : realtime_ns();
	record.meta.mtime_ns = how & 2 ? (int64_t)bytes_u64(bytes) : 1;
	record.meta.mode = 0640;
	record.meta.page_size = bytes_u16(bytes);
	for (int part = 0; part < KEEP_PARTS; part++) {
		record.has[part] = part == KEEP_DB || how & (4 << part);
		record.sizes[part] = bytes_u8(bytes);
	}
	if (how & 64)
		strcpy(record.group, "0123456789abcdef");
	size = keep_record_format(&record, text);
	must(size > 0 && size < KEEP_RECORD_SIZE && strlen(text) == size);
	for (uint8_t edits = how & 128 ? bytes_u8(bytes) % 8 : 0; edits > 0; edits--) {
		char value = (char)bytes_u8(bytes);

		text[bytes_u16(bytes) % size] = value;
	}
	return size;
}

/* What was understood is written down and understood again as the same. */
static inline void try_record(const char *text, size_t size)
{
	char *copy = (char *)bytes_copy((const uint8_t *)text, size), again[KEEP_RECORD_SIZE];
	struct keep_record record = {.meta = {.uid = 12345}}, other;

	if (keep_record_parse(&record, copy, size)) {
		must(record.meta.uid == 12345);
	} else {
		must(record.has[KEEP_DB] && record.meta.size == record.sizes[KEEP_DB]);
		must((record.meta.mode & ~0777u) == 0 && !strchr(record.meta.why, '\n'));
		must(keep_record_parse(&other, again, keep_record_format(&record, again)) == 0);
		must(other.meta.made_ns == record.meta.made_ns &&
		     other.meta.mtime_ns == record.meta.mtime_ns);
		must(other.meta.mode == record.meta.mode && other.meta.uid == record.meta.uid);
		must(other.meta.page_size == record.meta.page_size && other.meta.size == record.meta.size);
		must(strcmp(other.group, record.group) == 0);
		for (int part = 0; part < KEEP_PARTS; part++) {
			must(other.has[part] == record.has[part]);
			must(!record.has[part] || other.sizes[part] == record.sizes[part]);
		}
	}
	free(copy);
}

#endif
