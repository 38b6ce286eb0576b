/* SPDX-License-Identifier: MIT */
/* utf8.h - where a character ends. Names of files are bytes, and need not be UTF-8. */
#ifndef SQLSNAPFS_UTF8_H
#define SQLSNAPFS_UTF8_H

#include <stddef.h>

/* Bytes of the UTF-8 sequence at S; 0: it is none (Unicode, table 3-7: no overlong forms, no surrogates). */
static inline size_t utf8_sequence(const unsigned char *s)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

#endif
