/* SPDX-License-Identifier: MIT */
/* check.c - see check.h. Text from the file is escaped, because the output goes to terminals. */
#include "check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../src/sqlsnap.h"
#include "log.h"

#define EXIT_REFUSED 1

static void print_accepted(const struct snap_checked *checked)
{
	char text[4 * sizeof(checked->note)];

	puts("verdict: accepted");
	if (checked->note[0])
		printf("note: %s\n", log_escape(text, sizeof(text), checked->note));
	printf("tables: %" PRIu32 "\n", checked->tables);
	printf("pages: %" PRIu32 "\n", checked->pages);
	printf("page_size: %" PRIu32 "\n", checked->page_size);
	printf("user_version: %" PRId32 "\n", (int32_t)checked->user_version);
	printf("application_id: %" PRId32 "\n", (int32_t)checked->application_id);
}

/* Whether RC means that the file itself is at fault. */
static bool is_verdict(int rc)
{
	return rc == -EMEDIUMTYPE || rc == -EIO || rc == -EUCLEAN;
}

int check_print(const char *path, bool full)
{
	struct snap_checked checked;
	struct snap_err err = {""};
	char text[4 * sizeof(err.text)], line[4096 + sizeof(err.text)];
	int rc = snap_check_file(path, full, &checked, &err);

	if (rc == 0) {
		print_accepted(&checked);
	} else if (is_verdict(rc)) {
		printf("verdict: refused\nreason: %s\n", log_escape(text, sizeof(text), err.text));
	} else {
		snprintf(line, sizeof(line), "%s: %s", path, err.text);
		log_refusal(line);
	}
	return fflush(stdout) || rc < 0 ? EXIT_REFUSED : 0;
}
