/* SPDX-License-Identifier: MIT */
/*
 * source_connect.c - see source.h: what an open waits for. One thread at a time connects a source; others
 * wait for it meanwhile, none longer than its own deadline.
 */
#include "source_private.h"

#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"
#include "clock.h"
#include "opath.h"

#define GAP_POLL_NS (5 * NS_PER_MS)  /* nobody tells us when an application starts its WAL over */
#define GAP_LOOK_NS (20 * NS_PER_MS) /* between two looks at /proc/locks */
#define GAP_MAX_NS (10 * NS_PER_S)

/* ---- connecting ---------------------------------------------------------------------------------------- */

bool source_wait(struct source *s, int64_t deadline)
{
	struct timespec until = ns_timespec(deadline);

	return pthread_cond_timedwait(&s->changed, &s->lock, &until) != ETIMEDOUT;
}

static bool has_no_wal(struct source *s)
{
	struct stat st;

	return place_stat(&s->place, "-wal", &st) == -ENOENT;
}

/* An incarnation of the source ARG has ended and drops its reference to it. OWED: see live.h */
static void note_closed(void *arg, bool owed)
{
	struct source *s = arg;

	if (owed) {
		pthread_mutex_lock(&s->lock);
		s->left_wal = s->owes_close = true;
		pthread_mutex_unlock(&s->lock);
		core_wake(s->core);
	}
	source_unref(s);
}

/* From now on LIVE's close takes care of what an earlier connection has left behind. Lock held. */
static void leave_to(struct source *s, struct live *live)
{
	if (s->owes_close)
		atomic_store(&live->had_others, true);
	s->left_wal = s->owes_close = false;
}

/* Connects; s->connecting has been set for this thread, which clears it. */
static int connect_now(struct source *s, const struct stat *st, int64_t deadline, struct snap_err *err)
{
	struct live *live = NULL;
	bool had_none = has_no_wal(s);
	int rc = live_create(&live, s->core, &s->place, st, deadline, err);
	bool left = rc != 0 && had_none && !has_no_wal(s);

	if (live) {
		live->closed = note_closed;
		live->arg = source_ref(s);
	}
	pthread_mutex_lock(&s->lock);
	s->live = live;
	s->left_wal |= left;
	if (live)
		leave_to(s, live);
	s->refused_until = rc == 0 ? 0 : monotonic_ns() + SOURCE_WAIT_NS;
	s->connecting = false;
	s->idle_since = monotonic_ns();
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	core_wake(s->core);
	return rc;
}

struct connect_job {
	struct source *source; /* a reference */
	struct stat st;
};

static void run_connect(void *arg)
{
	autofree struct connect_job *job = arg;

	connect_now(job->source, &job->st, monotonic_ns() + SOURCE_WAIT_NS, NULL);
	source_unref(job->source);
}

/* Makes another thread connect; s->connecting is set already and is cleared if that fails. */
static int connect_later(struct source *s, const struct stat *st)
{
	struct connect_job *job = malloc(sizeof(*job));
	int rc = -ENOMEM;

	if (job) {
		*job = (struct connect_job){.source = source_ref(s), .st = *st};
		rc = work_submit_urgent(s->core->work, run_connect, job);
		if (rc)
			source_unref(s);
	}
	if (rc) {
		free(job);
		pthread_mutex_lock(&s->lock);
		s->connecting = false;
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
	}
	return rc;
}

static bool is_of(const struct live *live, const struct stat *st)
{
	return live->dev == (uint64_t)st->st_dev && live->ino == (uint64_t)st->st_ino;
}

int source_connect(struct source *s, const struct stat *st, int64_t deadline, bool here, struct live **out,
		   struct snap_err *err)
{
	struct live *gone = NULL;
	bool mine = false;
	int rc = 0;

	*out = NULL;
	pthread_mutex_lock(&s->lock);
	while (s->connecting && source_wait(s, deadline))
		;
	if (s->live && !is_of(s->live, st))
		gone = steal_ptr(&s->live);
	if (!s->live && !s->connecting && !s->ending)
		s->connecting = mine = true;
	pthread_mutex_unlock(&s->lock);
	if (here)
		live_unref(gone);
	else
		live_unref_later(gone);
	if (mine)
		rc = here ? connect_now(s, st, deadline, err) : connect_later(s, st);
	if (rc)
		return rc;
	pthread_mutex_lock(&s->lock);
	while (s->connecting && source_wait(s, deadline))
		;
	/* A thread that came in between may have found, and connected to, another file. */
	if (s->live && !is_of(s->live, st))
		rc = err_set(err, -ESTALE, "replaced while it was being opened");
	else if (s->live)
		*out = live_ref(s->live);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/* Whether the -wal is still as it was left: empty, unless it is OWED. 0 with ST of the database; -ENOENT: it
 * is gone, or an application's by now; -errno */
static int stat_left(struct source *s, bool owed, struct stat *st)
{
	struct stat wal;
	int rc = place_stat(&s->place, "-wal", &wal);

	if (rc == 0)
		rc = wal.st_size > 0 && !owed ? -ENOENT : place_stat(&s->place, "", st);
	return rc == 0 && source_must_not_connect(s, st) ? -ENOENT : rc;
}

static bool source_is_connected(struct source *s)
{
	lock_scope(&s->lock);
	return s->live != NULL;
}

void source_close_left(struct source *s, int64_t now, bool here)
{
	struct live *live = NULL;
	struct stat st;
	bool due, owed;
	int rc;

	pthread_mutex_lock(&s->lock);
	due = s->left_wal && !s->connecting && !s->ending && now >= s->refused_until;
	owed = s->owes_close;
	pthread_mutex_unlock(&s->lock);
	if (!due)
		return;
	rc = stat_left(s, owed, &st);
	if (rc == 0) {
		/* Another incarnation of this process, perhaps by another path: a connection beside it would
		 * keep it from doing its last close, which would be owed again, and so on. */
		if (!source_is_connected(s) && rawfd_connected(s->core->raw, st.st_dev, st.st_ino))
			return;
		source_connect(s, &st, monotonic_ns(), here, &live, NULL);
		pthread_mutex_lock(&s->lock);
		if (live && live == s->live)
			leave_to(s, live); /* connected already */
		pthread_mutex_unlock(&s->lock);
		live_unref_later(live);
	} else if (!opath_transient(rc)) {
		pthread_mutex_lock(&s->lock);
		s->left_wal = s->owes_close = false;
		pthread_mutex_unlock(&s->lock);
	}
}

/* ---- WAL mode that came later -------------------------------------------------------------------------- */

static void run_learn(void *arg)
{
	struct source *s = arg;
	struct live *live;

	pthread_mutex_lock(&s->lock);
	live = s->live ? live_ref(s->live) : NULL;
	pthread_mutex_unlock(&s->lock);
	if (live)
		live_learn_wal(live);
	live_unref(live);
	source_unref(s);
}

/* Whether there is a WAL that LIVE does not have open, and can open without making files that lock others
 * out. */
static bool lacks_wal(struct source *s, struct live *live)
{
	struct header header;
	struct stat st, wal;
	uint64_t size;

	return !live_has_wal(live) && source_read_header(live, &header, &size) == 0 &&
	       header_is_wal(&header) && place_stat(&s->place, "-wal", &wal) == 0 && wal.st_size > 0 &&
	       place_stat(&s->place, "", &st) == 0 && !source_must_not_connect(s, &st);
}

void source_learn_wal(struct source *s, struct live *live, int64_t now)
{
	bool due;

	if (!lacks_wal(s, live))
		return;
	pthread_mutex_lock(&s->lock);
	due = now >= s->learn_after && !s->ending;
	if (due)
		s->learn_after = now + SOURCE_WAIT_NS;
	pthread_mutex_unlock(&s->lock);
	if (due && work_submit(s->core->work, run_learn, source_ref(s)))
		source_unref(s);
}

/* ---- the gap of the WAL -------------------------------------------------------------------------------- */

/* Whether a new pin has to wait. Lock held. */
static bool is_full(struct source *s, int64_t now)
{
	if (s->draining)
		return true;
	return s->live && live_must_wait(s->live, s->core->config.wal_limit, s->core->config.wal_max,
					 now >= s->no_spool_until);
}

bool source_awaits_gap(struct source *s)
{
	lock_scope(&s->lock);
	return is_full(s, monotonic_ns());
}

void source_wait_gap(struct source *s)
{
	int64_t now = monotonic_ns(), began = now, observed = now;
	bool full;

	pthread_mutex_lock(&s->lock);
	while ((full = is_full(s, now)) && now - began < GAP_MAX_NS) {
		struct live *live = s->live && now - observed >= GAP_LOOK_NS ? live_ref(s->live) : NULL;

		if (live) {
			pthread_mutex_unlock(&s->lock);
			live_observe_gap(live);
			live_unref(live);
			observed = now;
			pthread_mutex_lock(&s->lock);
		}
		source_wait(s, now + GAP_POLL_NS);
		now = monotonic_ns();
	}
	if (full && s->live)
		live_allow(s->live, s->core->config.wal_limit);
	pthread_mutex_unlock(&s->lock);
	if (now - began > NS_PER_MS)
		core_event(s->core, SNAP_DEBUG, "\"%s\": an open waited %lld ms for the WAL%s", s->place.name,
			   (long long)((now - began) / NS_PER_MS), full ? ", in vain" : "");
}
