/* SPDX-License-Identifier: MIT */
/*
 * tree_notice.c - reports once for each symlink that it leaves the tree and shows a database from elsewhere.
 *
 * What must stay true: bounded memory. A text for which there is no room now is given at a later lookup;
 * links beyond the number that is remembered are not reported. A link is known by its inode: one that is
 * recreated is reported again.
 */
#include "tree_private.h"

#include <string.h>

#include "cleanup.h"

void tree_notice(struct tree *tree, const struct stat *link, const char *name, const char *target)
{
	lock_scope(&tree->lock);

	for (size_t i = 0; i < tree->told_count; i++)
		if (tree->told[i].dev == link->st_dev && tree->told[i].ino == link->st_ino)
			return;
	if (tree->told_count == NOTICES_MAX || tree->pending_count == NOTICES_PENDING)
		return;
	tree->told[tree->told_count++] = (struct tree_link_id){.dev = link->st_dev, .ino = link->st_ino};
	err_set(&tree->pending[tree->pending_count++], 0,
		"symlink \"%s\" leaves the directory: it shows the database \"%s\"", name, target);
}

bool tree_take_notice(struct tree *tree, struct snap_err *text)
{
	lock_scope(&tree->lock);

	if (tree->pending_count == 0)
		return false;
	*text = tree->pending[0];
	tree->pending_count--;
	memmove(&tree->pending[0], &tree->pending[1], tree->pending_count * sizeof(tree->pending[0]));
	return true;
}
