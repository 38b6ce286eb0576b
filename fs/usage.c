/* SPDX-License-Identifier: MIT */
/*
 * usage.c - prints --help, from the table of options, and --version. tests/unit/test_texts.c compares the
 * manual page and the shell completion with the same table.
 */
#include <stdio.h>
#include <string.h>

#include "fs.h"
#include "options.h"

#define COLUMN 26 /* at which the help texts begin */

/* The heading above the option FIRST. */
static const struct {
	const char *first, *text;
} headings[] = {
	{"-f", "options:"},
	{"wal_limit", "reading:"},
	{"norestore", "restoring:"},
	{"store", "the mount:"},
};

static void print_heading(FILE *to, const struct option_row *row)
{
	for (size_t i = 0; i < sizeof(headings) / sizeof(*headings); i++) {
		if (strcmp(headings[i].first, row->name) == 0)
			fprintf(to, "\n%s\n", headings[i].text);
	}
}

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
	      "Mounts a directory in which reading an SQLite database gives a consistent copy of the\n"
	      "live one, and writing it restores the live one. SOURCE is a database, NAME=PATH for a\n"
	      "database under another name, or one directory; the default is the current directory.\n"
	      "With COMMAND: mount, run it, unmount, and exit with its status.\n",
	      to);
	for (const struct option_row *row = option_rows; row->name; row++) {
		if (!row->help)
			continue;
		print_heading(to, row);
		print_row(to, row);
	}
	fputs("  -o ...                  other options that mount(8) and fstab(5) add are accepted\n"
	      "\n"
	      "examples:\n"
	      "  cd /srv/app && sqlsnapfs /mnt/snap                       mount a directory\n"
	      "  sqlsnapfs /srv/app /tmp/snap -- restic backup /tmp/snap  mount, back up, unmount\n"
	      "  cp /mnt/snap/db.sqlite3 backup.sqlite3                   copy a database\n"
	      "  cp backup.sqlite3 /mnt/snap/db.sqlite3                   restore it\n"
	      "  ls /mnt/snap/.sqlsnapfs/snapshots                        list what restores replaced\n"
	      "  mkdir /mnt/snap/.sqlsnapfs/snapshots/NAME                snapshot all databases\n"
	      "  tail /mnt/snap/.sqlsnapfs/log                            why a restore was refused\n"
	      "  umount /mnt/snap                                         or: fusermount3 -u /mnt/snap\n"
	      "\n"
	      "SIZE takes K, M, G or T. For more, see: man sqlsnapfs\n",
	      to);
}

void version_print(FILE *to)
{
	fprintf(to, "sqlsnapfs %s\nlibfuse %s\nSQLite %s%s\n", SQLSNAPFS_VERSION, fuse_pkgversion(),
		snap_sqlite_version(),
		snap_sqlite_has_wal_reset_bug() ? " (has the WAL-reset bug, sqlite.org/wal.html: two "
						  "programs that checkpoint at once can "
						  "lose commits; sqlsnapfs takes care not to)"
						: "");
}
