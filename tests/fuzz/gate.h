/* SPDX-License-Identifier: MIT */
/*
 * gate.h - validate_file() for the targets that upload: what the child does is done in this process, without
 * the jail, so that libFuzzer sees which branches are taken and a hundred times as many files are looked at.
 * With FUZZ_CHILD=1 in the environment it is the child's business after all.
 *
 * A target that links gate.c is wrapped around validate_file() (meson.build).
 */
#ifndef SQLSNAP_FUZZ_GATE_H
#define SQLSNAP_FUZZ_GATE_H

#include <sqlite3.h>

#include "../../src/validate.h"

/* Whether SQLite was stopped, on any connection, since this was asked last: its answers are no verdicts then.
 * It is stopped after so many instructions, for the clock that stops it in the program is the parent's. */
bool gate_was_stopped(void);

/* The content of a database in memory, as another connection sees it that belongs to nobody. */
sqlite3 *gate_open_copy(const void *bytes, size_t size);

#endif
