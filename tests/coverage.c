/* SPDX-License-Identifier: MIT */
/*
 * coverage.c - lets the child that checks an upload be counted too. Only a build with -Db_coverage=true has
 * it.
 *
 * The child ends in a jail where no file can be opened, and with _exit(2), so that what it has counted would
 * be lost. The jail is what is to be tested and stays as it is. Instead, before main(), the program's
 * variables, the counters among them, move to memory that is shared with a guard: a process outside of the
 * jail that waits for the child's end, however that comes, and then writes the counters. It has the pipe of
 * the verdict until then, so that nobody takes the child for silent before that is done.
 */
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sqlsnap.h"

void __gcov_dump(void); /* libgcov's */
void coverage_guard(int argc, char **argv);

extern char __data_start[], _end[]; /* ld(1)'s: from the first variable to behind the last */

static int share_variables(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *from = (char *)((size_t)__data_start & ~(page - 1));
	size_t size = ((size_t)(_end - from) + page - 1) & ~(page - 1);
	char *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED)
		return -1;
	memcpy(shared, from, size);
	return mremap(shared, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, from) == from ? 0 : -1;
}

static void guard(pid_t child)
{
	struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, child, 0), .events = POLLIN};

	while (getppid() == child && end.fd >= 0 && poll(&end, 1, -1) <= 0)
		continue;
	__gcov_dump();
	_exit(0);
}

/* glibc hands main()'s arguments to constructors. meson.build has the linker take this object without being
 * asked for. */
__attribute__((constructor)) void coverage_guard(int argc, char **argv)
{
	pid_t child = getpid();

	if (argc < 2 || strcmp(argv[1], SNAP_CHILD_ARGUMENT) != 0 || share_variables())
		return;
	if (fork() == 0)
		guard(child);
}
