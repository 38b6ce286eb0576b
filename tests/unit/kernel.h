/* SPDX-License-Identifier: MIT */
/*
 * kernel.h - the table of operations without a kernel: requests come from threads that the test makes up, in
 * the order that it wants, and libfuse's replies are caught here.
 */
#ifndef SQLSNAP_TEST_KERNEL_H
#define SQLSNAP_TEST_KERNEL_H

#include "../../fs/ops_private.h"

#include "gens.h"

#include <errno.h>
#include <pthread.h>

/* ---- a kernel ------------------------------------------------------------------------------------------ */

struct fuse_req {
	struct fs *fs;
	struct fuse_ctx ctx;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	bool done;
	pthread_t by; /* who has answered */
	int error;    /* errno, counted upwards; 0 with what was asked for */
	uint64_t id;
	struct fuse_file_info fi;
	unsigned char *bytes; /* owned */
	size_t size;
};

static inline void request_init(struct fuse_req *req, struct fs *fs, pid_t tid)
{
	*req = (struct fuse_req){.fs = fs, .ctx = {.pid = tid}};
	pthread_mutex_init(&req->lock, NULL);
	pthread_cond_init(&req->changed, NULL);
}

static inline void request_finish(struct fuse_req *req)
{
	pthread_cond_destroy(&req->changed);
	pthread_mutex_destroy(&req->lock);
	free(req->bytes);
}

/* Exactly one reply to each. Lock held. */
static inline int reply(struct fuse_req *req, int error)
{
	assert_false(req->done);
	req->done = true;
	req->by = pthread_self();
	req->error = error;
	pthread_cond_broadcast(&req->changed);
	return 0;
}

static inline int await_reply(struct fuse_req *req)
{
	int error;

	pthread_mutex_lock(&req->lock);
	while (!req->done)
		pthread_cond_wait(&req->changed, &req->lock);
	error = req->error;
	pthread_mutex_unlock(&req->lock);
	return error;
}

static inline bool is_answered(struct fuse_req *req)
{
	bool done;

	pthread_mutex_lock(&req->lock);
	done = req->done;
	pthread_mutex_unlock(&req->lock);
	return done;
}

/* In front of libfuse's. */

void *fuse_req_userdata(fuse_req_t req)
{
	return req->fs;
}

const struct fuse_ctx *fuse_req_ctx(fuse_req_t req)
{
	return &req->ctx;
}

int fuse_reply_err(fuse_req_t req, int err)
{
	pthread_mutex_lock(&req->lock);
	reply(req, err);
	pthread_mutex_unlock(&req->lock);
	return 0;
}

int fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *e)
{
	pthread_mutex_lock(&req->lock);
	req->id = e->ino;
	reply(req, 0);
	pthread_mutex_unlock(&req->lock);
	return 0;
}

int fuse_reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
	pthread_mutex_lock(&req->lock);
	req->fi = *fi;
	reply(req, 0);
	pthread_mutex_unlock(&req->lock);
	return 0;
}

int fuse_reply_buf(fuse_req_t req, const char *buf, size_t size)
{
	pthread_mutex_lock(&req->lock);
	req->bytes = malloc(size + 1);
	assert_non_null(req->bytes);
	memcpy(req->bytes, buf, size);
	req->size = size;
	reply(req, 0);
	pthread_mutex_unlock(&req->lock);
	return 0;
}

/* ---- what a thread of some process asks for ------------------------------------------------------------ */

static inline uint64_t look_up_in(struct fs *fs, pid_t tid, uint64_t parent, const char *name)
{
	struct fuse_req req;
	uint64_t id;

	request_init(&req, fs, tid);
	fs_ops.lookup(&req, parent, name);
	assert_int_equal(await_reply(&req), 0);
	id = req.id;
	request_finish(&req);
	return id;
}

static inline uint64_t look_up(struct fs *fs, pid_t tid, const char *name)
{
	return look_up_in(fs, tid, FUSE_ROOT_ID, name);
}

/* 0 or errno; the handle goes to FI. */
static inline int try_open_id(struct fs *fs, pid_t tid, uint64_t id, struct fuse_file_info *fi)
{
	struct fuse_req req;
	int error;

	*fi = (struct fuse_file_info){.flags = O_RDONLY};
	request_init(&req, fs, tid);
	fs_ops.open(&req, id, fi);
	error = await_reply(&req);
	*fi = req.fi;
	request_finish(&req);
	return error;
}

static inline void release(struct fs *fs, pid_t tid, uint64_t id, struct fuse_file_info *fi)
{
	struct fuse_req req;

	request_init(&req, fs, tid);
	fs_ops.release(&req, id, fi);
	assert_int_equal(await_reply(&req), 0);
	request_finish(&req);
}

/* Rows of what was opened. */
static inline int64_t rows_of(struct fs *fs, pid_t tid, uint64_t id, struct fuse_file_info *fi)
{
	struct fuse_req req;
	int64_t value;

	request_init(&req, fs, tid);
	fs_ops.read(&req, id, 1 << 20, 0, fi);
	assert_int_equal(await_reply(&req), 0);
	assert_between(req.size, 512, (1 << 20) - 1);
	value = ask_bytes(req.bytes, req.size, "SELECT count(*) FROM t");
	request_finish(&req);
	return value;
}

/* Opens ID, which takes no wait and no second look, reads and closes. */
static inline void read_id(struct fs *fs, pid_t tid, uint64_t id, int64_t rows)
{
	struct fuse_file_info fi;

	assert_int_equal(try_open_id(fs, tid, id, &fi), 0);
	assert_int_equal(rows_of(fs, tid, id, &fi), rows);
	release(fs, tid, id, &fi);
}

/* open(2): looks and opens, and once more after ESTALE. */
static inline void read_name(struct fs *fs, pid_t tid, const char *name, int64_t rows)
{
	uint64_t id = look_up(fs, tid, name);
	struct fuse_file_info fi;
	int error = try_open_id(fs, tid, id, &fi);

	if (error == ESTALE) {
		id = look_up(fs, tid, name);
		error = try_open_id(fs, tid, id, &fi);
	}
	assert_int_equal(error, 0);
	assert_int_equal(rows_of(fs, tid, id, &fi), rows);
	release(fs, tid, id, &fi);
}

static inline struct fs *fs_up(struct fixture *f, bool read_only)
{
	struct fs_config config = {.snap = f->snap, .read_only = read_only};
	struct fs *fs = NULL;

	assert_int_equal(fs_create(&fs, &config), 0);
	return fs;
}

static inline void fs_down(struct fixture *f, struct fs *fs)
{
	snap_stop(f->snap, SNAP_PATIENCE_MS);
	fs_destroy(fs);
	app_stop(&f->app);
	down(f);
}

#endif
