/* SPDX-License-Identifier: MIT */
/* source.c - see source.h: life, closing. */
#include "source_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"

/* ---- life ---------------------------------------------------------------------------------------------- */

int source_create(struct source **out, struct core *core, const struct place *place)
{
	struct source *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->place = PLACE_INIT;
	if (place_copy(&s->place, place)) {
		free(s);
		return -ENOMEM;
	}
	s->core = core;
	atomic_init(&s->refs, 1);
	pthread_mutex_init(&s->lock, NULL);
	cond_init_monotonic(&s->changed);
	list_init(&s->link);
	list_init(&s->gens);
	s->path = place_path(place);
	/* The tree's own file system was checked when it was added; a link may lead elsewhere. */
	if (s->path && place->root == AT_FDCWD && !core->config.shared_locks)
		s->refused = place_locks_shared(s->path, &s->refusal);
	s->has_seen = s->path && store_load_seen(core->store, s->path, &s->seen) == 0;
	s->seen_loaded = s->has_seen;
	s->seen_part = realtime_ns() / 1000 % (VERSION_PART_MAX / 1000) * 1000;
	if (s->path)
		store_load_opened(core->store, s->path, &s->opened);
	*out = s;
	return 0;
}

struct source *source_ref(struct source *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void source_unref(struct source *s)
{
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	place_finish(&s->place);
	free(s->path);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
	free(s);
}

struct snap_gen *snap_gen_ref(struct snap_gen *gen)
{
	atomic_fetch_add(&gen->refs, 1);
	return gen;
}

/* IM is about to be dropped. Only a pin restarts the idle time of two seconds: a spool held nothing back.
 * Lock held. */
static void note_pinned(struct source *s, struct image *im)
{
	if (image_is_pinned(im, NULL))
		s->idle_since = monotonic_ns();
}

void snap_gen_unref(struct snap_gen *gen)
{
	if (!gen || atomic_fetch_sub(&gen->refs, 1) != 1)
		return;
	/* It is neither open nor current, because those hold references. HOLD_UNTIL does not, so an image may
	 * be left. */
	struct source *s = gen->source;
	struct image *im;

	pthread_mutex_lock(&s->lock);
	list_remove(&gen->link);
	im = steal_ptr(&gen->image);
	if (im)
		note_pinned(s, im);
	pthread_mutex_unlock(&s->lock);
	image_unref(im);
	free(gen);
	source_unref(s);
}

uint64_t snap_gen_id(const struct snap_gen *gen)
{
	return gen->id;
}

struct snap_gen *source_new_gen(struct source *s, const struct sample *sample)
{
	struct snap_gen *gen = calloc(1, sizeof(*gen));

	if (!gen)
		return NULL;
	atomic_init(&gen->refs, 1);
	gen->id = atomic_fetch_add(&s->core->ids, 1) + 1;
	gen->source = source_ref(s);
	gen->size = sample->size;
	list_init(&gen->link);
	gen->version = sample->version;
	gen->mtime_ns = source_mtime(s, sample);
	return gen;
}

struct snap_gen *source_set_current(struct source *s, struct snap_gen *gen)
{
	struct snap_gen *old = s->current;

	if (old == gen)
		return NULL;
	s->current = snap_gen_ref(gen);
	if (old && old->uploaded && old->image) {
		/* From now on it is treated like all others. */
		list_append(&s->gens, &old->link);
		core_wake(s->core);
	}
	return old;
}

bool source_is_crowded(const struct source *s, const struct version *version)
{
	return s->crowded && monotonic_ns() >= s->apart_at && version_equal(&s->seen.version, version) &&
	       version_time_counts(s->seen.mtime_ns, realtime_ns());
}

int64_t source_mtime(struct source *s, const struct sample *sample)
{
	int64_t last = s->has_seen ? s->seen.mtime_ns : 0, now = realtime_ns();
	bool apart = monotonic_ns() >= s->apart_at;

	if (s->has_seen && version_equal(&s->seen.version, &sample->version) &&
	    !source_is_crowded(s, &sample->version))
		return s->seen.mtime_ns;
	if (s->seen_loaded) {
		/* Remounts in quick succession must not run ahead of the clock. */
		apart = last > now + NS_PER_S;
		last = version_last_saved(sample->changed_ns, last, s->seen_part);
	}
	return version_mtime(sample->changed_ns, last, apart, now);
}

/* ---- closing ------------------------------------------------------------------------------------------- */

bool source_has_pins(struct source *s, int64_t *since)
{
	list_each (e, &s->gens) {
		if (image_is_pinned(list_entry(e, struct snap_gen, link)->image, since))
			return true;
	}
	return false;
}

struct image *source_take_image(struct source *s, struct snap_gen *gen, int64_t now)
{
	if (!gen->image || gen->opens > 0 || gen->hold_until > now || (gen->uploaded && s->current == gen))
		return NULL;
	/* A spool holds nothing back, and recreating it would cost a copy: it lingers. */
	if (gen->hold_until == 0 && !image_is_pinned(gen->image, NULL) && !image_is_dead(gen->image) &&
	    !s->ending && now != INT64_MAX) {
		gen->hold_until = now + SOURCE_LINGER_NS;
		return NULL;
	}
	gen->hold_until = 0;
	gen->expected = 0;
	list_remove(&gen->link);
	note_pinned(s, gen->image);
	return steal_ptr(&gen->image);
}

void snap_gen_arrived(struct snap_gen *gen)
{
	lock_scope(&gen->source->lock);
	if (gen->expected > 0 && --gen->expected == 0)
		gen->hold_until = 0;
}

void snap_gen_close(struct snap_gen *gen)
{
	struct source *s = gen->source;
	struct image *im = NULL;

	pthread_mutex_lock(&s->lock);
	if (--gen->opens == 0)
		im = source_take_image(s, gen, monotonic_ns());
	pthread_mutex_unlock(&s->lock);
	image_unref(im);
	/* On this thread, though it may copy a whole WAL: a caller that opens many is slowed down, and
	 * descriptors stay few. */
	if (atomic_load(&s->core->connected) > SOURCE_CONNECTED_MAX)
		source_disconnect(s);
}

ssize_t snap_gen_read(struct snap_gen *gen, void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	struct source *s = gen->source;
	struct snap_err own = {""};
	struct image *im;
	uint32_t max_frame;
	bool dead;
	int rc;

	err = err ? err : &own;
	if (offset >= gen->size)
		return 0;
	if (size > gen->size - offset)
		size = (size_t)(gen->size - offset);
	pthread_mutex_lock(&s->lock);
	im = gen->image ? image_ref(gen->image) : NULL;
	max_frame = gen->max_frame;
	pthread_mutex_unlock(&s->lock);
	if (!im)
		return -EIO;
	dead = image_is_dead(im); /* the reason was reported when it died */
	rc = image_read(im, max_frame, buf, size, offset, err);
	if (rc)
		source_note_error(s, dead ? NULL : err->text[0] ? err->text : strerror(-rc));
	image_unref(im);
	return rc ? rc : (ssize_t)size;
}

bool source_is_unused(struct source *s)
{
	lock_scope(&s->lock);
	return !s->live && !s->left_wal && !s->seen_dirty && !s->opened_dirty && !s->failing &&
	       list_empty(&s->gens) && atomic_load(&s->refs) == 1 + (s->current != NULL) &&
	       (!s->current || (atomic_load(&s->current->refs) == 1 && !s->current->uploaded));
}

void source_shutdown(struct source *s)
{
	struct snap_gen *current;

	source_close_left(s, INT64_MAX, true);
	pthread_mutex_lock(&s->lock);
	s->ending = true;
	current = steal_ptr(&s->current);
	pthread_mutex_unlock(&s->lock);
	source_tend(s, INT64_MAX);
	source_disconnect(s);
	snap_gen_unref(current);
}
