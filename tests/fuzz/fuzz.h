/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - what the fuzz targets share: bytes that decisions are taken from, assertions that stay in every
 * build, and a folder in memory that is empty before each input.
 *
 * A target is one file with LLVMFuzzerTestOneInput() (https://llvm.org/docs/LibFuzzer.html): any bytes are an
 * input, and the same bytes do the same. With -Dfuzz=true libFuzzer makes them up; in every other build
 * replay.c feeds it the files of corpus/TARGET, which are what has been found worth keeping.
 */
#ifndef SQLSNAP_FUZZ_H
#define SQLSNAP_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* ---- assertions ---------------------------------------------------------------------------------------- */

/* Ends the process as a crash does. */
_Noreturn void fuzz_fail(const char *file, int line, const char *condition);

#define must(condition) ((condition) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #condition))

/* Whether TEXT, of SIZE bytes at most, is one line of words. */
bool fuzz_is_line(const char *text, size_t size);

/* The lowest descriptor that is free: the same before and after what must close all that it opens. */
int fuzz_free_fd(void);

/* Has libFuzzer take what the text says for something new, as it does a branch that was never taken: the
 * verdicts of code that is not instrumented. Numbers in it are all the same to it. */
void fuzz_note(const char *text);

/* ---- bytes --------------------------------------------------------------------------------------------- */

struct bytes {
	const uint8_t *at;
	size_t left;
};

/* Zeros when there are no more. */
uint8_t bytes_u8(struct bytes *bytes);
uint16_t bytes_u16(struct bytes *bytes);
uint32_t bytes_u32(struct bytes *bytes);
uint64_t bytes_u64(struct bytes *bytes);
/* SIZE bytes, fewer at the end: *SIZE says how many. Borrowed. */
const uint8_t *bytes_take(struct bytes *bytes, size_t *size);
/* A copy of its own that ends where the memory ends, for reads past the end to be seen. Owned. */
uint8_t *bytes_copy(const uint8_t *at, size_t size);

/* ---- files --------------------------------------------------------------------------------------------- */

/* The folder of this process, absolute; in $TMPDIR or /dev/shm. Removed at exit. */
const char *fuzz_folder(void);
/* Makes it empty. */
void fuzz_folder_clear(void);

/* "FOLDER/NAME" in one of eight buffers in turn. */
const char *fuzz_path(const char *name);
/* Writes a file there. */
void fuzz_put(const char *name, const void *bytes, size_t size);
/* Reads one. Owned; NULL when it is not there. */
uint8_t *fuzz_get(const char *name, size_t *size);

#endif
