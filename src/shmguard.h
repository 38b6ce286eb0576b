/* SPDX-License-Identifier: MIT */
/*
 * shmguard.h - survives the truncation of a mapped -shm by somebody else. Touching such a mapping raises
 * SIGBUS. The handler maps a private page of zeros there, marks the range as lost and continues: SQLite then
 * finds an invalid header, and we find the mark. A SIGBUS anywhere else gets the default action. This is the
 * process's only signal handler that touches memory; async-signal-safe (mmap(2) and stores to atomics only).
 */
#ifndef SQLSNAP_SHMGUARD_H
#define SQLSNAP_SHMGUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Installs the handler; idempotent, thread-safe. -errno. */
int shmguard_install(void);

/* Watches [ADDR, ADDR+SIZE) until shmguard_forget(). Does nothing if it is watched already, because all
 * connections of this process share one mapping. -ENOMEM when more than 4096 ranges are watched. */
int shmguard_add(void *addr, size_t size);
/* To be called before [ADDR, ADDR+SIZE), in whole pages of memory, is unmapped: stops watching what lies in
 * it. Not to be called when the last user goes: the mapping may outlive that user and be handed to another,
 * who must learn of the loss. */
void shmguard_forget(void *addr, size_t size);

/* Whether the range that starts at ADDR was lost since watching began. */
bool shmguard_lost(const void *addr);

#endif
