/* SPDX-License-Identifier: MIT */
/*
 * work.h - threads for work that may take long: waiting for a live database, copying it. Threads start on
 * demand, up to a limit, and end after ten idle seconds. All signals are blocked in them.
 */
#ifndef SQLSNAP_WORK_H
#define SQLSNAP_WORK_H

#define WORK_THREADS 128
#define WORK_URGENT 16

struct work;

int work_create(struct work **out);
/* Waits for everything that was submitted; from then on nothing is accepted (-EAGAIN). Accepts NULL. */
void work_stop(struct work *work);
/* The same, and frees. Accepts NULL. */
void work_destroy(struct work *work);

/* Runs fn(arg) on a thread. -EAGAIN: WORK_THREADS calls are under way already; -ENOMEM. */
int work_submit(struct work *work, void (*fn)(void *arg), void *arg);
/* The same for calls that the above may be waiting for: WORK_URGENT more threads. */
int work_submit_urgent(struct work *work, void (*fn)(void *arg), void *arg);

#endif
