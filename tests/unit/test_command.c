/* SPDX-License-Identifier: MIT */
/* test_command.c - held processes, and the word to systemd. */
#include "mountpoints.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../../fs/command.h"
#include "../../fs/notify.h"

/* ---- held processes ------------------------------------------------------------------------------------ */

static int answer_seven(void *arg)
{
	(void)arg;
	return 7;
}

static int end_by_signal(void *arg)
{
	(void)arg;
	kill(getpid(), SIGKILL);
	return 0;
}

static void test_command(void **state)
{
	char missing[] = "./no-such-command", folder_itself[] = ".", shell[] = "sh", flag[] = "-c",
	     script[] = "exit 3";
	char *run[] = {shell, flag, script, NULL}, *none[] = {missing, NULL},
	     *denied[] = {folder_itself, NULL};
	const struct {
		int (*fn)(void *arg);
		void *arg;
		int status;
	} cases[] = {
		{answer_seven, NULL, 7},	  {end_by_signal, NULL, 128 + SIGKILL},
		{command_exec, run, 3},		  {command_exec, none, 127},
		{command_exec, denied, 126},	  {command_greet, folder, 0},
		{command_greet, missing, ENOENT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct command command = COMMAND_INIT;

		assert_false(command_runs(&command));
		assert_int_equal(command_hold(&command, cases[i].fn, cases[i].arg), 0);
		assert_true(command_runs(&command));
		assert_false(command_reap(&command)); /* it is held */
		command_go(&command);
		command_finish(&command);
		assert_false(command_runs(&command));
		assert_int_equal(command.status, cases[i].status);
	}
}

/* Given up before it was let go, it does nothing; told to end, it has been killed. */
static void test_command_held(void **state)
{
	struct command command = COMMAND_INIT;

	(void)state;
	assert_int_equal(command_hold(&command, answer_seven, NULL), 0);
	command_finish(&command);
	assert_int_equal(command.status, 0);
	assert_int_equal(command_hold(&command, answer_seven, NULL), 0);
	command_terminate(&command);
	command_finish(&command);
	assert_int_equal(command.status, 128 + SIGTERM);
	command_finish(&command);
	command_terminate(&command); /* of nobody */
}

/* ---- systemd ------------------------------------------------------------------------------------------- */

static int bind_socket(const char *name, size_t length)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_return_code(fd, errno);
	memcpy(address.sun_path, name, length);
	assert_return_code(bind(fd, (struct sockaddr *)&address,
				(socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)),
			   errno);
	return fd;
}

static void test_notify(void **state)
{
	char name[108], longer[109], got[64];
	int fd;

	(void)state;
	for (int abstract = 0; abstract < 2; abstract++) {
		int length = snprintf(name, sizeof(name), "%s%s/sock", abstract ? "@" : "", folder);

		setenv("NOTIFY_SOCKET", name, 1);
		if (abstract)
			name[0] = '\0';
		fd = bind_socket(name, (size_t)length);
		assert_int_equal(notify_send("READY=1\nSTATUS=x"), 0);
		assert_int_equal(recv(fd, got, sizeof(got), 0), 16);
		assert_memory_equal(got, "READY=1\nSTATUS=x", 16);
		close(fd);
	}
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify_send("READY=1"), 0);
	setenv("NOTIFY_SOCKET", "", 1);
	assert_int_equal(notify_send("READY=1"), 0);
	setenv("NOTIFY_SOCKET", at("nobody"), 1);
	assert_int_equal(notify_send("READY=1"), -ENOENT);
	setenv("NOTIFY_SOCKET", "vsock:2:1", 1);
	assert_int_equal(notify_send("READY=1"), -EAFNOSUPPORT);
	memset(longer, '/', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	setenv("NOTIFY_SOCKET", longer, 1);
	assert_int_equal(notify_send("READY=1"), -ENAMETOOLONG);
	unsetenv("NOTIFY_SOCKET");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_command, setup, teardown),
		cmocka_unit_test(test_command_held),
		cmocka_unit_test_setup_teardown(test_notify, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
