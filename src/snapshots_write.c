/* SPDX-License-Identifier: MIT */
/*
 * snapshots_write.c - see snapshots.h: writing to the store, one snapshot after the other, and one database
 * after the other, because applications need the disk too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "cleanup.h"
#include "clock.h"
#include "snapshots_private.h"

static bool is_wanted(void *arg)
{
	const struct snapshot *snapshot = arg;

	return atomic_load(&snapshot->given_up) == SNAPSHOT_WANTED;
}

/* The page size in the file's header; 0: it has none. */
static uint32_t page_size_of(int fd)
{
	uint8_t bytes[HEADER_SIZE];
	struct header header;

	if (pread(fd, bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes) ||
	    header_decode(&header, bytes, sizeof(bytes)))
		return 0;
	return header.page_size;
}

static int write_one(struct snapshot *snapshot, size_t i, const char *group, struct snap_err *err)
{
	struct image_copy copy = {.fd = keep_fd(snapshot->dbs[i].keep),
				  .done = &snapshot->done,
				  .wanted = is_wanted,
				  .arg = snapshot};
	struct keep_meta meta = snapshot->pendings[i].entry.meta;
	const struct instant_db *db = &snapshot->instant.dbs[i];
	struct snap_err why = {{0}};
	int rc = source_gen_copy(db->gen, snapshot->dbs[i].cloned, &copy, &why);

	if (rc)
		return instant_failed(db, rc, &why, err);
	meta.page_size = page_size_of(copy.fd);
	return keep_seal(snapshot->dbs[i].keep, &meta, group, err);
}

/* From here on rmdir waits, and then drops what was kept. False: the snapshot was given up before. */
static bool begin_publishing(struct snapshot *snapshot)
{
	lock_scope(&snapshot->snapshots->lock);
	snapshot->publishing = is_wanted(snapshot);
	return snapshot->publishing;
}

static int publish(struct snapshot *snapshot, const char *group, struct snap_err *err)
{
	size_t n = snapshot->instant.count;
	/* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
	autofree struct keep **keeps = calloc(n, sizeof(*keeps));

	if (!keeps)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++)
		keeps[i] = snapshot->dbs[i].keep;
	if (!begin_publishing(snapshot))
		return -ECANCELED;
	return keep_publish(keeps, n, n > 1 ? group : NULL, err);
}

/* Releases the pins: readers of the generations go on with what was written. */
static void let_pins_go(struct snapshot *snapshot)
{
	for (size_t i = 0; i < snapshot->instant.count; i++) {
		int fd = fcntl(keep_fd(snapshot->dbs[i].keep), F_DUPFD_CLOEXEC, 0);
		uint32_t page_size = fd < 0 ? 0 : page_size_of(fd);

		if (fd >= 0)
			source_gen_replace(snapshot->instant.dbs[i].gen, fd, page_size ? page_size : 512);
	}
}

static int write_snapshot(struct snapshot *snapshot, struct snap_err *err)
{
	char group[KEEP_GROUP_SIZE];
	int rc = keep_group_name(group);

	if (rc)
		return err_set(err, rc, "no random numbers");
	for (size_t i = 0; i < snapshot->instant.count && !rc; i++)
		rc = write_one(snapshot, i, snapshot->instant.count > 1 ? group : NULL, err);
	if (!rc)
		rc = publish(snapshot, group, err);
	if (!rc)
		let_pins_go(snapshot);
	return rc;
}

static void report(const struct snapshot *snapshot, int rc, int64_t took_ns, const struct snap_err *err)
{
	const char *why = err->text[0] ? err->text : strerror(-rc);
	size_t n = snapshot->instant.count;
	char size[BYTES_TEXT_SIZE];

	if (rc == -ECANCELED && atomic_load(&snapshot->given_up) == SNAPSHOT_LATE)
		core_event(snapshot->snapshots->core, SNAP_ERROR,
			   "snapshot \"%s\" was lost: the mount ended before it was written", snapshot->name);
	else if (rc == -ECANCELED)
		core_event(snapshot->snapshots->core, SNAP_INFO,
			   "snapshot \"%s\" was removed before it was written", snapshot->name);
	else if (rc)
		core_event(snapshot->snapshots->core, SNAP_ERROR,
			   "snapshot \"%s\" was lost: it cannot be written: %s", snapshot->name, why);
	else
		core_event(snapshot->snapshots->core, SNAP_INFO,
			   "snapshot \"%s\" of %zu database%s was written: %s in %.3f s", snapshot->name, n,
			   n == 1 ? "" : "s", bytes_text(size, snapshot->total), (double)took_ns / 1e9);
	if (!rc)
		snapshots_forget_lost(snapshot->snapshots, snapshot->name);
	else if (rc != -ECANCELED)
		snapshots_note_lost(snapshot->snapshots, snapshot->name, why);
}

/* Perhaps nobody ever reads this log, so the next start reports the loss, too. */
static void leave_names(struct snapshot *snapshot)
{
	for (size_t i = 0; i < snapshot->instant.count; i++)
		keep_leave_name(snapshot->dbs[i].keep);
}

/* Takes the first in the queue; NULL: it is empty, and the thread ends. Lock held. */
static struct snapshot *next(struct snapshots *s)
{
	s->current = list_empty(&s->queue) ? NULL : list_entry(s->queue.next, struct snapshot, link);
	if (!s->current) {
		s->writing = false;
		pthread_cond_broadcast(&s->changed);
	}
	return s->current;
}

void snapshots_write(void *arg)
{
	struct snapshots *s = arg;
	struct snapshot *snapshot;

	pthread_mutex_lock(&s->lock);
	while ((snapshot = next(s)) != NULL) {
		struct snap_err err = {{0}};
		int64_t began = monotonic_ns();
		int rc;

		pthread_mutex_unlock(&s->lock);
		rc = write_snapshot(snapshot, &err);
		report(snapshot, rc, monotonic_ns() - began, &err);
		kept_tree_hide(s->kept, snapshot->pendings, snapshot->instant.count);
		pthread_mutex_lock(&s->lock);
		snapshot->over = true;
		pthread_mutex_unlock(&s->lock);
		if (rc == -ECANCELED && atomic_load(&snapshot->given_up) == SNAPSHOT_LATE)
			leave_names(snapshot);
		snapshot_finish(snapshot);
		/* Only now is the name free; rmdir waits for that. */
		pthread_mutex_lock(&s->lock);
		list_remove(&snapshot->link);
		pthread_cond_broadcast(&s->changed);
		free(snapshot);
	}
	pthread_mutex_unlock(&s->lock);
}
