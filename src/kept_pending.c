/* SPDX-License-Identifier: MIT */
/* kept_pending.c - see kept_tree.h: what is shown of snapshots that are still being written. */
#include "kept_tree_private.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"

void kept_tree_show(struct kept_tree *k, struct kept_pending *pendings, size_t count)
{
	lock_scope(&k->lock);
	for (size_t i = 0; i < count; i++)
		list_append(&k->pending, &pendings[i].link);
}

void kept_tree_hide(struct kept_tree *k, struct kept_pending *pendings, size_t count)
{
	lock_scope(&k->lock);
	for (size_t i = 0; i < count; i++)
		list_remove(&pendings[i].link);
}

int kept_walk_pending(struct kept_walk *walk)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&walk->kept->lock;
	int rc = 0;

	lock_scope(lock);
	list_each (e, &walk->kept->pending) {
		const struct kept_pending *p = list_entry(e, struct kept_pending, link);
		struct keep_entry entry = p->entry;

		walk->here = p->path;
		walk->rest = walk->path[0] ? kept_below(p->path, walk->path) : p->path;
		if ((walk->name && strcmp(walk->name, p->name) != 0) || !walk->rest || !walk->rest[0])
			continue;
		entry.name = (char *)(uintptr_t)p->name;
		rc = walk->fn(walk, &entry);
		if (rc)
			break;
	}
	return rc;
}

/* The pending snapshot of the database at SPOT, or of the one whose sidecar is there. Lock held. */
static const struct kept_pending *find(const struct kept_tree *k, const struct kept_spot *spot, bool *sidecar)
{
	list_each (e, &k->pending) {
		const struct kept_pending *p = list_entry(e, struct kept_pending, link);
		size_t len = strlen(p->path);

		if (strcmp(p->name, spot->name) != 0 || strncmp(p->path, spot->path, len) != 0)
			continue;
		*sidecar = strcmp(spot->path + len, "-wal") == 0 || strcmp(spot->path + len, "-shm") == 0;
		if (*sidecar || !spot->path[len])
			return p;
	}
	return NULL;
}

bool kept_look_pending(struct kept_tree *k, const struct kept_spot *spot, struct snap_attr *attr)
{
	const struct kept_pending *p;
	bool sidecar;
	uint64_t ino;

	lock_scope(&k->lock);
	p = find(k, spot, &sidecar);
	if (!p)
		return false;
	ino = kept_file_ino(&p->entry, spot->name, spot->path);
	if (sidecar)
		kept_fill_sidecar(attr, &p->entry, ino);
	else
		kept_fill_file(attr, &p->entry, p->entry.dev, p->entry.ino, p->entry.meta.size, ino);
	return true;
}

struct snap_gen *kept_tree_open_pending(struct kept_tree *k, const char *path, uint64_t dev, uint64_t ino)
{
	const struct kept_pending *p;
	struct snap_gen *gen = NULL, *moved = NULL;
	struct kept_spot spot;
	bool sidecar;
	int rc;

	if (kept_parse(path, &spot))
		return NULL;
	pthread_mutex_lock(&k->lock);
	p = find(k, &spot, &sidecar);
	if (p && !sidecar && p->entry.dev == dev && p->entry.ino == ino)
		gen = snap_gen_ref(p->gen);
	pthread_mutex_unlock(&k->lock);
	if (!gen)
		return NULL;
	/* It has its bytes as long as it is shown; if it has gone since, its file is kept. */
	rc = snap_gen_open(gen, SNAP_NOWAIT, &moved, NULL);
	if (rc == SNAP_MOVED) {
		snap_gen_arrived(moved);
		snap_gen_unref(moved);
	}
	if (rc)
		snap_gen_unref(gen);
	return rc ? NULL : gen;
}
