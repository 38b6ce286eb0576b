/* SPDX-License-Identifier: MIT */
/* ops_read.c - see ops_private.h: reading files. */
#define LOG_MODULE "ops"
#include "ops_private.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "log.h"

#define READ_NICE 19 /* added to the daemon's own: the lowest priority */

/*
 * Threads that copy bytes out yield the processor to the applications: a backup may take longer, a commit
 * may not. On Linux the nice value belongs to the thread, and the workers neither wait for SQLite's
 * locks nor hold one, except for as long as it takes to drop it.
 */
static void yield_to_applications(void)
{
	static _Thread_local bool yields;

	if (!yields && nice(READ_NICE) == -1) {
		/* A thread may always raise its nice value, and -1 is a valid nice value too. */
	}
	yields = true;
}

/* Says why a READ of H failed, once for each H. */
static void note_failure(struct handle *h, int rc, const struct snap_err *err)
{
	if (!atomic_exchange(&h->failed, true))
		log_error("reading \"%s\" failed: %s%s%s%s", h->node->name, strerror(-rc),
			  err->text[0] ? ": " : "", err->text, fault_remedy(rc));
}

static void read_now(struct fs *fs, fuse_req_t req, struct handle *h, size_t size, off_t offset)
{
	void *buffer = buffer_get(&fs->buffers);
	struct snap_err err = {{0}};
	ssize_t n = -ENOMEM;

	if (size > BUFFER_SIZE)
		size = BUFFER_SIZE;
	if (buffer)
		n = handle_read(h, buffer, size, (uint64_t)offset, &err);
	if (n < 0) {
		note_failure(h, (int)n, &err);
		reply_error(req, (int)n);
	} else {
		fuse_reply_buf(req, buffer, (size_t)n);
	}
	buffer_put(&fs->buffers, buffer);
}

/* A READ of what an upload began with, which is opened at the first such READ. */
struct read_job {
	struct fs *fs;
	fuse_req_t req;
	struct handle *handle; /* open as long as read(2) waits */
	size_t size;
	off_t offset;
};

static void run_read(void *arg)
{
	struct read_job *job = arg;

	read_now(job->fs, job->req, job->handle, job->size, job->offset);
}

static void read_later(struct fs *fs, fuse_req_t req, struct handle *h, size_t size, off_t offset)
{
	struct read_job job = {.fs = fs, .req = req, .handle = h, .size = size, .offset = offset};
	struct snap_err err = {{0}};
	int rc = run_later(fs, actor_of(req).uid, run_read, &job, sizeof(job));

	if (rc) {
		if (rc == -EBUSY)
			fault(&err, 0, JOBS_TOO_MANY);
		note_failure(h, rc, &err);
		reply_error(req, rc);
	}
}

void op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct handle *h = handle_of(fi);

	(void)id;
	if (h->kind == HANDLE_UPLOAD && snap_upload_read_waits(h->upload->data)) {
		read_later(fs, req, h, size, offset);
		return;
	}
	yield_to_applications();
	read_now(fs, req, h, size, offset);
}
