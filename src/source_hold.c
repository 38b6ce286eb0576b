/* SPDX-License-Identifier: MIT */
/* source_hold.c - see source_hold.h. */
#include "source_hold.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "source_private.h"

#define LOOKS 8
#define SETTLE_MS 10 /* three times this is longer than VERSION_RACY_NS */

static void count_binding(struct source *s, int n)
{
	lock_scope(&s->lock);
	s->binding += n;
}

/* A reference to the generation that a reader who opens now may expect. Never one that shows the state before
 * SAMPLE: as long as it has its bytes, an open would return them. */
static int expected_gen(struct source *s, const struct sample *sample, struct snap_gen **out)
{
	lock_scope(&s->lock);
	*out = s->current && source_shows(s->current, sample) ? snap_gen_ref(s->current)
							      : source_new_gen(s, sample);
	return *out ? 0 : -ENOMEM;
}

static bool is_settled(const struct version *v)
{
	return version_is_settled(v->db.ctime_ns, v->seen_ns) &&
	       version_is_settled(v->wal.ctime_ns, v->seen_ns);
}

/* Samples what is to be opened as any reader opens it. If it was written a moment ago, nobody could tell
 * later whether it was written again, so this waits a moment. */
static int sample_settled(struct hold *h, struct stat *st, struct snap_err *err)
{
	int rc = source_sample_place(h->source, &h->sample, st, err);

	for (int i = 0; i < 3 && !rc && !is_settled(&h->sample.version); i++) {
		nanosleep(&(struct timespec){.tv_nsec = SETTLE_MS * NS_PER_MS}, NULL);
		rc = source_sample_place(h->source, &h->sample, st, err);
	}
	return rc;
}

/* Opens it as any reader does. */
static int open_plainly(struct hold *h, struct snap_err *err)
{
	struct snap_gen *gen;
	struct stat st;
	int rc = sample_settled(h, &st, err);

	if (!rc)
		rc = expected_gen(h->source, &h->sample, &gen);
	if (rc)
		return rc == -ENOMEM ? err_set(err, rc, "out of memory") : rc;
	rc = source_gen_open(&gen, LOOKS, err);
	if (rc == SNAP_MOVED)
		rc = err_set(err, -EBUSY, "it changed at every try");
	if (rc)
		snap_gen_unref(gen);
	else
		h->gen = gen;
	return rc;
}

/* Connects and holds what the connection sees: false if that is not possible. */
static bool try_hold(struct hold *h)
{
	struct source *s = h->source;
	int64_t deadline = monotonic_ns() + SOURCE_WAIT_NS;
	uint64_t size;
	struct stat st;
	int answer;

	if (source_sample_place(s, &h->sample, &st, NULL) || st.st_size == 0 ||
	    source_must_not_connect(s, &st) || source_connect(s, &st, deadline, true, &h->live, NULL) ||
	    !h->live)
		return false;
	answer = live_pin(h->live, deadline, &h->conn, NULL);
	if (answer == 0)
		h->kind = HOLD_WAL;
	if (answer == PIN_ROLLBACK && source_read_header(h->live, &h->header, &size) == 0)
		h->kind = HOLD_ROLLBACK;
	return h->kind != HOLD_NONE;
}

static void let_go(struct hold *h)
{
	if (h->kind == HOLD_WAL || h->kind == HOLD_ROLLBACK)
		count_binding(h->source, -1);
	live_unpin(steal_ptr(&h->conn));
	live_unref(steal_ptr(&h->live));
	h->kind = HOLD_NONE;
}

int hold_begin(struct hold *h, struct source *s, struct snap_err *err)
{
	int rc = 0;

	*h = (struct hold){.source = s};
	if (s->refused)
		return err_set(err, s->refused, "%s", s->refusal.text);
	count_binding(s, 1);
	source_wait_gap(s);
	h->since = monotonic_ns();
	if (!try_hold(h)) {
		let_go(h);
		rc = open_plainly(h, err);
		if (!rc)
			h->kind = HOLD_OPENED;
	}
	if (h->kind != HOLD_WAL && h->kind != HOLD_ROLLBACK)
		count_binding(s, -1); /* otherwise the end of the hold does */
	return rc;
}

int hold_sample(struct hold *h, struct wal_header *out)
{
	return vfs_wal_header(h->conn->db.vfs, out);
}

void hold_yield(struct hold *h)
{
	if (h->kind == HOLD_ROLLBACK)
		live_unpin(steal_ptr(&h->conn));
}

bool hold_is_yielded(const struct hold *h)
{
	return h->kind == HOLD_ROLLBACK && !h->conn;
}

void hold_resume(struct hold *h, int64_t deadline)
{
	struct header now;
	struct sample sample;
	struct stat st;
	uint64_t size;

	if (!hold_is_yielded(h))
		return;
	if (source_sample_place(h->source, &sample, &st, NULL) ||
	    sample.version.ino != h->sample.version.ino || sample.version.dev != h->sample.version.dev)
		return; /* replaced: what is held is still as good as it was */
	h->sample = sample;
	if (live_pin(h->live, deadline, &h->conn, NULL) == PIN_ROLLBACK &&
	    source_read_header(h->live, &now, &size) == 0)
		h->header = now;
	else
		live_unpin(steal_ptr(&h->conn));
}

/* ---- opening what was held ----------------------------------------------------------------------------- */

/* The image of the pin as of the header AT. */
static int bind_wal(struct hold *h, const struct wal_header *at, struct source_binding *b,
		    struct snap_err *err)
{
	/* An image treats a header without frames as that of the WAL's next life, unless it began with it. */
	bool as_begun = memcmp(at->raw, h->conn->start.raw, sizeof(at->raw)) == 0;
	uint32_t page_size;

	b->sample = h->sample;
	b->max_frame = at->max_frame;
	source_sample_wal(&b->sample, h->live, at);
	if (source_image_shape(h->live, at, &b->sample.size, &page_size))
		return err_set(err, -EIO, "not a database, or damaged");
	if (image_create_pinned(&b->image, steal_ptr(&h->conn), page_size))
		return err_set(err, -ENOMEM, "out of memory");
	if (as_begun || image_accepts(b->image, at, UINT64_MAX))
		return 0;
	image_unref(steal_ptr(&b->image));
	return -EAGAIN;
}

/* Binds to a copy that is made under SHARED. *MISSED: it is not of what was held. */
static int bind_rollback(struct hold *h, struct source_binding *b, bool *missed, struct snap_err *err)
{
	struct spool_flat flat = SPOOL_FLAT_INIT;
	int rc;

	if (!h->conn && live_pin(h->live, monotonic_ns() + SOURCE_WAIT_NS, &h->conn, err) != PIN_ROLLBACK)
		return -EAGAIN;
	rc = spool_rollback(&flat, steal_ptr(&h->conn), err);
	if (rc)
		return rc == -ESTALE ? -EAGAIN : rc;
	*missed = memcmp(flat.header.counters, h->header.counters, sizeof(flat.header.counters)) != 0;
	b->sample = h->sample;
	b->sample.version.incarnation = h->live->incarnation;
	return source_bind_flat(b, &flat, err);
}

static int open_opened(struct hold *h, bool *missed)
{
	struct sample now;
	int rc = source_sample_now(h->source, NULL, &now);

	lock_scope(&h->source->lock);
	*missed = rc != 0 || !version_equal(&h->gen->version, &now.version);
	return 0;
}

int hold_open(struct hold *h, const struct wal_header *at, bool *missed, struct snap_err *err)
{
	struct source_binding b = {.since = h->since};
	struct snap_gen *gen, *moved = NULL;
	int rc;

	*missed = false;
	if (h->kind == HOLD_OPENED)
		return open_opened(h, missed);
	rc = h->kind == HOLD_WAL ? bind_wal(h, at, &b, err) : bind_rollback(h, &b, missed, err);
	if (rc)
		return rc;
	rc = expected_gen(h->source, &b.sample, &gen);
	if (rc) {
		image_unref(b.image);
		return err_set(err, rc, "out of memory");
	}
	rc = source_adopt(h->source, gen, &b, true, &moved);
	if (rc == SNAP_MOVED) {
		snap_gen_unref(gen);
		gen = moved;
		/* GEN has its bytes; if they are lost, no other generation will do. */
		rc = source_gen_open(&gen, 0, err);
		snap_gen_arrived(gen);
		if (rc == SNAP_MOVED)
			rc = -EAGAIN;
	}
	if (rc) {
		snap_gen_unref(gen);
		return rc;
	}
	h->gen = gen;
	let_go(h);
	h->kind = HOLD_OPENED;
	return 0;
}

void hold_finish(struct hold *h)
{
	let_go(h);
	if (h->gen) {
		snap_gen_close(h->gen);
		snap_gen_unref(steal_ptr(&h->gen));
	}
}
