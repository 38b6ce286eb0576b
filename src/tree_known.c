/* SPDX-License-Identifier: MIT */
/*
 * tree_known.c - whether the mirrored folder is still the one that its path leads to. A tree is served from
 * descriptors, so it would go on showing a folder that was renamed and replaced, as a deployment does, or to
 * which a link no longer leads: backups would silently hold databases that nobody writes any more, for ever.
 *
 * What must stay true: only what is certain leads to a refusal. A path that leads nowhere at the moment, or
 * through a mount that may not be asked, such as our own over the folder itself, proves nothing.
 */
#include "tree_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "error.h"
#include "opath.h"

void tree_known_finish(struct tree *tree)
{
	for (size_t i = 0; i < tree->known_count; i++)
		free(tree->known[i].path);
	free(tree->known);
}

int tree_known_as(struct tree *tree, const char *path, struct snap_err *err)
{
	struct tree_known *more, known;
	struct stat st;

	if (stat(path, &st) < 0)
		return err_errno(err, "\"%s\"", path);
	for (size_t i = 0; i < tree->known_count; i++)
		if (strcmp(tree->known[i].path, path) == 0)
			return 0; /* the folder of several named databases is looked at once */
	known = (struct tree_known){.path = strdup(path), .dev = st.st_dev, .ino = st.st_ino};
	more = known.path ? reallocarray(tree->known, tree->known_count + 1, sizeof(*more)) : NULL;
	if (!more) {
		free(known.path);
		return err_set(err, -ENOMEM, "out of memory");
	}
	tree->links_uncounted |= st.st_nlink == 0;
	tree->known = more;
	tree->known[tree->known_count++] = known;
	return 0;
}

/* Through a descriptor, a removed folder looks like an empty one: its link count tells them apart. */
static int check_links(const struct tree *tree, const struct stat *st, struct snap_err *err)
{
	if (tree->links_uncounted || st->st_nlink > 0)
		return 0;
	return err_set(err, -ESTALE, "the directory was removed; mount it again");
}

/* A disk that fails below one named database does not keep others from being read. */
static int check_folders(const struct tree *tree, struct snap_err *err)
{
	struct stat st;
	int rc = 0;

	if (tree->root >= 0 && fstat(tree->root, &st) < 0)
		return err_set(err, -errno,
			       "the directory cannot be examined: %s; check its disk, and mount it again",
			       strerror(errno));
	if (tree->root >= 0)
		rc = check_links(tree, &st, err);
	for (size_t i = 0; !rc && i < tree->file_count; i++)
		if (fstat(tree->files[i].dir, &st) == 0)
			rc = check_links(tree, &st, err);
	return rc;
}

/* Whether KNOWN's path leads to it according to the kernel's caches, without asking any file system, not even
 * our own. Nearly always true; false proves nothing. */
static bool is_still_known(const struct tree_known *known)
{
	autoclose int fd = opath_open(AT_FDCWD, known->path, O_PATH, RESOLVE_CACHED);
	struct stat st;

	return fd >= 0 && opath_stat(fd, "", &st, NULL) == 0 && st.st_dev == known->dev &&
	       st.st_ino == known->ino;
}

int tree_check_known(struct tree *tree, struct snap_err *err)
{
	int rc = check_folders(tree, err);

	if (rc)
		return rc;
	for (size_t i = 0; i < tree->known_count; i++) {
		const struct tree_known *known = &tree->known[i];
		struct stat st;

		if (is_still_known(known))
			continue;
		rc = tree_link_folder(tree, known->path, &st);
		if (opath_transient(rc))
			return rc;
		if (rc == 0 && (st.st_dev != known->dev || st.st_ino != known->ino))
			return err_set(
				err, -ESTALE,
				"%s is another directory by now: it was replaced, or a link was changed; "
				"mount it again",
				known->path);
	}
	return 0;
}
