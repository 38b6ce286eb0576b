/* SPDX-License-Identifier: MIT */
/* check.c - the validation for a file that is not uploaded. See sqlsnap.h, "checking". */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "error.h"
#include "validate.h"
#include "wal.h"

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && timespec_ns(a->st_mtim) == timespec_ns(b->st_mtim);
}

/* Whether the file PATH + END has more than LEAST bytes and does not begin with a zero; -ENOMEM. */
static int stands_beside(const char *path, const char *end, off_t least)
{
	autofree char *name = NULL;
	autoclose int fd = -1;
	struct stat st;
	char first;

	if (asprintf(&name, "%s%s", path, end) < 0) {
		name = NULL;
		return -ENOMEM;
	}
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return stat(name, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > least;
	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > least &&
	       pread(fd, &first, 1, 0) == 1 && first != 0;
}

/* A raw copy of a live database has a -wal or -journal beside it, but only the file itself is restored. A
 * journal whose header is all zeros is no longer in use (journal_mode=PERSIST). */
static int check_beside(const char *path, struct snap_err *err)
{
	int wal = stands_beside(path, "-wal", WAL_FILE_HEADER);
	int journal = stands_beside(path, "-journal", 0);
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	if (wal < 0 || journal < 0)
		return err_set(err, -ENOMEM, "out of memory");
	if (journal)
		return err_set(err, -EIO,
			       "%.80s-journal stands beside it: without it the file may be half a "
			       "transaction; open it once by sqlite3, .schema will do",
			       name);
	if (wal)
		return err_set(err, -EIO,
			       "%.80s-wal stands beside it: what it holds is missing in the file; fold it "
			       "in first by sqlite3, with PRAGMA wal_checkpoint(TRUNCATE)",
			       name);
	return 0;
}

int snap_check_file(const char *path, bool full, struct snap_checked *out, struct snap_err *err)
{
	struct validate_order order = VALIDATE_ORDER_INIT;
	struct validate_report report = VALIDATE_REPORT_INIT;
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat before, after;
	int rc;

	if (fd < 0 || fstat(fd, &before) < 0)
		return err_errno(err, "cannot be opened");
	if (!S_ISREG(before.st_mode))
		return err_set(err, -EINVAL, "no regular file");
	order.fd = fd;
	order.size = (uint64_t)before.st_size;
	order.full = full;
	rc = validate_file(&order, &report, err);
	/* A live database looks damaged to a reader that ignores its locks. */
	if (rc != -ENOMEM && (fstat(fd, &after) < 0 || !is_same(&before, &after)))
		rc = err_set(err, -EBUSY, "was written to while it was checked: check a copy of it");
	if (rc == 0 || rc == -EUCLEAN || rc == -EIO) {
		/* Without its -wal or -journal it looks damaged, too. */
		int lacks = check_beside(path, err);

		rc = lacks ? lacks : rc;
	}
	if (rc == 0) {
		*out = (struct snap_checked){
			.size = report.size,
			.page_size = report.header.page_size,
			.pages = report.pages,
			.tables = report.tables,
			.user_version = report.header.user_version,
			.application_id = report.header.application_id,
		};
		memcpy(out->note, report.note, sizeof(out->note));
	}
	validate_report_finish(&report);
	return rc;
}

int snap_validate_child(int argc, char **argv)
{
	return validate_child_main(argc, argv);
}
