/* SPDX-License-Identifier: MIT */
/* check.h - sqlsnapfs --check FILE: the check that an upload must pass, without a mount. */
#ifndef SQLSNAPFS_CHECK_H
#define SQLSNAPFS_CHECK_H

#include <stdbool.h>

/*
 * Prints on stdout, one "WORD: VALUE" a line: verdict (accepted or refused), then the reason of a refusal, or
 * the note, tables, pages, page_size, user_version and application_id of what was accepted; the last two as
 * PRAGMA prints them. If FILE cannot be checked, the reason goes to stderr. Returns the exit status: 0
 * accepted, 1 not.
 */
int check_print(const char *path, bool full);

#endif
