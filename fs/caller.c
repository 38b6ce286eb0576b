/* SPDX-License-Identifier: MIT */
/* caller.c - see caller.h. Source of the formats: proc_pid_status(5), proc_pid_stat(5). */
#include "caller.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/cleanup.h"

#define STATUS_MAX (1u << 20) /* bytes; 65536 groups are less */

#define BIT(sig) (1ull << ((sig)-1))
/* Signals whose default action does not end the process: signal(7). */
#define HARMLESS                                                                                   \
	(BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGURG) | BIT(SIGWINCH) | BIT(SIGSTOP) | BIT(SIGTSTP) | \
	 BIT(SIGTTIN) | BIT(SIGTTOU))

/* The value of LINE if it begins with NAME. */
static const char *value_of(const char *line, const char *name)
{
	size_t n = strlen(name);

	return strncmp(line, name, n) == 0 && line[n] == ':' ? line + n + 1 : NULL;
}

/* The line after LINE, NULL: none. */
static const char *next_line(const char *line)
{
	const char *end = strchr(line, '\n');

	return end && end[1] ? end + 1 : NULL;
}

/* The kernel writes a newline as \n and a backslash as \\ (proc_task_name() in fs/proc/array.c). */
static void parse_name(struct caller *out, const char *value)
{
	size_t used = 0;

	value += *value == '\t';
	while (*value && *value != '\n' && used + 1 < sizeof(out->command)) {
		char c = *value++;

		if (c == '\\' && (*value == 'n' || *value == '\\'))
			c = *value++ == 'n' ? '\n' : '\\';
		out->command[used++] = c;
	}
	out->command[used] = '\0';
}

void caller_parse(struct caller *out, const char *text)
{
	uint64_t pending = 0, handled = 0;
	const char *value;

	*out = (struct caller){.exiting = true};
	for (const char *line = text; line; line = next_line(line)) {
		if ((value = value_of(line, "Name")) != NULL)
			parse_name(out, value);
		else if ((value = value_of(line, "Tgid")) != NULL)
			out->tgid = (pid_t)strtol(value, NULL, 10);
		else if (value_of(line, "VmSize"))
			out->exiting = false;
		else if ((value = value_of(line, "SigPnd")) || (value = value_of(line, "ShdPnd")))
			pending |= strtoull(value, NULL, 16);
		else if ((value = value_of(line, "SigBlk")) || (value = value_of(line, "SigIgn")) ||
			 (value = value_of(line, "SigCgt")))
			handled |= strtoull(value, NULL, 16);
	}
	/* The signal that ended it stays pending: complete_signal() in the kernel starts the exit before the
	 * signal is dequeued. */
	out->killed = pending & (out->exiting ? BIT(SIGKILL) | ~(handled | HARMLESS) : BIT(SIGKILL));
}

bool caller_parse_group(const char *text, gid_t group)
{
	for (const char *line = text; line; line = next_line(line)) {
		const char *value = value_of(line, "Groups");
		char *end;

		for (; value; value = end) {
			unsigned long gid;

			value += strspn(value, " \t");
			if (*value < '0' || *value > '9')
				break; /* strtoul() would continue in the next line */
			gid = strtoul(value, &end, 10);
			if (gid == group)
				return true;
		}
	}
	return false;
}

#define STAT_NAME 2	  /* the fields of a stat file are counted from 1; this one ends with a ")" */
#define STAT_EXIT_CODE 52 /* as for waitpid(2), set before the memory is freed; 0: we may not see it */

bool caller_parse_end(const char *text)
{
	const char *at = strrchr(text, ')');

	for (int field = STAT_NAME; at && field < STAT_EXIT_CODE; field++)
		at = strchr(at + 1, ' ');
	return at && WIFSIGNALED((int)strtol(at, NULL, 10));
}

/* The content of TID's file NAME, which the caller frees; NULL: it cannot be read, for the reason errno. */
static char *read_text(pid_t tid, const char *name)
{
	autofree char *text = NULL;
	size_t size = 0, used = 0;
	char path[40];
	ssize_t n;

	errno = ESRCH;
	if (tid <= 0)
		return NULL;
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)tid, name);
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	do {
		if (size - used < 2) {
			size_t more = size ? 2 * size : 8192;
			char *grown = more <= STATUS_MAX ? realloc(text, more) : NULL;

			if (!grown)
				return NULL;
			text = grown;
			size = more;
		}
		n = read(fd, text + used, size - used - 1);
		used += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	text[used] = '\0';
	return n == 0 && used > 0 ? steal_ptr(&text) : NULL;
}

/* Whether a signal has ended TID, whose memory is already gone. The signal need not be pending any more: one
 * that dumps core is dequeued first, and so is one sent to a single thread, as by cgroup.kill. */
static bool was_ended(pid_t tid)
{
	autofree char *text = read_text(tid, "stat");

	return text && caller_parse_end(text);
}

bool caller_look(struct caller *out, pid_t tid)
{
	autofree char *text = read_text(tid, "status");

	*out = (struct caller){.tgid = 0};
	if (!text)
		return false;
	caller_parse(out, text);
	out->killed = out->killed || (out->exiting && was_ended(tid));
	return true;
}

struct snap_actor caller_actor(const struct caller *caller, uid_t uid)
{
	struct snap_actor actor = {.uid = uid, .pid = caller->tgid};

	memcpy(actor.command, caller->command, sizeof(actor.command));
	return actor;
}

const char *actor_name(const struct snap_actor *who, char *out, size_t size)
{
	snprintf(out, size, "uid %u (%s, pid %d)", (unsigned)who->uid,
		 who->command[0] ? who->command : "unknown", (int)who->pid);
	return out;
}

static bool in_group(const struct actor *who, gid_t group)
{
	autofree char *text = NULL;

	if (who->gid == group)
		return true;
	text = read_text(who->tid, "status");
	return text && caller_parse_group(text, group);
}

bool caller_may_write(const struct actor *who, uid_t owner, gid_t group, mode_t mode)
{
	if (who->uid == 0)
		return true;
	if (who->uid == owner)
		return mode & S_IWUSR;
	if (((mode & S_IWGRP) != 0) == ((mode & S_IWOTH) != 0))
		return mode & S_IWOTH; /* members of the group and others have the same right */
	return mode & (in_group(who, group) ? S_IWGRP : S_IWOTH);
}
