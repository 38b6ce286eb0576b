/* SPDX-License-Identifier: MIT */
/* upload_gate.h - what the tests of closing share: the gate and the end of a restore, into which a test can
 * put calls (ld(1), --wrap), and what must hold afterwards. */
#ifndef SQLSNAP_TEST_UPLOAD_GATE_H
#define SQLSNAP_TEST_UPLOAD_GATE_H

#include "uploads.h"

#include <pthread.h>

#include "../../src/error.h"
#include "../../src/restore.h"
#include "../../src/validate.h"

/* ---- the gate, as a test may stand in it --------------------------------------------------------------- */

int __real_validate_file(const struct validate_order *order, struct validate_report *out,
			 struct snap_err *err);
int __wrap_validate_file(const struct validate_order *order, struct validate_report *out,
			 struct snap_err *err);

static int checks;
static void (*at_check)(void); /* called once, before the gate looks */
static int check_fails;	       /* the gate fails with this, once, without a look */

int __wrap_validate_file(const struct validate_order *order, struct validate_report *out,
			 struct snap_err *err)
{
	void (*call)(void) = at_check;

	checks++;
	at_check = NULL;
	if (call)
		call();
	if (check_fails) {
		int code = check_fails;

		check_fails = 0;
		return err_set(err, code, "it cannot be checked now");
	}
	return __real_validate_file(order, out, err);
}

int __real_restore_run(const struct restore_order *order, struct snap_restored *out, struct snap_err *err);
int __wrap_restore_run(const struct restore_order *order, struct snap_restored *out, struct snap_err *err);

static bool disk_refuses;	 /* after the commit */
static void (*at_durable)(void); /* called once, when a restore is durable and before the upload knows */
static const struct restore_order *waiting;

static void durable_late(void *arg)
{
	void (*call)(void) = at_durable;

	at_durable = NULL;
	if (call)
		call();
	waiting->durable(arg);
}

int __wrap_restore_run(const struct restore_order *order, struct snap_restored *out, struct snap_err *err)
{
	struct restore_order untold = *order;
	int rc;

	if (!disk_refuses && !at_durable)
		return __real_restore_run(order, out, err);
	if (at_durable) {
		waiting = order;
		untold.durable = durable_late;
		return __real_restore_run(&untold, out, err);
	}
	untold.durable = NULL;
	rc = __real_restore_run(&untold, out, err);
	assert_int_equal(rc, 0);
	return err_set(err, -EIO, "restored, but the disk refused to make it durable");
}

void __real_task_restored(struct task *task, const struct snap_restored *done);
void __wrap_task_restored(struct task *task, const struct snap_restored *done);

static void (*at_end)(void); /* called once, when a restore is over and before anybody knows */

void __wrap_task_restored(struct task *task, const struct snap_restored *done)
{
	void (*call)(void) = at_end;

	at_end = NULL;
	if (call)
		call();
	__real_task_restored(task, done);
}

static inline int setup_gate(void **state)
{
	checks = 0;
	at_check = at_end = NULL;
	disk_refuses = false;
	return setup(state);
}

#define gate_test(name) cmocka_unit_test_setup_teardown(name, setup_gate, teardown)

/* ---- what must be so ----------------------------------------------------------------------------------- */

#define RESTORED "\"db\" was restored by"
#define REFUSED "restore of \"db\" refused, live database unchanged"

static inline void assert_restored(void)
{
	assert_int_equal(live_rows(), IMAGE_ROWS);
	assert_int_equal(logged(RESTORED), 1);
	assert_int_equal(logged(REFUSED), 0);
	assert_int_equal(stored(), 0);
}

static inline void assert_untouched(void)
{
	assert_int_equal(live_rows(), LIVE_ROWS);
	assert_int_equal(logged(RESTORED), 0);
	assert_int_equal(stored(), 0);
}

/* Makes the image a damaged one: its last page is not what SQLite wrote. */
static inline void damage(struct image *i)
{
	memset(i->bytes + 4096, 0xff, 64);
}

static inline struct upload *pending(void)
{
	return upload_pending(&all, getpid(), FOLDER, "db");
}

/* The writer, which is killed while it waits. */
static pid_t victim;

static inline void kill_victim(void)
{
	siginfo_t info;

	assert_int_equal(kill(victim, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)victim, &info, WEXITED | WNOWAIT), 0);
}

#endif
