/* SPDX-License-Identifier: MIT */
/*
 * wal_reset.c - the WAL-reset bug of SQLite 3.7.0 to 3.51.2 (wal.html part 11), and our checkpoints at the
 * same moments.
 *
 *   wal_reset bug     plain checkpoints lose commits of another process: 0; 77: this library's do not
 *   wal_reset ours    ours lose none: 0. The plain ones are run beside them, to show that they would be seen
 *
 * A moment is a call that a connection of this process makes of its database file or, below that, of the
 * system. A run has one checkpoint, before whose nth call the application, another process, does something;
 * runs follow for n = 1, 2, ... until the checkpoint ends before that. Afterwards the application commits
 * more, checkpoints and looks: every row whose COMMIT has returned must be there.
 */
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "clock.h"
#include "moments.h"
#include "own_mounts.h"
#include "restore_private.h"
#include "snap_private.h"
#include "source_private.h"
#include "wal_reset_app.h"

#define FIRST_ROWS 20
#define LAST_ROWS 40

/* ---- what it does at a moment: true when it has committed ---------------------------------------------- */

static bool commits(struct app *app)
{
	return app_commits(app);
}

/* It commits, copies everything to the database, and begins the next transaction: that one starts the WAL
 * over. */
static bool begins(struct app *app)
{
	app_commits(app);
	app_try(app, "PRAGMA wal_checkpoint(PASSIVE)");
	app->in_transaction = app_try(app, "BEGIN IMMEDIATE") && app_try(app, INSERT);
	return app->in_transaction;
}

static bool ends(struct app *app)
{
	bool committed = app->in_transaction && app_try(app, "COMMIT");

	app->rows += committed;
	app->in_transaction = app->in_transaction && !committed;
	return committed;
}

/* It comes and commits. */
static bool comes(struct app *app)
{
	bool committed;

	app_open(app);
	app_try(app, "PRAGMA wal_autocheckpoint=0");
	committed = app_commits(app);
	app_try(app, "PRAGMA wal_checkpoint(PASSIVE)");
	return committed;
}

/* And goes: the wal-index that a wrong checkpoint left is gone when nobody stays. */
static bool visits(struct app *app)
{
	bool committed = comes(app);

	app_do(app, ".close");
	app->open = false;
	return committed;
}

static const struct act {
	const char *name;
	bool (*at)(struct app *app);
	bool (*later)(struct app *app); /* at another moment, each one after that in turn; NULL: nothing */
	int times; /* AT happens at every moment from then on, until it has done so often */
	bool away; /* it has the database closed before */
} acts[] = {
	{"commits", commits, NULL, 1, false},
	{"begins at one moment and commits at another", begins, ends, 1, false},
	{"comes and commits", comes, NULL, 1, true},
	{"comes, commits and goes, six times", visits, NULL, 6, true},
};
enum { COMMITS, BEGINS, COMES, VISITS };

/* ---- one run ------------------------------------------------------------------------------------------- */

/* What the application does at a moment. */
struct acting {
	const struct act *act;
	struct app *app;
};

struct run {
	char folder[64], path[96];
	int dirfd; /* O_PATH */
	struct app app;
	struct acting acting;
	struct snap *snap; /* without a janitor: nothing happens but what the run does */
	struct source *source;
};

static void ignore(void *arg, enum snap_level level, const char *text)
{
	(void)arg;
	(void)level;
	(void)text;
}

static bool is_connected(struct source *s)
{
	lock_scope(&s->lock);
	return s->live && !s->connecting;
}

static void make_source(struct run *r)
{
	char store[96];
	struct snap_config config = {
		.wal_limit = 1 << 20, .wal_max = 64 << 20, .store = store, .event = ignore};
	struct snap_attr attr;
	struct snap_gen *gen = NULL;

	snprintf(store, sizeof(store), "%s/store", r->folder);
	if (snap_create(&r->snap, &config, NULL) || snap_add_folder(r->snap, r->folder, NULL) ||
	    snap_lookup(r->snap, "db", &attr, &gen, NULL) || !gen)
		die("the source");
	r->source = source_ref(gen->source);
	snap_gen_unref(gen);
	/* Looking a database up connects it, on a thread of the library. */
	for (int i = 0; !is_connected(r->source); i++) {
		if (i == 20000)
			die("the source does not connect");
		nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
	}
}

static void run_begin(struct run *r)
{
	*r = (struct run){.folder = "/tmp/sqlsnap-reset-XXXXXX"};
	if (!mkdtemp(r->folder) || (r->dirfd = open(r->folder, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
		die("%s", r->folder);
	snprintf(r->path, sizeof(r->path), "%s/db", r->folder);
	app_start(&r->app, r->path);
	app_open(&r->app);
	app_do(&r->app, "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0;"
			"CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
}

/* All of the WAL is copied: the next commit starts it over. */
static void app_prepare(struct run *r, const struct act *act)
{
	for (int i = 0; i < FIRST_ROWS; i++)
		app_commits(&r->app);
	app_do(&r->app, "PRAGMA wal_checkpoint(PASSIVE)");
	if (act->away) {
		app_do(&r->app, ".close");
		r->app.open = false;
	}
}

static int act_now(void *arg, enum moments_which which, int done)
{
	struct acting *a = arg;

	if (which == MOMENT_FIRST || (a->act->times > 1 && done < a->act->times))
		return a->act->at(a->app);
	return which == MOMENT_SECOND && a->act->later(a->app);
}

static void arm(struct run *r, const struct act *act, const int at[2])
{
	r->acting = (struct acting){act, &r->app};
	moments_begin(at, act_now, &r->acting);
}

/* What is wrong with what the application finds in the end; NULL: nothing. */
static const char *app_finds(struct app *app)
{
	struct reply count, check;

	if (app->in_transaction && app_try(app, "COMMIT"))
		app->rows++;
	if (!app->open)
		app_open(app);
	app_do(app, "PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=OFF");
	for (int i = 0; i < LAST_ROWS; i++) {
		if (!app_commits(app))
			return "it cannot commit any more";
	}
	app_try(app, "PRAGMA wal_checkpoint(TRUNCATE)");
	if (!app_try(app, ".close") || !app_try(app, ".open"))
		return "it cannot be opened any more";
	count = app_ask(app, "SELECT count(*) FROM t");
	if (count.rc != SQLITE_OK)
		return "it cannot be read any more";
	if (count.value != app->rows)
		return "rows are missing";
	check = app_ask(app,
			"SELECT count(*) = 1 AND max(integrity_check) = 'ok' FROM pragma_integrity_check");
	return check.rc == SQLITE_OK && check.value == 1 ? NULL : "it is corrupt";
}

static int64_t bytes_of(struct run *r, const char *name)
{
	struct stat st;

	return fstatat(r->dirfd, name, &st, 0) ? -1 : (int64_t)st.st_size;
}

static void run_end(struct run *r)
{
	char command[96];

	app_stop(&r->app);
	if (r->source)
		source_unref(r->source);
	snap_destroy(r->snap);
	close(r->dirfd);
	snprintf(command, sizeof(command), "rm -rf %s", r->folder);
	if (system(command) != 0)
		die("%s", command);
}

/* ---- ways to checkpoint -------------------------------------------------------------------------------- */

static sqlite3 *plain_open(struct run *r)
{
	sqlite3 *db;

	if (sqlite3_open_v2(r->path, &db, SQLITE_OPEN_READWRITE, "unix") != SQLITE_OK ||
	    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL) != SQLITE_OK ||
	    sqlite3_exec(db, "PRAGMA user_version", NULL, NULL, NULL) != SQLITE_OK)
		die("a connection");
	return db;
}

/* As anybody would do it. */
static void plain(struct run *r, const struct act *act, const int at[2], int mode)
{
	sqlite3 *db = plain_open(r);

	app_prepare(r, act);
	arm(r, act, at);
	sqlite3_wal_checkpoint_v2(db, NULL, mode, NULL, NULL);
	sqlite3_close(db);
}

static void plain_passive(struct run *r, const struct act *act, const int at[2])
{
	plain(r, act, at, SQLITE_CHECKPOINT_PASSIVE);
}

static void plain_truncate(struct run *r, const struct act *act, const int at[2])
{
	plain(r, act, at, SQLITE_CHECKPOINT_TRUNCATE);
}

/* The close for an application that has gone: the source lets its connection go. */
static void our_close(struct run *r, const struct act *act, const int at[2])
{
	make_source(r);
	app_prepare(r, act);
	arm(r, act, at);
	source_disconnect(r->source);
}

/* The checkpoint after a restore. */
static void our_shortening(struct run *r, const struct act *act, const int at[2])
{
	struct restore restore;
	struct snap_restored result = {.committed = true};
	struct restore_order order = {0};
	struct snap_err err;

	make_source(r);
	order.source = r->source;
	restore = (struct restore){.order = &order,
				   .out = &result,
				   .err = &err,
				   .source = r->source,
				   .core = r->source->core,
				   .kind = RESTORE_WAL,
				   .dirfd = r->dirfd,
				   .dest = DB_INIT,
				   .staged = DB_INIT};
	app_prepare(r, act);
	if (fstatat(r->dirfd, "db", &restore.st, 0))
		die("db");
	arm(r, act, at);
	restore_shorten(&restore);
}

/* ---- what came of it ----------------------------------------------------------------------------------- */

enum wanted { LOSES, LOSES_NOTHING };

static const struct trial {
	const char *name;
	void (*way)(struct run *r, const struct act *act, const int at[2]);
	int act;
	enum wanted wanted;
	int64_t wal_after; /* bytes of the -wal when nobody disturbed it: it has done its work; 0: not looked
			      at */
} trials[] = {
	{"a plain PASSIVE checkpoint", plain_passive, COMMITS, LOSES, 0},
	{"a plain TRUNCATE checkpoint", plain_truncate, BEGINS, LOSES, 0},
	{"a plain PASSIVE checkpoint", plain_passive, COMES, LOSES, 0},
	{"our checkpoint after a restore", our_shortening, COMMITS, LOSES_NOTHING, 0},
	{"our checkpoint after a restore", our_shortening, BEGINS, LOSES_NOTHING, 0},
	{"our close", our_close, COMMITS, LOSES_NOTHING, 0},
	{"our close", our_close, BEGINS, LOSES_NOTHING, 0},
	{"our close", our_close, COMES, LOSES_NOTHING, -1},
	{"our close", our_close, VISITS, LOSES_NOTHING, -1},
};

struct tally {
	int runs, moments, commits, lost;
	const char *why;
};

/* One run with the application at the moments AT. False: the checkpoint ended before the last of them. */
static bool try_one(const struct trial *t, const int at[2], struct tally *tally)
{
	int last = at[1] ? at[1] : at[0];
	struct moments_seen seen;
	const char *wrong;
	struct run r;

	run_begin(&r);
	t->way(&r, &acts[t->act], at);
	seen = moments_end();
	if (t->wal_after && seen.n < at[0] && bytes_of(&r, "db-wal") != t->wal_after)
		die("%s: undisturbed it does not do its work", t->name);
	wrong = app_finds(&r.app);
	run_end(&r);
	tally->runs++;
	tally->moments = seen.n > tally->moments ? seen.n : tally->moments;
	tally->commits += seen.done;
	tally->lost += wrong != NULL;
	tally->why = tally->why ? tally->why : wrong;
	return seen.n >= last;
}

/* Every moment, or every two. The number of runs in which something was lost. */
static int try_all(const struct trial *t)
{
	const struct act *act = &acts[t->act];
	struct tally tally = {0};
	bool more = true;

	for (int first = 1; more; first++) {
		int second = act->later ? first + 1 : 0;

		more = try_one(t, (const int[2]){first, second}, &tally);
		while (act->later && more && try_one(t, (const int[2]){first, ++second}, &tally))
			;
	}
	printf("%s, while another process %s: %d moments, %d runs, %d commits, lost in %d%s%s\n", t->name,
	       act->name, tally.moments, tally.runs, tally.commits, tally.lost, tally.why ? ": " : "",
	       tally.why ? tally.why : "");
	if (tally.moments < 5 || tally.commits < 5)
		die("hardly anything was tried");
	return tally.lost;
}

/* Folders are in memory, if we may mount: a disk's fsync(2) would be most of what all this takes. */
static void own_tmp(void)
{
	if (take_own_mounts() == 0)
		mount("test", "/tmp", "tmpfs", 0, "mode=1777");
}

int main(int argc, char **argv)
{
	bool ours = argc > 1 && strcmp(argv[1], "ours") == 0, has_bug = snap_sqlite_has_wal_reset_bug();
	int status = 0;

	if (argc == 4 && strcmp(argv[1], "app") == 0)
		app_serve(argv[2], atoi(argv[3]));
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("SQLite %s %s the WAL-reset bug\n", sqlite3_libversion(), has_bug ? "has" : "does not have");
	own_tmp();
	moments_hook();
	for (size_t i = 0; i < sizeof(trials) / sizeof(trials[0]); i++) {
		const struct trial *t = &trials[i];

		if (!ours && t->wanted == LOSES_NOTHING)
			continue;
		if ((try_all(t) > 0) != (t->wanted == LOSES && has_bug)) {
			printf("^ that is wrong\n");
			status = 1;
		}
	}
	return status == 0 && !ours && !has_bug ? 77 : status;
}
