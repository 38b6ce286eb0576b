/* SPDX-License-Identifier: MIT */
/*
 * source_facts.c - see source.h: what a source reports about itself, and what it remembers for that.
 *
 * What must stay true: nothing here takes a reference to an incarnation or an image, because dropping the
 * last one closes connections, which waits; everything is collected under the source's lock, with no SQLite
 * call and no I/O except that of live_sample().
 */
#include "source_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"

/* ---- what is remembered -------------------------------------------------------------------------------- */

/* Lock held. */
static void remember_error(struct source *s, const char *text)
{
	s->error_ns = realtime_ns();
	snprintf(s->error.text, sizeof(s->error.text), "%s", text);
}

void source_note_error(struct source *s, const char *text)
{
	lock_scope(&s->lock);
	if (text)
		remember_error(s, text);
	s->failing = true;
}

/* Whether readers can no longer reach PLACE, also because a folder on its path is gone or covered. False if
 * that cannot be told. */
static bool is_gone(const struct place *place)
{
	struct stat st;
	int rc = place_stat(place, "", &st);

	return rc == -ENOENT || rc == -ENOTDIR || rc == -ELOOP || rc == -EXDEV;
}

int source_forgive_gone(void *arg, struct source *s)
{
	bool failing;

	(void)arg;
	pthread_mutex_lock(&s->lock);
	failing = s->failing;
	pthread_mutex_unlock(&s->lock);
	if (!failing || !is_gone(&s->place))
		return 0;
	lock_scope(&s->lock);
	s->failing = false;
	return 0;
}

void source_event(struct source *s, enum snap_level level, const char *format, ...)
{
	struct snap_err text;
	va_list ap;

	va_start(ap, format);
	vsnprintf(text.text, sizeof(text.text), format, ap);
	va_end(ap);
	if (level >= SNAP_WARNING) {
		lock_scope(&s->lock);
		remember_error(s, text.text);
	}
	core_event(s->core, level, "\"%s\": %s", s->place.name, text.text);
}

void source_note_opened(struct source *s, const struct snap_opened *opened)
{
	pthread_mutex_lock(&s->lock);
	if (opened->time_ns >= s->error_ns)
		s->failing = false;
	if (opened->time_ns >= s->opened.time_ns) {
		s->opened = *opened;
		s->opened_dirty = true;
	}
	pthread_mutex_unlock(&s->lock);
	core_wake(s->core);
}

void snap_gen_opened(struct snap_gen *gen, const struct snap_actor *who)
{
	struct snap_opened opened = {.time_ns = realtime_ns(), .who = *who};

	source_note_opened(gen->source, &opened);
}

bool source_save_opened(struct source *s, int64_t now)
{
	struct snap_opened opened;
	bool due, dirty, ending;

	pthread_mutex_lock(&s->lock);
	ending = s->ending;
	dirty = s->opened_dirty && s->path;
	due = dirty && (s->ending || now - s->opened_saved >= OPENED_EVERY_NS);
	if (due) {
		s->opened_dirty = false;
		s->opened_saved = now;
	}
	opened = s->opened;
	pthread_mutex_unlock(&s->lock);
	if (due && store_save_opened(s->core->store, s->path, &opened)) {
		pthread_mutex_lock(&s->lock);
		s->opened_dirty = true;
		pthread_mutex_unlock(&s->lock);
		return !ending;
	}
	return dirty && !due;
}

void source_watch_mark(struct source *s, struct live *live)
{
	struct wal_header now;
	uint32_t copied;
	bool marked = live_sample(live, &now) == 0 && vfs_wal_backfill(live->hub->db.vfs, &copied) == 0 &&
		      copied > now.max_frame;
	bool tell;

	pthread_mutex_lock(&s->lock);
	/* A writer that starts the WAL over passes through such a state: it counts only if it persists. */
	tell = marked && !s->marked && s->mark_seen && !s->ending &&
	       memcmp(s->mark_header, now.raw, sizeof(now.raw)) == 0;
	s->marked = marked && (s->marked || tell);
	s->mark_seen = marked;
	if (marked)
		memcpy(s->mark_header, now.raw, sizeof(now.raw));
	pthread_mutex_unlock(&s->lock);
	if (tell)
		source_event(
			s, SNAP_ERROR,
			"its wal-index says that %u frames of %u are copied to the database: the WAL-reset "
			"bug of SQLite has struck, or locks do not work. Stop its applications, copy the "
			"database with its -wal and -shm, and check it",
			copied, now.max_frame);
}

/* ---- what is said -------------------------------------------------------------------------------------- */

/* The pins of the incarnation, whose WAL is as NOW says. */
static void list_pins(struct live *live, const struct wal_header *now, struct snap_source_facts *out)
{
	int64_t time = monotonic_ns();
	lock_scope(&live->lock);

	list_each (e, &live->pinned) {
		const struct conn *c = list_entry(e, struct conn, link);
		struct snap_pin pin = {.age_ns = time - c->since};

		/* While the pin lasts, the WAL cannot start over. */
		if (c->holds_wal && now->max_frame > c->start.max_frame)
			pin.wal_bytes = (uint64_t)(now->max_frame - c->start.max_frame) *
					(now->page_size + WAL_FRAME_HEADER);
		if (out->pin_count < SNAP_PINS_MAX)
			out->pins[out->pin_count] = pin;
		out->pin_count++;
	}
}

/* What the connection knows. Lock held. */
static void fill_live(struct source *s, struct snap_source_facts *out)
{
	struct wal_header now;
	int rc = live_sample(s->live, &now);

	out->connected = true;
	if (rc)
		memset(&now, 0, sizeof(now));
	list_pins(s->live, &now, out);
	if (rc == -ENXIO && !atomic_load(&s->live->was_wal) && out->page_size)
		out->journal = SNAP_JOURNAL_ROLLBACK;
	if (rc)
		return;
	out->journal = SNAP_JOURNAL_WAL;
	out->page_size = now.page_size ? now.page_size : out->page_size;
	out->size = now.page_count ? (uint64_t)now.page_count * now.page_size : out->size;
	out->wal_bytes = (uint64_t)now.max_frame * (now.page_size + WAL_FRAME_HEADER);
	out->held_bytes = live_held_back(s->live);
	out->wal_marked = s->marked;
}

/* A generation that is open, or shows what was uploaded. Lock held. */
static void add_gen(struct source *s, const struct snap_gen *gen, struct snap_source_facts *out)
{
	int64_t since;

	out->readers += (unsigned)gen->opens;
	if (!gen->image)
		return;
	out->spool_bytes += image_count_spool(gen->image, s->count);
	/* A pin on a file that was replaced; the others were listed with their incarnation. */
	if (image_live(gen->image) == s->live || !image_count_pin(gen->image, s->count, &since))
		return;
	if (out->pin_count < SNAP_PINS_MAX)
		out->pins[out->pin_count] = (struct snap_pin){.age_ns = monotonic_ns() - since};
	out->pin_count++;
}

/* What the file's header says. */
static void fill_found(struct source *s, const struct tree_found *found, struct snap_source_facts *out)
{
	if (found->missing)
		return;
	out->size = found->attr.size;
	out->page_size = atomic_load(&s->page_size);
	if (!found->has_header)
		return;
	atomic_store(&s->page_size, found->header.page_size);
	out->size = spool_image_size(&found->header, found->attr.size);
	out->page_size = found->header.page_size;
	out->journal = header_is_wal(&found->header) ? SNAP_JOURNAL_WAL : SNAP_JOURNAL_ROLLBACK;
}

void source_facts(struct source *s, const struct tree_found *found, struct snap_source_facts *out)
{
	memset(out, 0, sizeof(*out));
	out->file = s->path;
	if (found)
		fill_found(s, found, out);
	lock_scope(&s->lock);
	s->count++;
	if (s->live)
		fill_live(s, out);
	list_each (e, &s->gens)
		add_gen(s, list_entry(e, struct snap_gen, link), out);
	if (s->current) {
		out->generation = s->current->id;
		if (list_empty(&s->current->link))
			add_gen(s, s->current, out);
		if (!found && out->size == 0)
			out->size = s->current->size;
	}
	out->error_ns = s->error_ns;
	out->error = s->error;
	out->failing = s->failing;
	out->opened = s->opened;
}
