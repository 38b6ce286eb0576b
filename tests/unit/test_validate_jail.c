/* SPDX-License-Identifier: MIT */
/* test_validate_jail.c - what the process that looks at the file can no longer do by then, for root and for
 * an ordinary user, and that it outlives nobody. */
#include "hostile.h"

#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* The child of process PARENT; 0: none. */
static pid_t child_of(pid_t parent)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	assert_non_null(dir);
	while (!found && (entry = readdir(dir))) {
		char path[64], line[512];
		pid_t of = 0;
		FILE *stat;

		snprintf(path, sizeof(path), "/proc/%.20s/stat", entry->d_name);
		stat = *entry->d_name >= '1' && *entry->d_name <= '9' ? fopen(path, "re") : NULL;
		if (!stat)
			continue;
		if (fgets(line, sizeof(line), stat) && strrchr(line, ')') &&
		    sscanf(strrchr(line, ')'), ") %*c %d", &of) == 1 && of == parent)
			found = atoi(entry->d_name);
		fclose(stat);
	}
	closedir(dir);
	return found;
}

struct prison {
	pid_t pid;
	char status[4096];
	char limits[4096];
	unsigned fds; /* a bit for each */
	char oom[16];
	uid_t owner;	 /* of its files in /proc: root's if nobody else may look into its memory */
	ino_t net;	 /* its network */
	char errors[64]; /* where they are written to */
};

static bool read_proc(pid_t pid, const char *name, char *out, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, out, size - 1);
	if (fd >= 0)
		close(fd);
	out[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* By what /proc/PID/status says: the last of it has happened. */
static bool is_jailed(const char *status)
{
	return strstr(status, "\nUid:\t65534\t65534\t65534\t65534\n") &&
	       strstr(status, "\nNoNewPrivs:\t1\n") && (SANITIZED || strstr(status, "\nSeccomp:\t2\n"));
}

/* Asked while the child is busy with a file that takes ages: cancels once the jail is closed. */
static bool look_at_prison(void *arg)
{
	struct prison *prison = arg;
	struct dirent *entry;
	struct stat st;
	char path[64];
	DIR *dir;

	prison->pid = child_of(getpid());
	if (!prison->pid || !read_proc(prison->pid, "status", prison->status, sizeof(prison->status)) ||
	    !is_jailed(prison->status))
		return false;
	assert_true(read_proc(prison->pid, "limits", prison->limits, sizeof(prison->limits)));
	assert_true(read_proc(prison->pid, "oom_score_adj", prison->oom, sizeof(prison->oom)));
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)prison->pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (*entry->d_name != '.')
			prison->fds |= 1u << (atoi(entry->d_name) & 31);
	}
	if (dir)
		closedir(dir);
	snprintf(path, sizeof(path), "/proc/%d/status", (int)prison->pid);
	prison->owner = stat(path, &st) == 0 ? st.st_uid : NOBODY;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)prison->pid);
	prison->net = stat(path, &st) == 0 ? st.st_ino : 0;
	snprintf(path, sizeof(path), "/proc/%d/fd/2", (int)prison->pid);
	if (readlink(path, prison->errors, sizeof(prison->errors) - 1) < 0)
		prison->errors[0] = '\0'; /* an ordinary user may not look */
	return true;
}

static void assert_line(const char *text, const char *line)
{
	if (!strstr(text, line))
		fail_msg("no \"%s\" in:\n%s", line, text);
}

static void look_inside(struct prison *prison)
{
	struct validate_report report;
	struct validate_order order;
	struct snap_err err;
	int fd = open_order(&order, "db", false);

	memset(prison, 0, sizeof(*prison));
	order.cancelled = look_at_prison;
	order.arg = prison;
	assert_int_equal(validate_file(&order, &report, &err), -ECANCELED);
	assert_string_equal(err.text, "the check was cancelled");
	close(fd);
	/* It is gone, not only told to go. */
	assert_no_child();
}

static void test_jail(void **state)
{
	static const gid_t groups[] = {1, 2};
	struct prison prison;
	sigset_t mask, old;
	struct stat net;
	int leak;

	(void)state;
	make_db("db", SLOW);
	/* Which some library forgot to mark, with a number that the child has no use for. */
	leak = fcntl(STDERR_FILENO, F_DUPFD, 20);
	assert_between(leak, 20, 31);
	assert_int_equal(setgroups(COUNT(groups), groups), 0);
	sigfillset(&mask);
	sigprocmask(SIG_BLOCK, &mask, &old);
	look_inside(&prison);
	close(leak);
	sigprocmask(SIG_SETMASK, &old, NULL);
	assert_int_equal(setgroups(0, NULL), 0);
	assert_line(prison.status, "\nUid:\t65534\t65534\t65534\t65534\n");
	assert_line(prison.status, "\nGid:\t65534\t65534\t65534\t65534\n");
	assert_line(prison.status, "\nGroups:\t \n");
	assert_line(prison.status, "\nSigBlk:\t0000000000000000\n");
	assert_line(prison.status, "\nNoNewPrivs:\t1\n");
	assert_line(prison.status, "\nCapPrm:\t0000000000000000\n");
	assert_line(prison.status, "\nCapEff:\t0000000000000000\n");
	assert_line(prison.status, "\nCapInh:\t0000000000000000\n");
	assert_line(prison.limits, "Max core file size        0                    0 ");
	assert_line(prison.limits, "Max cpu time              52                   53 ");
	assert_string_equal(prison.oom, "1000\n");
	assert_int_equal(prison.owner, 0);
	assert_int_equal(stat("/proc/self/ns/net", &net), 0);
	assert_true(prison.net && prison.net != net.st_ino);
	if (SANITIZED)
		return;
	assert_string_equal(prison.errors, "/dev/null");
	assert_int_equal(prison.fds, 1u << 0 | 1u << 1 | 1u << 2 | 1u << 3 | 1u << 5);
	assert_line(prison.limits, "Max address space         2147483648           2147483648 ");
	assert_line(prison.limits, "Max file size             0                    0 ");
	assert_line(prison.limits, "Max open files            6                    6 ");
	assert_line(prison.limits, "Max processes             0                    0 ");
}

/* As a service may have been given one. */
static void keep_capability(unsigned capability)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

	data[0].effective = data[0].permitted = data[0].inheritable = 1u << capability;
	if (syscall(SYS_capset, &header, data) < 0 ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
		_exit(98);
}

/* In a process of its own: becomes nobody, with one capability, then runs FN. */
static void run_as_nobody(void (*fn)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (prctl(PR_SET_KEEPCAPS, 1) < 0 || setgroups(0, NULL) < 0 ||
		    setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
			_exit(99);
		keep_capability(CAP_SYS_NICE);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

#define MUST(condition)                         \
	do {                                    \
		if (!(condition))               \
			_exit(__LINE__ & 0x7f); \
	} while (0)

/* An ordinary user's child, who may not raise a limit: the same verdicts. */
static void check_as_nobody(void)
{
	const struct rlimit half = {1ul << 30, 1ul << 30};
	struct validate_report report;
	struct prison prison = {.pid = 0};
	struct validate_order order;
	struct snap_err err;

	MUST(SANITIZED || setrlimit(RLIMIT_AS, &half) == 0);
	MUST(check_file("sound", true, &report, &err) == 0);
	MUST(report.tables == 2);
	validate_report_finish(&report);
	MUST(check_file("damaged", false, &report, &err) == -EUCLEAN);
	open_order(&order, "db", false);
	order.timeout_ms = 1000;
	MUST(validate_file(&order, &report, &err) == -ETIMEDOUT);
	order.cancelled = look_at_prison;
	order.arg = &prison;
	order.timeout_ms = PATIENCE_MS;
	MUST(validate_file(&order, &report, &err) == -ECANCELED);
	MUST(prison.owner == 0);
	MUST(SANITIZED || strstr(prison.status, "\nCapEff:\t0000000000000000\n"));
	MUST(SANITIZED || strstr(prison.status, "\nCapPrm:\t0000000000000000\n"));
	MUST(SANITIZED || strstr(prison.status, "\nCapAmb:\t0000000000000000\n"));
	MUST(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
}

static void test_ordinary_user(void **state)
{
	(void)state;
	make_db("db", SLOW);
	make_db("sound", SAMPLE);
	copy_file("sound", "damaged");
	patch("damaged", (query("sound", "SELECT rootpage FROM sqlite_schema WHERE name='t'") - 1) * 4096,
	      "\0", 1);
	run_as_nobody(check_as_nobody);
}

/* tests/coverage.c's, in a build that counts lines: the child has a guard there, an orphan then as well. */
void coverage_guard(int argc, char **argv) __attribute__((weak));

static void assert_only_guard(void)
{
	int status;

	if (coverage_guard) {
		assert_true(waitpid(-1, &status, 0) > 0);
		assert_int_equal(status, 0);
	}
	assert_no_child();
}

/* Its parent dies in the middle: so does it. */
static void test_orphan(void **state)
{
	pid_t parent, child = 0;
	int status;

	(void)state;
	make_db("db", SLOW);
	/* Orphans of ours come to us. */
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	parent = fork();
	assert_true(parent >= 0);
	if (parent == 0) {
		struct validate_report report;
		struct validate_order order;

		open_order(&order, "db", false);
		order.timeout_ms = 0;
		_exit(validate_file(&order, &report, NULL) == 0);
	}
	for (int i = 0; i < 10000; i++) {
		char text[4096] = "";

		child = child_of(parent);
		if (child && read_proc(child, "status", text, sizeof(text)) && is_jailed(text))
			break;
		poll(NULL, 0, 1);
	}
	assert_true(child > 0);
	kill(parent, SIGKILL);
	assert_int_equal(waitpid(parent, &status, 0), parent);
	assert_int_equal(waitpid(child, &status, 0), child);
	/* Without the filter, which comes last, it may have been just before it asked to be killed. */
	assert_true(SANITIZED || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
	assert_only_guard();
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_jail, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_ordinary_user, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_orphan, scratch_setup, scratch_teardown),
	};

	if (argc > 1 && strcmp(argv[1], VALIDATE_ARGUMENT) == 0)
		return validate_child_main(argc, argv);
	return cmocka_run_group_tests(tests, scratch_namespace, NULL);
}
