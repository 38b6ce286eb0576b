/* SPDX-License-Identifier: MIT */
/* source_look.c - see source.h: LOOKUP, which pins nothing and waits 50 ms at most: what the live database is
 * at this moment, and the generation that shows it. */
#include "source_private.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "opath.h"

int source_sample_stat(struct source *s, struct sample *sample, uint64_t dev, uint64_t ino, uint64_t size,
		       struct timespec mtime, struct timespec ctime, int64_t seen_ns)
{
	struct version *v = &sample->version;
	struct stat wal;
	int rc;

	memset(sample, 0, sizeof(*sample));
	v->seen_ns = seen_ns;
	v->dev = dev;
	v->ino = ino;
	v->db = (struct version_stat){
		.size = size, .mtime_ns = timespec_ns(mtime), .ctime_ns = timespec_ns(ctime)};
	sample->changed_ns = v->db.mtime_ns;
	sample->size = size;
	/* A -wal that we made is empty and has our time: it counts as absent. One that cannot be looked at
	 * for lack of descriptors may hold newer content than anything we have. */
	rc = place_stat(&s->place, "-wal", &wal);
	if (opath_transient(rc))
		return rc;
	if (rc == 0 && wal.st_size > 0) {
		version_stat_set(&v->wal, &wal);
		if (v->wal.mtime_ns > sample->changed_ns)
			sample->changed_ns = v->wal.mtime_ns;
	}
	return 0;
}

int source_read_header(struct live *live, struct header *out, uint64_t *file_size)
{
	uint8_t bytes[HEADER_SIZE];
	ssize_t got = vfs_read_db(live->hub->db.vfs, bytes, sizeof(bytes), 0);

	if (got < 0 || vfs_db_size(live->hub->db.vfs, file_size))
		return -EIO;
	return header_decode(out, bytes, (size_t)got) ? -EUCLEAN : 0;
}

int source_image_shape(struct live *live, const struct wal_header *at, uint64_t *size, uint32_t *page_size)
{
	struct header header;
	uint64_t file_size;
	int rc;

	*size = (uint64_t)at->page_count * at->page_size;
	*page_size = at->page_size;
	if (at->page_count > 0)
		return 0;
	/* The WAL is empty, and the pin keeps checkpoints away: the file's own header does not change. */
	rc = source_read_header(live, &header, &file_size);
	if (rc)
		return rc;
	*size = spool_image_size(&header, file_size);
	*page_size = header.page_size;
	/* As in SQLite: the last page may be truncated, but no whole page may be missing. */
	return *size < file_size + header.page_size ? 0 : -EUCLEAN;
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
	/* In WAL mode, which the connection has not noticed yet, the counters do not change with commits. */
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

/* Another look has returned GEN, which is not bound. Lock held. */
static void note_look(struct snap_gen *gen, const struct sample *sample)
{
	if (!version_equal(&gen->version, &sample->version))
		gen->differed = gen->looked;
	gen->version = sample->version;
	gen->looked = monotonic_ns();
}

/* Ends a look: finds the generation that a reader who opens now may expect. */
static int settle(struct source *s, const struct sample *sample, struct snap_gen **gen)
{
	struct snap_gen *cur, *old = NULL;
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	cur = s->current;
	if (cur && cur->uploaded && s->committing && s->base_shown &&
	    !version_equal(&s->base, &sample->version)) {
		/* The restore under way has changed the version, but not the content yet. */
		*gen = snap_gen_ref(cur);
		pthread_mutex_unlock(&s->lock);
		return 0;
	}
	if (!cur || !source_shows(cur, sample) ||
	    (cur->bound && !cur->uploaded && source_is_crowded(s, &sample->version))) {
		cur = source_new_gen(s, sample);
		if (cur) {
			old = source_set_current(s, cur);
			atomic_fetch_sub(&cur->refs, 1); /* the source's reference is left */
		} else {
			rc = -ENOMEM;
		}
	} else if (!cur->bound) {
		cur->mtime_ns = source_mtime(s, sample);
	} else if (sample->version.has_header || !cur->version.has_header) {
		/* The same content seen later: its times are safer to compare with from now on. */
		cur->version = sample->version;
	}
	if (cur && !cur->bound)
		note_look(cur, sample);
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

/* As still_current(), for what was seen last, perhaps by an earlier mount. */
static void size_as_seen(struct source *s, struct sample *sample)
{
	uint64_t size;

	lock_scope(&s->lock);
	if (!s->has_seen || !version_equal(&s->seen.version, &sample->version))
		return;
	size = version_size(&s->seen.version);
	if (size)
		sample->size = size;
}

/* Connects for a look, which may not wait for long; NULL: not connected. */
static struct live *connect_briefly(struct source *s, const struct snap_attr *a)
{
	struct stat st = {.st_dev = (dev_t)a->key_dev,
			  .st_ino = (ino_t)a->key_ino,
			  .st_uid = a->uid,
			  .st_gid = a->gid,
			  .st_mode = a->mode};
	struct live *live = NULL;
	bool refused;

	pthread_mutex_lock(&s->lock);
	refused = monotonic_ns() < s->refused_until;
	pthread_mutex_unlock(&s->lock);
	if (refused || source_must_not_connect(s, &st) ||
	    source_connect(s, &st, monotonic_ns() + SOURCE_LOOK_NS, false, &live, NULL))
		return NULL;
	return live;
}

/* Completes SAMPLE beyond what stat(2) says; connects only if the -wal is not empty. */
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
	if (!live && a->size > 0 && !rollback && sample->version.wal.size > 0 && !still_current(s, sample)) {
		live = connect_briefly(s, a);
		if (!live)
			size_as_seen(s, sample);
	}
	if (live)
		source_sample_live(s, live, sample);
	live_unref_later(live); /* the janitor may have dropped its reference */
}

/* Fills ATTR with what the generation shows of a live file with the attributes LIVE. Lock held. */
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

	rc = source_sample_stat(s, &sample, a->key_dev, a->key_ino, a->size, a->mtime, a->ctime, seen_ns);
	if (rc)
		return rc;
	sample_content(s, found, &sample);
	source_await_commit(s, &sample.version, SOURCE_LOOK_NS);
	source_is_overtaken(s, &sample);
	rc = settle(s, &sample, gen);
	if (rc)
		return rc;
	pthread_mutex_lock(&s->lock);
	s->attr = *a;
	show(*gen, a, attr);
	if (is_of(*gen, a))
		note_shown(*gen, a);
	else
		rc = -ESTALE; /* the name is another inode's by now */
	pthread_mutex_unlock(&s->lock);
	if (rc) {
		snap_gen_unref(*gen);
		*gen = NULL;
	}
	return rc;
}

void snap_gen_stat(struct snap_gen *gen, struct snap_attr *attr)
{
	struct source *s = gen->source;

	lock_scope(&s->lock);
	show(gen, &s->attr, attr);
}
