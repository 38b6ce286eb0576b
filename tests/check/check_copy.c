/* SPDX-License-Identifier: MIT */
/*
 * check_copy.c - check_copy [--min-seq N] FILE...: judges copies of the writing application's database.
 *
 * Prints one line a file: its commit number, or the reason for which it is refused. Exit status 0: all are
 * good.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "invariant.h"

static bool check_file(const char *path, uint64_t min_seq)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct verdict v = {0};
	struct stat st = {0};
	void *map = MAP_FAILED;
	bool ok = false;

	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0)
		map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		snprintf(v.why, sizeof(v.why), "cannot be read: %s", st.st_size ? strerror(errno) : "empty");
	else
		ok = invariant_check_image(&v, map, (size_t)st.st_size);
	if (ok && v.commits < min_seq) {
		snprintf(v.why, sizeof(v.why), "commit %llu is older than %llu",
			 (unsigned long long)v.commits, (unsigned long long)min_seq);
		ok = false;
	}
	if (ok)
		printf("%llu\n", (unsigned long long)v.commits);
	else
		fprintf(stderr, "check_copy: %s: %s\n", path, v.why);
	if (map != MAP_FAILED)
		munmap(map, (size_t)st.st_size);
	if (fd >= 0)
		close(fd);
	return ok;
}

int main(int argc, char **argv)
{
	uint64_t min_seq = 0;
	bool ok = true;
	int i = 1;

	if (argc > 2 && strcmp(argv[1], "--min-seq") == 0) {
		min_seq = strtoull(argv[2], NULL, 10);
		i = 3;
	}
	if (i >= argc) {
		fputs("usage: check_copy [--min-seq N] FILE...\n", stderr);
		return 2;
	}
	for (; i < argc; i++)
		ok = check_file(argv[i], min_seq) && ok;
	return ok ? 0 : 1;
}
