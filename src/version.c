/* SPDX-License-Identifier: MIT */
/*
 * version.c - comparing two looks at a database, and the time that a generation shows.
 *
 * What must stay true: "equal" is never said by mistake; "not equal" may be, and then costs a new generation
 * or a connection. Reads neither files nor clocks.
 */
#include "version.h"

#include <string.h>

#include "clock.h"

#define AHEAD_S 60 /* by so many seconds a clock may have been set back */

/* Where times are whole seconds, they may step by two (FAT). */
#define COARSE_NS (2 * NS_PER_S)

/* The bytes of a header that say which frames are committed: order of checksums, page size, last frame, page
 * count, checksum of the last frame (and so of all before it), salts. Recovery finds the same ones. */
#define FRAMES_FROM 13
#define FRAMES_TO 40

/* ---- equality ------------------------------------------------------------------------------------------ */

enum kind {
	PLAIN,
	HEADER,
	COUNTERS,
};

static enum kind kind_of(const struct version *v)
{
	if (v->has_header)
		return HEADER;
	return v->has_counters ? COUNTERS : PLAIN;
}

void version_stat_set(struct version_stat *out, const struct stat *st)
{
	*out = (struct version_stat){.size = 0};
	if (!st)
		return;
	out->size = (uint64_t)st->st_size;
	out->mtime_ns = timespec_ns(st->st_mtim);
	out->ctime_ns = timespec_ns(st->st_ctim);
}

bool version_same_stat(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       timespec_ns(a->st_mtim) == timespec_ns(b->st_mtim) &&
	       timespec_ns(a->st_ctim) == timespec_ns(b->st_ctim);
}

static bool same_stat(const struct version_stat *a, const struct version_stat *b)
{
	return a->size == b->size && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

bool version_is_settled(int64_t ctime_ns, int64_t seen_ns)
{
	int64_t margin = VERSION_RACY_NS;

	if (ctime_ns % NS_PER_S == 0)
		margin += COARSE_NS;
	return seen_ns > margin && ctime_ns < seen_ns - margin;
}

static bool decode(struct wal_header *out, const struct version *v)
{
	uint8_t copies[2 * WAL_INDEX_HEADER];

	memcpy(copies, v->header, WAL_INDEX_HEADER);
	memcpy(copies + WAL_INDEX_HEADER, v->header, WAL_INDEX_HEADER);
	return wal_header_decode(out, copies) == 0;
}

/* Without committed frames the header holds what an earlier WAL left. */
static bool same_frames(const struct version *a, const struct version *b)
{
	struct wal_header ha, hb;

	if (!decode(&ha, a) || !decode(&hb, b) || ha.max_frame != hb.max_frame)
		return false;
	return ha.max_frame == 0 ||
	       memcmp(ha.raw + FRAMES_FROM, hb.raw + FRAMES_FROM, FRAMES_TO - FRAMES_FROM) == 0;
}

/* Whether the -wal holds the committed frames and not a byte more. */
static bool is_all_committed(const struct version *v)
{
	struct wal_header h;

	if (!decode(&h, v))
		return false;
	if (h.max_frame == 0)
		return v->wal.size <= WAL_FILE_HEADER;
	return v->wal.size == wal_frame_offset(h.max_frame, h.page_size) + WAL_FRAME_HEADER + h.page_size;
}

static bool same_kind(enum kind kind, const struct version *a, const struct version *b)
{
	switch (kind) {
	case HEADER:
		return same_frames(a, b);
	case COUNTERS:
		return memcmp(a->counters, b->counters, sizeof(a->counters)) == 0;
	case PLAIN:
		break;
	}
	return true;
}

bool version_equal(const struct version *older, const struct version *newer)
{
	enum kind was = kind_of(older), is = kind_of(newer);

	if (older->dev != newer->dev || older->ino != newer->ino)
		return false;
	if (was == HEADER && is == HEADER && older->incarnation != 0 &&
	    older->incarnation == newer->incarnation)
		return memcmp(older->header, newer->header, sizeof(older->header)) == 0;
	if (!same_stat(&older->db, &newer->db) || !same_stat(&older->wal, &newer->wal))
		return false;
	if (!version_is_settled(older->db.ctime_ns, older->seen_ns) ||
	    !version_is_settled(older->wal.ctime_ns, older->seen_ns))
		return false;
	if (was == is)
		return same_kind(was, older, newer);
	if (was != PLAIN && is != PLAIN)
		return false;
	if (was == HEADER)
		return is_all_committed(older);
	if (is == HEADER)
		return is_all_committed(newer);
	return true;
}

uint64_t version_size(const struct version *v)
{
	struct wal_header h;

	return v->has_header && decode(&h, v) ? (uint64_t)h.page_count * h.page_size : 0;
}

/* ---- time ---------------------------------------------------------------------------------------------- */

/* The whole second that NS is in, also before 1970. */
static int64_t second_of(int64_t ns)
{
	return ns / NS_PER_S - (ns % NS_PER_S < 0);
}

bool version_same_second(int64_t a, int64_t b)
{
	return second_of(a) == second_of(b);
}

bool version_time_counts(int64_t time, int64_t now)
{
	return second_of(time) <= second_of(now) + 1 + AHEAD_S;
}

int64_t version_mtime(int64_t changed, int64_t last, bool apart, int64_t now)
{
	int64_t latest = second_of(now) + 1, next = second_of(last) + 1, later;

	if (!version_time_counts(changed, now))
		changed = now;
	if (last == 0 || !version_time_counts(last, now) || second_of(changed) >= next)
		return changed;
	if (next <= latest && !__builtin_mul_overflow(next, NS_PER_S, &later))
		return later;
	if (apart && !__builtin_add_overflow(last, NS_PER_S, &later))
		return later;
	if (changed > last)
		return changed;
	return last == INT64_MAX ? last : last + 1;
}

int64_t version_last_saved(int64_t changed, int64_t last, int64_t part)
{
	int64_t shown;

	if (second_of(changed) > second_of(last) + 1 ||
	    __builtin_add_overflow(changed, VERSION_RACY_NS, &shown) ||
	    __builtin_mul_overflow(second_of(shown) + 1, NS_PER_S, &shown))
		return last;
	shown = shown > last ? shown : last;
	return __builtin_add_overflow(shown, NS_PER_MS + part, &shown) ? last : shown;
}
