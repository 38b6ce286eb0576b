/* SPDX-License-Identifier: MIT */
/* caller.c - see caller.h. Source of the format: proc_pid_status(5). */
#include "caller.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIGKILL_BIT 0x100ull /* signal 9 in a mask */

/* The value of LINE if it begins with NAME. */
static const char *value_of(const char *line, const char *name)
{
	size_t n = strlen(name);

	return strncmp(line, name, n) == 0 && line[n] == ':' ? line + n + 1 : NULL;
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

static void parse_groups(struct caller *out, const char *value)
{
	while (out->group_count < CALLER_GROUPS) {
		char *end;
		unsigned long gid;

		value += strspn(value, " \t");
		if (*value == '\n' || *value == '\0')
			return;
		gid = strtoul(value, &end, 10);
		if (end == value)
			return;
		out->groups[out->group_count++] = (gid_t)gid;
		value = end;
	}
}

void caller_parse(struct caller *out, const char *text)
{
	unsigned long long pending = 0, handled = 0;
	const char *value;

	*out = (struct caller){.exiting = true};
	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
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
		else if ((value = value_of(line, "Groups")) != NULL)
			parse_groups(out, value);
	}
	/* What ended it stays pending: complete_signal() in the kernel begins the end before it is taken. */
	out->killed = pending & (out->exiting ? SIGKILL_BIT | ~handled : SIGKILL_BIT);
}

bool caller_look(struct caller *out, pid_t tid)
{
	char path[40], text[8192];
	size_t used = 0;
	ssize_t n = -1;
	int fd;

	*out = (struct caller){.tgid = 0};
	if (tid <= 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while (used < sizeof(text) - 1 && (n = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	close(fd);
	if (used == 0)
		return false;
	text[used] = '\0';
	caller_parse(out, text);
	return true;
}

struct snap_actor caller_actor(const struct caller *caller, uid_t uid)
{
	struct snap_actor actor = {.uid = uid, .pid = caller->tgid};

	memcpy(actor.command, caller->command, sizeof(actor.command));
	return actor;
}

static bool in_group(const struct caller *caller, gid_t gid, gid_t group)
{
	if (gid == group)
		return true;
	for (size_t i = 0; i < caller->group_count; i++) {
		if (caller->groups[i] == group)
			return true;
	}
	return false;
}

bool caller_may_write(const struct caller *caller, uid_t uid, gid_t gid, uid_t owner, gid_t group,
		      mode_t mode)
{
	if (uid == 0)
		return true;
	if (uid == owner)
		return mode & S_IWUSR;
	if (in_group(caller, gid, group))
		return mode & S_IWGRP;
	return mode & S_IWOTH;
}
