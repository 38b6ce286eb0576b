/* SPDX-License-Identifier: MIT */
/* instant.c - see instant.h. */
#include "instant.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "keep.h"
#include "opath.h"
#include "source_hold.h"
#include "tree_private.h"

#define TRIES 4
#define ROUNDS_NS (2 * NS_PER_S) /* the longest wait for two equal rounds, */
#define ROUNDS_MIN 16		 /* but so many, however slow the machine is */
#define SHARED_NS (NS_PER_S / 4) /* the longest that SHARED is held for the sake of other databases */
#define SMALL (32u << 20)	 /* bytes that are copied in less time */
#define DATABASES_MAX 100000u
#define WALK_MAX 10000000u /* entries of the tree */
#define LOST_TRIES 10	   /* until a former database is given up, */
#define LOST_MS 100	   /* one every so often */

/* ---- which ones ---------------------------------------------------------------------------------------- */

struct find {
	struct instant *out;
	struct core *core; /* borrowed, as all */
	struct tree *tree;
	const char *without;
	char root[PATH_MAX]; /* of the tree; "": it is /, or there is none */
	bool lost;	     /* RC is due to a file that an application may be about to recreate */
	int rc;
	struct snap_err *err;
};

static bool is_below(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	return strncmp(path, folder, len) == 0 && path[len] == '/';
}

static bool is_known(const struct instant *in, const struct source *source)
{
	for (size_t i = 0; i < in->count; i++)
		if (in->dbs[i].source == source)
			return true;
	return false;
}

/* Adds FOUND, the database at PATH, unless it is already in by another name or is excluded. */
static int add(struct find *find, const char *path, const struct tree_found *found)
{
	struct instant *in = find->out;
	struct instant_db *more, db = {.path = strdup(path), .attr = found->attr};
	int rc = db.path ? sources_get(find->core->sources, &found->place, &db.source) : -ENOMEM;

	if (!rc && ((find->without && db.source->path && is_below(db.source->path, find->without)) ||
		    (found->place.root == AT_FDCWD && is_known(in, db.source)))) {
		source_unref(db.source);
		free(db.path);
		return 0;
	}
	if (!rc && in->count == DATABASES_MAX)
		rc = -EOVERFLOW;
	more = rc ? NULL : reallocarray(in->dbs, in->count + 1, sizeof(*more));
	if (more) {
		in->dbs = more;
		in->dbs[in->count++] = db;
		return 0;
	}
	if (db.source)
		source_unref(db.source);
	free(db.path);
	return rc ? rc : -ENOMEM;
}

/* Refuses PATH, which is known as a database but is none any more, or is empty. */
static int refuse_lost(struct find *find, const char *path)
{
	find->lost = true;
	return err_set(find->err, -EIO,
		       "\"%.150s\" was a database, and is empty or none any more: restore it, or remove it",
		       path);
}

/* Whether the database at PLACE had content when it was last opened. */
static bool had_content(const struct find *find, const struct place *place)
{
	autofree char *path = place_path(place);
	struct store_seen seen;

	return path && store_load_seen(find->core->store, path, &seen) == 0 && seen.version.db.size > 0;
}

static int find_one(void *arg, const char *path)
{
	struct find *find = arg;
	struct tree_found found = TREE_FOUND_INIT;
	int rc = tree_look(find->tree, path, &found, find->err);

	if (rc == -ENOENT)
		rc = 0;
	else if (rc == 0 && found.missing)
		rc = err_set(find->err, -ENOENT, "\"%.150s\" is missing: restore it, or mount without it",
			     path);
	else if (rc == 0 && found.attr.kind == SNAP_DATABASE)
		rc = found.attr.size == 0 && had_content(find, &found.place) ? refuse_lost(find, path)
									     : add(find, path, &found);
	tree_found_finish(&found);
	find->rc = rc;
	return rc != 0;
}

/* Refuses PATH, which cannot be read: a snapshot without it would look complete. */
static int refuse_unseen(void *arg, const char *path, int why)
{
	struct find *find = arg;
	const char *slash = strrchr(path, '/');
	autofree char *full = NULL;

	if (asprintf(&full, "%s/%s", find->root, path) < 0) {
		full = NULL;
		return find->rc = -ENOMEM;
	}
	if (find->without && (strcmp(full, find->without) == 0 || is_below(full, find->without)))
		return 0;
	/* Every ext4 has a lost+found for what fsck(8) finds, which is nobody's database. */
	if (why == -EACCES && strcmp(slash ? slash + 1 : path, "lost+found") == 0)
		return 0;
	find->rc = why;
	if (why == -EXDEV)
		err_set(find->err, why,
			"\"%.100s\" is another mount, whose databases would be missing: name the databases "
			"that you want instead of the directory",
			path);
	else if (why == -ENAMETOOLONG)
		err_set(find->err, why,
			"\"%.100s\" has something whose path is longer than %d bytes, and may be or hold a "
			"database: name the databases that you want instead of the directory",
			path, PATH_MAX - 1);
	else
		err_set(find->err, why,
			"\"%.100s\" cannot be read, and may be or hold a database: %s; mount as a user who "
			"may read it, or name the databases that you want instead of the directory",
			path, strerror(-why));
	return 1;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct instant_db *)a)->path, ((const struct instant_db *)b)->path);
}

/* Whether PATH is a file or a symlink but not a database: 1, whatever the mount shows there. */
static int is_other_file(struct find *find, const char *path)
{
	char parent[PATH_MAX];
	struct tree_spot spot = {.base = find->tree->root, .path = parent};
	struct tree_found found = TREE_FOUND_INIT;
	autoclose int dir = -1;
	int rc = tree_path_valid(path) ? tree_split(path, parent, &spot.name) : -EINVAL;

	if (rc)
		return 0;
	dir = tree_open_folder(find->tree, parent);
	if (dir < 0)
		return opath_transient(dir) ? dir : 0;
	spot.dir = dir;
	rc = tree_look_entry(find->tree, &spot, &found, NULL, NULL);
	if (rc)
		return opath_transient(rc) ? rc : 0;
	rc = found.attr.kind == SNAP_PLAIN || found.attr.kind == SNAP_SYMLINK;
	tree_found_finish(&found);
	return rc;
}

/* A damaged database does not look like one: checks whether that has happened to SOURCE, which the store
 * remembers. */
static int find_lost(void *arg, const char *source)
{
	struct find *find = arg;
	const struct instant *in = find->out;
	struct instant_db key;
	const char *path;
	int rc;

	if (!is_below(source, find->root) || (find->without && is_below(source, find->without)))
		return 0;
	path = source + strlen(find->root) + 1;
	key.path = (char *)(uintptr_t)path;
	if (in->count && bsearch(&key, in->dbs, in->count, sizeof(key), by_path))
		return 0;
	rc = is_other_file(find, path);
	find->rc = rc == 1 ? refuse_lost(find, path) : rc;
	return find->rc != 0;
}

static int find_all(struct find *find)
{
	struct instant *out = find->out;
	int rc;

	find->rc = 0;
	find->lost = false;
	rc = tree_walk_all(find->tree, WALK_MAX, find_one, refuse_unseen, find);
	if (rc == TREE_WALK_CUT)
		rc = -EOVERFLOW;
	rc = find->rc ? find->rc : rc;
	if (rc)
		return rc;
	if (out->count > 0)
		qsort(out->dbs, out->count, sizeof(out->dbs[0]), by_path);
	if (find->tree->root >= 0)
		rc = keep_sources(find->core->store, find_lost, find);
	return find->rc ? find->rc : rc;
}

int instant_find(struct instant *out, struct core *core, struct tree *tree, const char *without,
		 struct snap_err *err)
{
	struct snap_err words = {{0}};
	struct find find = {.out = out, .core = core, .tree = tree, .without = without, .err = &words};
	int rc = tree->root >= 0 ? opath_path(tree->root, find.root, sizeof(find.root)) : 0;

	*out = INSTANT_INIT;
	if (strcmp(find.root, "/") == 0)
		find.root[0] = '\0';
	if (!rc)
		rc = find_all(&find);
	for (int i = 1; i < LOST_TRIES && find.lost; i++) {
		instant_finish(out);
		nanosleep(&(struct timespec){.tv_nsec = LOST_MS * NS_PER_MS}, NULL);
		words.text[0] = '\0';
		rc = find_all(&find);
	}
	if (rc && words.text[0])
		return err_set(err, rc, "%s", words.text);
	return rc ? err_set(err, rc, "the databases cannot be found: %s", strerror(-rc)) : 0;
}

void instant_finish(struct instant *in)
{
	for (size_t i = 0; i < in->count; i++) {
		struct instant_db *db = &in->dbs[i];

		if (db->gen) {
			snap_gen_close(db->gen);
			snap_gen_unref(db->gen);
		}
		source_unref(db->source);
		free(db->path);
	}
	free(in->dbs);
	*in = INSTANT_INIT;
}

/* ---- when ---------------------------------------------------------------------------------------------- */

/* Reads the headers of all holds in WAL mode. */
static int sample_all(struct hold *holds, size_t count, struct wal_header *out)
{
	for (size_t i = 0; i < count; i++) {
		int rc = holds[i].kind == HOLD_WAL ? hold_sample(&holds[i], &out[i]) : 0;

		if (rc)
			return rc < 0 ? -EAGAIN : rc;
	}
	return 0;
}

static bool equal(const struct hold *holds, size_t count, const struct wal_header *a,
		  const struct wal_header *b)
{
	for (size_t i = 0; i < count; i++)
		if (holds[i].kind == HOLD_WAL && memcmp(a[i].raw, b[i].raw, sizeof(a[i].raw)) != 0)
			return false;
	return true;
}

/* Lets the writers of all rollback-journal databases continue, except those of BUT (NULL: no exception). */
static void yield_all(struct hold *holds, size_t count, const struct hold *but)
{
	for (size_t i = 0; i < count; i++)
		if (&holds[i] != but)
			hold_yield(&holds[i]);
}

/* Samples until two successive rounds are equal; NOW receives the headers. -EAGAIN: a wal-index was lost. */
static int agree(struct hold *holds, size_t count, struct wal_header *now, int64_t shared_until,
		 struct snap_err *err)
{
	autofree struct wal_header *before = calloc(count, sizeof(*before));
	int64_t until = monotonic_ns() + ROUNDS_NS;
	bool has_before = false;

	if (!before)
		return err_set(err, -ENOMEM, "out of memory");
	for (int round = 0; round < ROUNDS_MIN || monotonic_ns() < until; round++) {
		int rc;

		if (monotonic_ns() > shared_until)
			yield_all(holds, count, NULL);
		rc = sample_all(holds, count, now);

		if (rc < 0)
			return rc;
		if (rc == 0 && has_before && equal(holds, count, before, now))
			return 0;
		has_before = rc == 0;
		memcpy(before, now, count * sizeof(*before));
	}
	return err_set(err, -EBUSY, "its writers left no instant between two commits");
}

int instant_failed(const struct instant_db *db, int rc, const struct snap_err *why, struct snap_err *err)
{
	return err_set(err, rc, "\"%.100s\": %.210s", db->path, why->text[0] ? why->text : strerror(-rc));
}

/* Opens hold I. Meanwhile no writer of another database waits beyond SHARED_UNTIL. */
static int open_one(struct instant *in, struct hold *holds, size_t i, const struct wal_header *at,
		    int64_t shared_until, struct snap_err *err)
{
	struct hold *hold = &holds[i];
	int64_t began = monotonic_ns();
	struct snap_err words = {{0}};
	bool missed = false;
	int rc;

	if (hold->kind == HOLD_ROLLBACK && hold->sample.size > SMALL)
		yield_all(holds, in->count, hold);
	if (began > shared_until)
		yield_all(holds, in->count, NULL);
	rc = hold_open(hold, &at[i], &missed, &words);
	if (missed)
		in->apart_ns = 1; /* how far is computed at the end */
	return rc ? instant_failed(&in->dbs[i], rc, &words, err) : 0;
}

/* Turns the holds into opened generations; large databases that must be copied come last. */
static int open_all(struct instant *in, struct hold *holds, const struct wal_header *at, int64_t shared_until,
		    struct snap_err *err)
{
	int rc = 0;

	for (int large = 0; large < 2; large++)
		for (size_t i = 0; i < in->count && !rc; i++)
			if ((holds[i].kind == HOLD_ROLLBACK && holds[i].sample.size > SMALL) == large)
				rc = open_one(in, holds, i, at, shared_until, err);
	return rc;
}

/* The first hold that is not had at the moment; COUNT: there is none. */
static size_t find_yielded(const struct hold *holds, size_t count)
{
	size_t i = 0;

	while (i < count && !hold_is_yielded(&holds[i]))
		i++;
	return i;
}

/*
 * Holds all databases. Those in rollback-journal mode are released again and then held all at once: waiting
 * for one may take seconds, during which no writer must wait for the others. If one is locked for too long,
 * all are released, and it comes first: its writer may need the others to finish.
 */
static int hold_all(struct instant *in, struct hold *holds, int64_t *shared_until, struct snap_err *err)
{
	size_t first = 0;

	for (size_t i = 0; i < in->count; i++) {
		struct snap_err words = {{0}};
		int rc = hold_begin(&holds[i], in->dbs[i].source, &words);

		if (rc)
			return instant_failed(&in->dbs[i], rc, &words, err);
		hold_yield(&holds[i]);
	}
	for (int try = 0; try < TRIES && first < in->count; try++) {
		yield_all(holds, in->count, NULL);
		*shared_until = monotonic_ns() + SHARED_NS;
		for (size_t i = 0; i < in->count; i++)
			hold_resume(&holds[(first + i) % in->count], *shared_until);
		first = find_yielded(holds, in->count);
	}
	return 0;
}

/* One attempt. -EAGAIN: another one may succeed. */
static int try_open(struct instant *in, struct hold *holds, struct wal_header *at, struct snap_err *err)
{
	int64_t first = monotonic_ns(), shared_until = 0;
	int rc;

	in->apart_ns = 0;
	rc = hold_all(in, holds, &shared_until, err);
	if (!rc)
		rc = agree(holds, in->count, at, shared_until, err);
	in->at_ns = realtime_ns();
	if (!rc)
		rc = open_all(in, holds, at, shared_until, err);
	if (in->apart_ns)
		in->apart_ns = monotonic_ns() - first;
	for (size_t i = 0; i < in->count; i++) {
		if (!rc)
			in->dbs[i].gen = steal_ptr(&holds[i].gen);
		hold_finish(&holds[i]);
	}
	return rc;
}

int instant_open(struct instant *in, struct snap_err *err)
{
	autofree struct hold *holds = calloc(in->count + 1, sizeof(*holds));
	autofree struct wal_header *at = calloc(in->count + 1, sizeof(*at));
	int rc = -EAGAIN;

	if (!holds || !at)
		return err_set(err, -ENOMEM, "out of memory");
	for (int i = 0; i < TRIES && rc == -EAGAIN; i++)
		rc = try_open(in, holds, at, err);
	return rc == -EAGAIN ? err_set(err, -EBUSY, "the databases changed at every try") : rc;
}
