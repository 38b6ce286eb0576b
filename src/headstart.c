/* SPDX-License-Identifier: MIT */
/* headstart.c - see headstart.h. The thread owns KEEP until OVER. */
#include "headstart.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "memory.h"
#include "place_raw.h"
#include "spool_private.h"
#include "target.h"

struct headstart {
	struct snap *snap;     /* borrowed */
	char *path;	       /* owned; in the tree */
	struct source *source; /* a reference; the thread's until OVER, as the next two */
	struct keep *keep;     /* owned */
	uint64_t bytes;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop, over; /* guarded by lock */
};

/* Whether nobody needs more of the copy, or the mount is ending, which waits for this thread. */
static bool is_stopped(struct headstart *h)
{
	bool stop;

	pthread_mutex_lock(&h->lock);
	stop = h->stop;
	pthread_mutex_unlock(&h->lock);
	return stop || core_is_ending(&h->snap->core);
}

/* Whether BYTES are free beyond STORE_RESERVE: the store may be on the application's file system. */
static bool has_room(struct headstart *h, uint64_t bytes)
{
	struct statvfs vfs;

	return fstatvfs(keep_fd(h->keep), &vfs) == 0 &&
	       (uint64_t)vfs.f_bavail * vfs.f_frsize >= bytes + STORE_RESERVE;
}

static void give_up(struct headstart *h)
{
	keep_destroy(steal_ptr(&h->keep));
	h->bytes = 0;
}

static void copy(struct headstart *h, int from, uint64_t size)
{
	autofree uint8_t *buf = malloc(COPY_CHUNK);

	while (buf && h->bytes < size && !is_stopped(h)) {
		ssize_t got = pread(from, buf, COPY_CHUNK, (off_t)h->bytes);

		if (!has_room(h, size - h->bytes + size)) { /* the rest, and the transaction */
			give_up(h);
			return;
		}
		if (got <= 0 || spool_write(keep_fd(h->keep), buf, (size_t)got, h->bytes, NULL))
			return;
		h->bytes += (uint64_t)got;
	}
}

/* The source of the database at PATH, if its content will be kept. */
static struct source *find_source(struct headstart *h)
{
	struct source *source = NULL;
	struct target target = TARGET_INIT;

	if (target_find(h->snap->tree, h->snap->core.store, h->path, &target, NULL) == 0 &&
	    target.kind == SNAP_NAME_DATABASE &&
	    sources_get(h->snap->core.sources, &target.place, &source) == 0 &&
	    (source->refused || !source->path))
		source_unref(steal_ptr(&source));
	target_finish(&target);
	return source;
}

static void work(struct headstart *h)
{
	struct core *core = &h->snap->core;
	struct rawfd raw = RAWFD_INIT;
	struct stat st;

	h->source = find_source(h);
	if (!h->source || place_open_raw(core->raw, &h->source->place, "", &raw, &st, NULL))
		return;
	if (st.st_size >= (off_t)HEADSTART_MIN &&
	    keep_begin(&h->keep, core->store, h->source->path, KEEP_UNDO "headstart", NULL) == 0 &&
	    has_room(h, 3 * (uint64_t)st.st_size) && /* it, the upload, and the transaction */
	    ioctl(keep_fd(h->keep), FICLONE, raw.fd) != 0)
		copy(h, raw.fd, (uint64_t)st.st_size);
	rawfd_close(core->raw, &raw);
}

static void run(void *arg)
{
	struct headstart *h = arg;

	work(h);
	lock_scope(&h->lock);
	h->over = true;
	pthread_cond_broadcast(&h->changed);
}

static void destroy(struct headstart *h)
{
	keep_destroy(h->keep);
	if (h->source)
		source_unref(h->source);
	atomic_fetch_sub(&h->snap->core.headstarts, 1);
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->lock);
	free(h->path);
	free(h);
}

int headstart_begin(struct headstart **out, struct snap *snap, const char *path)
{
	bool is_one_too_many = atomic_fetch_add(&snap->core.headstarts, 1) >= HEADSTARTS_MAX;
	struct headstart *h = is_one_too_many ? NULL : calloc(1, sizeof(*h));
	int rc;

	if (!h) {
		atomic_fetch_sub(&snap->core.headstarts, 1);
		return is_one_too_many ? -EAGAIN : -ENOMEM;
	}
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->changed, NULL);
	h->snap = snap;
	h->path = strdup(path);
	rc = h->path ? work_submit(snap->core.work, run, h) : -ENOMEM;
	if (rc)
		destroy(h);
	else
		*out = h;
	return rc;
}

static void await(struct headstart *h)
{
	lock_scope(&h->lock);
	h->stop = true;
	while (!h->over)
		pthread_cond_wait(&h->changed, &h->lock);
}

struct keep *headstart_take(struct headstart *h, const struct source *source, uint64_t *bytes)
{
	*bytes = 0;
	if (!h)
		return NULL;
	await(h);
	if (h->source != source || h->bytes == 0)
		return NULL;
	*bytes = h->bytes;
	return steal_ptr(&h->keep);
}

void headstart_end(struct headstart *h)
{
	if (!h)
		return;
	await(h);
	destroy(h);
}
