/* SPDX-License-Identifier: MIT */
/*
 * source_restore.c - see source.h: the generation that shows what was uploaded.
 *
 * After a restore the database file's bytes are not the upload's (SQLite counts the commit in the header, and
 * may have changed page size and journal mode), but until the next commit the name shows exactly what was
 * written to it. So a generation of those bytes becomes the current one and is given the version of the
 * commit, which was sampled before anybody else could commit.
 *
 * What must stay true: such a generation is never given other bytes; once these are gone, or the database has
 * moved on, it is never current again; what is remembered of it over remounts equals no version, because its
 * bytes are gone by then.
 */
#include "source_private.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"

#define TURN_POLL_NS (100 * NS_PER_MS)
#define TIDY_EVERY_NS (NS_PER_S / 2)
#define TIDY_NS (30 * NS_PER_S)

/* ---- one at a time ------------------------------------------------------------------------------------- */

int source_restore_begin(struct source *s, bool (*cancelled)(void *arg), void *arg)
{
	pthread_mutex_lock(&s->lock);
	while (s->restoring && !s->ending) {
		bool stop;

		source_wait(s, monotonic_ns() + TURN_POLL_NS);
		pthread_mutex_unlock(&s->lock);
		stop = cancelled && cancelled(arg);
		pthread_mutex_lock(&s->lock);
		if (stop)
			break;
	}
	if (s->restoring || s->ending) {
		pthread_mutex_unlock(&s->lock);
		return -ECANCELED;
	}
	s->restoring = true;
	s->binding++; /* no disconnecting */
	pthread_mutex_unlock(&s->lock);
	return 0;
}

void source_restore_end(struct source *s)
{
	pthread_mutex_lock(&s->lock);
	s->restoring = s->committing = false;
	s->binding--;
	s->idle_since = monotonic_ns();
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	core_wake(s->core);
}

/* ---- what is left to do afterwards --------------------------------------------------------------------- */

void source_tidy_later(struct source *s, void (*fn)(void *s))
{
	lock_scope(&s->lock);
	s->tidy = fn;
	s->tidy_next = monotonic_ns() + TIDY_EVERY_NS;
	s->tidy_until = s->tidy_next + TIDY_NS;
}

void source_tidy(struct source *s, int64_t now)
{
	void (*fn)(void *s);

	pthread_mutex_lock(&s->lock);
	fn = now >= s->tidy_next && !s->restoring && s->live && !s->ending ? s->tidy : NULL;
	if (fn)
		s->tidy_next = now + TIDY_EVERY_NS;
	if (now >= s->tidy_until)
		s->tidy = NULL;
	pthread_mutex_unlock(&s->lock);
	if (fn && work_submit_urgent(s->core->work, fn, source_ref(s)))
		source_unref(s);
}

/* ---- the commit and its generation --------------------------------------------------------------------- */

void source_commit_expected(struct source *s, const struct version *base)
{
	lock_scope(&s->lock);
	s->base = *base;
	s->base_shown = s->current && s->current->uploaded && version_equal(&s->current->version, base);
	s->committing = true;
}

void source_connect_expected(struct source *s)
{
	lock_scope(&s->lock);
	if (!s->current || !s->current->uploaded)
		return;
	s->base = s->current->version;
	s->base_shown = s->committing = true;
}

void source_commit_over(struct source *s)
{
	lock_scope(&s->lock);
	s->committing = false;
	pthread_cond_broadcast(&s->changed);
}

bool source_await_commit(struct source *s, const struct version *seen, int64_t wait_ns)
{
	int64_t deadline = monotonic_ns() + wait_ns;

	lock_scope(&s->lock);
	while (s->committing && !version_equal(&s->base, seen)) {
		if (!source_wait(s, deadline))
			return false;
	}
	return true;
}

int source_sample_now(struct source *s, struct live *live, struct sample *sample)
{
	struct stat st;
	int rc = source_sample_place(s, sample, &st, NULL);

	return rc || !live ? rc : source_sample_live(s, live, sample);
}

bool source_is_overtaken(struct source *s, struct sample *sample)
{
	struct live *live = NULL;
	struct sample now;
	bool overtaken;

	pthread_mutex_lock(&s->lock);
	overtaken = s->current && s->current->uploaded && !source_shows(s->current, sample);
	if (overtaken && s->live)
		live = live_ref(s->live);
	pthread_mutex_unlock(&s->lock);
	overtaken = overtaken && source_sample_now(s, live, &now) == 0;
	live_unref_later(live);
	if (!overtaken || !source_upload_is(s, &now.version))
		return false;
	*sample = now;
	return true;
}

int source_upload_create(struct source *s, int fd, uint64_t size, uint32_t page_size, int64_t mtime_ns,
			 struct snap_gen **out)
{
	struct sample sample = {.size = size, .changed_ns = realtime_ns()};
	struct image *image = NULL;
	struct snap_gen *gen;
	int rc = image_create_flat(&image, fd, page_size);

	if (rc)
		return rc;
	pthread_mutex_lock(&s->lock);
	gen = source_new_gen(s, &sample);
	pthread_mutex_unlock(&s->lock);
	if (!gen) {
		image_unref(image);
		return -ENOMEM;
	}
	if (mtime_ns)
		gen->mtime_ns = mtime_ns;
	gen->image = image;
	gen->images = 1;
	gen->uploaded = gen->bound = true;
	*out = gen;
	return 0;
}

/* What remounts will know: a time that must not be shown again, and no version. Lock held. */
static void remember(struct source *s, int64_t mtime_ns)
{
	/* An upload may be older than what was shown before it. */
	if (s->has_seen && s->seen.mtime_ns > mtime_ns &&
	    version_time_counts(s->seen.mtime_ns, realtime_ns()))
		mtime_ns = s->seen.mtime_ns;
	s->seen = (struct store_seen){.mtime_ns = mtime_ns};
	s->has_seen = s->seen_dirty = true;
	s->crowded = false;
	s->apart_at = 0; /* the first commit after it is another second's, however soon it comes */
}

void source_upload_publish(struct source *s, struct snap_gen *gen, const struct version *version)
{
	struct snap_gen *old;

	pthread_mutex_lock(&s->lock);
	gen->version = *version;
	old = source_set_current(s, gen);
	remember(s, gen->mtime_ns);
	s->committing = false;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	snap_gen_unref(old);
	core_wake(s->core);
}

bool source_upload_is(struct source *s, const struct version *version)
{
	lock_scope(&s->lock);
	return s->current && s->current->uploaded && s->current->image &&
	       version_equal(&s->current->version, version);
}

void source_upload_moved(struct source *s, const struct version *from, const struct version *to)
{
	struct snap_gen *cur;
	lock_scope(&s->lock);

	cur = s->current;
	if (cur && cur->uploaded && cur->version.has_header && from->has_header &&
	    cur->version.dev == from->dev && cur->version.ino == from->ino &&
	    memcmp(cur->version.header, from->header, sizeof(from->header)) == 0)
		cur->version = *to;
}

void source_upload_refresh(struct source *s, struct live *live)
{
	struct sample sample;
	bool wanted;

	pthread_mutex_lock(&s->lock);
	wanted = s->current && s->current->uploaded;
	pthread_mutex_unlock(&s->lock);
	if (!wanted || source_sample_now(s, live, &sample))
		return;
	lock_scope(&s->lock);
	if (s->current && s->current->uploaded && version_equal(&s->current->version, &sample.version))
		s->current->version = sample.version;
}

void source_upload_forget(struct source *s)
{
	struct snap_gen *gone = NULL;
	struct image *image = NULL;

	pthread_mutex_lock(&s->lock);
	if (s->current && s->current->uploaded) {
		gone = steal_ptr(&s->current);
		if (gone->image && gone->opens > 0) {
			list_append(&s->gens, &gone->link);
			core_wake(s->core);
		} else {
			image = steal_ptr(&gone->image);
		}
	}
	pthread_mutex_unlock(&s->lock);
	image_unref(image);
	snap_gen_unref(gone);
}

void snap_gen_set_mtime(struct snap_gen *gen, int64_t mtime_ns)
{
	struct source *s = gen->source;

	lock_scope(&s->lock);
	if (gen->uploaded)
		gen->mtime_ns = mtime_ns;
	if (gen->uploaded && s->current == gen)
		remember(s, mtime_ns);
}
