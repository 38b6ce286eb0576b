/* SPDX-License-Identifier: MIT */
/*
 * options.h - the command line: one table, which both the parser and the usage text use.
 *
 * Accesses no file: plan.h checks the paths.
 */
#ifndef SQLSNAPFS_OPTIONS_H
#define SQLSNAPFS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "../src/sqlsnap.h"

enum options_check {
	CHECK_QUICK,
	CHECK_FULL,
};

struct options_source {
	char *name; /* owned; NULL: the path's last part */
	char *path; /* owned; as it was given */
};

struct options {
	bool help, version; /* asked for: nothing else is set or checked then */
	bool foreground;    /* -f; -d implies it */
	bool debug;
	struct options_source *sources; /* owned; none: the current directory */
	size_t source_count;
	char *mountpoint; /* owned; as it was given */
	char **command;	  /* borrowed from argv, NULL-terminated; NULL: none */
	char *check_file; /* owned; --check: nothing else is set then but CHECK; NULL: none */

	char *store;	       /* owned; NULL: the default */
	uint64_t wal_limit;    /* bytes */
	uint64_t wal_max;      /* bytes, at least wal_limit */
	uint64_t busy_timeout; /* milliseconds */
	uint64_t keep;	       /* snapshots per database */
	uint64_t check;	       /* enum options_check */
	uint64_t log;	       /* enum snap_level */
	bool log_given;
	bool shared_locks, norestore, frozen, force, databases_only, hide_databases, nonempty;

	bool read_only; /* -o ro */
	bool allow_other, allow_root;
	bool auto_unmount; /* asked for, never done */
	uint64_t max_read; /* bytes; 0: not given */
	char *fsname;	   /* owned; NULL: made from the sources */
	char *fuse;	   /* owned; comma list for libfuse, escaped; NULL: empty */
};

enum option_kind {
	OPTION_SWITCH,	 /* -x: sets a bool */
	OPTION_ARGUMENT, /* --x VALUE or --x=VALUE: a string */
	OPTION_FLAG,	 /* sets a bool to SET */
	OPTION_SIZE,	 /* bytes, or a number followed by K, M, G or T */
	OPTION_SECONDS,	 /* decimal; stored in milliseconds */
	OPTION_COUNT,	 /* a whole number */
	OPTION_WORD,	 /* one of WORDS, stored as its index */
	OPTION_STRING,
	OPTION_FUSE,	/* passed to libfuse unchanged */
	OPTION_IGNORED, /* accepted, with or without a value; a name ending in * stands for all with that
			   prefix */
};

struct option_row {
	const char *name;  /* "-f", or a word of -o */
	const char *alias; /* "--help"; NULL: none */
	const char *value; /* what follows the =, for usage; NULL: no value is allowed */
	enum option_kind kind;
	size_t offset; /* of the field in struct options */
	uint64_t min, max;
	const char *const *words; /* NULL-terminated */
	bool set;
	const char *help; /* NULL: not in usage */
};

extern const struct option_row option_rows[]; /* ends with a row without a name */

/* The option that refuses restores, for messages; NULL: restores are accepted. */
static inline const char *options_refusing(const struct options *options)
{
	return options->frozen	    ? "frozen"
	       : options->read_only ? "ro"
	       : options->norestore ? "norestore"
				    : NULL;
}

/* Sets every default. */
void options_init(struct options *options);
void options_finish(struct options *options);

/* Parses the ARGV of main(); OPTIONS is initialised. -EINVAL with one line in ERR, or -ENOMEM. */
int options_parse(struct options *options, int argc, char **argv, struct snap_err *err);

void usage_print(FILE *to);
void version_print(FILE *to);

#endif
