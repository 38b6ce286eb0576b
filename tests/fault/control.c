/* SPDX-License-Identifier: MIT */
/* control.c - see control.h: which call fails. */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct fault_control *control;

static void make_order(struct fault_control *c)
{
	pthread_mutexattr_t how;

	if (__atomic_exchange_n(&c->ready, 1, __ATOMIC_SEQ_CST))
		return;
	pthread_mutexattr_init(&how);
	pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&c->order, &how);
	pthread_mutexattr_destroy(&how);
}

/* By system calls, for the functions of these names are the ones that are being replaced. */
__attribute__((constructor(101))) static void load(void)
{
	const char *path = getenv("SQLSNAPFS_FAULT");
	long fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
	long at;

	if (fd < 0)
		return;
	at = syscall(SYS_mmap, NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	syscall(SYS_close, fd);
	if (at == -1)
		return;
	make_order((struct fault_control *)at);
	control = (struct fault_control *)at;
}

struct fault_control *fault_control(void)
{
	return control;
}

__attribute__((visibility("default"))) uint64_t fault_end(struct fault_control *c)
{
	__atomic_store_n(&c->armed, 0, __ATOMIC_SEQ_CST);
	return __atomic_exchange_n(&c->seen, FAULT_OVER, __ATOMIC_SEQ_CST);
}

bool fault_hit(enum fault_class class, const char *name, const char *detail)
{
	struct fault_control *c = control;
	uint64_t n;

	if (!c || !__atomic_load_n(&c->armed, __ATOMIC_SEQ_CST) || !(c->classes & class))
		return false;
	n = __atomic_add_fetch(&c->seen, 1, __ATOMIC_SEQ_CST);
	if (n > FAULT_OVER || (c->for_good ? n < c->at : n != c->at))
		return false;
	if (n == c->at)
		snprintf(c->what, sizeof(c->what), "%s %s", name, detail ? detail : "");
	errno = c->error;
	return true;
}
