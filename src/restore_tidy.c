/* SPDX-License-Identifier: MIT */
/*
 * restore_tidy.c - retries the checkpoint after a restore.
 *
 * A reader prevents the truncation of a restore's WAL, which is as large as the database. To truncate it once
 * the reader has gone, the janitor retries now and then for half a minute, as long as nobody has committed
 * since: after a commit the WAL is the application's, and its business.
 */
#include "restore_private.h"

#include <errno.h>

/* True also if that is unknown: then it is looked at again. */
static bool has_wal(struct source *s)
{
	struct stat st;
	int rc = place_stat(&s->place, "-wal", &st);

	return rc ? rc != -ENOENT : st.st_size > 0;
}

/* Whether the restored content is still in place. */
static bool is_ours(struct source *s, struct live *live)
{
	struct sample sample;

	return source_sample_now(s, live, &sample) == 0 && source_upload_is(s, &sample.version);
}

/* Called while this thread has the source's turn to restore. A lock that is held at the moment is no reason
 * to give up: it will be released, or the time for tidying will end. */
static void tidy(struct source *s, struct live *live)
{
	struct snap_restored result = {.committed = true};
	struct restore_order order = {.source = s};
	struct snap_err ignored;
	struct restore r = {.order = &order,
			    .out = &result,
			    .err = &ignored,
			    .source = s,
			    .core = s->core,
			    .kind = RESTORE_WAL,
			    .dirfd = live->dirfd,
			    .live = live,
			    .dest = DB_INIT,
			    .staged = DB_INIT};
	bool ours, done = false;

	r.st.st_dev = (dev_t)live->dev;
	r.st.st_ino = (ino_t)live->ino;
	ours = is_ours(s, live);
	if (ours && restore_shorten(&r) == 0) {
		source_upload_refresh(s, live);
		done = !has_wal(s);
	}
	if (!ours || done)
		source_tidy_later(s, NULL);
}

static void run_tidy(void *arg)
{
	struct source *s = arg;
	struct live *live = NULL;

	if (source_restore_begin(s, NULL, NULL) == 0) {
		/* Not before: a restore that was waited for may have connected anew. */
		pthread_mutex_lock(&s->lock);
		live = s->live ? live_ref(s->live) : NULL;
		pthread_mutex_unlock(&s->lock);
		if (live)
			tidy(s, live);
		source_restore_end(s);
	}
	live_unref(live);
	source_unref(s);
}

void restore_tidy_later(struct restore *r)
{
	source_tidy_later(r->source, has_wal(r->source) ? run_tidy : NULL);
}
