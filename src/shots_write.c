/* SPDX-License-Identifier: MIT */
/*
 * shots_write.c - see shots.h: writing to the store, one snapshot after the other, one database after the
 * other: applications need the disk too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "shots_private.h"

static bool is_wanted(void *arg)
{
	const struct shot *shot = arg;

	return !atomic_load(&shot->cancelled);
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

static int write_one(struct shot *shot, size_t i, const char *group, struct snap_err *err)
{
	struct image_copy copy = {
		.fd = keep_fd(shot->dbs[i].keep), .done = &shot->done, .wanted = is_wanted, .arg = shot};
	struct keep_meta meta = shot->pendings[i].entry.meta;
	int rc = source_gen_copy(shot->instant.dbs[i].gen, shot->dbs[i].cloned, &copy, err);

	if (rc)
		return rc;
	meta.page_size = page_size_of(copy.fd);
	return keep_seal(shot->dbs[i].keep, &meta, group, err);
}

/* From here on rmdir waits, and then drops what is kept. False: it was given up before. */
static bool begin_publishing(struct shot *shot)
{
	lock_scope(&shot->shots->lock);
	shot->publishing = !atomic_load(&shot->cancelled);
	return shot->publishing;
}

static int publish(struct shot *shot, const char *group, struct snap_err *err)
{
	size_t n = shot->instant.count;
	/* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
	autofree struct keep **keeps = calloc(n, sizeof(*keeps));

	if (!keeps)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++)
		keeps[i] = shot->dbs[i].keep;
	if (!begin_publishing(shot))
		return -ECANCELED;
	return keep_publish(keeps, n, n > 1 ? group : NULL, err);
}

/* Whoever reads them goes on with what was written. */
static void let_pins_go(struct shot *shot)
{
	for (size_t i = 0; i < shot->instant.count; i++) {
		int fd = fcntl(keep_fd(shot->dbs[i].keep), F_DUPFD_CLOEXEC, 0);
		uint32_t page_size = fd < 0 ? 0 : page_size_of(fd);

		if (fd >= 0)
			source_gen_replace(shot->instant.dbs[i].gen, fd, page_size ? page_size : 512);
	}
}

static int write_shot(struct shot *shot, struct snap_err *err)
{
	char group[KEEP_GROUP_SIZE];
	int rc = keep_group_name(group);

	if (rc)
		return err_set(err, rc, "no random numbers");
	for (size_t i = 0; i < shot->instant.count && !rc; i++)
		rc = write_one(shot, i, shot->instant.count > 1 ? group : NULL, err);
	if (!rc)
		rc = publish(shot, group, err);
	if (!rc)
		let_pins_go(shot);
	return rc;
}

static void report(const struct shot *shot, int rc, int64_t took_ns, const struct snap_err *err)
{
	const char *why = err->text[0] ? err->text : strerror(-rc);
	size_t n = shot->instant.count;

	if (rc == -ECANCELED && atomic_load(&shot->late))
		core_event(shot->shots->core, SNAP_ERROR,
			   "snapshot \"%s\" was lost: the mount ended before it was written", shot->name);
	else if (rc == -ECANCELED)
		core_event(shot->shots->core, SNAP_INFO, "snapshot \"%s\" was removed before it was written",
			   shot->name);
	else if (rc)
		core_event(shot->shots->core, SNAP_ERROR,
			   "snapshot \"%s\" was lost: it cannot be written: %s", shot->name, why);
	else
		core_event(shot->shots->core, SNAP_INFO,
			   "snapshot \"%s\" of %zu database%s was written: %llu MiB in %.3f s", shot->name, n,
			   n == 1 ? "" : "s", (unsigned long long)(shot->total >> 20), (double)took_ns / 1e9);
	if (!rc)
		shots_note_written(shot->shots, shot->name);
	else if (rc != -ECANCELED)
		shots_note_lost(shot->shots, shot->name, why);
}

/* Takes the first of the queue; NULL: there is none, and the thread is over. Lock held. */
static struct shot *next(struct shots *s)
{
	s->current = list_empty(&s->queue) ? NULL : list_entry(s->queue.next, struct shot, link);
	if (!s->current) {
		s->writing = false;
		pthread_cond_broadcast(&s->changed);
	}
	return s->current;
}

void shots_write(void *arg)
{
	struct shots *s = arg;
	struct shot *shot;

	pthread_mutex_lock(&s->lock);
	while ((shot = next(s)) != NULL) {
		struct snap_err err = {{0}};
		int64_t began = monotonic_ns();
		int rc;

		pthread_mutex_unlock(&s->lock);
		rc = write_shot(shot, &err);
		report(shot, rc, monotonic_ns() - began, &err);
		kept_tree_hide(s->kept, shot->pendings, shot->instant.count);
		pthread_mutex_lock(&s->lock);
		shot->over = true;
		pthread_mutex_unlock(&s->lock);
		shot_finish(shot);
		/* Only now the name is free, which rmdir waits for. */
		pthread_mutex_lock(&s->lock);
		list_remove(&shot->link);
		pthread_cond_broadcast(&s->changed);
		free(shot);
	}
	pthread_mutex_unlock(&s->lock);
}
