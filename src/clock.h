/* SPDX-License-Identifier: MIT */
/* clock.h - time in nanoseconds. */
#ifndef SQLSNAP_CLOCK_H
#define SQLSNAP_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_MS 1000000ll
#define NS_PER_S 1000000000ll

static inline int64_t timespec_ns(struct timespec ts)
{
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static inline struct timespec ns_timespec(int64_t ns)
{
	return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

static inline int64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return timespec_ns(ts);
}

static inline int64_t monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static inline int64_t realtime_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

#endif
