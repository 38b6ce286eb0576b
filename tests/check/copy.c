/* SPDX-License-Identifier: MIT */
/*
 * copy.c - reads a whole file in one of several ways and watches that its size never lies.
 *
 * Nothing is assumed of the file but that it is a regular one; a read error, a short file and a longer file
 * than fstat(2) said are each told in words. Judges no content, that is invariant.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "copy.h"

#define PIECE 5000u /* bytes of a piece read out of order: fits neither pages of SQLite nor of the kernel */

static const char *const names[COPY_N] = {"read", "odd",      "pread", "backwards",
					  "mmap", "sendfile", "slow",  "direct"};

int copy_style(const char *name)
{
	for (int i = 0; i < COPY_N; i++) {
		if (strcmp(names[i], name) == 0)
			return i;
	}
	return -1;
}

const char *copy_style_name(enum copy_style style)
{
	return names[style];
}

__attribute__((format(printf, 2, 3))) static bool fail(struct copy *copy, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(copy->why, sizeof(copy->why), format, args);
	va_end(args);
	return false;
}

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

/* read(2) to the end, one byte further than the size if there is one. */
static bool by_read(struct copy *copy, int fd, size_t step, unsigned pause)
{
	size_t done = 0;

	if (lseek(fd, 0, SEEK_SET) != 0)
		return fail(copy, "lseek: %s", strerror(errno));
	for (;;) {
		size_t left = copy->size + 1 - done;
		ssize_t got = read(fd, copy->bytes + done, left < step ? left : step);

		if (got < 0)
			return fail(copy, "read at %zu: %s", done, strerror(errno));
		if (got == 0)
			break;
		done += (size_t)got;
		if (done > copy->size)
			return fail(copy, "more bytes than the %zu that fstat told", copy->size);
		if (pause)
			pause_ms(pause);
	}
	return done == copy->size ? true
				  : fail(copy, "%zu bytes of the %zu that fstat told", done, copy->size);
}

static bool piece(struct copy *copy, int fd, size_t i)
{
	size_t offset = i * PIECE, want = copy->size - offset < PIECE ? copy->size - offset : PIECE;
	/* Asks for a whole piece, also at the end, where only WANT bytes are. */
	ssize_t got = pread(fd, copy->bytes + offset, PIECE, (off_t)offset);
	unsigned char next;

	/* Where its second page cannot be had the kernel gives the first, and why not when asked for the
	 * rest. */
	if (got < 0 ||
	    ((size_t)got < want && pread(fd, &next, sizeof(next), (off_t)(offset + (size_t)got)) < 0))
		return fail(copy, "pread at %zu: %s", offset, strerror(errno));
	return (size_t)got == want ? true : fail(copy, "pread at %zu: %zd of %zu bytes", offset, got, want);
}

/* A number that walks through 0..n-1 in a scattered order: STEP has no factor in common with N. */
static size_t scattered_step(size_t n, unsigned seed)
{
	size_t step = (n * 5 / 8 + seed % 97) | 1;

	for (;; step += 2) {
		size_t a = step, b = n;

		while (b) {
			size_t rest = a % b;

			a = b;
			b = rest;
		}
		if (a == 1)
			return step;
	}
}

static bool by_pread(struct copy *copy, int fd, unsigned seed, bool backwards)
{
	size_t n = (copy->size + PIECE - 1) / PIECE, step = n ? scattered_step(n, seed) : 0, at = 0;
	unsigned char spare[16];
	ssize_t past;

	for (size_t i = 0; i < n; i++, at = (at + step) % n) {
		if (!piece(copy, fd, backwards ? n - 1 - i : at))
			return false;
	}
	for (size_t i = 0; !backwards && i < n; i += 7) {
		if (!piece(copy, fd, i))
			return false;
	}
	past = pread(fd, spare, sizeof(spare), (off_t)copy->size);
	if (past == 0)
		past = pread(fd, spare, sizeof(spare), (off_t)copy->size + 70000);
	if (past < 0)
		return fail(copy, "pread past the end: %s", strerror(errno));
	return past == 0 ? true : fail(copy, "there are bytes past the end");
}

static bool by_mmap(struct copy *copy, int fd, unsigned seed)
{
	size_t n = (copy->size + PIECE - 1) / PIECE, step = n ? scattered_step(n, seed) : 0, at = 0;
	unsigned char *map;

	if (!copy->size)
		return true;
	map = mmap(NULL, copy->size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return fail(copy, "mmap: %s", strerror(errno));
	for (size_t i = 0; i < n; i++, at = (at + step) % n) {
		size_t offset = at * PIECE, left = copy->size - offset;

		memcpy(copy->bytes + offset, map + offset, left < PIECE ? left : PIECE);
	}
	munmap(map, copy->size);
	return true;
}

static bool by_sendfile(struct copy *copy, int fd)
{
	int mem = memfd_create("copy", MFD_CLOEXEC);
	off_t offset = 0;
	ssize_t got = 1;
	bool ok = true;

	while (mem >= 0 && got > 0)
		got = sendfile(mem, fd, &offset, 1 << 20);
	if (mem < 0 || got < 0)
		ok = fail(copy, "sendfile at %lld: %s", (long long)offset, strerror(errno));
	else if ((size_t)offset != copy->size)
		ok = fail(copy, "sendfile: %lld of %zu bytes", (long long)offset, copy->size);
	else if (pread(mem, copy->bytes, copy->size, 0) != (ssize_t)copy->size)
		ok = fail(copy, "memfd: %s", strerror(errno));
	if (mem >= 0)
		close(mem);
	return ok;
}

static bool by_direct(struct copy *copy, int fd)
{
	int flags = fcntl(fd, F_GETFL);
	void *buf = NULL;
	size_t done = 0;
	ssize_t got = 0;

	if (fcntl(fd, F_SETFL, flags | O_DIRECT) != 0)
		return by_read(copy, fd, 1 << 20, 0); /* a file system without it */
	if (posix_memalign(&buf, 4096, 65536) != 0)
		return fail(copy, "out of memory");
	while (done < copy->size && (got = pread(fd, buf, 65536, (off_t)done)) > 0) {
		size_t take = copy->size - done < (size_t)got ? copy->size - done : (size_t)got;

		memcpy(copy->bytes + done, buf, take);
		done += take;
	}
	free(buf);
	fcntl(fd, F_SETFL, flags);
	if (done != copy->size)
		return fail(copy, "O_DIRECT read at %zu of %zu: %s", done, copy->size,
			    got < 0 ? strerror(errno) : "end of file");
	return true;
}

/* fstat(2) and SEEK_END agree with what was said first. */
static bool size_holds(struct copy *copy, int fd)
{
	struct stat st;
	off_t end = lseek(fd, 0, SEEK_END);

	if (fstat(fd, &st) != 0)
		return fail(copy, "fstat: %s", strerror(errno));
	if ((size_t)st.st_size != copy->size)
		return fail(copy, "fstat told %zu bytes, then %lld", copy->size, (long long)st.st_size);
	if ((size_t)end != copy->size)
		return fail(copy, "fstat told %zu bytes, SEEK_END %lld", copy->size, (long long)end);
	return true;
}

static bool read_style(struct copy *copy, int fd, enum copy_style style, unsigned seed, unsigned slow_ms)
{
	switch (style) {
	case COPY_ODD:
		return by_read(copy, fd, 3001 + seed % 1000, 0);
	case COPY_PREAD:
		return by_pread(copy, fd, seed, false);
	case COPY_BACKWARDS:
		return by_pread(copy, fd, seed, true);
	case COPY_MMAP:
		return by_mmap(copy, fd, seed);
	case COPY_SENDFILE:
		return by_sendfile(copy, fd);
	case COPY_SLOW:
		return by_read(copy, fd, copy->size / 32 + 1, slow_ms / 32 + 1);
	case COPY_DIRECT:
		return by_direct(copy, fd);
	default:
		return by_read(copy, fd, 131072, 0);
	}
}

bool copy_descriptor(struct copy *copy, int fd, enum copy_style style, unsigned seed, unsigned slow_ms)
{
	struct stat st;

	*copy = (struct copy){0};
	if (fstat(fd, &st) != 0)
		return fail(copy, "fstat: %s", strerror(errno));
	copy->size = (size_t)st.st_size;
	/* Room for a whole piece past the end, so that one that comes from there is seen and not written
	 * elsewhere. */
	copy->bytes = calloc(1, copy->size + PIECE + 1);
	if (!copy->bytes)
		return fail(copy, "out of memory");
	return size_holds(copy, fd) && read_style(copy, fd, style, seed, slow_ms) && size_holds(copy, fd);
}

bool copy_file(struct copy *copy, const char *path, enum copy_style style, unsigned seed, unsigned slow_ms)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok;

	*copy = (struct copy){0};
	if (fd < 0)
		return fail(copy, "open: %s", strerror(errno));
	ok = copy_descriptor(copy, fd, style, seed, slow_ms);
	if (close(fd) != 0 && ok)
		ok = fail(copy, "close: %s", strerror(errno));
	return ok;
}

void copy_finish(struct copy *copy)
{
	free(copy->bytes);
	copy->bytes = NULL;
}
