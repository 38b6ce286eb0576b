/* SPDX-License-Identifier: MIT */
/*
 * cleanup.h - local variables that clean up when they go out of scope. Each cleanup preserves errno.
 * steal_fd() and steal_ptr() transfer ownership and leave nothing to clean up.
 */
#ifndef SQLSNAP_CLEANUP_H
#define SQLSNAP_CLEANUP_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
	int saved = errno;

	free(*(void **)p);
	errno = saved;
}

static inline void cleanup_close(const int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline void cleanup_unlock(pthread_mutex_t **mutex)
{
	if (*mutex)
		pthread_mutex_unlock(*mutex);
}

static inline pthread_mutex_t *lock_guard(pthread_mutex_t *mutex)
{
	pthread_mutex_lock(mutex);
	return mutex;
}

static inline void cleanup_rwunlock(pthread_rwlock_t **lock)
{
	pthread_rwlock_unlock(*lock);
}

static inline pthread_rwlock_t *read_guard(pthread_rwlock_t *lock)
{
	pthread_rwlock_rdlock(lock);
	return lock;
}

static inline int steal_fd(int *fd)
{
	int stolen = *fd;

	*fd = -1;
	return stolen;
}

static inline void *steal_voidp(void *p)
{
	void *stolen = *(void **)p;

	*(void **)p = NULL;
	return stolen;
}

#define autofree __attribute__((cleanup(cleanup_free)))
#define autoclose __attribute__((cleanup(cleanup_close)))
#define steal_ptr(p) ((__typeof__(*(p)))steal_voidp(p))

/* Holds MUTEX until the end of the enclosing block. */
#define LOCK_CONCAT_(a, b) a##b
#define LOCK_NAME_(line) LOCK_CONCAT_(lock_held_, line)
#define lock_scope(mutex)                                                                        \
	__attribute__((cleanup(cleanup_unlock), unused)) pthread_mutex_t *LOCK_NAME_(__LINE__) = \
		lock_guard(mutex)

/* Holds RWLOCK for reading until the end of the enclosing block. */
#define read_scope(rwlock)                                                                          \
	__attribute__((cleanup(cleanup_rwunlock), unused)) pthread_rwlock_t *LOCK_NAME_(__LINE__) = \
		read_guard(rwlock)

#endif
