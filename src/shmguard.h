/* SPDX-License-Identifier: MIT */
/*
 * shmguard.h - survives somebody's truncation of a mapped -shm. Touching such a mapping raises SIGBUS; the
 * handler puts a private page of zeros there, marks the range as lost and goes on: SQLite then finds an
 * invalid header, we find the mark. A SIGBUS anywhere else goes to the default action. The process's one
 * signal handler that touches memory; async-signal-safe (mmap(2) and stores to atomics only).
 */
#ifndef SQLSNAP_SHMGUARD_H
#define SQLSNAP_SHMGUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Installs the handler; idempotent, thread-safe. -errno. */
int shmguard_install(void);

/* Watches [ADDR, ADDR+SIZE) until it is forgotten; nothing when it is watched already, for one mapping is
 * shared by all connections of this process. -ENOMEM when more than 4096 ranges are watched. */
int shmguard_add(void *addr, size_t size);
/* Before [ADDR, ADDR+SIZE), in whole pages of memory, is unmapped: what lies in it is watched no more. Not
 * when its last user goes, for the mapping may outlive him and be handed to another one, who is to be told.
 */
void shmguard_forget(void *addr, size_t size);

/* Whether the range that starts at ADDR has been lost since it is watched. */
bool shmguard_lost(const void *addr);

#endif
