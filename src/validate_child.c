/* SPDX-License-Identifier: MIT */
/*
 * validate_child.c - the life of the child: its task from the arguments, the jail, one reading of the file
 * from end to end, SQLite's questions, the verdict.
 *
 * What must stay true: nothing looks at the file before the jail is closed.
 */
#include "validate_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

#define READ_AHEAD (1u << 20) /* bytes */

#define EXIT_USAGE 2

void validate_tell(uint64_t done)
{
	lseek(VALIDATE_FD_FILE, (off_t)done, SEEK_SET);
}

int validate_answer_refuse(struct validate_answer *answer, int code, const char *format, ...)
{
	va_list args;

	answer->verdict.code = code;
	va_start(args, format);
	vsnprintf(answer->verdict.text, sizeof(answer->verdict.text), format, args);
	va_end(args);
	return code;
}

static bool parse_number(const char *text, uint64_t max, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *out <= max;
}

/* PROGRAM VALIDATE_ARGUMENT SIZE full|quick|none FIT_PAGE_SIZE FIT_MAX TIMEOUT_S, as validate.c writes it. */
static bool parse_task(struct validate_task *task, int argc, char **argv)
{
	uint64_t fit, timeout;

	if (argc != 7 || !parse_number(argv[2], INT64_MAX, &task->size) ||
	    !parse_number(argv[4], 65536, &fit) || !parse_number(argv[5], INT64_MAX, &task->fit_max) ||
	    !parse_number(argv[6], UINT32_MAX, &timeout))
		return false;
	task->full = strcmp(argv[3], "full") == 0;
	task->fit_only = strcmp(argv[3], "none") == 0;
	task->fit_page_size = (uint32_t)fit;
	task->timeout_s = (uint32_t)timeout;
	return fcntl(VALIDATE_FD_FILE, F_GETFD) >= 0 && fcntl(VALIDATE_FD_VERDICT, F_GETFD) >= 0;
}

/* SQLite reads in the order of its b-trees: twenty times slower than this where the file is not cached
 * yet. */
static int read_ahead(const struct validate_task *task, struct validate_answer *answer)
{
	autofree char *buf = malloc(READ_AHEAD);
	uint64_t at = 0;

	if (!buf)
		return validate_answer_refuse(answer, -ENOMEM, "out of memory");
	while (at < task->size) {
		ssize_t n = pread(VALIDATE_FD_FILE, buf, READ_AHEAD, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return validate_answer_refuse(answer, -EIO, "cannot be read at byte %" PRIu64 ": %s",
						      at, strerror(errno));
		if (n == 0)
			return validate_answer_refuse(answer, -EIO, "ends at byte %" PRIu64 " of %" PRIu64,
						      at, task->size);
		at += (uint64_t)n;
		validate_tell(at);
	}
	return 0;
}

static void write_all(const void *buf, size_t size)
{
	const char *from = buf;

	while (size > 0) {
		ssize_t n = write(VALIDATE_FD_VERDICT, from, size);

		if (n < 0 && errno != EINTR)
			return; /* nobody reads any more */
		if (n > 0) {
			from += n;
			size -= (size_t)n;
		}
	}
}

static void send_answer(struct validate_answer *answer)
{
	if (answer->verdict.code)
		answer->verdict.tables = answer->verdict.names_size = answer->verdict.names_cut = 0;
	answer->verdict.magic = VALIDATE_VERDICT_MAGIC;
	write_all(&answer->verdict, sizeof(answer->verdict));
	if (answer->verdict.names_size)
		write_all(answer->names, answer->verdict.names_size);
}

int validate_child_main(int argc, char **argv)
{
	struct validate_answer answer = {.names = NULL};
	struct validate_task task;
	struct snap_err err;
	int rc;

	if (!parse_task(&task, argc, argv))
		return EXIT_USAGE;
	rc = validate_jail_enter(&task, &err);
	if (rc < 0)
		validate_answer_refuse(&answer, rc, "the check cannot be jailed: %s", err.text);
	else
		rc = read_ahead(&task, &answer);
	if (rc == 0)
		validate_sql_run(&task, &answer);
	send_answer(&answer);
	free(answer.names);
	/* What else runs at exit, such as a leak check, needs what the jail has taken away. */
	_exit(0);
}
