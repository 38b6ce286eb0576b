/* SPDX-License-Identifier: MIT */
/* upload_access.c - see upload.h: who asks for a restore, whether that process is alive, and whether it
 * may. */
#include "upload_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../src/cleanup.h"

bool upload_was_killed(void *arg)
{
	const struct upload_flush *flush = arg;
	bool interrupted = flush->interrupted && flush->interrupted(flush->arg);
	struct caller caller;

	if (!flush->interrupted)
		return false;
	if (!caller_look(&caller, flush->who.tid))
		return interrupted;
	return caller.exiting ? caller.killed || interrupted : caller.killed && interrupted;
}

/* Whether the file that is there now has the same owner and mode as when it was found to be writable. */
static bool has_same_rights(const struct upload *u, const struct snap_attr *attr)
{
	return u->over && u->uid == attr->uid && u->gid == attr->gid && !((u->mode ^ attr->mode) & 0777);
}

/* Whether WHO may make a file at PATH, in the folder PINNED. The right to write the file that was opened does
 * not imply it. -ESTALE: the path leads to another folder by now */
static int check_folder(struct upload *u, const struct snap_inode *pinned, const char *path,
			const struct actor *who)
{
	const char *end = strrchr(path, '/');
	autofree char *folder = strndup(path, end ? (size_t)(end - path) : 0);
	struct snap_attr attr;
	int rc = folder ? snap_lookup(u->all->snap, folder, &attr, NULL, NULL) : -ENOMEM;

	if (rc)
		return rc;
	if (pinned->ino != 0 && (attr.key_dev != pinned->dev || attr.key_ino != pinned->ino))
		return -ESTALE;
	return caller_may_write(who, attr.uid, attr.gid, attr.mode) ? 0 : -EACCES;
}

int upload_check_access(struct upload *u, const struct upload_flush *flush, struct snap_restore *order)
{
	const struct snap_inode *folder = u->kind == UPLOAD_DATABASE ? &u->folder : &flush->folder;
	struct actor who = flush->who;
	struct snap_attr attr;
	int rc = snap_lookup_in(u->all->snap, folder, order->path, &attr, NULL, NULL);

	if (u->kind == UPLOAD_DATABASE) {
		who = u->who;
		if (flush->interrupted && flush->who.uid == who.uid)
			who.tid = flush->who.tid; /* same user, whose groups can still be looked up */
	}
	if (rc == -ENOENT) {
		order->folder = *folder;
		/* Nothing is there, so the folder's mode decides. It has decided already, unless a file was
		 * there before. */
		return u->over && who.uid != 0 ? check_folder(u, folder, order->path, &who) : 0;
	}
	if (rc)
		return who.uid == 0 ? 0 : rc; /* root may repair what cannot be looked at */
	if (who.uid != 0)
		order->file = (struct snap_inode){attr.key_dev, attr.key_ino};
	if (u->kind == UPLOAD_DATABASE && has_same_rights(u, &attr))
		return 0;
	return caller_may_write(&who, attr.uid, attr.gid, attr.mode) ? 0 : -EACCES;
}
