/* SPDX-License-Identifier: MIT */
/*
 * copyloop.c - copies a file of the writing application many times, in every way of reading, and judges each
 * copy.
 *
 * A copy is good when it keeps the application's invariants (invariant.h) and is as new as promised: every
 * commit that had returned before open(2) is in it, none that began after open(2) returned is, and no copy of
 * a thread is older than the one before. Exit status 0 and one JSON line when all are; otherwise the first
 * reasons on stderr, and status 1. --min-distinct N also demands that N different commits were seen, so that
 * a loop beside a writer that stands still proves nothing by accident; for those it goes on for up to
 * --patience SECONDS (60), because a writer may stand still for a while. --keep-bad FILE leaves the first
 * refused copy there. --until FILE goes on until that file is there.
 *
 * With --stalls N that many EBUSY in all are no answer, if the writer has committed next to nothing
 * meanwhile: it holds its lock, and waits for a disk or a processor.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../app/workload.h"
#include "copy.h"
#include "invariant.h"

#define THREADS_MAX 32
#define COMPLAINTS_MAX 10
#define STALLED_COMMITS 10 /* at most, in the two seconds after which an open is EBUSY */

struct loop {
	const char *path, *keep_bad, *until;
	struct workload_ack *ack; /* NULL: age is not judged */
	unsigned copies, threads, slow_ms, min_distinct;
	double seconds, patience; /* SECONDS 0: until COPIES are made; not with UNTIL */
	bool styles[COPY_N];
	double started;
	pthread_mutex_t mutex;
	unsigned begun, good, bad, distinct; /* guarded by mutex */
	unsigned stalls;		     /* that are still forgiven; guarded by mutex */
	uint64_t first, last;		     /* guarded by mutex */
	uint64_t bytes;			     /* guarded by mutex */
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static bool goes_on(const struct loop *loop)
{
	double spent = now() - loop->started;

	if (loop->until)
		return access(loop->until, F_OK) != 0;
	if (loop->seconds > 0 ? spent < loop->seconds : loop->begun < loop->copies)
		return true;
	return loop->distinct < loop->min_distinct && !loop->bad && spent < loop->seconds + loop->patience;
}

/* The number of the next copy, or -1: enough. */
static int next_copy(struct loop *loop)
{
	int n = -1;

	pthread_mutex_lock(&loop->mutex);
	if (goes_on(loop))
		n = (int)loop->begun++;
	pthread_mutex_unlock(&loop->mutex);
	return n;
}

static enum copy_style nth_style(const struct loop *loop, unsigned n)
{
	for (unsigned i = 0;; i++) {
		if (loop->styles[i % COPY_N] && n-- == 0)
			return (enum copy_style)(i % COPY_N);
	}
}

static void keep_bad(const struct loop *loop, const struct copy *copy)
{
	int fd = loop->keep_bad ? open(loop->keep_bad, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;

	if (fd < 0)
		return;
	if (copy->bytes && write(fd, copy->bytes, copy->size) < 0)
		perror(loop->keep_bad);
	close(fd);
}

static void count(struct loop *loop, unsigned n, enum copy_style style, const struct copy *copy,
		  const struct verdict *v)
{
	pthread_mutex_lock(&loop->mutex);
	if (!v->why[0]) {
		loop->good++;
		loop->distinct += v->commits > loop->last;
		loop->first = loop->good == 1 ? v->commits : loop->first;
		loop->last = v->commits > loop->last ? v->commits : loop->last;
		loop->bytes += copy->size;
	} else {
		if (loop->bad++ == 0)
			keep_bad(loop, copy);
		if (loop->bad <= COMPLAINTS_MAX)
			fprintf(stderr, "copyloop: %s: copy %u (%s): %s\n", loop->path, n,
				copy_style_name(style), v->why);
	}
	pthread_mutex_unlock(&loop->mutex);
}

static void judge_age(struct verdict *v, const struct workload_age *age, uint64_t before)
{
	if (v->commits < age->acked)
		snprintf(v->why, sizeof(v->why), "commit %llu, but %llu had returned before open()",
			 (unsigned long long)v->commits, (unsigned long long)age->acked);
	else if (v->commits > age->begun)
		snprintf(v->why, sizeof(v->why),
			 "commit %llu, but %llu was the last begun when open() returned",
			 (unsigned long long)v->commits, (unsigned long long)age->begun);
	else if (v->commits < before)
		snprintf(v->why, sizeof(v->why), "commit %llu, but the copy before had %llu",
			 (unsigned long long)v->commits, (unsigned long long)before);
}

/* The last good copy of a thread. */
struct before {
	uint64_t commits, epoch;
};

/* Whether the writer has stood still since AGE was taken, and that is to be forgiven. */
static bool is_stall(struct loop *loop, const struct workload_age *age)
{
	bool is;

	if (!loop->ack || loop->ack->acked - age->acked > STALLED_COMMITS)
		return false;
	pthread_mutex_lock(&loop->mutex);
	is = loop->stalls > 0;
	loop->stalls -= is;
	pthread_mutex_unlock(&loop->mutex);
	return is;
}

/* open(2) of the next copy; *ERROR is its errno. */
static int open_next(struct loop *loop, struct workload_age *age, int *error)
{
	int fd;

	do {
		workload_age_before(age, loop->ack);
		fd = open(loop->path, O_RDONLY | O_CLOEXEC);
		*error = errno;
	} while (fd < 0 && *error == EBUSY && is_stall(loop, age));
	workload_age_after(age, loop->ack);
	return fd;
}

static void one_copy(struct loop *loop, unsigned n, struct before *before)
{
	enum copy_style style = nth_style(loop, n);
	struct workload_age age;
	struct copy copy = {0};
	struct verdict v = {0};
	int fd, error;

	fd = open_next(loop, &age, &error);
	if (fd < 0)
		snprintf(v.why, sizeof(v.why), "open: %s", strerror(error));
	else if (!copy_descriptor(&copy, fd, style, n, loop->slow_ms))
		memcpy(v.why, copy.why, sizeof(v.why));
	/* Closed before it is judged: a reader does not hold what it has read. */
	if (fd >= 0 && close(fd) != 0 && !v.why[0])
		snprintf(v.why, sizeof(v.why), "close: %s", strerror(errno));
	if (!v.why[0] && invariant_check_image(&v, copy.bytes, copy.size)) {
		if (age.begun)
			judge_age(&v, &age, age.epoch == before->epoch ? before->commits : 0);
		*before = (struct before){age.begun ? v.commits : 0, age.epoch};
	}
	count(loop, n, style, &copy, &v);
	copy_finish(&copy);
}

static void *run(void *arg)
{
	struct loop *loop = arg;
	struct before before = {0};
	int n;

	while ((n = next_copy(loop)) >= 0)
		one_copy(loop, (unsigned)n, &before);
	return NULL;
}

static int finish(struct loop *loop)
{
	printf("{\"copies\": %u, \"bad\": %u, \"distinct\": %u, \"first\": %llu, \"last\": %llu, \"bytes\": "
	       "%llu, "
	       "\"seconds\": %.3f}\n",
	       loop->good, loop->bad, loop->distinct, (unsigned long long)loop->first,
	       (unsigned long long)loop->last, (unsigned long long)loop->bytes, now() - loop->started);
	if (!loop->bad && loop->distinct < loop->min_distinct) {
		fprintf(stderr,
			"copyloop: %s: only %u different commits in %u copies; is the writer alive?\n",
			loop->path, loop->distinct, loop->good);
		return 1;
	}
	return loop->bad || !loop->good ? 1 : 0;
}

static void take_styles(struct loop *loop, char *list)
{
	char *rest = NULL;

	memset(loop->styles, 0, sizeof(loop->styles));
	for (char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
		int style = copy_style(name);

		if (style < 0) {
			fprintf(stderr, "copyloop: no such style: %s\n", name);
			exit(2);
		}
		loop->styles[style] = true;
	}
}

static void take_options(struct loop *loop, int argc, char **argv)
{
	static const struct option list[] = {
		{"file", 1, NULL, 'f'},	   {"ack", 1, NULL, 'a'},	   {"copies", 1, NULL, 'n'},
		{"threads", 1, NULL, 't'}, {"slow-ms", 1, NULL, 'm'},	   {"styles", 1, NULL, 's'},
		{"seconds", 1, NULL, 'S'}, {"min-distinct", 1, NULL, 'd'}, {"keep-bad", 1, NULL, 'k'},
		{"until", 1, NULL, 'u'},   {"stalls", 1, NULL, 'l'},	   {"patience", 1, NULL, 'p'},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", list, NULL)) != -1) {
		switch (option) {
		case 'f':
			loop->path = optarg;
			break;
		case 'a':
			loop->ack = workload_ack_map(optarg, false);
			if (!loop->ack)
				exit(2);
			break;
		case 'n':
			loop->copies = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 't':
			loop->threads = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'm':
			loop->slow_ms = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 's':
			take_styles(loop, optarg);
			break;
		case 'S':
			loop->seconds = strtod(optarg, NULL);
			break;
		case 'd':
			loop->min_distinct = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'k':
			loop->keep_bad = optarg;
			break;
		case 'u':
			loop->until = optarg;
			break;
		case 'l':
			loop->stalls = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'p':
			loop->patience = strtod(optarg, NULL);
			break;
		default:
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	struct loop loop = {.copies = 100,
			    .threads = 1,
			    .slow_ms = 300,
			    .patience = 60,
			    .mutex = PTHREAD_MUTEX_INITIALIZER};
	pthread_t threads[THREADS_MAX];
	unsigned started = 0;

	memset(loop.styles, true, sizeof(loop.styles));
	take_options(&loop, argc, argv);
	if (!loop.path || loop.threads < 1 || loop.threads > THREADS_MAX) {
		fputs("usage: copyloop --file FILE [--ack FILE] [--copies N | --seconds S] [--threads N] "
		      "[--styles A,B]; see copyloop.c\n",
		      stderr);
		return 2;
	}
	loop.started = now();
	while (started < loop.threads && pthread_create(&threads[started], NULL, run, &loop) == 0)
		started++;
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	return started == loop.threads ? finish(&loop) : 1;
}
