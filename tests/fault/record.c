/* SPDX-License-Identifier: MIT */
/* record.c - see record.h: writing the record. System calls throughout, for the functions are replaced. */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "control.h"

bool record_is_on(void)
{
	const struct fault_control *c = fault_control();

	return c && __atomic_load_n(&c->record, __ATOMIC_SEQ_CST);
}

void record_begin(void)
{
	struct fault_control *c = fault_control();

	if (pthread_mutex_lock(&c->order) == EOWNERDEAD)
		pthread_mutex_consistent(&c->order);
}

void record_end(void)
{
	int saved = errno;

	pthread_mutex_unlock(&fault_control()->order);
	errno = saved;
}

void record_put(enum record_kind kind, uint64_t ino, uint64_t arg, const void *bytes, size_t size)
{
	struct record record = {
		.size = (uint32_t)(sizeof(record) + size), .kind = kind, .ino = ino, .arg = arg};
	struct iovec parts[2] = {{&record, sizeof(record)}, {(void *)(uintptr_t)bytes, size}};
	const char *path = getenv("SQLSNAPFS_RECORD");
	int saved = errno;
	/* Opened each time: descriptors are closed in children and counted by tests. A lost record would make
	 * everything that is said of a power failure wrong. */
	long fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;

	if (fd < 0 || syscall(SYS_writev, fd, parts, size ? 2 : 1) != (long)record.size)
		abort();
	syscall(SYS_close, fd);
	errno = saved;
}

bool record_path(int dirfd, const char *name, char *out, size_t size)
{
	const char *slash = strrchr(name, '/');
	char asked[PATH_MAX], folder[PATH_MAX];
	int n;

	if (name[0] == '/')
		n = snprintf(asked, sizeof(asked), "%.*s", (int)(slash > name ? slash - name : 1), name);
	else if (dirfd == AT_FDCWD)
		n = snprintf(asked, sizeof(asked), "./%.*s", (int)(slash ? slash - name : 0), name);
	else
		n = snprintf(asked, sizeof(asked), "/proc/self/fd/%d/%.*s", dirfd,
			     (int)(slash ? slash - name : 0), name);
	if (n < 0 || (size_t)n >= sizeof(asked) || !realpath(asked, folder))
		return false;
	n = snprintf(out, size, "%s/%s", strcmp(folder, "/") ? folder : "", slash ? slash + 1 : name);
	return n > 0 && (size_t)n < size;
}
