/* SPDX-License-Identifier: MIT */
/* test_caller.c - who is behind a request: texts of every kind, and processes that live, end and are killed.
 */
#include "unit.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../fs/caller.h"
#include "process.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- texts --------------------------------------------------------------------------------------------- */

#define HEAD "Name:\tcp\nState:\tS (sleeping)\nTgid:\t77\nPid:\t78\nGroups:\t4 24 \n"
#define LIVES "VmPeak:\t 10 kB\nVmSize:\t 10 kB\n"
#define NO_MASKS "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n"
#define MASKS(thread, process) "SigPnd:\t" thread "\nShdPnd:\t" process "\n"
#define NOTHING MASKS("0000000000000000", "0000000000000000")

static const struct {
	const char *text;
	pid_t tgid;
	bool exiting, killed;
} texts[] = {
	{"", 0, true, false},
	{"\n\n", 0, true, false},
	{"Tgid:", 0, true, false},
	{"garbage", 0, true, false},
	{HEAD LIVES NOTHING NO_MASKS, 77, false, false},
	{HEAD NOTHING NO_MASKS, 77, true, false},
	{"Tgid:\t77\nVmSize:\t1 kB", 77, false, false}, /* cut */
	/* Other names that begin, end or go on alike. */
	{"Tgidx:\t5\nNTgid:\t6\n Tgid:\t7\nTgid\t8\nxVmSize:\t1\nVmSizes:\t1\n", 0, true, false},
	/* SIGKILL, to the thread and to the process, whatever else. */
	{HEAD LIVES MASKS("0000000000000100", "0000000000000000") NO_MASKS, 77, false, true},
	{HEAD LIVES MASKS("0000000000000000", "0000000000000100") NO_MASKS, 77, false, true},
	{HEAD MASKS("0000000000000000", "0000000000000100") NO_MASKS, 77, true, true},
	/* SIGTERM and SIGHUP end only who has not decided otherwise, and are dealt with as long as it lives.
	 */
	{HEAD LIVES MASKS("0000000000000000", "0000000000004000") NO_MASKS, 77, false, false},
	{HEAD MASKS("0000000000000000", "0000000000004000") NO_MASKS, 77, true, true},
	{HEAD MASKS("0000000000000001", "0000000000000000") NO_MASKS, 77, true, true},
	{HEAD MASKS("0000000000000000", "0000000000004000") "SigBlk:\t0000000000004000\n", 77, true, false},
	{HEAD MASKS("0000000000000000", "0000000000004000") "SigIgn:\t0000000000004000\n", 77, true, false},
	{HEAD MASKS("0000000000000000", "0000000000004000") "SigCgt:\t0000000000004000\n", 77, true, false},
	{HEAD MASKS("0000000000000000", "0000000000004001") "SigCgt:\t0000000000004000\n", 77, true, true},
	{"SigCgt:\t0000000000004000\n" HEAD MASKS("0000000000000000", "0000000000004000"), 77, true, false},
	/* Real-time signals end too. */
	{HEAD MASKS("0000000000000000", "8000000000000000") NO_MASKS, 77, true, true},
	/* SIGCHLD, SIGCONT, SIGURG, SIGWINCH; SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU. */
	{HEAD MASKS("0000000000000000", "0000000008430000") NO_MASKS, 77, true, false},
	{HEAD MASKS("00000000003c0000", "0000000000000000") NO_MASKS, 77, true, false},
};

static void test_texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct caller caller;

		memset(&caller, 0xff, sizeof(caller));
		caller_parse(&caller, texts[i].text);
		if (caller.tgid != texts[i].tgid || caller.exiting != texts[i].exiting ||
		    caller.killed != texts[i].killed)
			fail_msg("text %zu: tgid %d exiting %d killed %d", i, (int)caller.tgid,
				 caller.exiting, caller.killed);
	}
}

static void test_groups_of_texts(void **state)
{
	static const struct {
		const char *text;
		gid_t group;
		bool is;
	} cases[] = {
		{"Groups:\t4 24 1000 \nNStgid:\t9\n", 4, true},
		{"Groups:\t4 24 1000 \nNStgid:\t9\n", 1000, true},
		{"Groups:\t4 24 1000 \nNStgid:\t9\n", 2, false},
		{"Groups:\t4 24 1000 \nNStgid:\t9\n", 9, false},
		{"Groups:\t4 24 1000 \nNStgid:\t9\n", 0, false},
		{"Name:\tx\nGroups:\t4294967294", 4294967294u, true},
		{"Groups:\t \n9\n", 9, false},
		{"Groups:", 0, false},
		{"Groups:\t-1 7\n", (gid_t)-1, false},
		{"Group:\t7\nNGroups:\t7\n", 7, false},
		{"", 0, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		if (caller_parse_group(cases[i].text, cases[i].group) != cases[i].is)
			fail_msg("case %zu", i);
	}
}

#define FIELDS_3_TO_51 \
	"S 1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 9 1 2 3"

static void test_ends_of_texts(void **state)
{
	static const struct {
		const char *text;
		bool ended;
	} cases[] = {
		{"77 (cp) " FIELDS_3_TO_51 " 0\n", false},
		{"77 (cp) " FIELDS_3_TO_51 " 9\n", true},
		{"77 (cp) " FIELDS_3_TO_51 " 139\n", true},  /* SIGSEGV, and a core */
		{"77 (cp) " FIELDS_3_TO_51 " 256\n", false}, /* exit(1) */
		{"77 (cp) " FIELDS_3_TO_51 " 0 9\n", false}, /* what is yet to be invented */
		{"77 (a ) 9) " FIELDS_3_TO_51 " 9\n", true}, /* its name */
		{"77 (a ) 9) " FIELDS_3_TO_51 " 0\n", false},
		{"77 (cp) " FIELDS_3_TO_51 "\n", false},
		{"77 (cp) 9", false},
		{"77 (cp", false},
		{")", false},
		{"", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		if (caller_parse_end(cases[i].text) != cases[i].ended)
			fail_msg("case %zu", i);
	}
}

/* ---- processes ----------------------------------------------------------------------------------------- */

/* Waits until PID is ended, stopped, ...; it stays to be looked at. */
static void await(pid_t pid, int how)
{
	siginfo_t info;

	assert_int_equal(waitid(P_PID, (id_t)pid, &info, how | WNOWAIT), 0);
}

static struct caller look(pid_t tid)
{
	struct caller caller;

	assert_true(caller_look(&caller, tid));
	return caller;
}

/* Ends PID by SIG and looks at what is left of it. */
static struct caller look_after(pid_t pid, int sig)
{
	struct caller caller;
	int status;

	if (sig)
		assert_int_equal(kill(pid, sig), 0);
	await(pid, WEXITED);
	caller = look(pid);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (sig)
		assert_int_equal(WTERMSIG(status), sig);
	assert_int_equal(caller.tgid, pid);
	assert_true(caller.exiting);
	return caller;
}

static void exits(void)
{
	_exit(0);
}

static void stops(void)
{
	raise(SIGSTOP);
}

static void on_signal(int sig)
{
	(void)sig;
}

static void blocks_term(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGTERM);
}

static void blocks_term_and_stops(void)
{
	blocks_term();
	stops();
}

static void blocks_term_and_exits(void)
{
	blocks_term();
	_exit(0);
}

static void catches_term_and_exits(void)
{
	signal(SIGTERM, on_signal);
	kill(getpid(), SIGTERM);
	_exit(0);
}

static void test_self(void **state)
{
	struct caller caller = look(gettid());

	(void)state;
	assert_int_equal(caller.tgid, getpid());
	assert_false(caller.exiting);
	assert_false(caller.killed);
}

static void *look_at_thread(void *arg)
{
	struct caller *caller = arg;

	if (!caller_look(caller, gettid()) || gettid() == getpid())
		caller->tgid = -1;
	return NULL;
}

static void test_thread(void **state)
{
	struct caller caller;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, look_at_thread, &caller), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(caller.tgid, getpid());
	assert_false(caller.exiting);
}

static void test_nobody(void **state)
{
	struct caller caller = {.tgid = 5, .killed = true};
	pid_t pid = process_start(exits);

	(void)state;
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_false(caller_look(&caller, pid));
	assert_int_equal(caller.tgid, 0);
	assert_false(caller.killed || caller.exiting);
	assert_false(caller_look(&caller, 0));
	assert_int_equal(errno, ESRCH);
	assert_false(caller_look(&caller, -1));
}

/* A process that lives is not said to be gone because we lack a descriptor. */
static void test_no_descriptor(void **state)
{
	struct caller caller;
	struct rlimit was, none;
	bool looked;
	int why;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = was.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	looked = caller_look(&caller, gettid());
	why = errno;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_false(looked);
	assert_int_equal(why, EMFILE);
}

static void test_exits(void **state)
{
	(void)state;
	assert_false(look_after(process_start(exits), 0).killed);
	assert_false(look_after(process_start(blocks_term_and_exits), 0).killed);
	assert_false(look_after(process_start(catches_term_and_exits), 0).killed);
}

static void test_killed(void **state)
{
	static const int signals[] = {SIGKILL, SIGTERM, SIGHUP, SIGINT, SIGPIPE, SIGUSR1};

	(void)state;
	for (size_t i = 0; i < COUNT(signals); i++) {
		if (!look_after(process_start(NULL), signals[i]).killed)
			fail_msg("signal %d", signals[i]);
	}
}

/* A signal that dumps a core is taken before the process ends. */
static void test_crashed(void **state)
{
	static const int signals[] = {SIGABRT, SIGSEGV, SIGQUIT};
	struct rlimit none = {0}, old;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_CORE, &old), 0);
	none.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_CORE, &none), 0);
	signal(SIGSEGV, SIG_DFL); /* cmocka has it, for this test */
	for (size_t i = 0; i < COUNT(signals); i++) {
		if (!look_after(process_start(NULL), signals[i]).killed)
			fail_msg("signal %d", signals[i]);
	}
	assert_int_equal(setrlimit(RLIMIT_CORE, &old), 0);
}

/* So is SIGKILL when it is sent to the thread, as by cgroup.kill. */
static void test_thread_killed(void **state)
{
	pid_t pid = process_start(NULL);

	(void)state;
	assert_int_equal(tgkill(pid, pid, SIGKILL), 0);
	assert_true(look_after(pid, 0).killed);
}

static void test_pending(void **state)
{
	pid_t pid = process_start(blocks_term_and_stops);
	struct caller caller;

	(void)state;
	await(pid, WSTOPPED);
	caller = look(pid);
	assert_int_equal(caller.tgid, pid);
	assert_false(caller.exiting || caller.killed);
	assert_true(look_after(pid, SIGKILL).killed);
}

/* A name that looks like lines of the file. */
static void takes_a_name(void)
{
	prctl(PR_SET_NAME, "x\nTgid:\t1");
	stops();
}

static void test_name(void **state)
{
	pid_t pid = process_start(takes_a_name);

	(void)state;
	await(pid, WSTOPPED);
	assert_int_equal(look(pid).tgid, pid);
	look_after(pid, SIGKILL);
}

/* ---- rights -------------------------------------------------------------------------------------------- */

#define GROUPS 3000
#define FIRST_GROUP 2000000000u

static void has_many_groups(void)
{
	static gid_t groups[GROUPS];

	for (unsigned i = 0; i < GROUPS; i++)
		groups[i] = FIRST_GROUP + i;
	if (setgroups(GROUPS, groups))
		_exit(1);
	stops();
}

static bool may_write(pid_t tid, uid_t uid, gid_t gid, uid_t owner, gid_t group, mode_t mode)
{
	struct actor who = {.uid = uid, .gid = gid, .tid = tid};

	return caller_may_write(&who, owner, group, mode);
}

/* What comes after a line that is longer than most files is seen all the same. */
static void test_many_groups(void **state)
{
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		fail_msg("this test needs root");
	pid = process_start(has_many_groups);
	await(pid, WSTOPPED);
	assert_false(look(pid).exiting);
	assert_true(may_write(pid, 5, 5, 9, FIRST_GROUP, 0060));
	assert_true(may_write(pid, 5, 5, 9, FIRST_GROUP + GROUPS - 1, 0060));
	assert_false(may_write(pid, 5, 5, 9, FIRST_GROUP + GROUPS, 0060));
	assert_false(may_write(pid, 5, 5, 9, FIRST_GROUP, 0604)); /* in the group, which may not */
	assert_false(may_write(0, 5, 5, 9, FIRST_GROUP, 0060));
	assert_true(look_after(pid, SIGKILL).killed);
}

static void test_rights(void **state)
{
	static const struct {
		uid_t uid;
		gid_t gid;
		uid_t owner;
		gid_t group;
		mode_t mode;
		bool may;
	} cases[] = {
		{0, 0, 5, 5, 0000, true},  {0, 9, 0, 0, 0444, true},	       {5, 5, 5, 5, 0600, true},
		{5, 9, 5, 5, 0200, true},  {5, 5, 5, 5, 0477, false}, /* the owner's own bits alone */
		{5, 5, 5, 5, 0066, false}, {5, 7, 6, 7, 0020, true},	       {5, 7, 6, 7, 0606, false},
		{5, 7, 6, 8, 0002, true},  {5, 7, 6, 8, 0664, false},	       {5, 7, 6, 8, 0666, true},
		{5, 7, 6, 8, 0600, false}, {5, 7, 6, 7, S_IFREG | 0620, true}, {5, 7, 0, 0, 0640, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		if (may_write(0, cases[i].uid, cases[i].gid, cases[i].owner, cases[i].group, cases[i].mode) !=
		    cases[i].may)
			fail_msg("case %zu", i);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),	      cmocka_unit_test(test_groups_of_texts),
		cmocka_unit_test(test_self),	      cmocka_unit_test(test_thread),
		cmocka_unit_test(test_nobody),	      cmocka_unit_test(test_no_descriptor),
		cmocka_unit_test(test_exits),	      cmocka_unit_test(test_killed),
		cmocka_unit_test(test_crashed),	      cmocka_unit_test(test_thread_killed),
		cmocka_unit_test(test_ends_of_texts), cmocka_unit_test(test_pending),
		cmocka_unit_test(test_name),	      cmocka_unit_test(test_many_groups),
		cmocka_unit_test(test_rights),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
