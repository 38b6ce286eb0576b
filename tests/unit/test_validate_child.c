/* SPDX-License-Identifier: MIT */
/* test_validate_child.c - the process that looks at the file: what it is given, what becomes of it however it
 * ends, and that whoever started it is none the worse. */
#include "hostile.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "../../src/validate_private.h"

/* ---- children that go wrong ---------------------------------------------------------------------------- */

static void make_script(const char *name, const char *text)
{
	char script[512];

	snprintf(script, sizeof(script), "#!/bin/sh\n%s\n", text);
	put_text(name, script);
	assert_int_equal(chmod(at("%s", name), 0755), 0);
}

struct ending {
	const char *script; /* instead of the child */
	int timeout_ms;
	int code;
	const char *words;
};

static const struct ending endings[] = {
	{"kill -ABRT $$", PATIENCE_MS, -EUCLEAN, "it made SQLite crash (signal 6)"},
	{"kill -SEGV $$", PATIENCE_MS, -EUCLEAN, "it made SQLite crash (signal 11)"},
	{"kill -BUS $$", 0, -EUCLEAN, "it made SQLite crash (signal 7)"},
	{"kill -XCPU $$", PATIENCE_MS, -ETIMEDOUT, "processor time"},
	{"kill -KILL $$", PATIENCE_MS, -ENOMEM, "killed"},
	{"exit 0", PATIENCE_MS, -EUCLEAN, "without a verdict (status 0)"},
	{"exit 3", PATIENCE_MS, -EUCLEAN, "without a verdict (status 3)"},
	{"exit 127", PATIENCE_MS, -EIO, "could not be started"},
	{"echo it is all right >&5", PATIENCE_MS, -EUCLEAN, "without a verdict"},
	{"head -c 539 /dev/zero >&5", PATIENCE_MS, -EUCLEAN, "without a verdict"},
	{"head -c 540 /dev/zero >&5", PATIENCE_MS, -EUCLEAN, "nonsense"},
	{"head -c 100000 /dev/zero >&5; exit 3", PATIENCE_MS, -EUCLEAN, "nonsense"},
	{"exec cat /dev/zero >&5", PATIENCE_MS, -EUCLEAN, "nonsense"},
	/* A verdict counts even if its author does not end. */
	{"head -c 540 /dev/zero >&5; exec 5>&-; exec sleep 1000", PATIENCE_MS, -EUCLEAN, "nonsense"},
	{"exec sleep 1000", 300, -ETIMEDOUT, "within 1 s"},
	{"exec 5>&-; exec sleep 1000", 300, -ETIMEDOUT, "within 1 s"},
	{"head -c 540 /dev/zero >&5; exec sleep 1000", 300, -ETIMEDOUT, "within 1 s"},
};

static void test_endings(void **state)
{
	struct validate_report report = {.tables = 12345};
	struct validate_order order;
	struct snap_err err;
	int fd, fds;

	(void)state;
	make_db("db", SAMPLE);
	fd = open_order(&order, "db", false);
	fds = count_fds();
	for (size_t i = 0; i < COUNT(endings); i++) {
		int rc;

		make_script("child", endings[i].script);
		order.program = at("child");
		order.timeout_ms = endings[i].timeout_ms;
		rc = validate_file(&order, &report, &err);
		if (rc != endings[i].code || !strstr(err.text, endings[i].words))
			fail_msg("%s: %d \"%s\"", endings[i].script, rc, err.text);
		assert_int_equal(report.tables, 12345);
		assert_int_equal(count_fds(), fds);
		assert_no_child();
	}
	order.program = at("nobody");
	assert_int_equal(validate_file(&order, &report, &err), -ENOENT);
	put_text("nobody", "no program");
	assert_int_equal(validate_file(&order, &report, &err), -EACCES);
	assert_int_equal(count_fds(), fds);
	assert_no_child();
	order.program = NULL;
	assert_int_equal(validate_file(&order, &report, &err), 0);
	validate_report_finish(&report);
	assert_int_equal(count_fds(), fds);
	close(fd);
}

/* What a child says about itself, line by line. */
static const char self_portrait[] =
	"exec >%s/out\n"
	"for f in /proc/$$/fd/*; do readlink $f; done\n"
	"grep -E '^SigIgn' /proc/self/status\n"
	"echo \"SECRET $SECRET\"; echo \"UBSAN $UBSAN_OPTIONS\"\n"
	"read pid name state parent group session rest </proc/$$/stat; echo \"session $((session - pid))\"";

static int count_lines(const char *needle)
{
	FILE *out = fopen(at("out"), "re");
	char line[512];
	int count = 0;

	assert_non_null(out);
	while (fgets(line, sizeof(line), out))
		count += strstr(line, needle) != NULL;
	fclose(out);
	return count;
}

/* Not our descriptors (test_jail sees to those that are not O_CLOEXEC), environment, signals or terminal. */
static void test_inheritance(void **state)
{
	struct validate_report report;
	struct validate_order order;
	struct snap_err err;
	char text[512];
	int fd, leak;

	(void)state;
	make_db("db", SAMPLE);
	fd = open_order(&order, "db", false);
	leak = open(at("db"), O_RDONLY | O_CLOEXEC);
	snprintf(text, sizeof(text), self_portrait, scratch.path);
	make_script("child", text);
	order.program = at("child");
	setenv("SECRET", "secret", 1);
	setenv("UBSAN_OPTIONS", "print_stacktrace=1", 1);
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(validate_file(&order, &report, &err), -EUCLEAN);
	signal(SIGPIPE, SIG_DFL);
	unsetenv("SECRET");
	unsetenv("UBSAN_OPTIONS");
	close(leak);
	close(fd);
	assert_int_equal(count_lines("/db\n"), 1);
	assert_true(count_lines("/dev/null\n") >= 1);
	/* The C library keeps two for itself, 32 and 33, and may leave them so. */
	assert_int_equal(
		count_lines("SigIgn:\t0000000000000000\n") + count_lines("SigIgn:\t0000000180000000\n"), 1);
	assert_int_equal(count_lines("SECRET \n"), 1);
	assert_int_equal(count_lines("UBSAN print_stacktrace=1\n"), 1);
	assert_int_equal(count_lines("session 0\n"), 1);
}

/* Whatever numbers the caller's descriptors have. */
static void test_low_numbers(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	make_db("db", SAMPLE);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct validate_order order;
		struct validate_report report;

		open_order(&order, "db", false);
		order.fd = fcntl(order.fd, F_DUPFD_CLOEXEC, 30);
		order.fit_page_size = 512;
		order.fit_fd = open(at("fit"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		order.fit_fd = fcntl(order.fit_fd, F_DUPFD_CLOEXEC, 30);
		/* Everything that is opened from now on has the number of something that the child has. */
		for (int fd = 0; fd < 30; fd++) {
			if (fd != STDOUT_FILENO && fd != STDERR_FILENO)
				close(fd);
		}
		_exit(validate_file(&order, &report, NULL) != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(query("fit", "SELECT count(*) FROM t"), 500);
}

/* What somebody starts by hand. */
static void test_by_hand(void **state)
{
	char program[] = "x", argument[] = VALIDATE_ARGUMENT, zero[] = "0", quick[] = "quick", bad[] = "-1";
	char *cases[][8] = {
		{program, argument, NULL},
		{program, argument, zero, quick, zero, zero, NULL},
		{program, argument, bad, quick, zero, zero, zero, NULL},
		{program, argument, quick, quick, zero, zero, zero, NULL},
		{program, argument, zero, quick, zero, zero, zero, NULL}, /* without its descriptors */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		int count = 0, status;
		pid_t pid = fork();

		assert_true(pid >= 0);
		while (cases[i][count])
			count++;
		if (pid == 0) {
			close(VALIDATE_FD_FILE);
			close(VALIDATE_FD_VERDICT);
			_exit(validate_child_main(count, cases[i]));
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
	}
}

/* ---- beside others ------------------------------------------------------------------------------------- */

struct crowd {
	atomic_bool failed;
	pthread_barrier_t barrier;
};

static void *run_checks(void *arg)
{
	struct crowd *crowd = arg;
	struct validate_report report;
	struct snap_err err;

	pthread_barrier_wait(&crowd->barrier);
	for (int i = 0; i < 10; i++) {
		struct validate_order order = VALIDATE_ORDER_INIT;
		char path[PATH_MAX];
		struct stat st;
		int rc;

		snprintf(path, sizeof(path), "%s/%s", scratch.path, i % 2 ? "damaged" : "sound");
		order.fd = open(path, O_RDONLY | O_CLOEXEC);
		fstat(order.fd, &st);
		order.size = (uint64_t)st.st_size;
		rc = validate_file(&order, &report, &err);
		if (rc == 0)
			validate_report_finish(&report);
		if (rc != (i % 2 ? -EUCLEAN : 0))
			crowd->failed = true;
		close(order.fd);
	}
	return NULL;
}

/* Many at once, in a process that has other children and takes their ends by their numbers, as the daemon
 * does: nobody takes another's. */
static void test_crowd(void **state)
{
	struct crowd crowd = {.failed = false};
	pthread_t threads[4];
	pid_t others[20];
	int fds, status;

	(void)state;
	make_db("sound", SAMPLE);
	copy_file("sound", "damaged");
	patch("damaged", (query("sound", "SELECT rootpage FROM sqlite_schema WHERE name='t'") - 1) * 4096,
	      "\0", 1);
	fds = count_fds();
	for (size_t i = 0; i < COUNT(others); i++) {
		others[i] = fork();
		if (others[i] == 0)
			_exit((int)i);
	}
	pthread_barrier_init(&crowd.barrier, NULL, COUNT(threads) + 1);
	for (size_t i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_checks, &crowd), 0);
	pthread_barrier_wait(&crowd.barrier);
	for (size_t i = 0; i < COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < COUNT(others); i++) {
		assert_int_equal(waitpid(others[i], &status, 0), others[i]);
		assert_int_equal(WEXITSTATUS(status), i);
	}
	pthread_barrier_destroy(&crowd.barrier);
	assert_false(crowd.failed);
	assert_int_equal(count_fds(), fds);
	assert_no_child();
}

/* A process whose children nobody need reap loses a status, no verdict. */
static void test_ignored_children(void **state)
{
	struct validate_report report;

	(void)state;
	make_db("db", SAMPLE);
	signal(SIGCHLD, SIG_IGN);
	for (int i = 0; i < 5; i++) {
		assert_accepted("db", false, &report);
		validate_report_finish(&report);
	}
	patch("db", (query("db", "SELECT rootpage FROM sqlite_schema WHERE name='t'") - 1) * 4096, "\0", 1);
	assert_refused("db", false, -EUCLEAN, "damaged: ");
	signal(SIGCHLD, SIG_DFL);
	assert_no_child();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_by_hand, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_endings, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_inheritance, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_low_numbers, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_crowd, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_ignored_children, scratch_setup, scratch_teardown),
	};

	if (argc > 1 && strcmp(argv[1], VALIDATE_ARGUMENT) == 0)
		return validate_child_main(argc, argv);
	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
