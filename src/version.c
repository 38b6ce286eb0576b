/* SPDX-License-Identifier: MIT */
/* version.c - see version.h. */
#include "version.h"

#include <string.h>

#include "clock.h"

void version_stat_set(struct version_stat *out, const struct stat *st)
{
	*out = (struct version_stat){0, 0, 0};
	if (st) {
		out->size = (uint64_t)st->st_size;
		out->mtime_ns = timespec_ns(st->st_mtim);
		out->ctime_ns = timespec_ns(st->st_ctim);
	}
}

static bool same_stat(const struct version_stat *a, const struct version_stat *b)
{
	return a->size == b->size && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

/* Whether a change after the stat(2) of V must show in other times. */
static bool settled(const struct version *v)
{
	int64_t newest = v->db.mtime_ns;

	if (v->db.ctime_ns > newest)
		newest = v->db.ctime_ns;
	if (v->wal.mtime_ns > newest)
		newest = v->wal.mtime_ns;
	if (v->wal.ctime_ns > newest)
		newest = v->wal.ctime_ns;
	return v->seen_ns - newest > VERSION_RACY_NS;
}

bool version_equal(const struct version *older, const struct version *newer)
{
	if (older->dev != newer->dev || older->ino != newer->ino)
		return false;
	if (older->has_header && newer->has_header && older->incarnation == newer->incarnation)
		return memcmp(older->header, newer->header, sizeof(older->header)) == 0;
	if (older->has_counters && newer->has_counters &&
	    memcmp(older->counters, newer->counters, sizeof(older->counters)) != 0)
		return false;
	return same_stat(&older->db, &newer->db) && same_stat(&older->wal, &newer->wal) && settled(older);
}

int64_t version_mtime(int64_t changed, int64_t last, int64_t now)
{
	int64_t next = last / NS_PER_S * NS_PER_S + NS_PER_S;

	if (last == 0 || changed / NS_PER_S > last / NS_PER_S)
		return changed;
	if (next <= now + NS_PER_S)
		return next;
	return changed > last ? changed : last + 1;
}
