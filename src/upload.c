/* SPDX-License-Identifier: MIT */
/*
 * upload.c - uploads as sqlsnap.h defines them: a staging file and its initial content. The verdict on it is
 * in upload_restore.c.
 *
 * What must stay true: nothing is written while a verdict is being made (busy); a staging file that a restore
 * has shown to readers is never written again.
 */
#include "upload_private.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "headstart.h"
#include "target.h"

#define LOOKS 4
#define LET_GO_LATER (4u << 20) /* bytes from which a file is removed on another thread */

/* ---- what it begins with ------------------------------------------------------------------------------- */

/* A generation that lends its bytes; opened when they are first asked for. */
struct lender {
	struct snap_gen *gen; /* a reference */
	pthread_mutex_t lock;
	atomic_bool opened; /* set under LOCK, and never cleared */
	bool promised;	    /* its size was reported: no other generation will do */
};

static void lender_drop(void *arg)
{
	struct lender *l = arg;

	if (l->opened)
		snap_gen_close(l->gen);
	snap_gen_unref(l->gen);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

/* The generation may have moved on since its lookup: then its successor lends, or none does. */
static int lender_open(struct lender *l, struct snap_err *err)
{
	int rc;

	lock_scope(&l->lock);
	if (l->opened)
		return 0;
	rc = source_gen_open(&l->gen, l->promised ? 0 : LOOKS, err);
	if (rc == SNAP_MOVED)
		rc = l->promised ? err_set(err, -ESTALE, "what stood there has changed since")
				 : err_set(err, -EBUSY, "it changed at every try");
	l->opened = rc == 0;
	return rc;
}

static ssize_t lender_read(void *arg, void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	struct lender *l = arg;
	int rc = lender_open(l, err);

	return rc ? rc : snap_gen_read(l->gen, buf, size, offset, err);
}

static bool lender_ready(void *arg)
{
	struct lender *l = arg;

	return atomic_load(&l->opened);
}

int upload_lend(struct staging *staging, struct snap_gen *gen, bool readable, struct snap_err *err)
{
	struct lender *l = calloc(1, sizeof(*l));
	struct snap_attr attr;
	int rc = 0;

	if (!l)
		return err_set(err, -ENOMEM, "out of memory");
	pthread_mutex_init(&l->lock, NULL);
	l->gen = snap_gen_ref(gen);
	if (readable)
		rc = lender_open(l, err);
	if (rc) {
		lender_drop(l);
		return rc;
	}
	snap_gen_stat(l->gen, &attr);
	l->promised = true;
	struct staging_base base = {
		.size = attr.size, .read = lender_read, .ready = lender_ready, .drop = lender_drop, .arg = l};

	staging_set_base(staging, &base);
	return 0;
}

/* ---- life ---------------------------------------------------------------------------------------------- */

int snap_upload_create(struct snap *snap, struct snap_upload **out, struct snap_err *err)
{
	struct snap_upload *u = calloc(1, sizeof(*u));
	int rc;

	if (!u)
		return err_set(err, -ENOMEM, "out of memory");
	rc = staging_create(&u->staging, snap->core.store, err);
	if (rc) {
		free(u);
		return rc;
	}
	u->snap = snap;
	pthread_rwlock_init(&u->lock, NULL);
	*out = u;
	return 0;
}

/* What another thread is to release. */
struct leaving {
	struct staging *staging;
	struct headstart *headstart;
};

static void let_go(void *arg)
{
	struct leaving *leaving = arg;

	headstart_end(leaving->headstart);
	staging_destroy(leaving->staging);
	free(leaving);
}

void upload_let_go(struct snap *snap, struct staging *staging, struct headstart *headstart)
{
	bool takes_long = headstart || (staging && staging_size(staging) >= LET_GO_LATER);
	struct leaving *leaving = takes_long ? malloc(sizeof(*leaving)) : NULL;

	if (leaving) {
		*leaving = (struct leaving){.staging = staging, .headstart = headstart};
		if (work_submit(snap->core.work, let_go, leaving) == 0)
			return;
		free(leaving);
	}
	headstart_end(headstart);
	staging_destroy(staging);
}

void snap_upload_destroy(struct snap_upload *u)
{
	if (!u)
		return;
	upload_let_go(u->snap, u->staging, u->headstart);
	free(u->expected);
	validate_report_finish(&u->report);
	pthread_rwlock_destroy(&u->lock);
	free(u);
}

int snap_upload_begin_with(struct snap_upload *u, struct snap_gen *gen, bool readable, struct snap_err *err)
{
	return upload_lend(u->staging, gen, readable, err);
}

int snap_upload_expect(struct snap_upload *u, const char *path)
{
	u->expected = strdup(path);
	return u->expected ? 0 : -ENOMEM;
}

/* ---- content ------------------------------------------------------------------------------------------- */

/* Begins a change. 0: the lock is held; -EBUSY: a verdict is being made. */
static int begin_change(struct snap_upload *u, struct snap_err *err)
{
	pthread_rwlock_rdlock(&u->lock);
	if (!u->busy && !u->spent)
		return 0;
	pthread_rwlock_unlock(&u->lock);
	return err_set(err, -EBUSY, "it is being restored");
}

/* Begins to copy what will be replaced. Lock held for reading. */
static void begin_early(struct snap_upload *u)
{
	if (!u->expected || u->snap->core.config.keep == 0 || staging_size(u->staging) < HEADSTART_MIN ||
	    atomic_exchange(&u->asked, true))
		return;
	if (headstart_begin(&u->headstart, u->snap, u->expected))
		u->headstart = NULL;
}

ssize_t snap_upload_write(struct snap_upload *u, const void *buf, size_t size, uint64_t offset,
			  struct snap_err *err)
{
	ssize_t n = begin_change(u, err);

	if (n)
		return n;
	n = staging_write(u->staging, buf, size, offset, err);
	if (n > 0)
		begin_early(u);
	pthread_rwlock_unlock(&u->lock);
	return n;
}

int snap_upload_truncate(struct snap_upload *u, uint64_t size, struct snap_err *err)
{
	int rc = begin_change(u, err);

	if (rc)
		return rc;
	rc = staging_truncate(u->staging, size, err);
	pthread_rwlock_unlock(&u->lock);
	return rc;
}

int snap_upload_allocate(struct snap_upload *u, uint64_t offset, uint64_t size, bool keep_size,
			 struct snap_err *err)
{
	int rc = begin_change(u, err);

	if (rc)
		return rc;
	rc = staging_allocate(u->staging, offset, size, keep_size, err);
	pthread_rwlock_unlock(&u->lock);
	return rc;
}

ssize_t snap_upload_read(struct snap_upload *u, void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	read_scope(&u->lock);
	return staging_read(u->staging, buf, size, offset, err);
}

bool snap_upload_read_waits(struct snap_upload *u)
{
	read_scope(&u->lock);
	return staging_read_waits(u->staging);
}

int snap_upload_sync(struct snap_upload *u, struct snap_err *err)
{
	read_scope(&u->lock);
	return staging_sync(u->staging, err);
}

uint64_t snap_upload_size(struct snap_upload *u)
{
	read_scope(&u->lock);
	return staging_size(u->staging);
}

uint64_t snap_upload_changes(struct snap_upload *u)
{
	read_scope(&u->lock);
	return u->changes + staging_changes(u->staging);
}

enum snap_upload_state snap_upload_state(struct snap_upload *u)
{
	read_scope(&u->lock);
	return staging_state(u->staging);
}

/* Nothing below our own folder can be written. */
int upload_find_target(struct snap *snap, const char *path, struct target *out, struct snap_err *err)
{
	*out = TARGET_INIT;
	if (!kept_tree_has(path))
		return target_find(snap->tree, snap->core.store, path, out, err);
	out->kind = SNAP_NAME_OTHER;
	err_set(err, 0, "\"%s\" is read-only: a restore is written to a database's own name", path);
	return 0;
}

int snap_name_kind(struct snap *snap, const char *path, struct snap_err *err)
{
	struct target target;
	int rc = upload_find_target(snap, path, &target, err);

	if (rc == 0)
		rc = (int)target.kind;
	target_finish(&target);
	return rc;
}
