/* SPDX-License-Identifier: MIT */
/*
 * replay.c - main() of a fuzz target in a build without libFuzzer: feeds it the files that are named, and
 * those in the folders that are named.
 *
 * A target that was never called must not look like a success: without a single input it fails.
 */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUT_MAX (16u << 20) /* bytes */

static unsigned replayed;
static const char *current;

__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

/* Which input it was, for whoever reads the report of a crash. */
static void say_where(void)
{
	if (current)
		fprintf(stderr, "the input was %s\n", current);
}

static void replay_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *bytes;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > INPUT_MAX) {
		fprintf(stderr, "%s: cannot be read, or is no input\n", path);
		exit(1);
	}
	/* As long as it is, so that a sanitizer sees reads past its end. */
	bytes = malloc(st.st_size ? (size_t)st.st_size : 1);
	if (!bytes || read(fd, bytes, (size_t)st.st_size) != st.st_size) {
		fprintf(stderr, "%s: cannot be read\n", path);
		exit(1);
	}
	close(fd);
	current = path;
	fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(bytes, (size_t)st.st_size);
	current = NULL;
	free(bytes);
	replayed++;
}

static int is_no_dot(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* In order, so that two runs do the same. */
static void replay_folder(const char *path)
{
	struct dirent **names;
	int count = scandir(path, &names, is_no_dot, alphasort);

	for (int i = 0; i < count; i++) {
		char file[PATH_MAX];

		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		replay_file(file);
		free(names[i]);
	}
	if (count >= 0)
		free(names);
}

int main(int argc, char **argv)
{
	atexit(say_where);
	LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++) {
		struct stat st;

		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			replay_folder(argv[i]);
		else
			replay_file(argv[i]);
	}
	printf("%u inputs\n", replayed);
	return replayed == 0;
}
