/* SPDX-License-Identifier: MIT */
/*
 * aborted_read.c - linked into the program instead of read(2): the workers learn of the unmount as
 * ECONNABORTED, as one does from the kernel when a request was on its way to it in that instant. No test can
 * hit that instant.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

typedef ssize_t (*read_fn)(int fd, void *buf, size_t size);

/* The next one is known to the sanitizers. */
static ssize_t real_read(int fd, void *buf, size_t size)
{
	static _Atomic(read_fn) next;
	read_fn fn = atomic_load(&next);

	if (!fn) {
		*(void **)&fn = dlsym(RTLD_NEXT, "read");
		atomic_store(&next, fn);
	}
	return fn(fd, buf, size);
}

ssize_t read(int fd, void *buf, size_t size)
{
	ssize_t got = real_read(fd, buf, size);

	/* No other device that this program reads can go away. */
	if (got < 0 && errno == ENODEV) {
		static const char said[] = "aborted_read: a read was aborted\n";

		(void)!write(STDERR_FILENO, said, sizeof(said) - 1);
		errno = ECONNABORTED;
	}
	return got;
}
