/* SPDX-License-Identifier: MIT */
/* spools.h - what the tests of spools share: looks at copies, and at what copying leaves behind. */
#ifndef SQLSNAP_TEST_SPOOLS_H
#define SQLSNAP_TEST_SPOOLS_H

#include "live_db.h"

#include <dirent.h>

#include "../../src/spool.h"

static inline int count_entries(const struct folder *folder)
{
	DIR *dir = opendir(folder->path);
	int n = -2; /* . and .. */

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static inline struct copy read_whole(int fd, size_t size)
{
	struct copy copy = {sqlite3_malloc64(size + 1), size};
	size_t done = 0;
	ssize_t got;

	assert_non_null(copy.bytes);
	memset(copy.bytes, 0, size + 1);
	while ((got = pread(fd, copy.bytes + done, size - done, (off_t)done)) > 0)
		done += (size_t)got;
	assert_int_equal(got, 0);
	return copy;
}

/* The file itself. Only while this process has no connection, whose locks the close would drop. */
static inline struct copy read_file(struct fixture *f, const char *name)
{
	int fd = openat(f->folder.fd, name, O_RDONLY | O_CLOEXEC);
	struct copy copy;
	struct stat st;

	assert_null(f->live);
	assert_int_equal(fstat(fd, &st), 0);
	copy = read_whole(fd, (size_t)st.st_size);
	close(fd);
	return copy;
}

static inline void assert_same(const struct copy *a, const struct copy *b)
{
	assert_int_equal(a->size, b->size);
	for (size_t at = 0; at < a->size; at += 4096) /* so that a failure names the page */
		assert_memory_equal(a->bytes + at, b->bytes + at, a->size - at < 4096 ? a->size - at : 4096);
}

/* The copy is EXPECTED and says what it is; it is closed. */
static inline void assert_flat(struct spool_flat *flat, const struct copy *expected)
{
	struct header header;
	struct copy got;

	assert_true(flat->fd >= 0);
	assert_true(fcntl(flat->fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(flat->size, expected->size);
	got = read_whole(flat->fd, flat->size);
	assert_same(&got, expected);
	assert_int_equal(header_decode(&header, got.bytes, got.size), 0);
	assert_memory_equal(&header.counters, &flat->header.counters, sizeof(header.counters));
	assert_int_equal(header.page_size, flat->header.page_size);
	assert_int_equal(header.page_count, flat->header.page_count);
	assert_between(flat->seen_ns, realtime_ns() - 60 * NS_PER_S, realtime_ns());
	close(flat->fd);
	flat->fd = -1;
	sqlite3_free(got.bytes);
}

static inline void assert_stat(struct fixture *f, const struct stat *st)
{
	struct stat now;

	assert_int_equal(place_stat(&f->place, "", &now), 0);
	assert_int_equal(st->st_ino, now.st_ino);
	assert_int_equal(st->st_dev, now.st_dev);
	assert_int_equal(st->st_size, now.st_size);
	assert_int_equal(timespec_ns(st->st_mtim), timespec_ns(now.st_mtim));
	assert_int_equal(timespec_ns(st->st_ctim), timespec_ns(now.st_ctim));
}

#endif
