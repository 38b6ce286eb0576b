/* SPDX-License-Identifier: MIT */
/*
 * foldertimes.h - shows the times and sizes of folders as if our sidecars had never come and gone.
 * Connecting to an idle WAL database makes a -wal and a -shm beside it, and closing removes them. Both
 * change the times of the folder, and then tar(1) reports "file changed as we read it".
 *
 * If somebody else changes the folder at the same moment, that stays hidden until the next change. The table
 * has a fixed size; a folder that finds no room in it shows its own times.
 */
#ifndef SQLSNAP_FOLDERTIMES_H
#define SQLSNAP_FOLDERTIMES_H

#include "sqlsnap.h"

struct foldertimes;

int foldertimes_create(struct foldertimes **out); /* -ENOMEM */
void foldertimes_destroy(struct foldertimes *times);

/* To be called before and after anything that may create or remove sidecars in the folder DIRFD (O_PATH is
 * enough). Calls may overlap. */
void foldertimes_begin(struct foldertimes *times, int dirfd);
void foldertimes_end(struct foldertimes *times, int dirfd);

/* Replaces the times and the size in ATTR, a folder's, by those from before our changes. */
void foldertimes_show(struct foldertimes *times, struct snap_attr *attr);

#endif
