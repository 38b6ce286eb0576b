/* SPDX-License-Identifier: MIT */
/* gate.c - see gate.h. What it does in the order of validate.c and validate_child.c. */
#include "gate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/error.h"
#include "../../src/validate_private.h"
#include "fuzz.h"

#define EVERY 1000	     /* instructions of SQLite between two looks */
#define INSTRUCTIONS 200000u /* that a connection may take */
#define VALUE_MAX (1 << 20)  /* bytes */

static unsigned looks; /* of all connections of this input */
static bool stopped;

static int look_at_clock(void *arg)
{
	(void)arg;
	if (++looks < INSTRUCTIONS / EVERY)
		return 0;
	stopped = true;
	return 1;
}

/* Of every connection that is opened from now on. */
static int limit_connection(sqlite3 *db, char **text, const struct sqlite3_api_routines *api)
{
	(void)text;
	(void)api;
	sqlite3_progress_handler(db, EVERY, look_at_clock, NULL);
	sqlite3_limit(db, SQLITE_LIMIT_LENGTH, VALUE_MAX);
	return SQLITE_OK;
}

bool gate_was_stopped(void)
{
	bool was = stopped;

	stopped = false;
	looks = 0;
	return was;
}

sqlite3 *gate_open_copy(const void *bytes, size_t size)
{
	unsigned char *copy = sqlite3_malloc64(size ? size : 1);
	sqlite3 *db;

	must(copy != NULL);
	memcpy(copy, bytes, size);
	if (size > 19)
		copy[18] = copy[19] = 1; /* memory has no WAL */
	must(sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK);
	must(sqlite3_deserialize(db, "main", copy, (sqlite3_int64)size, (sqlite3_int64)size,
				 SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_READONLY) == SQLITE_OK);
	return db;
}

/* The child's descriptors are numbers: nothing else may ever have them. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	if (*argc > 1 && strcmp((*argv)[1], VALIDATE_ARGUMENT) == 0)
		_exit(validate_child_main(*argc, *argv));
	for (int fd = VALIDATE_FD_FILE; fd <= VALIDATE_FD_VERDICT; fd++) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		must(null >= 0 && (null == fd || dup3(null, fd, O_CLOEXEC) == fd));
		if (null != fd)
			close(null);
	}
	must(sqlite3_auto_extension((void (*)(void))limit_connection) == SQLITE_OK);
	return 0;
}

static void lend(int fd, int to)
{
	int null = fd >= 0 ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);

	must(dup3(fd >= 0 ? fd : null, to, O_CLOEXEC) == to);
	if (null >= 0)
		close(null);
}

/* What judge_reply() makes of what comes through the pipe. */
static int judge(struct validate_answer *answer, struct validate_report *report, struct snap_err *err)
{
	if (answer->verdict.code) {
		free(answer->names);
		must(fuzz_is_line(answer->verdict.text, sizeof(answer->verdict.text)) ||
		     strchr(answer->verdict.text, '\n'));
		return err_set(err, answer->verdict.code, "%s", answer->verdict.text);
	}
	report->names = answer->names;
	report->names_size = answer->verdict.names_size;
	report->names_cut = answer->verdict.names_cut;
	report->tables = answer->verdict.tables;
	must(memchr(answer->verdict.note, '\0', sizeof(answer->verdict.note)) != NULL);
	memcpy(report->note, answer->verdict.note, sizeof(report->note));
	return 0;
}

int __real_validate_file(const struct validate_order *order, struct validate_report *out,
			 struct snap_err *err);
int __wrap_validate_file(const struct validate_order *order, struct validate_report *out,
			 struct snap_err *err);

int __wrap_validate_file(const struct validate_order *order, struct validate_report *out,
			 struct snap_err *err)
{
	struct validate_report report = VALIDATE_REPORT_INIT;
	struct validate_answer answer = {.names = NULL};
	struct validate_task task = {.size = order->size,
				     .full = order->full,
				     .fit_only = order->fit_only,
				     .fit_page_size = order->fit_fd >= 0 ? order->fit_page_size : 0};
	const char *child = getenv("FUZZ_CHILD");
	int rc;

	if (child && strcmp(child, "1") == 0)
		return __real_validate_file(order, out, err);
	rc = validate_header(order->fd, order->size, &report, err);
	if (rc)
		return rc;
	lend(order->fd, VALIDATE_FD_FILE);
	lend(order->fit_fd, VALIDATE_FD_FIT);
	must(validate_sql_run(&task, &answer) == answer.verdict.code);
	must(sqlite3_vfs_register(sqlite3_vfs_find("unix"), 1) == SQLITE_OK); /* the default again */
	lend(-1, VALIDATE_FD_FILE);
	lend(-1, VALIDATE_FD_FIT);
	rc = judge(&answer, &report, err);
	if (rc == 0)
		*out = report;
	return rc;
}
