/* SPDX-License-Identifier: MIT */
/*
 * sniff.c - the first 100 bytes of files, remembered.
 *
 * What must stay true:
 *  - A remembered answer is used only while size, mtime and ctime are what they were, and only if those
 *    times were so old when the file was read that a later change must show in them (version_is_settled()).
 *  - A read error is never taken as an answer: once the disk works again, raw bytes of a live database would
 *    be read.
 *  - No descriptor is opened on a file that a connection has open (rawfd.h says why).
 * The tables are direct-mapped: a new answer replaces the one in its slot. Headers have a smaller table of
 * their own, because few files are databases; a header counts only if it belongs to the slot that is looked
 * up.
 */
#include "sniff.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "opath.h"
#include "version.h"

#define SLOTS 16384u
#define HEADERS 4096u
#define TRIES 3

enum verdict {
	PLAIN,
	DATABASE,      /* with a header */
	DATABASE_ONLY, /* begins with the magic, but the header is malformed */
};

struct slot {
	uint64_t dev, ino; /* ino 0: empty */
	int64_t mtime_ns, ctime_ns;
	uint64_t size;
	enum verdict verdict;
};

struct kept_header {
	struct header header;
	uint32_t owner; /* index of the slot that it belongs to */
};

struct sniff {
	struct rawfd_table *table; /* borrowed */
	pthread_mutex_t lock;
	struct slot slots[SLOTS];	     /* guarded by lock */
	struct kept_header headers[HEADERS]; /* guarded by lock */
};

_Static_assert(sizeof(struct sniff) <= 1 << 20, "the cache is promised to take 1 MiB at most");

int sniff_create(struct sniff **out, struct rawfd_table *table)
{
	struct sniff *sniff = calloc(1, sizeof(*sniff));

	if (!sniff)
		return -ENOMEM;
	sniff->table = table;
	pthread_mutex_init(&sniff->lock, NULL);
	*out = sniff;
	return 0;
}

void sniff_destroy(struct sniff *sniff)
{
	if (!sniff)
		return;
	pthread_mutex_destroy(&sniff->lock);
	free(sniff);
}

/* Files of one folder tend to have neighbouring inodes: they get neighbouring slots, not the same one. */
static uint32_t slot_of(uint64_t dev, uint64_t ino)
{
	return (uint32_t)((ino + opath_mix(dev, ino / SLOTS)) % SLOTS);
}

static void answer(struct sniffed *out, enum verdict verdict, const struct header *header)
{
	memset(out, 0, sizeof(*out));
	out->database = verdict != PLAIN;
	out->has_header = verdict == DATABASE && header;
	if (out->has_header)
		out->header = *header;
}

static bool recall(struct sniff *sniff, const struct stat *st, struct sniffed *out)
{
	uint32_t index = slot_of(st->st_dev, st->st_ino);
	lock_scope(&sniff->lock);
	const struct slot *slot = &sniff->slots[index];
	const struct kept_header *kept = &sniff->headers[index % HEADERS];

	if (slot->ino == 0 || slot->dev != st->st_dev || slot->ino != st->st_ino ||
	    slot->size != (uint64_t)st->st_size || slot->mtime_ns != timespec_ns(st->st_mtim) ||
	    slot->ctime_ns != timespec_ns(st->st_ctim))
		return false;
	if (slot->verdict == DATABASE && kept->owner != index)
		return false; /* another database's header has taken its place */
	answer(out, slot->verdict, &kept->header);
	return true;
}

/* READ_NS: CLOCK_REALTIME before the first look at the file. */
static void remember(struct sniff *sniff, const struct stat *st, int64_t read_ns, enum verdict verdict,
		     const struct header *header)
{
	uint32_t index = slot_of(st->st_dev, st->st_ino);
	int64_t mtime = timespec_ns(st->st_mtim);
	int64_t ctime = timespec_ns(st->st_ctim);

	if (!version_is_settled(mtime, read_ns) || !version_is_settled(ctime, read_ns))
		return;
	lock_scope(&sniff->lock);
	sniff->slots[index] = (struct slot){.dev = st->st_dev,
					    .ino = st->st_ino,
					    .mtime_ns = mtime,
					    .ctime_ns = ctime,
					    .size = (uint64_t)st->st_size,
					    .verdict = verdict};
	if (verdict == DATABASE)
		sniff->headers[index % HEADERS] = (struct kept_header){.header = *header, .owner = index};
}

/* Reads the beginning of FD; *STABLE: stat(2) was the same before and after the read. */
static int read_verdict(int fd, struct stat *st, enum verdict *verdict, struct header *header, bool *stable)
{
	*stable = false;
	for (int i = 0; i < TRIES && !*stable; i++) {
		struct stat before = *st;
		uint8_t bytes[HEADER_SIZE];
		ssize_t n = pread(fd, bytes, sizeof(bytes), 0);
		int rc = n < 0 ? -errno : header_decode(header, bytes, (size_t)n);

		if (rc < 0)
			return rc;
		*verdict = rc == 0 ? DATABASE : rc == HEADER_MALFORMED ? DATABASE_ONLY : PLAIN;
		if (fstat(fd, st) < 0)
			return -errno;
		*stable = version_same_stat(&before, st);
	}
	return 0;
}

int sniff_look(struct sniff *sniff, int fd, struct stat *st, struct sniffed *out)
{
	struct rawfd raw = RAWFD_INIT;
	enum verdict verdict = PLAIN;
	struct header header;
	int64_t read_ns;
	bool stable = false;
	bool known = recall(sniff, st, out);
	int rc;

	if (rawfd_connected(sniff->table, st->st_dev, st->st_ino)) {
		if (!known || !out->database)
			answer(out, DATABASE_ONLY, NULL);
		return 0;
	}
	if (rawfd_is_shm(st->st_dev, st->st_ino)) {
		answer(out, PLAIN, NULL);
		return 0;
	}
	if (known)
		return 0;
	answer(out, PLAIN, NULL);
	if (st->st_size < HEADER_SIZE)
		return 0;

	read_ns = realtime_ns();
	rc = rawfd_reopen(sniff->table, fd, &raw, st);
	if (rc == 0)
		rc = read_verdict(raw.fd, st, &verdict, &header, &stable);
	rawfd_close(sniff->table, &raw);
	if (opath_transient(rc) || rc == -EIO)
		return rc;
	if (rc) {
		out->refused = rc;
		return 0;
	}
	answer(out, verdict, stable ? &header : NULL);
	if (stable)
		remember(sniff, st, read_ns, verdict, &header);
	return 0;
}
