/* SPDX-License-Identifier: MIT */
/* facts.h - what facts.c provides beyond sqlsnap.h. */
#ifndef SQLSNAP_FACTS_H
#define SQLSNAP_FACTS_H

#include <stdbool.h>

/* Whether SQLite NUMBER (as sqlite3_libversion_number() counts) has the WAL-reset bug. Pure. */
bool facts_wal_reset_bug(int number);

#endif
