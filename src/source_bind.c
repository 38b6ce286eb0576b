/* SPDX-License-Identifier: MIT */
/*
 * source_bind.c - see source.h: opening a generation, which binds it to bytes.
 *
 * The quick way: the newest pin serves every later commit too, so a new generation takes one look at the
 * mapped header, without SQLite; or an idle connection begins a pin, if that needs no waiting. Everything
 * else may wait and goes the slow way.
 */
#include "source_private.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "place_raw.h"

#define TRIES 4

/* ---- where bytes come from ----------------------------------------------------------------------------- */

int source_sample_place(struct source *s, struct sample *sample, struct stat *st, struct snap_err *err)
{
	int64_t seen = realtime_ns();
	int rc = place_stat(&s->place, "", st);

	if (rc)
		return err_set(err, rc, "%s", strerror(-rc));
	rc = source_sample_stat(s, sample, st->st_dev, st->st_ino, (uint64_t)st->st_size, st->st_mtim,
				st->st_ctim, seen);
	return rc ? err_set(err, rc, "its -wal: %s", strerror(-rc)) : 0;
}

void source_sample_wal(struct sample *sample, const struct live *live, const struct wal_header *wal)
{
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): connected, or rc says so */
	sample->version.incarnation = live->incarnation;
	sample->version.has_header = true;
	memcpy(sample->version.header, wal->raw, sizeof(wal->raw));
	sample->size = (uint64_t)wal->page_count * wal->page_size;
}

/* True when the newest pin can serve one more generation. */
static bool bind_quick(struct source *s, struct live *live, struct source_binding *b)
{
	struct wal_header now;
	struct snap_gen *last;

	pthread_mutex_lock(&s->lock);
	if (!s->draining && !list_empty(&s->gens)) {
		last = list_entry(s->gens.prev, struct snap_gen, link);
		b->since = monotonic_ns();
		/* Sampled while the image is known to be there: its pin is older than the sample. */
		if (image_live(last->image) == live && live_sample(live, &now) == 0 && now.page_count > 0 &&
		    image_accepts(last->image, &now, s->core->config.wal_limit / 4))
			b->image = image_ref(last->image);
	}
	pthread_mutex_unlock(&s->lock);
	if (!b->image)
		return false;
	/* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): filled when live_sample() is 0 */
	b->max_frame = now.max_frame;
	source_sample_wal(&b->sample, live, &now);
	return true;
}

int source_bind_flat(struct source_binding *b, struct spool_flat *flat, struct snap_err *err)
{
	struct version *v = &b->sample.version;

	b->sample.size = flat->size;
	b->max_frame = 0;
	v->dev = flat->st.st_dev;
	v->ino = flat->st.st_ino;
	version_stat_set(&v->db, &flat->st);
	v->seen_ns = flat->seen_ns;
	v->has_header = false;
	v->has_counters = !header_is_wal(&flat->header);
	memcpy(v->counters, flat->header.counters, sizeof(v->counters));
	if (v->db.mtime_ns > b->sample.changed_ns)
		b->sample.changed_ns = v->db.mtime_ns;
	if (image_create_flat(&b->image, steal_fd(&flat->fd), flat->header.page_size))
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

/* Makes what CONN's pin holds the binding's image. */
static int bind_pinned(struct live *live, struct conn *conn, struct source_binding *b, struct snap_err *err)
{
	uint32_t page_size;
	int rc;

	source_sample_wal(&b->sample, live, &conn->start);
	b->max_frame = conn->start.max_frame;
	if (source_image_shape(live, &conn->start, &b->sample.size, &page_size)) {
		live_unpin(conn);
		return err_set(err, -EIO, "not a database, or damaged");
	}
	rc = image_create_pinned(&b->image, conn, page_size);
	return rc ? err_set(err, rc, "out of memory") : 0;
}

/* Pins LIVE and takes the bytes from there. */
static int bind_pin(struct live *live, struct source_binding *b, int64_t deadline, struct snap_err *err)
{
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct conn *conn;
	int answer = live_pin(live, deadline, &conn, err);
	int rc;

	switch (answer) {
	case 0:
		return bind_pinned(live, conn, b, err);
	case PIN_ROLLBACK:
		rc = spool_rollback(&flat, conn, err);
		break;
	case PIN_UNRELIABLE:
		rc = spool_backup(&flat, conn, err);
		break;
	case PIN_EMPTY:
		live_unpin(conn);
		if (b->sample.version.db.size == 1) /* SQLite treats one byte as empty: nobody changed it */
			return err_set(err, -EIO, "not a database");
		return -ESTALE;
	default:
		return answer;
	}
	if (rc)
		return rc;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): connected, or rc says so */
	b->sample.version.incarnation = live->incarnation;
	if (answer == PIN_UNRELIABLE)
		flat.seen_ns =
			0; /* stat(2) of a -wal does not tell how much of it is committed: equal to nothing */
	return source_bind_flat(b, &flat, err);
}

/* True when an idle connection has begun a pin. */
static bool bind_idle(struct source *s, struct live *live, struct source_binding *b)
{
	struct conn *conn;

	if (source_awaits_gap(s))
		return false;
	b->since = monotonic_ns();
	return live_pin_now(live, &conn) == 0 && bind_pinned(live, conn, b, NULL) == 0;
}

/* Whether sidecars that we create would lack the database's group, although its members have more rights than
 * others: SQLite gives them the database's owner and group only when it runs as root. */
static bool group_would_lose(struct source *s, const struct stat *st)
{
	autoclose int dir = -1;
	struct stat folder;

	if (st->st_gid == getegid() || ((st->st_mode & S_IRWXG) >> 3) == (st->st_mode & S_IRWXO))
		return false;
	dir = place_open_dir(&s->place);
	return dir < 0 || fstat(dir, &folder) < 0 || !(folder.st_mode & S_ISGID) ||
	       folder.st_gid != st->st_gid;
}

int source_lacks_sidecars(struct source *s)
{
	struct stat st;
	int rc = place_stat(&s->place, "-wal", &st);

	if (!rc)
		rc = place_stat(&s->place, "-shm", &st);
	return rc == -ENOENT ? 1 : rc;
}

bool source_must_not_connect(struct source *s, const struct stat *st)
{
	return geteuid() != 0 && (geteuid() != st->st_uid || group_would_lose(s, st)) &&
	       source_lacks_sidecars(s) != 0;
}

/* Whether RC can mean that SQLite was not able to make the sidecars it needs. */
static bool cannot_make_sidecars(int rc)
{
	return rc == -EACCES || rc == -EROFS || rc == -EPERM || rc == -ENOENT || rc == -ENOSPC;
}

/* One attempt at the slow way. -ESTALE and -EAGAIN: try again. */
static int bind_once(struct source *s, struct source_binding *b, int64_t deadline, struct snap_err *err)
{
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct live *live = NULL;
	struct stat st;
	int rc;

	b->since = monotonic_ns();
	rc = source_sample_place(s, &b->sample, &st, err);
	if (rc)
		return rc;
	if (st.st_size == 0)
		return image_create_flat(&b->image, -1, 512);
	if (source_must_not_connect(s, &st)) {
		rc = place_is_wal(s->core->raw, &s->place);
		if (rc < 0)
			return err_set(err, rc, "%s", strerror(-rc));
		if (rc > 0) {
			rc = spool_raw(&flat, s->core, &s->place, err);
			return rc ? rc : source_bind_flat(b, &flat, err);
		}
	}
	rc = source_connect(s, &st, deadline, true, &live, err);
	if (rc == 0 && !live)
		rc = err_set(err, -EBUSY, "another process holds it exclusively");
	if (rc == 0)
		rc = bind_quick(s, live, b) ? 0 : bind_pin(live, b, deadline, err);
	if (rc == -EDEADLK) {
		source_kill_pinned(s);
		rc = -ESTALE;
	}
	if (rc < 0 && live && live_is_lost(live)) {
		source_lose(s, live);
		rc = -ESTALE;
	}
	if (rc == PIN_HOT_JOURNAL) {
		rc = spool_hot(&flat, s->core, &s->place, err);
		rc = rc ? rc : source_bind_flat(b, &flat, err);
		b->sample.version.has_counters = false; /* they are the copy's, which was rolled back */
	} else if (cannot_make_sidecars(rc)) {
		struct snap_err ignored;
		int raw = spool_raw(&flat, s->core, &s->place, &ignored);

		rc = raw ? rc : source_bind_flat(b, &flat, err);
	}
	live_unref(live);
	return rc;
}

static int bind_slow(struct source *s, struct source_binding *b, struct snap_err *err)
{
	int64_t deadline;
	int rc = -EAGAIN;

	source_wait_gap(s);
	deadline = monotonic_ns() + SOURCE_WAIT_NS;
	for (int i = 0; (rc == -EAGAIN || rc == -ESTALE) && (i < TRIES || monotonic_ns() < deadline); i++) {
		if (i > 0)
			nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
		rc = bind_once(s, b, deadline, err);
		if (i == 0 && (rc == -EMFILE || rc == -ENFILE)) {
			core_shed(s->core);
			rc = bind_once(s, b, deadline, err);
		}
	}
	if (rc == -EAGAIN || rc == -ESTALE)
		rc = -EBUSY;
	return rc;
}

/* ---- generations --------------------------------------------------------------------------------------- */

/* Gives GEN the binding's image unless it has a good one. Returns the image to drop after unlocking. Lock
 * held. */
static struct image *attach(struct source *s, struct snap_gen *gen, struct source_binding *b)
{
	struct image *old = gen->image;

	if (old && !image_is_dead(old))
		return steal_ptr(&b->image);
	gen->image = steal_ptr(&b->image);
	gen->images++;
	gen->max_frame = b->max_frame;
	s->idle_since = monotonic_ns(); /* a copy was made under a pin, too */
	list_remove(&gen->link);
	list_append(&s->gens, &gen->link);
	return old;
}

/*
 * Whether GEN, which has the right size and is unbound, may show what was sampled for B. A reader that a look
 * led to GEN must not be shown the state before that look: commits that it had seen would be missing. Lock
 * held.
 */
static bool may_bind(const struct snap_gen *gen, const struct source_binding *b)
{
	return gen->looked <= b->since ||
	       (gen->differed <= b->since && version_equal(&b->sample.version, &gen->version));
}

/* Lock held. */
static void bind_gen(struct source *s, struct snap_gen *gen, const struct sample *sample)
{
	/* A generation bound since GEN was looked at has already shown the time meant for GEN. */
	bool is_late = s->has_seen && gen->mtime_ns <= s->seen.mtime_ns &&
		       !version_equal(&s->seen.version, &sample->version);

	if (is_late || !version_equal(&gen->version, &sample->version))
		gen->mtime_ns = source_mtime(s, sample);
	gen->version = sample->version;
	gen->bound = true;
}

/* The generation that B belongs to: the current one, GEN, or a new one. A reference; NULL: out of memory.
 * Lock held. */
static struct snap_gen *find_gen(struct source *s, struct snap_gen *gen, const struct source_binding *b)
{
	struct snap_gen *cur = s->current;

	if (cur && cur->bound && source_shows(cur, &b->sample))
		return snap_gen_ref(cur);
	/* The kernel has checked the caller's rights on GEN's inode, and on no other. */
	if (gen->size == b->sample.size && !gen->uploaded && gen->version.dev == b->sample.version.dev &&
	    gen->version.ino == b->sample.version.ino) {
		if (gen->bound && version_equal(&gen->version, &b->sample.version))
			return snap_gen_ref(gen);
		if (!gen->bound && may_bind(gen, b)) {
			bind_gen(s, gen, &b->sample);
			return snap_gen_ref(gen);
		}
	}
	cur = source_new_gen(s, &b->sample);
	if (cur)
		cur->bound = true;
	return cur;
}

/* GEN is opened. Lock held. */
static void note_seen(struct source *s, const struct snap_gen *gen)
{
	bool is_same = s->has_seen && version_equal(&s->seen.version, &gen->version);

	if (gen->uploaded || (is_same && gen->mtime_ns <= s->seen.mtime_ns))
		return;
	if (gen->mtime_ns != s->seen.mtime_ns) /* else it is GEN itself, whose version was sampled again */
		s->crowded = s->has_seen && version_same_second(s->seen.mtime_ns, gen->mtime_ns);
	s->seen = (struct store_seen){.version = gen->version, .mtime_ns = gen->mtime_ns};
	s->has_seen = s->seen_dirty = true;
	s->seen_loaded = false;
	s->apart_at = monotonic_ns() + NS_PER_S;
}

int source_adopt(struct source *s, struct snap_gen *gen, struct source_binding *b, bool may_wait,
		 struct snap_gen **moved)
{
	struct snap_gen *target, *old = NULL;
	struct image *drop = b->image;

	if ((!source_await_commit(s, &b->sample.version, may_wait ? SOURCE_WAIT_NS : 0) && !may_wait) ||
	    source_is_overtaken(s, &b->sample)) {
		image_unref(drop);
		return -EAGAIN;
	}
	pthread_mutex_lock(&s->lock);
	if (!image_covers(b->image, b->max_frame)) {
		/* It was spooled, or lost, since the binding was made. */
		pthread_mutex_unlock(&s->lock);
		image_unref(drop);
		return -EAGAIN;
	}
	target = find_gen(s, gen, b);
	if (target) {
		drop = attach(s, target, b);
		old = source_set_current(s, target);
		note_seen(s, target);
		if (target == gen) {
			gen->opens++;
		} else {
			target->expected++;
			target->hold_until = monotonic_ns() + SNAP_HOLD_MS * NS_PER_MS;
		}
	}
	pthread_mutex_unlock(&s->lock);
	image_unref(drop);
	snap_gen_unref(old);
	core_wake(s->core);
	if (!target)
		return -ENOMEM;
	if (target == gen) {
		snap_gen_unref(target);
		return 0;
	}
	*moved = target;
	return SNAP_MOVED;
}

/* A generation whose bytes are at hand is opened without a look at the database. */
static bool open_held(struct source *s, struct snap_gen *gen)
{
	lock_scope(&s->lock);
	if (!gen->bound || !gen->image || image_is_dead(gen->image))
		return false;
	gen->opens++;
	return true;
}

/* The quick ways alone. */
static int open_quick(struct source *s, struct snap_gen *gen, struct snap_gen **moved, struct snap_err *err)
{
	struct source_binding b = {.image = NULL};
	struct live *live;
	struct stat st;
	bool quick;
	int rc = source_sample_place(s, &b.sample, &st, err);

	if (rc)
		return rc;
	live = source_live(s, st.st_dev, st.st_ino);
	quick = live && (bind_quick(s, live, &b) || bind_idle(s, live, &b));
	live_unref_later(live);
	rc = quick ? source_adopt(s, gen, &b, false, moved) : -EAGAIN;
	return rc == -EAGAIN ? SNAP_WOULD_WAIT : rc;
}

static int open_slow(struct source *s, struct snap_gen *gen, struct snap_gen **moved, struct snap_err *err)
{
	int rc = -EAGAIN;

	for (int i = 0; i < TRIES && rc == -EAGAIN; i++) {
		struct source_binding b = {.image = NULL};

		rc = bind_slow(s, &b, err);
		if (rc)
			return rc;
		rc = source_adopt(s, gen, &b, true, moved);
	}
	return rc == -EAGAIN ? -EBUSY : rc;
}

int snap_gen_open(struct snap_gen *gen, unsigned flags, struct snap_gen **moved, struct snap_err *err)
{
	struct source *s = gen->source;
	struct snap_err own = {""};
	int rc;

	err = err ? err : &own;
	if (open_held(s, gen))
		return 0;
	if (gen->frozen)
		return err_set(err, -EIO, "what it was at the mount's start had to be given up (wal_max)");
	if (s->refused) {
		source_note_error(s, s->refusal.text);
		return err_set(err, s->refused, "%s", s->refusal.text);
	}
	pthread_mutex_lock(&s->lock);
	s->binding++;
	pthread_mutex_unlock(&s->lock);
	rc = flags & SNAP_NOWAIT ? open_quick(s, gen, moved, err) : open_slow(s, gen, moved, err);
	if (rc < 0)
		source_note_error(s, err->text[0] ? err->text : strerror(-rc));
	pthread_mutex_lock(&s->lock);
	s->binding--;
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int source_gen_open(struct snap_gen **gen, int moves, struct snap_err *err)
{
	struct snap_gen *moved = NULL;
	int rc = snap_gen_open(*gen, 0, &moved, err);

	for (; rc == SNAP_MOVED && moves > 0; moves--) {
		snap_gen_unref(*gen);
		*gen = moved;
		rc = snap_gen_open(*gen, 0, &moved, err);
		snap_gen_arrived(*gen);
	}
	if (rc == SNAP_MOVED) {
		snap_gen_arrived(moved);
		snap_gen_unref(moved);
	}
	return rc;
}
