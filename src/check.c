/* SPDX-License-Identifier: MIT */
/* check.c - the gate for a file that nobody uploads. See sqlsnap.h, "checking". */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "error.h"
#include "validate.h"

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && timespec_ns(a->st_mtim) == timespec_ns(b->st_mtim);
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
	/* A live database looks damaged to whoever reads it past its locks. */
	if (rc != -ENOMEM && (fstat(fd, &after) < 0 || !is_same(&before, &after)))
		rc = err_set(err, -EBUSY, "was written to while it was checked: check a copy of it");
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
