/* SPDX-License-Identifier: MIT */
/* usage.c - what --help and --version print, the former from the table of options. */
#include <stdio.h>

#include "fs.h"
#include "options.h"

#define COLUMN 26 /* where explanations begin */

static void print_row(FILE *to, const struct option_row *row)
{
	char left[64];

	if (row->kind == OPTION_SWITCH)
		snprintf(left, sizeof(left), "%s%s%s", row->name, row->alias ? ", " : "",
			 row->alias ? row->alias : "");
	else if (row->kind == OPTION_ARGUMENT)
		snprintf(left, sizeof(left), "%s %s", row->name, row->value);
	else
		snprintf(left, sizeof(left), "-o %s%s%s", row->name, row->value ? "=" : "",
			 row->value ? row->value : "");
	fprintf(to, "  %-*s %s\n", COLUMN - 3, left, row->help);
}

void usage_print(FILE *to)
{
	fputs("usage: sqlsnapfs [options] [SOURCE...] MOUNTPOINT [-- COMMAND...]\n"
	      "       sqlsnapfs [-o check=full] --check FILE\n"
	      "\n"
	      "Shows SQLite databases so that each file that is opened is one committed point in time.\n"
	      "SOURCE is a database, NAME=PATH for a database under another name, or one folder; without "
	      "it,\n"
	      "the current directory. With COMMAND: mount, run it, unmount, exit with its status.\n"
	      "\n",
	      to);
	for (const struct option_row *row = option_rows; row->name; row++) {
		if (row->help)
			print_row(to, row);
	}
	fputs("  -o ...                  what mount(8) and fstab(5) add is accepted\n"
	      "\n"
	      "To unmount: umount MOUNTPOINT, or fusermount3 -u MOUNTPOINT.\n",
	      to);
}

void version_print(FILE *to)
{
	fprintf(to, "sqlsnapfs %s\nlibfuse %s\nSQLite %s\n", SQLSNAPFS_VERSION, fuse_pkgversion(),
		snap_sqlite_version());
}
