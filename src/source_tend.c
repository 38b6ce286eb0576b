/* SPDX-License-Identifier: MIT */
/*
 * source_tend.c - see source.h: periodic work. Called every TEND_MS by the janitor (janitor.c) for each
 * source that is connected or holds an image; copies run on threads of their own.
 */
#include "source_private.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"

#define DRAIN_ROUNDS 8
#define SAVE_AGAIN_NS (10 * NS_PER_S)
#define IMAGES_AT_ONCE 16 /* pins that one drain looks at; read marks, and so pins, are few */

/* A pinned image, and what its generations need of it. */
struct pinned {
	struct image *image; /* a reference */
	const void *live;    /* the incarnation that it is pinned on; only compared */
	int64_t since;
	uint32_t max_frame;
	uint64_t size;
};

/* Collects the images that are pinned on ON's inode (NULL: on any), oldest first. */
static size_t collect(struct source *s, const struct live *on, struct pinned *out, size_t max)
{
	size_t n = 0;

	lock_scope(&s->lock);
	list_each (e, &s->gens) {
		struct snap_gen *gen = list_entry(e, struct snap_gen, link);
		size_t i = 0;
		int64_t since;

		if (!image_is_pinned(gen->image, &since) || (on && !image_is_on(gen->image, on)))
			continue;
		while (i < n && out[i].image != gen->image)
			i++;
		if (i == max)
			continue;
		if (i == n) {
			out[n++] = (struct pinned){.image = image_ref(gen->image),
						   .live = image_live(gen->image),
						   .since = since};
			out[i].max_frame = image_promised(gen->image, &out[i].size);
		}
		if (gen->max_frame > out[i].max_frame)
			out[i].max_frame = gen->max_frame;
		if (gen->size > out[i].size)
			out[i].size = gen->size;
	}
	return n;
}

static void release(struct pinned *images, size_t n)
{
	for (size_t i = 0; i < n; i++)
		image_unref(images[i].image);
}

struct drain_job {
	struct source *source; /* a reference */
	bool all;	       /* also what is pinned meanwhile: the WAL is to have a gap */
	int64_t older_than;    /* CLOCK_MONOTONIC: pins that began before */
	bool clone_only;
};

/* Spools the images that are pinned on LIVE and began by OLDER_THAN, all at once. */
static int drain_live(const struct pinned *images, size_t n, const void *live, const struct drain_job *job,
		      struct snap_err *err)
{
	struct image *some[IMAGES_AT_ONCE];
	uint32_t max_frames[IMAGES_AT_ONCE];
	uint64_t size = 0;
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		if (images[i].live != live || images[i].since > job->older_than)
			continue;
		some[count] = images[i].image;
		max_frames[count++] = images[i].max_frame;
		size = images[i].size > size ? images[i].size : size;
	}
	return count ? image_spool(some, max_frames, count, size, job->clone_only, err) : 0;
}

/* Spools what is pinned and old enough. Returns the number of pins that it saw, and -errno in *RC. */
static size_t drain_once(struct source *s, const struct drain_job *job, int *rc, struct snap_err *err)
{
	struct pinned images[IMAGES_AT_ONCE];
	size_t n = collect(s, NULL, images, IMAGES_AT_ONCE);

	for (size_t i = 0; i < n; i++) {
		size_t before = 0;

		while (images[before].live != images[i].live)
			before++;
		int one = before == i ? drain_live(images, n, images[i].live, job, err) : 0;
		*rc = one ? one : *rc;
	}
	release(images, n);
	return n;
}

/* Spools each pinned image and so ends its pin. */
static void run_drain(void *arg)
{
	autofree struct drain_job *job = arg;
	struct source *s = job->source;
	struct snap_err err = {{0}};
	int64_t began = monotonic_ns();
	int rc = 0;
	size_t pins = drain_once(s, job, &rc, &err);

	/* An open that was under way when draining began has pinned since: the WAL has no gap until that pin
	 * has ended, too. */
	for (int i = 0; job->all && rc == 0 && i < DRAIN_ROUNDS; i++) {
		nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
		if (drain_once(s, job, &rc, &err) == 0)
			break;
	}
	if (rc == 0)
		core_event(s->core, SNAP_DEBUG, "\"%s\": %zu pins given up for a spool after %lld ms",
			   s->place.name, pins, (long long)((monotonic_ns() - began) / NS_PER_MS));
	if (rc && rc != -EOPNOTSUPP)
		source_event(s, SNAP_WARNING, "a slow reader's snapshot cannot be spooled: %s", err.text);
	if (store_is_full(rc))
		core_make_room(s->core); /* for the next time */
	pthread_mutex_lock(&s->lock);
	s->draining = false;
	if (rc == -EOPNOTSUPP)
		s->no_clone = true;
	else
		s->no_spool_until = rc ? monotonic_ns() + SOURCE_WAIT_NS : 0;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	source_unref(s);
}

static void start_drain(struct source *s, int64_t older_than, bool all, bool clone_only)
{
	struct drain_job *job = malloc(sizeof(*job));
	bool mine;

	if (!job)
		return;
	pthread_mutex_lock(&s->lock);
	mine = !s->draining;
	s->draining = true;
	pthread_mutex_unlock(&s->lock);
	if (!mine) {
		free(job);
		return;
	}
	*job = (struct drain_job){
		.source = source_ref(s), .older_than = older_than, .all = all, .clone_only = clone_only};
	if (work_submit_urgent(s->core->work, run_drain, job)) {
		pthread_mutex_lock(&s->lock);
		s->draining = false;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
		source_unref(s);
		free(job);
	}
}

/* The application's disk space takes precedence over a reader: ends the oldest pin on LIVE, and with it its
 * generations. Pins on a file that was replaced hold back nothing of this one. */
static void kill_oldest(struct source *s, const struct live *live, uint64_t held_back)
{
	struct pinned images[IMAGES_AT_ONCE];
	size_t n = collect(s, NULL, images, IMAGES_AT_ONCE), i = 0;

	while (i < n && images[i].live != live)
		i++;
	if (i < n) {
		image_kill(images[i].image);
		source_event(s, SNAP_ERROR,
			     "%llu MiB of WAL are held back for a slow reader, which now gets EIO (wal_max)",
			     (unsigned long long)(held_back >> 20));
	}
	release(images, n);
}

/* Takes the images whose time is over; the caller drops them. */
static size_t expire(struct source *s, int64_t now, struct image **out, size_t max)
{
	size_t n = 0;

	lock_scope(&s->lock);
	list_each (e, &s->gens) {
		struct image *im =
			n < max ? source_take_image(s, list_entry(e, struct snap_gen, link), now) : NULL;

		if (im)
			out[n++] = im;
	}
	return n;
}

static void drop_expired(struct source *s, int64_t now)
{
	struct image *images[IMAGES_AT_ONCE];
	size_t n;

	do {
		n = expire(s, now, images, IMAGES_AT_ONCE);
		for (size_t i = 0; i < n; i++)
			image_unref(images[i]);
	} while (n == IMAGES_AT_ONCE);
}

static void kill_pinned(struct source *s, const struct live *on)
{
	struct pinned images[IMAGES_AT_ONCE];
	size_t n;

	do {
		n = collect(s, on, images, IMAGES_AT_ONCE);
		for (size_t i = 0; i < n; i++)
			image_kill(images[i].image);
		release(images, n);
	} while (n > 0);
}

void source_kill_pinned(struct source *s)
{
	kill_pinned(s, NULL);
}

void source_lose(struct source *s, struct live *live)
{
	bool same;

	pthread_mutex_lock(&s->lock);
	same = s->live == live;
	if (same)
		s->live = NULL;
	pthread_mutex_unlock(&s->lock);
	if (!same)
		return;
	kill_pinned(s, live);
	source_event(
		s, SNAP_ERROR,
		"its locks or its -wal were lost (was its -shm truncated, or its -wal or -shm removed?); "
		"open readers get EIO");
	live_unref(live);
}

/* Whether /proc/locks has something to tell: who waits for our pins, or who else is connected. */
static bool wants_look(struct live *live)
{
	lock_scope(&live->lock);
	return live->pins > 0 || !atomic_load(&live->had_others);
}

/* Keeps what pins hold back within bounds. */
static void tend_wal(struct source *s, struct live *live, int64_t now)
{
	uint64_t held = live_held_back(live);
	bool awaiting = wants_look(live) && live_observe(live), awaited;
	bool draining, may_spool, small, cheap, pinned;
	int64_t since;

	pthread_mutex_lock(&s->lock);
	/* Every checkpoint holds for a moment the locks that a waiting one holds: it counts only if two
	 * rounds see it. */
	awaited = awaiting && s->awaited;
	s->awaited = awaiting;
	draining = s->draining;
	may_spool = now >= s->no_spool_until;
	small = s->current && s->current->size + held < SOURCE_SMALL;
	cheap = small || !s->no_clone;
	pinned = source_has_pins(s, &since);
	pthread_mutex_unlock(&s->lock);
	if (!pinned)
		return;
	if (held >= s->core->config.wal_limit / 2)
		atomic_store(&s->core->hurry, true);
	if (held >= s->core->config.wal_max + live_forgiven(live))
		kill_oldest(s, live, held);
	else if (draining || !may_spool)
		return;
	else if (live_is_full(live, s->core->config.wal_limit) || awaited)
		start_drain(s, INT64_MAX, true, false);
	else if (cheap && now - since > SOURCE_OLD_PIN_NS)
		start_drain(s, now - SOURCE_OLD_PIN_NS, false, !small);
}

/* Reports a current generation that is closed and that a commit has superseded: dropping what the kernel
 * cached of it takes time in proportion to its size, which the next open() is spared. */
static void tell_stale(struct source *s, struct live *live)
{
	struct wal_header now;
	uint64_t id = 0;

	if (!s->core->config.stale || live_sample(live, &now))
		return;
	pthread_mutex_lock(&s->lock);
	struct snap_gen *cur = s->current;
	if (cur && cur->bound && cur->opens == 0 && cur->hold_until == 0 && cur->id != s->told_stale &&
	    cur->version.has_header && cur->version.incarnation == live->incarnation &&
	    memcmp(cur->version.header, now.raw, sizeof(now.raw)) != 0)
		s->told_stale = id = cur->id;
	pthread_mutex_unlock(&s->lock);
	if (id)
		s->core->config.stale(s->core->config.event_arg, id);
}

static void save_seen(struct source *s, int64_t now)
{
	struct store_seen seen;
	bool due;

	pthread_mutex_lock(&s->lock);
	due = s->seen_dirty && s->path && (now >= s->save_after || s->ending);
	s->seen_dirty &= !due;
	seen = s->seen;
	pthread_mutex_unlock(&s->lock);
	if (!due || !store_save_seen(s->core->store, s->path, &seen))
		return;
	pthread_mutex_lock(&s->lock); /* perhaps the store is full */
	if (!s->ending) {
		s->seen_dirty = true;
		s->save_after = now + SAVE_AGAIN_NS;
	}
	pthread_mutex_unlock(&s->lock);
}

/* Whether nothing has been pinned for LINGER_NS, so that the connection may be closed, even if spools are
 * read for hours more: until it is closed, what an application committed before it ended stays in the WAL.
 * False while a pin exists or is being taken: nothing would bound the WAL that it holds back. Lock held. */
static bool is_idle(struct source *s, int64_t now, int64_t linger_ns)
{
	if (s->ending)
		return true;
	if (s->binding > 0 || source_has_pins(s, NULL)) {
		s->idle_since = now;
		return false;
	}
	return !s->connecting && now - s->idle_since >= linger_ns;
}

static void disconnect_idle(struct source *s, int64_t linger_ns)
{
	struct live *live;

	pthread_mutex_lock(&s->lock);
	live = is_idle(s, monotonic_ns(), linger_ns) ? steal_ptr(&s->live) : NULL;
	pthread_mutex_unlock(&s->lock);
	live_unref(live);
}

void source_disconnect(struct source *s)
{
	disconnect_idle(s, 0);
}

void source_shed(struct source *s)
{
	drop_expired(s, INT64_MAX);
	source_disconnect(s);
}

/* Disconnects unless the source was used since the janitor saw it idle: a restore may have come and gone. */
static void run_disconnect(void *arg)
{
	struct source *s = arg;

	disconnect_idle(s, SOURCE_LINGER_NS);
	source_unref(s);
}

/* Not on the janitor's thread, which has other sources to tend: the close, as an application's last, may copy
 * a whole WAL. */
static void disconnect_later(struct source *s)
{
	bool connected;

	pthread_mutex_lock(&s->lock);
	connected = s->live != NULL;
	pthread_mutex_unlock(&s->lock);
	if (connected && work_submit_urgent(s->core->work, run_disconnect, source_ref(s)))
		run_disconnect(s);
}

bool source_tend(struct source *s, int64_t now)
{
	struct live *live;
	bool idle, more, unsaved;

	drop_expired(s, now);
	pthread_mutex_lock(&s->lock);
	live = s->live ? live_ref(s->live) : NULL;
	idle = is_idle(s, now, SOURCE_LINGER_NS);
	pthread_mutex_unlock(&s->lock);
	if (live && (live_is_lost(live) || !live_sidecars_are_there(live)))
		source_lose(s, live);
	else if (live) {
		tell_stale(s, live);
		source_upload_refresh(s, live);
		source_tidy(s, now);
		source_watch_mark(s, live);
	}
	if (live && !idle && !live_is_lost(live)) {
		source_learn_wal(s, live, now);
		tend_wal(s, live, now);
	}
	live_unref_later(live);
	if (idle)
		disconnect_later(s);
	source_close_left(s, now, false);
	save_seen(s, now);
	unsaved = source_save_opened(s, now);
	pthread_mutex_lock(&s->lock);
	more = unsaved || s->live || s->left_wal || !list_empty(&s->gens) || s->connecting;
	pthread_mutex_unlock(&s->lock);
	return more;
}
