/* SPDX-License-Identifier: MIT */
/* bytes.h - sizes in messages. */
#ifndef SQLSNAP_BYTES_H
#define SQLSNAP_BYTES_H

#include <stdint.h>
#include <stdio.h>

#define BYTES_TEXT_SIZE 32

/* Writes SIZE to TEXT: in MiB, or, if it is less than one, in whole KiB, rounded up. */
static inline const char *bytes_text(char text[BYTES_TEXT_SIZE], uint64_t size)
{
	if (size < 1 << 20)
		snprintf(text, BYTES_TEXT_SIZE, "%u KiB", (unsigned)(size + 1023) / 1024);
	else
		snprintf(text, BYTES_TEXT_SIZE, "%.1f MiB", (double)size / (1 << 20));
	return text;
}

#endif
