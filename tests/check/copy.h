/* SPDX-License-Identifier: MIT */
/* copy.h - the ways in which programs read a whole file. */
#ifndef SQLSNAP_TEST_COPY_H
#define SQLSNAP_TEST_COPY_H

#include <stdbool.h>
#include <stddef.h>

struct copy {
	unsigned char *bytes; /* owned */
	size_t size;
	char why[256]; /* what failed or lied; empty: nothing */
};

enum copy_style {
	COPY_READ,	/* read(2) in 128 KiB steps to the end */
	COPY_ODD,	/* read(2) in steps that fit no page */
	COPY_PREAD,	/* pread(2) of all pieces in random order, some twice, and past the end */
	COPY_BACKWARDS, /* pread(2) from the end */
	COPY_MMAP,	/* a shared mapping touched in random order */
	COPY_SENDFILE,	/* sendfile(2) to a memfd */
	COPY_SLOW,	/* 32 steps with a pause between them, SLOW_MS in all */
	COPY_DIRECT,	/* O_DIRECT, which bypasses the page cache */
	COPY_N
};

/* -1: no such style. */
int copy_style(const char *name);
const char *copy_style_name(enum copy_style style);

/*
 * Opens PATH and reads all of it. The size that fstat(2) tells after open(2), the one that SEEK_END tells and
 * the number of bytes that can be read must agree, before and after. False, and COPY->why, otherwise.
 */
bool copy_file(struct copy *copy, const char *path, enum copy_style style, unsigned seed, unsigned slow_ms);

/* The same from an open descriptor, from its offset 0 whatever the current offset is. */
bool copy_descriptor(struct copy *copy, int fd, enum copy_style style, unsigned seed, unsigned slow_ms);

void copy_finish(struct copy *copy);

#endif
