/* SPDX-License-Identifier: MIT */
/*
 * foldertimes.h - times and sizes of folders as if our sidecars had never come and gone. Connecting to an
 * idle WAL database makes a -wal and a -shm beside it, and closing removes them: both change the times of the
 * folder, and tar(1) says of it "file changed as we read it".
 *
 * A change that somebody else makes in the same instant is hidden with ours until the next one. A table of
 * fixed size; a folder that finds no room in it shows its own times.
 */
#ifndef SQLSNAP_FOLDERTIMES_H
#define SQLSNAP_FOLDERTIMES_H

#include "sqlsnap.h"

struct foldertimes;

int foldertimes_create(struct foldertimes **out); /* -ENOMEM */
void foldertimes_destroy(struct foldertimes *times);

/* Around what may make or remove sidecars in the folder DIRFD (O_PATH is enough); calls may overlap. */
void foldertimes_begin(struct foldertimes *times, int dirfd);
void foldertimes_end(struct foldertimes *times, int dirfd);

/* Puts into ATTR, a folder's, the times and the size from before ours. */
void foldertimes_show(struct foldertimes *times, struct snap_attr *attr);

#endif
