/* SPDX-License-Identifier: MIT */
/* source.c - see source.h: life, looking, closing. */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"

/* ---- life ---------------------------------------------------------------------------------------------- */

/* The database's absolute path, by which the store knows it. NULL when it cannot be told. */
static char *absolute_path(const struct place *place)
{
	char link[64], dir[4096], *path = NULL;
	autoclose int fd = place_open_dir(place);
	ssize_t n;

	if (fd < 0)
		return NULL;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, dir, sizeof(dir));
	if (n <= 0 || n == (ssize_t)sizeof(dir))
		return NULL;
	return asprintf(&path, "%.*s/%s", (int)n, dir, place->name) < 0 ? NULL : path;
}

int source_create(struct source **out, struct core *core, const struct place *place)
{
	struct source *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;

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
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &attr);
	pthread_condattr_destroy(&attr);
	list_init(&s->link);
	list_init(&s->gens);
	s->path = absolute_path(place);
	/* The tree's own file system was checked when it was added; a link may lead elsewhere. */
	if (s->path && place->root == AT_FDCWD && !core->config.shared_locks)
		s->refused = place_locks_shared(s->path, &s->refusal);
	s->has_seen = s->path && store_load_seen(core->store, s->path, &s->seen) == 0;
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

void snap_gen_unref(struct snap_gen *gen)
{
	if (!gen || atomic_fetch_sub(&gen->refs, 1) != 1)
		return;
	/* Nobody can have it open or current: those are references. A hold is none, so an image may be left.
	 */
	struct source *s = gen->source;
	struct image *im;

	pthread_mutex_lock(&s->lock);
	list_remove(&gen->link);
	im = steal_ptr(&gen->image);
	if (im && list_empty(&s->gens))
		s->idle_since = monotonic_ns();
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
		/* From now on it goes the way of all others. */
		list_append(&s->gens, &old->link);
		core_wake(s->core);
	}
	return old;
}

int64_t source_mtime(struct source *s, const struct sample *sample)
{
	if (s->has_seen && version_equal(&s->seen.version, &sample->version))
		return s->seen.mtime_ns;
	return version_mtime(sample->changed_ns, s->has_seen ? s->seen.mtime_ns : 0, realtime_ns());
}

/* ---- looking ------------------------------------------------------------------------------------------- */

void source_sample_stat(struct source *s, struct sample *sample, uint64_t dev, uint64_t ino, uint64_t size,
			struct timespec mtime, struct timespec ctime, int64_t seen_ns)
{
	struct version *v = &sample->version;
	struct stat wal;

	memset(sample, 0, sizeof(*sample));
	v->seen_ns = seen_ns;
	v->dev = dev;
	v->ino = ino;
	v->db = (struct version_stat){
		.size = size, .mtime_ns = timespec_ns(mtime), .ctime_ns = timespec_ns(ctime)};
	sample->changed_ns = v->db.mtime_ns;
	sample->size = size;
	/* A -wal that we made is empty and carries our time: it counts as absent. */
	if (place_stat(&s->place, "-wal", &wal) == 0 && wal.st_size > 0) {
		version_stat_set(&v->wal, &wal);
		if (v->wal.mtime_ns > sample->changed_ns)
			sample->changed_ns = v->wal.mtime_ns;
	}
}

int source_read_header(struct live *live, struct header *out, uint64_t *file_size)
{
	uint8_t bytes[HEADER_SIZE];
	ssize_t got = vfs_read_db(live->hub->db.vfs, bytes, sizeof(bytes), 0);

	if (got < 0 || vfs_db_size(live->hub->db.vfs, file_size))
		return -EIO;
	return header_decode(out, bytes, (size_t)got) ? -EUCLEAN : 0;
}

int source_sample_live(struct source *s, struct live *live, struct sample *sample)
{
	struct wal_header wal;
	struct header header;
	uint64_t file_size;
	int rc = live_sample(live, &wal);

	if (rc && rc != -ENXIO)
		return rc;
	sample->version.incarnation = live->incarnation;
	if (rc == 0) {
		sample->version.has_header = true;
		memcpy(sample->version.header, wal.raw, sizeof(wal.raw));
		if (wal.page_count) {
			sample->size = (uint64_t)wal.page_count * wal.page_size;
			return 0;
		}
	}
	if (source_read_header(live, &header, &file_size))
		return -EIO;
	atomic_store(&s->page_size, header.page_size);
	sample->size = spool_image_size(&header, file_size);
	/* In WAL mode, which the connection has not noticed yet, they do not move with commits. */
	if (!sample->version.has_header && !header_is_wal(&header)) {
		sample->version.has_counters = true;
		memcpy(sample->version.counters, header.counters, sizeof(header.counters));
	}
	return 0;
}

struct live *source_live(struct source *s, uint64_t dev, uint64_t ino)
{
	struct live *live, *gone = NULL;

	pthread_mutex_lock(&s->lock);
	live = s->live;
	if (live && (live->dev != dev || live->ino != ino)) {
		gone = live;
		s->live = live = NULL;
	}
	if (live)
		live_ref(live);
	pthread_mutex_unlock(&s->lock);
	live_unref_later(gone);
	return live;
}

bool source_shows(const struct snap_gen *gen, const struct sample *sample)
{
	if (gen->version.dev != sample->version.dev || gen->version.ino != sample->version.ino)
		return false;
	if (gen->bound && !version_equal(&gen->version, &sample->version))
		return false;
	return gen->uploaded ? gen->image != NULL : gen->size == sample->size;
}

/* Ends a look: the generation that a reader who opens now may expect. */
static int settle(struct source *s, const struct sample *sample, struct snap_gen **gen)
{
	struct snap_gen *cur, *old = NULL;
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	cur = s->current;
	if (cur && cur->uploaded && s->committing && s->base_shown &&
	    !version_equal(&s->base, &sample->version)) {
		/* What is under way has changed the version, but not the content yet. */
		*gen = snap_gen_ref(cur);
		pthread_mutex_unlock(&s->lock);
		return 0;
	}
	if (!cur || !source_shows(cur, sample)) {
		cur = source_new_gen(s, sample);
		if (cur) {
			old = source_set_current(s, cur);
			atomic_fetch_sub(&cur->refs, 1); /* the source's reference is left */
		} else {
			rc = -ENOMEM;
		}
	} else if (!cur->bound) {
		cur->mtime_ns = source_mtime(s, sample);
		cur->version = sample->version;
	} else if (sample->version.has_header || !cur->version.has_header) {
		/* The same content seen later: its times are safer to compare with from now on. */
		cur->version = sample->version;
	}
	if (cur)
		*gen = snap_gen_ref(cur);
	pthread_mutex_unlock(&s->lock);
	snap_gen_unref(old);
	return rc;
}

/* Whether stat(2) alone tells that the content is still what the current generation shows. */
static bool still_current(struct source *s, struct sample *sample)
{
	lock_scope(&s->lock);
	if (!s->current || !s->current->bound || !version_equal(&s->current->version, &sample->version))
		return false;
	sample->size = s->current->size;
	return true;
}

static bool may_connect(struct source *s)
{
	lock_scope(&s->lock);
	return monotonic_ns() >= s->refused_until;
}

/* Completes SAMPLE beyond what stat(2) says; connects only where the -wal holds something. */
static void sample_content(struct source *s, const struct tree_found *found, struct sample *sample)
{
	const struct snap_attr *a = &found->attr;
	bool rollback = found->has_header && !header_is_wal(&found->header);
	struct live *live = source_live(s, a->key_dev, a->key_ino);

	if (found->has_header) {
		atomic_store(&s->page_size, found->header.page_size);
		sample->size = spool_image_size(&found->header, a->size);
		if (rollback && !live) {
			sample->version.has_counters = true;
			memcpy(sample->version.counters, found->header.counters,
			       sizeof(sample->version.counters));
		}
	}
	if (!live && a->size > 0 && !rollback && sample->version.wal.size > 0 && !still_current(s, sample) &&
	    may_connect(s)) {
		struct stat st = {.st_dev = (dev_t)a->key_dev, .st_ino = (ino_t)a->key_ino};

		if (source_connect(s, &st, monotonic_ns() + SOURCE_LOOK_NS, false, &live, NULL))
			live = NULL;
	}
	if (live)
		source_sample_live(s, live, sample);
	live_unref_later(live); /* the janitor may have let it go */
}

/* ATTR: what the generation shows of a live file that is as LIVE says. Lock held. */
static void show(const struct snap_gen *gen, const struct snap_attr *live, struct snap_attr *attr)
{
	*attr = *live;
	attr->kind = SNAP_DATABASE;
	attr->size = gen->size;
	attr->blocks = (gen->size + 511) / 512;
	attr->nlink = 1;
	attr->mtime = ns_timespec(gen->mtime_ns);
	attr->ctime = attr->atime = attr->mtime;
}

/* The owner and mode in ATTR are those of GEN's own inode. Lock held. */
static void note_shown(struct snap_gen *gen, const struct snap_attr *attr)
{
	gen->mode = gen->was_shown ? gen->mode & attr->mode : attr->mode;
	gen->uid = attr->uid;
	gen->gid = attr->gid;
	gen->was_shown = true;
}

static bool is_of(const struct snap_gen *gen, const struct snap_attr *attr)
{
	return attr->key_dev == gen->version.dev && attr->key_ino == gen->version.ino;
}

int source_gen_stat(struct snap_gen *gen, const struct snap_attr *live, bool known, struct snap_attr *attr)
{
	struct source *s = gen->source;

	lock_scope(&s->lock);
	show(gen, live ? live : &s->attr, attr);
	if (live && is_of(gen, live)) {
		note_shown(gen, live);
		return 0;
	}
	if (!known || !gen->was_shown)
		return -ESTALE;
	attr->mode = gen->mode;
	attr->uid = gen->uid;
	attr->gid = gen->gid;
	return 0;
}

int source_look(struct source *s, const struct tree_found *found, int64_t seen_ns, struct snap_gen **gen,
		struct snap_attr *attr)
{
	const struct snap_attr *a = &found->attr;
	struct sample sample;
	int rc;

	source_sample_stat(s, &sample, a->key_dev, a->key_ino, a->size, a->mtime, a->ctime, seen_ns);
	sample_content(s, found, &sample);
	source_await_commit(s, &sample.version, SOURCE_LOOK_NS);
	rc = settle(s, &sample, gen);
	if (rc)
		return rc;
	pthread_mutex_lock(&s->lock);
	s->attr = *a;
	show(*gen, a, attr);
	if (is_of(*gen, a))
		note_shown(*gen, a);
	else
		rc = -ESTALE; /* it is another's by now */
	pthread_mutex_unlock(&s->lock);
	if (rc) {
		snap_gen_unref(*gen);
		*gen = NULL;
	}
	return rc;
}

int snap_gen_stat(struct snap_gen *gen, struct snap_attr *attr)
{
	struct source *s = gen->source;

	lock_scope(&s->lock);
	show(gen, &s->attr, attr);
	return 0;
}

/* ---- closing ------------------------------------------------------------------------------------------- */

struct image *source_take_image(struct source *s, struct snap_gen *gen, int64_t now)
{
	int64_t since;

	if (!gen->image || gen->opens > 0 || gen->hold_until > now || (gen->uploaded && s->current == gen))
		return NULL;
	/* A spool holds nothing back, and making it again would cost a copy: it lingers. */
	if (gen->hold_until == 0 && !image_is_pinned(gen->image, &since) && !image_is_dead(gen->image) &&
	    !s->ending && now != INT64_MAX) {
		gen->hold_until = now + SOURCE_LINGER_NS;
		return NULL;
	}
	gen->hold_until = 0;
	gen->expected = 0;
	list_remove(&gen->link);
	if (list_empty(&s->gens))
		s->idle_since = now;
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
	bool idle;

	pthread_mutex_lock(&s->lock);
	if (--gen->opens == 0)
		im = source_take_image(s, gen, monotonic_ns());
	idle = list_empty(&s->gens);
	pthread_mutex_unlock(&s->lock);
	image_unref(im);
	/* Here, though it may copy a whole WAL: whoever opens many is slowed down, and descriptors stay few.
	 */
	if (idle && atomic_load(&s->core->connected) > SOURCE_CONNECTED_MAX)
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
	dead = image_is_dead(im); /* why was said when it came to that */
	rc = image_read(im, max_frame, buf, size, offset, err);
	if (rc && !dead)
		source_note_error(s, err->text[0] ? err->text : strerror(-rc));
	image_unref(im);
	return rc ? rc : (ssize_t)size;
}

void source_disconnect(struct source *s)
{
	struct live *live;

	pthread_mutex_lock(&s->lock);
	/* Only without pins, taken or under way: they would be bounded by nothing. */
	live = s->ending || (list_empty(&s->gens) && s->binding == 0) ? steal_ptr(&s->live) : NULL;
	pthread_mutex_unlock(&s->lock);
	live_unref(live);
}

bool source_is_unused(struct source *s)
{
	lock_scope(&s->lock);
	return !s->live && !s->seen_dirty && !s->opened_dirty && list_empty(&s->gens) &&
	       atomic_load(&s->refs) == 1 + (s->current != NULL) &&
	       (!s->current || (atomic_load(&s->current->refs) == 1 && !s->current->uploaded));
}

void source_shutdown(struct source *s)
{
	struct snap_gen *current;

	pthread_mutex_lock(&s->lock);
	s->ending = true;
	current = steal_ptr(&s->current);
	pthread_mutex_unlock(&s->lock);
	source_tend(s, INT64_MAX);
	source_disconnect(s);
	snap_gen_unref(current);
}
