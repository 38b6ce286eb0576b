/* SPDX-License-Identifier: MIT */
/* foldertimes.c - see foldertimes.h. */
#include "foldertimes.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "cleanup.h"

#define SLOTS 4096u

struct slot {
	uint64_t dev, ino;
	unsigned under_way; /* changes begun and not ended */
	bool used;
	struct timespec mtime, ctime; /* to be shown */
	uint64_t size;		      /* to be shown: on tmpfs, btrfs and xfs it counts the names */
	struct timespec our_ctime;    /* as we left it: shown instead of ctime up to this */
};

struct foldertimes {
	pthread_mutex_t lock;
	struct slot slots[SLOTS]; /* guarded by lock */
};

int foldertimes_create(struct foldertimes **out)
{
	struct foldertimes *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	*out = t;
	return 0;
}

void foldertimes_destroy(struct foldertimes *t)
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static bool before(struct timespec a, struct timespec b)
{
	return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

static struct slot *slot_of(struct foldertimes *t, uint64_t dev, uint64_t ino)
{
	return &t->slots[(ino * 0x9e3779b97f4a7c15ull ^ dev) % SLOTS];
}

static bool is_for(const struct slot *s, uint64_t dev, uint64_t ino)
{
	return s->used && s->dev == dev && s->ino == ino;
}

/* Whether CTIME is due to our own changes; it may have been sampled during one that has ended by now. */
static bool left_by_us(const struct slot *s, struct timespec ctime)
{
	return !before(ctime, s->ctime) && !before(s->our_ctime, ctime);
}

void foldertimes_begin(struct foldertimes *t, int dirfd)
{
	struct stat st;

	if (fstat(dirfd, &st))
		return;
	lock_scope(&t->lock);
	struct slot *s = slot_of(t, st.st_dev, st.st_ino);
	bool ours = is_for(s, st.st_dev, st.st_ino);

	if (!ours && s->used && s->under_way)
		return; /* no room */
	if (!ours)
		*s = (struct slot){.dev = st.st_dev, .ino = st.st_ino, .used = true};
	/* The current times are the ones to show, unless they are due to our own changes. */
	if (s->under_way++ == 0 && !(ours && left_by_us(s, st.st_ctim))) {
		s->mtime = st.st_mtim;
		s->ctime = s->our_ctime = st.st_ctim;
		s->size = (uint64_t)st.st_size;
	}
}

void foldertimes_end(struct foldertimes *t, int dirfd)
{
	struct stat st;

	if (fstat(dirfd, &st))
		return;
	lock_scope(&t->lock);
	struct slot *s = slot_of(t, st.st_dev, st.st_ino);

	if (!is_for(s, st.st_dev, st.st_ino) || s->under_way == 0)
		return;
	s->under_way--;
	if (before(s->our_ctime, st.st_ctim))
		s->our_ctime = st.st_ctim;
}

void foldertimes_show(struct foldertimes *t, struct snap_attr *attr)
{
	lock_scope(&t->lock);
	const struct slot *s = slot_of(t, attr->key_dev, attr->key_ino);

	if (!is_for(s, attr->key_dev, attr->key_ino))
		return;
	if (s->under_way == 0 && !left_by_us(s, attr->ctime))
		return; /* somebody changed it since */
	attr->mtime = s->mtime;
	attr->ctime = s->ctime;
	attr->size = s->size;
}
