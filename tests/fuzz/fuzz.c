/* SPDX-License-Identifier: MIT */
/* fuzz.c - see fuzz.h. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOTES 4096

void fuzz_fail(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: must(%s)\n", file, line, condition);
	abort();
}

bool fuzz_is_line(const char *text, size_t size)
{
	size_t length = strnlen(text, size);

	return length > 0 && length < size && !memchr(text, '\n', length);
}

int fuzz_free_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	must(fd >= 0);
	close(fd);
	return fd;
}

/* libFuzzer reads the counters of every section of this name; without it they are an array. */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t notes[NOTES];

void fuzz_note(const char *text)
{
	static int wanted = -1;
	uint32_t hash = 2166136261u;

	if (wanted < 0)
		wanted = getenv("FUZZ_BRANCHES_ONLY") == NULL;
	if (!wanted)
		return;
	for (const char *c = text; *c; c++) {
		bool digit = *c >= '0' && *c <= '9';

		if (digit && c > text && c[-1] >= '0' && c[-1] <= '9')
			continue;
		hash = (hash ^ (digit ? '0' : (uint8_t)*c)) * 16777619u;
	}
	notes[hash % NOTES] = 1;
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

uint8_t bytes_u8(struct bytes *bytes)
{
	if (bytes->left == 0)
		return 0;
	bytes->left--;
	return *bytes->at++;
}

uint16_t bytes_u16(struct bytes *bytes)
{
	uint16_t high = bytes_u8(bytes);

	return (uint16_t)(high << 8 | bytes_u8(bytes));
}

uint32_t bytes_u32(struct bytes *bytes)
{
	uint32_t high = bytes_u16(bytes);

	return high << 16 | bytes_u16(bytes);
}

uint64_t bytes_u64(struct bytes *bytes)
{
	uint64_t high = bytes_u32(bytes);

	return high << 32 | bytes_u32(bytes);
}

const uint8_t *bytes_take(struct bytes *bytes, size_t *size)
{
	const uint8_t *at = bytes->at;

	if (*size > bytes->left)
		*size = bytes->left;
	bytes->at += *size;
	bytes->left -= *size;
	return at;
}

uint8_t *bytes_copy(const uint8_t *at, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	must(copy != NULL);
	if (size)
		memcpy(copy, at, size);
	return copy;
}

/* ---- files --------------------------------------------------------------------------------------------- */

static char folder[PATH_MAX];

/* Empties the folder DIR, which it takes over. */
static void clear(int dir)
{
	DIR *d = fdopendir(dir);
	struct dirent *e;

	must(d != NULL);
	while ((e = readdir(d)) != NULL) {
		int sub;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(dir, e->d_name, 0) == 0)
			continue;
		sub = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		must(sub >= 0);
		clear(sub);
		must(unlinkat(dir, e->d_name, AT_REMOVEDIR) == 0);
	}
	closedir(d);
}

static void remove_folder(void)
{
	fuzz_folder_clear();
	rmdir(folder);
}

const char *fuzz_folder(void)
{
	const char *above = getenv("TMPDIR");
	struct stat st;
	char path[64];

	if (folder[0])
		return folder;
	if (!above)
		above = stat("/dev/shm", &st) == 0 ? "/dev/shm" : "/tmp";
	snprintf(path, sizeof(path), "%.40s/fuzz-XXXXXX", above);
	must(mkdtemp(path) != NULL && realpath(path, folder) != NULL);
	atexit(remove_folder);
	return folder;
}

void fuzz_folder_clear(void)
{
	int fd = open(fuzz_folder(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	must(fd >= 0);
	clear(fd);
}

const char *fuzz_path(const char *name)
{
	static char buffers[8][PATH_MAX];
	static unsigned turn;
	char *buffer = buffers[turn++ % 8];
	int n = snprintf(buffer, PATH_MAX, "%s/%s", fuzz_folder(), name);

	must(n > 0 && n < PATH_MAX);
	return buffer;
}

void fuzz_put(const char *name, const void *bytes, size_t size)
{
	int fd = open(fuzz_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	must(fd >= 0);
	must(size == 0 || write(fd, bytes, size) == (ssize_t)size);
	close(fd);
}

uint8_t *fuzz_get(const char *name, size_t *size)
{
	int fd = open(fuzz_path(name), O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *bytes;

	*size = 0;
	if (fd < 0)
		return NULL;
	must(fstat(fd, &st) == 0);
	*size = (size_t)st.st_size;
	bytes = malloc(*size ? *size : 1);
	must(bytes != NULL && pread(fd, bytes, *size, 0) == (ssize_t)*size);
	close(fd);
	return bytes;
}
