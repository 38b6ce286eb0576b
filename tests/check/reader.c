/* SPDX-License-Identifier: MIT */
/*
 * reader.c - holds one descriptor open and reads the file through it again and again.
 *
 *   reader --file FILE [--ack FILE] [--style NAME] [--hold SECONDS | --control] [--rate BYTES] [--out FILE]
 * [--raw]
 *
 * Reads everything once (at RATE bytes a second), says "held N" with the copy's commit number, waits HOLD
 * seconds or for a line on stdin, then reads everything again in every style: each time the bytes must be the
 * first ones. Judges the copy as copyloop does (not with --raw: any file) and writes it to OUT. Exit status
 * 0, or 1 with the reason on stderr; 3: the first open failed, 4: a later read gave an error (errno's text on
 * stderr), which is allowed where other bytes never are.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../app/workload.h"
#include "copy.h"
#include "invariant.h"

struct reader {
	const char *path, *out;
	struct workload_ack *ack;
	enum copy_style style;
	double hold, rate;
	bool control, raw;
};

static int complain(const struct reader *r, const char *what, const char *why)
{
	fprintf(stderr, "reader: %s: %s: %s\n", r->path, what, why);
	return 1;
}

static int write_out(const struct reader *r, const struct copy *copy)
{
	int fd;
	bool ok;

	if (!r->out)
		return 0;
	fd = open(r->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ok = fd >= 0 && write(fd, copy->bytes, copy->size) == (ssize_t)copy->size;
	if (fd < 0 || close(fd) != 0 || !ok)
		return complain(r, r->out, strerror(errno));
	return 0;
}

static void wait_while_held(const struct reader *r)
{
	struct pollfd pfd = {.fd = STDIN_FILENO, .events = POLLIN};

	poll(&pfd, r->control ? 1u : 0u, r->control ? -1 : (int)(r->hold * 1000));
}

/* Reads again in every style; the bytes must be those of FIRST. */
static int read_again(const struct reader *r, int fd, const struct copy *first)
{
	for (int style = 0; style < COPY_N; style++) {
		struct copy copy;
		int status = 0;

		if (!copy_descriptor(&copy, fd, (enum copy_style)style, 7, 100)) {
			complain(r, copy_style_name((enum copy_style)style), copy.why);
			status = 4;
		} else if (copy.size != first->size || memcmp(copy.bytes, first->bytes, copy.size) != 0) {
			status = complain(r, copy_style_name((enum copy_style)style),
					  "other bytes than at first");
		}
		copy_finish(&copy);
		if (status)
			return status;
	}
	return 0;
}

static int judge(const struct reader *r, struct copy *copy, struct verdict *v, const struct workload_age *age)
{
	if (r->raw)
		return 0;
	if (!invariant_check_image(v, copy->bytes, copy->size))
		return complain(r, "refused", v->why);
	if (age->begun && (v->commits < age->acked || v->commits > age->begun)) {
		fprintf(stderr, "reader: %s: commit %llu is outside [%llu, %llu]\n", r->path,
			(unsigned long long)v->commits, (unsigned long long)age->acked,
			(unsigned long long)age->begun);
		return 1;
	}
	return 0;
}

static int run(const struct reader *r, struct copy *copy)
{
	struct workload_age age;
	struct verdict v = {0};
	struct stat st = {0};
	unsigned slow_ms = 0;
	int fd, status;

	workload_age_before(&age, r->ack);
	fd = open(r->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		complain(r, "open", strerror(errno));
		return 3;
	}
	workload_age_after(&age, r->ack);
	if (r->rate > 0 && fstat(fd, &st) == 0)
		slow_ms = (unsigned)((double)st.st_size / r->rate * 1000);
	if (!copy_descriptor(copy, fd, slow_ms ? COPY_SLOW : r->style, 1, slow_ms)) {
		complain(r, "first read", copy->why);
		close(fd);
		return 4;
	}
	status = judge(r, copy, &v, &age);
	if (!status) {
		printf("held %llu\n", (unsigned long long)v.commits);
		fflush(stdout);
		wait_while_held(r);
		status = read_again(r, fd, copy);
	}
	if (close(fd) != 0 && !status)
		status = complain(r, "close", strerror(errno));
	return status ? status : write_out(r, copy);
}

static void take_options(struct reader *r, int argc, char **argv)
{
	static const struct option list[] = {
		{"file", 1, NULL, 'f'},	   {"ack", 1, NULL, 'a'},  {"style", 1, NULL, 's'},
		{"hold", 1, NULL, 'h'},	   {"rate", 1, NULL, 'r'}, {"out", 1, NULL, 'o'},
		{"control", 0, NULL, 'c'}, {"raw", 0, NULL, 'w'},  {NULL, 0, NULL, 0},
	};
	int option, style;

	while ((option = getopt_long(argc, argv, "", list, NULL)) != -1) {
		if (option == 'f') {
			r->path = optarg;
		} else if (option == 'a') {
			r->ack = workload_ack_map(optarg, false);
			if (!r->ack)
				exit(2);
		} else if (option == 's' && (style = copy_style(optarg)) >= 0) {
			r->style = (enum copy_style)style;
		} else if (option == 'h') {
			r->hold = strtod(optarg, NULL);
		} else if (option == 'r') {
			r->rate = strtod(optarg, NULL);
		} else if (option == 'o') {
			r->out = optarg;
		} else if (option == 'c') {
			r->control = true;
		} else if (option == 'w') {
			r->raw = true;
		} else {
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	struct reader reader = {.style = COPY_READ};
	struct copy copy = {0};
	int status;

	take_options(&reader, argc, argv);
	if (!reader.path) {
		fputs("usage: reader --file FILE; see reader.c\n", stderr);
		return 2;
	}
	status = run(&reader, &copy);
	copy_finish(&copy);
	return status;
}
