/* SPDX-License-Identifier: MIT */
/*
 * fuzz_decode.c - whatever turns bytes that anybody may have written into an answer, without opening
 * anything: the headers of database, wal-index and frames, the page map, versions, and texts of the kernel.
 *
 * The first byte says which. Each answer is compared with what another, slower way of asking says.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../src/acl.h"
#include "../../src/header.h"
#include "../../src/mountinfo.h"
#include "../../src/pagemap.h"
#include "../../src/proclocks.h"
#include "../../src/ranges.h"
#include "../../src/validate.h"
#include "../../src/version.h"
#include "../../src/wal.h"

static uint32_t be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static bool is_page_size(uint32_t size)
{
	return size >= 512 && size <= 65536 && (size & (size - 1)) == 0;
}

static bool same_header(const struct header *a, const struct header *b)
{
	return a->page_size == b->page_size && a->page_count == b->page_count && a->reserved == b->reserved &&
	       a->write_version == b->write_version && a->text_encoding == b->text_encoding &&
	       memcmp(a->counters, b->counters, sizeof(a->counters)) == 0;
}

/* ---- the database's header ----------------------------------------------------------------------------- */

static void try_header(const uint8_t *data, size_t size)
{
	uint8_t *copy = bytes_copy(data, size);
	struct header h = {.page_size = 12345}, again;
	int rc = header_decode(&h, copy, size);

	must(rc == 0 || rc == HEADER_NOT_SQLITE || rc == HEADER_MALFORMED);
	must((rc == HEADER_NOT_SQLITE) == (size < HEADER_SIZE || memcmp(data, "SQLite format 3", 16) != 0));
	if (rc) {
		must(h.page_size == 12345); /* left alone */
	} else {
		must(is_page_size(h.page_size) && h.page_size - h.reserved >= 480);
		must(header_is_wal(&h) == (data[18] == 2 && data[19] == 2));
		must(h.page_count == (be32(data + 24) == be32(data + 92) ? be32(data + 28) : 0));
		/* Nothing behind the header counts. */
		must(header_decode(&again, copy, HEADER_SIZE) == 0 && same_header(&again, &h));
	}
	free(copy);
}

/* The same by the gate, which compares it with the file's length. The first eight bytes are that length. */
static void try_gate(struct bytes *bytes)
{
	uint64_t size = bytes_u64(bytes) >> bytes_u8(bytes) % 64;
	int fd = memfd_create("gate", MFD_CLOEXEC);
	struct validate_report report = {.pages = 12345};
	struct snap_err err = {""};
	struct header h;
	int rc;

	if (bytes->left > size)
		bytes->left = (size_t)size;
	must(fd >= 0 && write(fd, bytes->at, bytes->left) == (ssize_t)bytes->left);
	rc = validate_header(fd, size, &report, &err);
	close(fd);
	if (rc) {
		must(rc == -EMEDIUMTYPE || rc == -EIO);
		must(report.pages == 12345 && fuzz_is_line(err.text, sizeof(err.text)));
		fuzz_note(err.text);
		return;
	}
	must(header_decode(&h, bytes->at, bytes->left) == 0);
	must(same_header(&h, &report.header) && !report.names && !report.tables);
	must(report.pages > 0 && report.size == (uint64_t)report.pages * h.page_size && report.size <= size);
	must(h.page_count ? report.pages == h.page_count : report.size == size);
}

/* ---- the wal-index ------------------------------------------------------------------------------------- */

/* What a writer puts at the end of a header, so that more than one in 2^64 inputs gets past the checksum. */
static void seal(uint8_t copy[WAL_INDEX_HEADER])
{
	uint32_t word[WAL_INDEX_HEADER / 4], s1 = 0, s2 = 0;

	memcpy(word, copy, sizeof(word));
	for (size_t i = 0; i < 10; i += 2) {
		s1 += word[i] + s2;
		s2 += word[i + 1] + s1;
	}
	word[10] = s1;
	word[11] = s2;
	memcpy(copy, word, sizeof(word));
}

static void try_frames(uint32_t frame)
{
	struct wal_slot slot = wal_frame_slot(frame);

	must(slot.entry < slot.count);
	must(slot.offset + slot.count * 4 <= WAL_INDEX_REGION / 2);
	if (slot.region == 0) {
		must(frame == slot.entry + 1);
		return;
	}
	must(slot.count == 4096 && slot.offset == 0);
	must(frame == 4062 + (slot.region - 1) * 4096 + slot.entry + 1);
}

static void try_wal(struct bytes *bytes)
{
	uint8_t how = bytes_u8(bytes), copies[2 * WAL_INDEX_HEADER] = {0}, frame[WAL_FRAME_HEADER];
	size_t size = sizeof(copies);
	const uint8_t *from = bytes_take(bytes, &size);
	struct wal_header h = {.page_size = 12345};
	int rc;

	memcpy(copies, from, size);
	if (how & 1) {
		seal(copies);
		memcpy(copies + WAL_INDEX_HEADER, copies, WAL_INDEX_HEADER);
	}
	rc = wal_header_decode(&h, copies);
	must(rc == 0 || rc == WAL_TORN || rc == WAL_MALFORMED);
	if (rc) {
		must(h.page_size == 12345);
		must(!(how & 1) || copies[12] == 0 || rc == WAL_MALFORMED);
		return;
	}
	must(memcmp(copies, copies + WAL_INDEX_HEADER, WAL_INDEX_HEADER) == 0);
	must(memcmp(h.raw, copies, sizeof(h.raw)) == 0);
	must(h.page_size == 0 || is_page_size(h.page_size));
	must((h.page_size == 0) == (h.page_count == 0) && (h.max_frame == 0 || h.page_count > 0));
	if (h.max_frame == 0)
		return;
	try_frames(h.max_frame);
	must(wal_frame_offset(h.max_frame, h.page_size) >= WAL_FILE_HEADER);
	/* What was written for one frame is not taken for another's. */
	memset(frame, 0, sizeof(frame));
	frame[3] = 7;
	memcpy(frame + 8, h.salt, sizeof(h.salt));
	must(wal_frame_matches(frame, 7, h.salt) && !wal_frame_matches(frame, 8, h.salt));
	frame[15] ^= 1;
	must(!wal_frame_matches(frame, 7, h.salt));
}

/* ---- the page map -------------------------------------------------------------------------------------- */

#define FRAMES_MAX 256u

/* The latest frame up to LIMIT that holds the page, by looking at each. */
static uint32_t find_slowly(const uint32_t *pgnos, uint32_t count, uint32_t pgno, uint32_t limit)
{
	for (uint32_t frame = limit < count ? limit : count; frame > 0; frame--) {
		if (pgnos[frame - 1] == pgno)
			return frame;
	}
	return 0;
}

static void try_map(struct bytes *bytes)
{
	uint32_t pgnos[FRAMES_MAX], frames[16], count = 0;
	struct pagemap map;

	pagemap_init(&map);
	while (bytes->left > 0) {
		uint8_t how = bytes_u8(bytes);
		uint32_t n = how & 31, base = how & 32 ? bytes_u32(bytes) : 0, limit, first, zeros = 0;

		if (n > FRAMES_MAX - count)
			n = FRAMES_MAX - count;
		for (uint32_t i = 0; i < n; i++) {
			pgnos[count + i] = base + bytes_u8(bytes);
			zeros += pgnos[count + i] == 0;
		}
		must(pagemap_extend(&map, pgnos + count, n) == (zeros ? -EIO : 0));
		count += zeros ? 0 : n;
		must(map.count == count && map.upto == count);
		limit = bytes_u16(bytes);
		first = how & 64 ? base : bytes_u8(bytes);
		pagemap_find(&map, first, 16, limit, frames);
		for (uint32_t i = 0; i < 16 && (uint64_t)first + i <= UINT32_MAX; i++)
			must(frames[i] == find_slowly(pgnos, count, first + i, limit));
	}
	pagemap_finish(&map);
}

/* ---- versions ------------------------------------------------------------------------------------------ */

static void make_version(struct bytes *bytes, struct version *v)
{
	uint8_t how = bytes_u8(bytes);
	size_t size = sizeof(v->header);
	const uint8_t *header;

	*v = (struct version){.dev = how & 1, .ino = 1, .incarnation = how >> 1 & 3};
	v->has_header = how & 8;
	v->has_counters = how & 16;
	v->db.size = bytes_u8(bytes) * 512u;
	v->wal.size = bytes_u16(bytes);
	v->db.ctime_ns = how & 32 ? (int64_t)bytes_u64(bytes) : 1000;
	v->wal.ctime_ns = how & 64 ? (int64_t)bytes_u64(bytes) : 1000;
	v->seen_ns = how & 128 ? (int64_t)bytes_u64(bytes) : INT64_C(10000000000);
	v->counters[3] = bytes_u8(bytes);
	header = bytes_take(bytes, &size);
	memcpy(v->header, header, size);
	seal(v->header);
}

static void try_version(struct bytes *bytes)
{
	struct version a, b;
	int64_t changed, last, now, shown;
	bool equal;

	make_version(bytes, &a);
	if (bytes_u8(bytes) & 1)
		b = a; /* and then something else of it */
	else
		make_version(bytes, &b);
	if (bytes_u8(bytes) & 1)
		b.db.size ^= bytes_u8(bytes);
	equal = version_equal(&a, &b);
	if (equal) {
		bool within = a.has_header && b.has_header && a.incarnation && a.incarnation == b.incarnation;

		must(a.dev == b.dev && a.ino == b.ino);
		must(within ? memcmp(a.header, b.header, sizeof(a.header)) == 0
			    : a.db.size == b.db.size && a.wal.size == b.wal.size &&
				      a.db.ctime_ns == b.db.ctime_ns && a.wal.ctime_ns == b.wal.ctime_ns);
		/* A look that was taken too soon after a change proves nothing. */
		must(within || (a.seen_ns - VERSION_RACY_NS > a.db.ctime_ns &&
				a.seen_ns - VERSION_RACY_NS > a.wal.ctime_ns));
		must(within || !a.has_counters || !b.has_counters || a.has_header || b.has_header ||
		     memcmp(a.counters, b.counters, sizeof(a.counters)) == 0);
	}
	changed = (int64_t)bytes_u64(bytes);
	last = (int64_t)bytes_u64(bytes);
	now = (int64_t)bytes_u64(bytes);
	shown = version_mtime(changed, last, bytes_u8(bytes) & 1, now);
	/* What is far ahead of the clock does not count; else time goes on. */
	must(last == 0 ? shown == changed || shown == now : shown > last || last >= now);
}

/* ---- sets of bytes ------------------------------------------------------------------------------------- */

#define SET_SIZE 64u

static void compare_set(const struct ranges *set, const bool *in)
{
	uint64_t total = 0, end = 0;

	for (uint64_t at = 0; at < SET_SIZE; at++) {
		uint64_t last = end;

		must(ranges_find(set, at, &end) == in[at] && end > at);
		/* The same end up to the first byte that is different. */
		must(at == 0 || (in[at] == in[at - 1] ? end == last : last == at));
		total += in[at];
	}
	must(end >= SET_SIZE);
	must(ranges_bytes(set, 0, SET_SIZE) == total &&
	     ranges_cover(set, 0, SET_SIZE) == (total == SET_SIZE));
	for (size_t i = 0; i < set->count; i++) {
		must(set->list[i].from < set->list[i].to);
		must(i == 0 || set->list[i - 1].to < set->list[i].from);
	}
}

static void try_ranges(struct bytes *bytes)
{
	bool in[SET_SIZE] = {false};
	struct ranges set;

	ranges_init(&set);
	for (int i = 0; i < 32 && bytes->left > 0; i++) {
		uint8_t how = bytes_u8(bytes);
		uint64_t from = bytes_u8(bytes) % SET_SIZE, to = bytes_u8(bytes) % (SET_SIZE + 1);

		if (to < from)
			to = from;
		must((how & 1 ? ranges_remove(&set, from, to) : ranges_add(&set, from, to)) == 0);
		for (uint64_t at = from; at < to; at++)
			in[at] = !(how & 1);
		compare_set(&set, in);
	}
	ranges_finish(&set);
}

/* ---- texts of the kernel ------------------------------------------------------------------------------- */

static int take_layer(void *arg, const char *key, const char *folder)
{
	size_t *left = arg;

	must(strcmp(key, "upperdir") == 0 || strstr(key, "dir") != NULL);
	must(strlen(folder) < 1u << 20);
	return --*left == 0 ? 7 : 0;
}

static void try_texts(struct bytes *bytes)
{
	uint8_t how = bytes_u8(bytes);
	char *text = calloc(1, bytes->left + 1);
	uint8_t *copy = bytes_copy(bytes->at, bytes->left);
	struct proclocks_seen seen;
	struct stat st = {.st_mode = how & 0777, .st_uid = 1, .st_gid = 2};
	size_t layers = 1u + (how & 15);
	char type[8] = "";
	int rc;

	must(text != NULL);
	memcpy(text, bytes->at, bytes->left);
	rc = mountinfo_layers(text, take_layer, &layers);
	must(rc == 0 || rc == 7);
	rc = mountinfo_type(text, how, type, sizeof(type));
	must(rc == 0 ? strlen(type) < sizeof(type) : rc == -ENOENT);
	proclocks_parse(&seen, (const char *)copy, bytes->left, 0x801, 42, 7);
	for (int i = 0; i < PROCLOCKS_COUNT; i++) {
		must(!seen.held[i].writer || seen.held[i].self || seen.held[i].others);
		must(seen.held[i].writer != 7 || seen.held[i].self);
	}
	/* An ACL may take rights away, and never give any that the mode has for nobody. */
	must((acl_bits(&st, copy, (ssize_t)bytes->left, how & 1, 2) & ~0777u) == 0);
	must((acl_bits(&st, copy, -EIO, 1, 2) & ~st.st_mode) == 0);
	must(acl_bits(&st, NULL, 0, 1, 2) == (st.st_mode & 0777));
	free(copy);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes bytes = {data, size};

	switch (bytes_u8(&bytes) % 7) {
	case 0:
		try_header(bytes.at, bytes.left);
		break;
	case 1:
		try_gate(&bytes);
		break;
	case 2:
		try_wal(&bytes);
		break;
	case 3:
		try_map(&bytes);
		break;
	case 4:
		try_version(&bytes);
		break;
	case 5:
		try_ranges(&bytes);
		break;
	default:
		try_texts(&bytes);
		break;
	}
	return 0;
}
