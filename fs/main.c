/* SPDX-License-Identifier: MIT */
/*
 * main.c - the order of the program's life, and its exit status: 0 if it did what was asked, 1 if it could
 * not, 2 for wrong usage; with a COMMAND, COMMAND's status.
 *
 * What must stay true: paths are resolved before anything leaves the caller's folder; COMMAND's process and
 * the daemon are forked before signals are blocked; SQLite, threads and the mount come after the last fork.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "command.h"
#include "daemon.h"
#include "fault.h"
#include "fs.h"
#include "fuseopts.h"
#include "notify.h"
#include "options.h"
#include "plan.h"
#include "session.h"
#include "status.h"

#define LOG_MODULE "main"
#include "log.h"

#define EXIT_FAILED 1
#define EXIT_USAGE 2

#define COUNT_LIMIT 1000 /* databases, for the line at the start */

struct life {
	struct options options;
	struct plan plan;
	struct command command;
	struct snap *snap; /* owned, as the next */
	struct fs *fs;
	int report;	  /* owned; to the waiting parent; -1: none waits */
	size_t databases; /* or PLAN_UNCOUNTED */
	bool more;	  /* perhaps there are more than that */
	bool ready;
};

static void log_event(void *arg, enum snap_level level, const char *text)
{
	(void)arg;
	if (log_wants(level))
		log_line(level, "source", "%s", text);
}

static void drop_pages(void *arg, uint64_t gen_id)
{
	struct life *life = arg;

	fs_drop_pages(life->fs, gen_id);
}

/* The mount answers: tells whoever waits for that. */
static int announce(void *arg)
{
	struct life *life = arg;
	char text[1024], shown[1024], state[1100];
	int rc = 0;

	life->ready = true;
	plan_describe(&life->plan, life->databases, life->more, text, sizeof(text));
	if (life->report < 0) {
		if (life->options.foreground && !life->options.command) {
			snprintf(state, sizeof(state), "READY=1\nSTATUS=%s",
				 log_escape(shown, sizeof(shown), text));
			rc = notify_send(state);
			if (rc < 0)
				log_warn("telling systemd: %s, ignoring", strerror(-rc));
		}
		log_info("%s", text);
		return 0;
	}
	if (isatty(STDERR_FILENO))
		log_refusal(text);
	log_set_sink(LOG_TO_SYSLOG);
	rc = daemon_report(life->report);
	life->report = -1;
	log_info("%s", text);
	if (rc < 0)
		log_info("who started this has gone before the mount answered");
	return rc;
}

static int add_sources(struct life *life, struct snap_err *err)
{
	const struct plan *plan = &life->plan;
	bool count = plan->implied || life->options.foreground || isatty(STDERR_FILENO);
	int rc = 0;

	if (plan->folder)
		rc = snap_add_folder(life->snap, plan->sources[0].path, err);
	for (size_t i = 0; rc == 0 && !plan->folder && i < plan->count; i++)
		rc = snap_add_file(life->snap, plan->sources[i].name, plan->sources[i].path, err);
	for (size_t i = 0; rc == 0 && !life->options.frozen && i < plan->count; i++)
		rc = snap_known_as(life->snap, plan->sources[i].seen, err);
	if (rc < 0)
		return rc;
	life->databases = plan->folder ? PLAN_UNCOUNTED : plan->count;
	if (plan->folder && !plan->implied && snap_is_without_databases(life->snap))
		log_warn(STATUS_NO_DATABASE, plan->sources[0].path);
	if (!plan->folder || !count)
		return 0;
	rc = snap_count_databases(life->snap, &life->databases, COUNT_LIMIT);
	if (rc < 0)
		return fault(err, rc, "%s: %s", plan->sources[0].path, strerror(-rc));
	life->more = rc == SNAP_COUNT_MORE;
	if (plan->implied && !life->databases && !life->more)
		return fault(err, -ENOENT,
			     "no SOURCE given, and there is no database in %s: sqlsnapfs SOURCE MOUNTPOINT",
			     plan->sources[0].path);
	return 0;
}

static int build(struct life *life, struct snap_err *err)
{
	const struct options *options = &life->options;
	struct snap_config config = {
		.wal_limit = options->wal_limit,
		.wal_max = options->wal_max,
		.busy_timeout_ms = (int)options->busy_timeout,
		.check_full = options->check == CHECK_FULL,
		.force = options->force,
		.keep = (unsigned)options->keep,
		.store = life->plan.store,
		.shared_locks = options->shared_locks,
		.databases_only = options->databases_only,
		.unlisted = options->hide_databases,
		.frozen = options->frozen,
		.event = log_event,
		.stale = drop_pages,
		.event_arg = life,
	};
	struct fs_config fs = {
		.read_only = fuseopts_read_only(options) || options->norestore,
		.options = options,
		.mountpoint = life->plan.mountpoint.path,
		.folder = life->plan.folder ? life->plan.sources[0].path : NULL,
		.max_read = (unsigned)options->max_read,
	};
	int rc = snap_create(&life->snap, &config, err);

	if (rc == 0)
		rc = add_sources(life, err);
	if (rc == 0)
		rc = mountpoint_make(&life->plan.mountpoint, err);
	if (rc == 0)
		rc = snap_set_mountpoint(life->snap, life->plan.mountpoint.path, err);
	if (rc < 0)
		return rc;
	fs.snap = life->snap;
	rc = fs_create(&life->fs, &fs);
	return rc < 0 ? fault(err, rc, "%s", strerror(-rc)) : 0;
}

/* In the process that will serve: everything from SQLite to the unmount. */
static int serve(struct life *life)
{
	struct session_config config = {
		.options = &life->options,
		.plan = &life->plan,
		.command = &life->command,
		.answers = announce,
		.arg = life,
	};
	struct snap_err err = {""};
	int rc;

	daemon_settle();
	session_block_signals();
	rc = build(life, &err);
	if (rc == 0) {
		config.snap = life->snap;
		config.fs = life->fs;
		rc = session_run(&config, &err);
	}
	if (rc < 0 && life->ready)
		log_error("%s", err.text[0] ? err.text : strerror(-rc));
	else if (rc < 0)
		log_refusal(err.text[0] ? err.text : strerror(-rc));
	fs_destroy(life->fs);
	snap_destroy(life->snap);
	mountpoint_remove(&life->plan.mountpoint);
	if (rc == 0)
		log_info("ended");
	return rc < 0 ? EXIT_FAILED : 0;
}

/* Forks as the command line requires, and serves. Returns this process's exit status. */
static int launch(struct life *life)
{
	int rc, status = EXIT_FAILED;

	if (life->options.command)
		rc = command_hold(&life->command, command_exec, life->options.command);
	else
		rc = life->options.foreground ? 0 : daemon_fork(&life->report, &status);
	if (rc < 0)
		log_refusal(strerror(-rc));
	if (rc != 0)
		return status;
	status = serve(life);
	command_finish(&life->command);
	if (status == 0 && life->options.command)
		status = life->command.status;
	if (life->report >= 0)
		close(life->report);
	return status;
}

static void set_log_level(const struct options *options)
{
	log_set_level((enum snap_level)options->log);
	/* cron mails the stderr of a COMMAND; .sqlsnapfs/log has a line for every restore. */
	if (options->command && !options->log_given)
		log_set_quiet(SNAP_WARNING);
}

static int run(struct life *life, int argc, char **argv)
{
	struct snap_err err = {""};
	int rc = options_parse(&life->options, argc, argv, &err);

	if (rc < 0) {
		log_refusal(err.text);
		return rc == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
	}
	if (life->options.help || life->options.version) {
		if (life->options.help)
			usage_print(stdout);
		else
			version_print(stdout);
		return fflush(stdout) ? EXIT_FAILED : 0;
	}
	if (life->options.check_file)
		return check_print(life->options.check_file, life->options.check == CHECK_FULL);
	set_log_level(&life->options);
	if (life->options.auto_unmount)
		log_warn("auto_unmount: a mount is always taken down with the program, ignoring");
	rc = plan_make(&life->plan, &life->options, &err);
	if (rc < 0) {
		log_refusal(err.text);
		return EXIT_FAILED;
	}
	return launch(life);
}

int main(int argc, char **argv)
{
	struct life life = {.plan = {.mountpoint = MOUNTPOINT_INIT}, .command = COMMAND_INIT, .report = -1};
	int status;

	if (argc > 1 && strcmp(argv[1], SNAP_CHILD_ARGUMENT) == 0)
		return snap_validate_child(argc, argv);
	signal(SIGCHLD, SIG_DFL); /* if inherited as ignored, it would hide the ends of our children */
	daemon_hold_stdio();
	options_init(&life.options);
	status = run(&life, argc, argv);
	plan_finish(&life.plan);
	options_finish(&life.options);
	return status;
}
