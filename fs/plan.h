/* SPDX-License-Identifier: MIT */
/*
 * plan.h - checks the options against the file system as it is now, resolves the paths, and refuses what
 * cannot be intended.
 *
 * Opens no database: that comes after daemonising. To be called before chdir(2) and before any thread is
 * started.
 */
#ifndef SQLSNAPFS_PLAN_H
#define SQLSNAPFS_PLAN_H

#include "mount.h"
#include "options.h"

struct plan_source {
	char *name; /* owned; what a database is called in the mount; NULL for a folder */
	char *path; /* owned; absolute; of a database, its last part may be a link */
	char *real; /* owned; without links */
	char *seen; /* owned; absolute: the folder, or the database's folder, under the name that was given */
};

struct plan {
	struct plan_source *sources; /* owned; databases, or one folder */
	size_t count;
	bool folder;
	bool implied;	      /* the current directory, because none was named */
	const char *refusing; /* constant: the option that refuses uploads; NULL: they are accepted */
	bool hiding;	      /* databases are hidden: the mount is for restores only */
	char *store;	      /* owned; absolute; NULL: the default */
	struct mountpoint mountpoint;
};

/* Fills PLAN, which plan_finish() frees also after a failure. -errno with one line that says what to do. */
int plan_make(struct plan *plan, const struct options *options, struct snap_err *err);
void plan_finish(struct plan *plan);

#define PLAN_UNCOUNTED SIZE_MAX
/* "/srv/app on /mnt/snap: 2 databases, restore by writing is on", cut to SIZE bytes. MORE: "at least 2". */
void plan_describe(const struct plan *plan, size_t databases, bool more, char *out, size_t size);

/* The source that the mount table shows; borrowed. */
const char *plan_fsname(const struct plan *plan, const struct options *options);

#endif
