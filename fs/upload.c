/* SPDX-License-Identifier: MIT */
/*
 * upload.c - see upload.h: the table of uploads, their content and attributes.
 *
 * What must stay true: uploads->lock is held for table work only; what an upload holds is released outside
 * it.
 */
#include "upload_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../src/cleanup.h"
#include "../src/clock.h"
#include "fault.h"

#define UPLOAD_INO                                                                              \
	0x75706c6f61640000ull /* "upload": far from what a hash of a live inode gives by chance \
			       */

void uploads_init(struct uploads *all, struct snap *snap)
{
	memset(all, 0, sizeof(*all));
	pthread_mutex_init(&all->lock, NULL);
	cond_init_monotonic(&all->changed);
	all->snap = snap;
	tasks_init(&all->tasks);
}

void uploads_abandon(struct uploads *all)
{
	bool tended;

	pthread_mutex_lock(&all->lock);
	for (struct upload *u = all->first; u; u = u->next)
		upload_drop(u);
	all->ending = true;
	tended = all->has_tender;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
	if (tended)
		pthread_join(all->tender, NULL);
	all->has_tender = false;
	all->holder = (struct node_holder){.hold = NULL}; /* the nodes are destroyed before the uploads */
}

static void upload_free(struct upload *u)
{
	node_holder_set(&u->all->holder, u->parent, false);
	snap_upload_destroy(u->data);
	pthread_mutex_destroy(&u->lock);
	pthread_mutex_destroy(&u->state_lock);
	free(u->name);
	free(u->path);
	free(u->target);
	free(u);
}

void uploads_finish(struct uploads *all)
{
	uploads_abandon(all);
	while (all->intents)
		upload_unref(upload_take_intent(&all->intents));
	while (all->first) {
		struct upload *u = all->first;

		all->first = u->next;
		if (u->kind == UPLOAD_SCRATCH && u->named)
			upload_note_left(u, u->path);
		upload_free(u);
	}
	tasks_finish(&all->tasks);
	pthread_cond_destroy(&all->changed);
	pthread_mutex_destroy(&all->lock);
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static struct upload *make(struct uploads *all, const struct upload_order *order)
{
	struct upload *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->name = strdup(order->name);
	u->path = strdup(order->path);
	pthread_mutex_init(&u->lock, NULL);
	pthread_mutex_init(&u->state_lock, NULL);
	u->all = all;
	u->kind = order->kind;
	u->parent = order->parent;
	node_holder_set(&all->holder, u->parent, true);
	u->folder = order->folder;
	u->named = order->kind == UPLOAD_SCRATCH;
	u->ino = order->ino;
	u->mode = order->mode;
	u->uid = order->uid;
	u->gid = order->gid;
	u->who = (struct actor){.uid = order->who.uid, .gid = order->who.gid};
	u->creator = order->creator;
	u->by = order->by;
	u->over = order->over;
	u->written_ns = realtime_ns();
	u->touched = monotonic_ns();
	u->refs = u->named ? 2 : 1; /* the caller's and the name's */
	if (u->name && u->path)
		return u;
	upload_free(u);
	return NULL;
}

/* Whether UID may fill the table: root may, and the user who MOUNTED, whose databases these are. */
static bool is_master(uid_t uid, uid_t mounted)
{
	return uid == 0 || uid == mounted;
}

/* Enters U into the table, if there is room. Lock held. */
static int enter(struct uploads *all, struct upload *u, struct snap_err *err)
{
	const uid_t mounted = geteuid();
	unsigned count = 0, own = 0, others = 0;

	for (const struct upload *other = all->first; other; other = other->next) {
		bool lives = upload_lives(other);

		count += lives;
		own += lives && other->who.uid == u->who.uid;
		others += lives && !is_master(other->who.uid, mounted);
		if (u->named && other->named && other->kind == UPLOAD_SCRATCH && other->parent == u->parent &&
		    strcmp(other->name, u->name) == 0)
			return -EEXIST;
	}
	if (count >= UPLOADS_MAX)
		return fault(err, -ENFILE, "%d files are being written already", UPLOADS_MAX);
	if (own >= UPLOADS_EACH && !is_master(u->who.uid, mounted))
		return fault(err, -ENFILE, "user %u is writing %d files already", (unsigned)u->who.uid,
			     UPLOADS_EACH);
	if (others >= UPLOADS_OTHERS && !is_master(u->who.uid, mounted))
		return fault(err, -ENFILE,
			     "users other than root and whoever mounted are writing %d files already",
			     UPLOADS_OTHERS);
	u->id = ++all->last_id;
	if (!u->ino)
		u->ino = UPLOAD_INO + u->id;
	u->next = all->first;
	if (u->next)
		u->next->prev = u;
	all->first = u;
	return 0;
}

int upload_create(struct upload **out, struct uploads *all, const struct upload_order *order,
		  struct snap_err *err)
{
	struct upload *u = make(all, order);
	int rc;

	if (!u)
		return fault_memory(err);
	rc = snap_upload_create(all->snap, &u->data, err);
	if (rc == 0) {
		u->judged = snap_upload_changes(u->data);
		pthread_mutex_lock(&all->lock);
		rc = enter(all, u, err);
		pthread_mutex_unlock(&all->lock);
	}
	if (rc) {
		upload_free(u);
		return rc;
	}
	if (order->kind == UPLOAD_SCRATCH)
		uploads_watch(all);
	*out = u;
	return 0;
}

void upload_expect(struct upload *u, const char *path)
{
	snap_upload_expect(u->data, path);
	lock_scope(&u->all->lock);
	u->target = strdup(path);
}

struct upload *upload_ref(struct upload *u)
{
	pthread_mutex_lock(&u->all->lock);
	u->refs++;
	pthread_mutex_unlock(&u->all->lock);
	return u;
}

void upload_unref(struct upload *u)
{
	struct uploads *all;
	bool last;

	if (!u)
		return;
	all = u->all;
	pthread_mutex_lock(&all->lock);
	last = --u->refs == 0;
	if (last) {
		if (u->next)
			u->next->prev = u->prev;
		if (u->prev)
			u->prev->next = u->next;
		else
			all->first = u->next;
	}
	pthread_mutex_unlock(&all->lock);
	if (last)
		upload_free(u);
}

void upload_drop(struct upload *u)
{
	lock_scope(&u->state_lock);
	u->dropped = true;
}

/* ---- content ------------------------------------------------------------------------------------------- */

void upload_stat(struct upload *u, struct snap_attr *attr)
{
	memset(attr, 0, sizeof(*attr));
	attr->kind = SNAP_PLAIN;
	attr->ino = u->ino;
	attr->key_dev = UPLOAD_INO; /* no live inode has this device */
	attr->key_ino = u->id;
	attr->size = snap_upload_size(u->data);
	attr->blocks = attr->size / 512 + (attr->size % 512 != 0);
	attr->nlink = 1;
	lock_scope(&u->state_lock);
	attr->mode = S_IFREG | (u->mode & 0777);
	attr->uid = u->uid;
	attr->gid = u->gid;
	attr->mtime = ns_timespec(u->mtime_ns ? u->mtime_ns : u->written_ns);
	attr->ctime = attr->atime = attr->mtime;
}

void upload_set(struct upload *u, const mode_t *mode, const uid_t *uid, const gid_t *gid, int64_t mtime_ns)
{
	lock_scope(&u->state_lock);
	if (u->kind == UPLOAD_SCRATCH) {
		u->mode = mode ? *mode & 0777 : u->mode;
		u->uid = uid ? *uid : u->uid;
		u->gid = gid ? *gid : u->gid;
	}
	if (mtime_ns)
		u->mtime_ns = mtime_ns;
}

/* Notes that the content has changed, by a WRITE of OWNER (NULL: by a change of size). */
static void note_change(struct upload *u, const uint64_t *owner)
{
	pthread_mutex_lock(&u->state_lock);
	u->written_ns = realtime_ns();
	u->mtime_ns = 0; /* a write updates the mtime, whatever it was set to */
	u->writer_killed = false;
	if (owner) {
		u->last_owner = *owner;
		u->has_owner = true;
	}
	pthread_mutex_unlock(&u->state_lock);
	pthread_mutex_lock(&u->all->lock);
	u->touched = monotonic_ns();
	pthread_mutex_unlock(&u->all->lock);
}

/* Notes that a change failed. Only the first failure counts: it is why anything is missing afterwards. */
static void note_failure(struct upload *u, int rc, const struct snap_err *err)
{
	lock_scope(&u->state_lock);
	if (u->failed || rc == -EOPNOTSUPP)
		return;
	u->failed = rc;
	u->why = err ? *err : (struct snap_err){""};
}

static void forget_failure(struct upload *u)
{
	lock_scope(&u->state_lock);
	u->failed = 0;
}

/*
 * Whether a change is accepted now. CUT: the change empties the file, which starts it over. A file that was
 * opened for reading and writing is a database that is being worked on, not copied to. Its writes are refused
 * at once, because SQLite would take them for a commit, and not notice that close() fails.
 */
static int check_change(struct upload *u, bool cut, struct snap_err *err)
{
	pthread_mutex_lock(&u->state_lock);
	bool spent = u->spent;

	u->in_place = u->in_place && !cut;
	bool in_place = u->in_place;
	pthread_mutex_unlock(&u->state_lock);
	if (spent)
		return fault(err, -EIO, "it has become a database already");
	if (in_place)
		return fault(
			err, -EIO,
			"a database is not changed through the mount; to restore it, write the whole file");
	return 0;
}

void upload_in_place(struct upload *u)
{
	pthread_mutex_lock(&u->state_lock);
	u->in_place = true;
	pthread_mutex_unlock(&u->state_lock);
}

ssize_t upload_read(struct upload *u, void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	return snap_upload_read(u->data, buf, size, offset, err);
}

/* A write during the rename over a database may have come too late to be restored, so it fails. */
ssize_t upload_write(struct upload *u, const void *buf, size_t size, uint64_t offset, uint64_t owner,
		     struct snap_err *err)
{
	ssize_t n = check_change(u, false, err);

	if (n < 0)
		return n;
	n = snap_upload_write(u->data, buf, size, offset, err);
	if (n < 0)
		note_failure(u, (int)n, err);
	if (n <= 0)
		return n;
	note_change(u, &owner);
	return check_change(u, false, err) ? -EIO : n;
}

int upload_truncate(struct upload *u, uint64_t size, struct snap_err *err)
{
	int rc = check_change(u, size == 0, err);

	if (rc)
		return rc;
	rc = snap_upload_truncate(u->data, size, err);
	if (rc) {
		note_failure(u, rc, err);
		return rc;
	}
	if (size == 0)
		forget_failure(u);
	note_change(u, NULL);
	return check_change(u, size == 0, err);
}

int upload_allocate(struct upload *u, uint64_t offset, uint64_t size, bool keep_size, struct snap_err *err)
{
	int rc = check_change(u, false, err);

	if (rc)
		return rc;
	rc = snap_upload_allocate(u->data, offset, size, keep_size, err);
	if (rc) {
		note_failure(u, rc, err);
		return rc;
	}
	note_change(u, NULL);
	return check_change(u, false, err);
}
