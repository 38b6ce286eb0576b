/* SPDX-License-Identifier: MIT */
/*
 * shmguard.c - the SIGBUS handler and the table of ranges that it knows.
 *
 * What must stay true: the handler takes no lock, so the table never moves and its fields are atomic. A range
 * is in the table for as long as it is mapped: it is added before the mapping is first used and forgotten
 * right before it is unmapped. Hence the handler never maps over memory that has been reused, and no new
 * user of a mapping mistakes private zeros for a wal-index.
 *
 * It does not notice a -shm that was truncated and rewritten before anybody touched it: no page is missing
 * then.
 */
#include "shmguard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"

#define MAX_RANGES 4096u

struct range {
	atomic_uintptr_t start; /* 0: free */
	atomic_size_t size;
	atomic_bool lost;
};

/*
 * A signal handler gets no argument of ours, so there is one table per process.
 */
static struct {
	struct range ranges[MAX_RANGES];
	atomic_size_t used;	/* entries from here on were never filled */
	atomic_bool any_lost;	/* saves the search while nothing is wrong */
	uintptr_t page_size;	/* set before the handler is installed */
	int install_error;	/* written once */
	pthread_mutex_t lock;	/* for adding and removing */
	pthread_once_t install; /* for the handler */
} guard = {.lock = PTHREAD_MUTEX_INITIALIZER, .install = PTHREAD_ONCE_INIT};

static struct range *find(uintptr_t start)
{
	size_t used = atomic_load(&guard.used);

	for (size_t i = 0; i < used; i++) {
		if (atomic_load(&guard.ranges[i].start) == start)
			return &guard.ranges[i];
	}
	return NULL;
}

static struct range *find_containing(uintptr_t addr)
{
	size_t used = atomic_load(&guard.used);

	for (size_t i = 0; i < used; i++) {
		uintptr_t start = atomic_load(&guard.ranges[i].start);

		if (start && addr >= start && addr - start < atomic_load(&guard.ranges[i].size))
			return &guard.ranges[i];
	}
	return NULL;
}

static void mark_lost(uintptr_t from, uintptr_t to)
{
	size_t used = atomic_load(&guard.used);

	for (size_t i = 0; i < used; i++) {
		uintptr_t start = atomic_load(&guard.ranges[i].start);

		if (start && start < to && start + atomic_load(&guard.ranges[i].size) > from)
			atomic_store(&guard.ranges[i].lost, true);
	}
	atomic_store(&guard.any_lost, true);
}

/*
 * Replaces the whole range by zeros, not only the missing page: the rest would go on changing. The range is
 * widened to whole pages of memory; one page may hold two regions of a wal-index, and then both are marked.
 */
static bool replace(uintptr_t addr)
{
	struct range *range = find_containing(addr);
	uintptr_t mask = guard.page_size - 1, from, to;
	void *got;

	if (!range)
		return false;
	from = atomic_load(&range->start) & ~mask;
	to = (atomic_load(&range->start) + atomic_load(&range->size) + mask) & ~mask;
	mark_lost(from, to);
	got = mmap((void *)from, to - from, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		   -1, 0);
	return got != MAP_FAILED;
}

static void on_sigbus(int signo, siginfo_t *info, void *context)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	int saved = errno;

	(void)context;
	/* Touching a page beyond the end of its file raises BUS_ADRERR; kill(2) and broken memory are not
	 * ours to handle. */
	if (info->si_code != BUS_ADRERR || !replace((uintptr_t)info->si_addr)) {
		sigaction(signo, &dfl, NULL);
		/* A fault repeats by itself once we return; a signal that was sent does not. */
		if (info->si_code <= 0)
			raise(signo);
	}
	errno = saved;
}

static void install(void)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_RESTART};

	guard.page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, NULL) != 0)
		guard.install_error = -errno;
}

int shmguard_install(void)
{
	pthread_once(&guard.install, install);
	return guard.install_error;
}

int shmguard_add(void *addr, size_t size)
{
	uintptr_t start = (uintptr_t)addr;
	struct range *range;
	lock_scope(&guard.lock);

	if (find(start))
		return 0;
	range = find(0);
	if (!range) {
		size_t used = atomic_load(&guard.used);

		if (used == MAX_RANGES)
			return -ENOMEM;
		range = &guard.ranges[used];
		atomic_store(&guard.used, used + 1);
	}
	atomic_store(&range->size, size);
	atomic_store(&range->lost, false);
	atomic_store(&range->start, start);
	return 0;
}

void shmguard_forget(void *addr, size_t size)
{
	uintptr_t mask = guard.page_size - 1;
	uintptr_t from = (uintptr_t)addr, to = (from + size + mask) & ~mask;
	lock_scope(&guard.lock);
	size_t used = atomic_load(&guard.used);

	for (size_t i = 0; i < used; i++) {
		uintptr_t start = atomic_load(&guard.ranges[i].start);

		if (start && start >= from && start < to)
			atomic_store(&guard.ranges[i].start, 0);
	}
}

bool shmguard_lost(const void *addr)
{
	struct range *range;

	if (!atomic_load(&guard.any_lost))
		return false;
	range = find((uintptr_t)addr);
	return range && atomic_load(&range->lost);
}
