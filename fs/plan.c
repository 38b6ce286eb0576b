/* SPDX-License-Identifier: MIT */
/*
 * plan.c - see plan.h. Each refusal is one line that says what to do instead.
 *
 * Paths are compared by name, without links: a mount covers a name, and the same folder stays reachable by
 * another. Databases are compared as files, too.
 */
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"

#define LOG_MODULE "mount"
#include "log.h"

void plan_finish(struct plan *plan)
{
	for (size_t i = 0; i < plan->count; i++) {
		free(plan->sources[i].name);
		free(plan->sources[i].path);
		free(plan->sources[i].real);
		free(plan->sources[i].seen);
	}
	free(plan->sources);
	free(plan->store);
	mountpoint_finish(&plan->mountpoint);
	*plan = (struct plan){.mountpoint = MOUNTPOINT_INIT};
}

/* ---- sources ------------------------------------------------------------------------------------------- */

/* The last part of PATH, which leads to a file, so that part has no trailing slash and is neither "." nor
 * "..". Owned by the caller. */
static char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return strdup(slash ? slash + 1 : path);
}

/* PATH with the folder above it resolved and its last part kept as it is, because that may be a link that the
 * application moves. */
static char *absolute_of_file(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	char *real = folder ? realpath(folder, NULL) : NULL;
	char *out = NULL;

	if (real && asprintf(&out, "%s/%s", strcmp(real, "/") == 0 ? "" : real, name) < 0)
		out = NULL;
	free(folder);
	free(real);
	return out;
}

static int resolve_database(struct plan_source *source, const struct options_source *from,
			    struct snap_err *err)
{
	char *name = last_part(from->path);

	source->path = name ? absolute_of_file(from->path, name) : NULL;
	if (from->name) {
		free(name);
		name = strdup(from->name);
	}
	source->name = name;
	if (!source->path || !source->name)
		return fault_memory(err);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, ".sqlsnapfs") == 0)
		return fault(err, -EINVAL, "a database cannot be named %s", name);
	return 0;
}

/* PATH made absolute, without its last part unless it is a FOLDER's. */
static char *seen_folder(const char *path, bool folder)
{
	char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0), *out = NULL, *slash;

	if (path[0] == '/')
		out = strdup(path);
	else if (cwd && asprintf(&out, "%s/%s", cwd, path) < 0)
		out = NULL;
	free(cwd);
	slash = out && !folder ? strrchr(out, '/') : NULL;
	if (slash)
		slash[slash == out] = '\0';
	return out;
}

static int resolve_source(struct plan *plan, const struct options_source *from, size_t count,
			  struct snap_err *err)
{
	struct plan_source *source = &plan->sources[plan->count++];
	struct stat st;

	if (stat(from->path, &st) < 0 && errno == ENOENT)
		return fault(
			err, -ENOENT,
			"%s: no such file or directory: is it mounted? (to bring back a database that is "
			"gone: cp BACKUP %s)",
			from->path, from->path);
	source->real = realpath(from->path, NULL);
	if (!source->real)
		return fault(err, -errno, "%s: %s", from->path, strerror(errno));
	source->seen = seen_folder(from->path, S_ISDIR(st.st_mode));
	if (!source->seen)
		return fault_memory(err);
	if (S_ISREG(st.st_mode))
		return resolve_database(source, from, err);
	if (!S_ISDIR(st.st_mode))
		return fault(err, -EINVAL, "%s is neither a database nor a directory", from->path);
	if (count > 1)
		return fault(err, -EINVAL,
			     "%s is a directory: it must be the only SOURCE, as it is shown whole",
			     from->path);
	if (from->name)
		return fault(err, -EINVAL, "%s is a directory: NAME= goes with a database", from->path);
	plan->folder = true;
	source->path = strdup(source->real);
	return source->path ? 0 : fault_memory(err);
}

/* The name of the folder that PATH stands in, "" for the root; OUT has SIZE bytes. */
static void parent_name(const char *path, char *out, size_t size)
{
	const char *end = strrchr(path, '/'), *start = end;

	while (start > path && start[-1] != '/')
		start--;
	snprintf(out, size, "%.*s", (int)(end - start), start);
}

static int refuse_same_name(const struct plan_source *a, const struct plan_source *b, struct snap_err *err)
{
	char first[64], second[64];

	if (strcmp(a->real, b->real) == 0 && strcmp(a->path, b->path) == 0)
		return fault(err, -EEXIST, "%s is given twice", a->path);
	parent_name(a->path, first, sizeof(first));
	parent_name(b->path, second, sizeof(second));
	if (!*first || !*second || strcmp(first, second) == 0 || strchr(first, '=') || strchr(second, '=')) {
		strcpy(first, "a");
		strcpy(second, "b");
	}
	return fault(err, -EEXIST, "two sources are named %s; name them: %s=%s %s=%s", a->name, first,
		     a->path, second, b->path);
}

/* Also recognises a file through another mount of its folder, where the names differ. */
static bool is_one_file(const struct plan_source *a, const struct plan_source *b)
{
	struct stat first, second;

	return strcmp(a->real, b->real) == 0 ||
	       (stat(a->real, &first) == 0 && stat(b->real, &second) == 0 && first.st_dev == second.st_dev &&
		first.st_ino == second.st_ino);
}

/* Each name is a database of its own, because what is kept of it is stored under its path; and a connection
 * for one name would keep the other from closing what it has left. */
static int refuse_pair(const struct plan_source *a, const struct plan_source *b, struct snap_err *err)
{
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): they have names */
	if (strcmp(a->name, b->name) == 0)
		return refuse_same_name(a, b, err);
	if (is_one_file(a, b))
		return fault(err, -EEXIST, "%s and %s are one database, %s: give it one name", a->name,
			     b->name, a->real);
	return 0;
}

static int resolve_sources(struct plan *plan, const struct options *options, struct snap_err *err)
{
	struct options_source here = {.path = (char[]){"."}};
	const struct options_source *from = options->source_count ? options->sources : &here;
	size_t count = options->source_count ? options->source_count : 1;
	int rc = 0;

	plan->implied = !options->source_count;
	plan->refusing = options_refusing(options);
	plan->hiding = options->hide_databases;
	plan->sources = calloc(count, sizeof(*plan->sources));
	if (!plan->sources)
		return fault_memory(err);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = resolve_source(plan, &from[i], count, err);
	for (size_t i = 1; rc == 0 && i < plan->count; i++) {
		for (size_t j = 0; rc == 0 && j < i; j++)
			rc = refuse_pair(&plan->sources[j], &plan->sources[i], err);
	}
	return rc;
}

/* ---- guards -------------------------------------------------------------------------------------------- */

/* The MOUNTPOINT cannot be used. If it is the only argument, it was probably meant as the SOURCE. */
static int refuse_mountpoint(const struct plan *plan, const char *what, struct snap_err *err)
{
	const char *path = plan->mountpoint.path;

	if (plan->implied)
		return fault(err, -EINVAL, "%s %s; did you mean: sqlsnapfs %s MOUNTPOINT", path, what, path);
	return fault(err, -EINVAL,
		     "%s %s: MOUNTPOINT must be an empty directory, or one that does not exist yet", path,
		     what);
}

static int check_mountpoint(struct plan *plan, const struct options *options, struct snap_err *err)
{
	int answer;

	for (size_t i = 0; i < plan->count; i++) {
		if (strcmp(plan->sources[i].real, plan->mountpoint.path) == 0)
			return refuse_mountpoint(plan, "is the SOURCE itself", err);
	}
	answer = mountpoint_look(&plan->mountpoint, err);
	switch (answer) {
	case MOUNTPOINT_TAKEN:
		return fault(err, -EBUSY, "%s is already a mount point", plan->mountpoint.path);
	case MOUNTPOINT_NO_FOLDER:
		return refuse_mountpoint(plan, "is not a directory", err);
	case MOUNTPOINT_NOT_EMPTY:
		if (!options->nonempty)
			return refuse_mountpoint(plan, "is not empty", err);
		return 0;
	case MOUNTPOINT_MISSING:
		return 0;
	default:
		return answer;
	}
}

/* Refuses a mount that would cover what it needs. */
static int check_relations(const struct plan *plan, struct snap_err *err)
{
	const char *mnt = plan->mountpoint.path;

	for (size_t i = 0; i < plan->count; i++) {
		if (path_is_below(plan->sources[i].real, mnt) || path_is_below(plan->sources[i].path, mnt))
			return fault(err, -EINVAL,
				     "%s stands below %s and would be covered: choose another MOUNTPOINT",
				     plan->sources[i].path, mnt);
	}
	if (plan->store && path_is_below(plan->store, mnt))
		return fault(err, -EINVAL, "store=%s stands below %s and would be covered", plan->store, mnt);
	/* The store's folders would be shown, and what is below a store is never kept. */
	if (plan->store && plan->folder && path_is_below(plan->sources[0].real, plan->store))
		return fault(
			err, -EINVAL,
			"store=%s holds %s: choose a directory of its own for the store, on the same disk "
			"if it can be",
			plan->store, plan->sources[0].path);
	if (plan->implied && strcmp(plan->sources[0].real, "/") == 0)
		return fault(err, -EINVAL,
			     "no SOURCE given, and the current directory is /: sqlsnapfs SOURCE MOUNTPOINT");
	if (plan->folder && path_is_below(mnt, plan->sources[0].real))
		log_warn("\"%s\" is inside \"%s\" and shown there as an empty directory", mnt,
			 plan->sources[0].real);
	return 0;
}

static int check_device(struct snap_err *err)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	return fault(err, -errno,
		     "/dev/fuse: %s: %s; in docker: --device /dev/fuse --cap-add SYS_ADMIN; in LXC: "
		     "lxc.mount.entry = /dev/fuse dev/fuse none bind,create=file 0 0; in Proxmox: features: "
		     "fuse=1",
		     strerror(errno),
		     errno == EACCES || errno == EPERM ? "as a user, ask for access to it" : "modprobe fuse");
}

/* Resolves as much of PATH as exists; the rest stays as it is. Owned by the caller, NULL out of memory. */
static char *resolve_existing(const char *path)
{
	size_t length = strlen(path);
	char *real = realpath(path, NULL), *out = NULL;

	if (real)
		return real;
	while (!real && length > 0) {
		char *folder;

		while (length > 0 && path[length - 1] != '/')
			length--;
		while (length > 1 && path[length - 1] == '/')
			length--;
		folder = length > 0 ? strndup(path, length) : strdup(".");
		real = folder ? realpath(folder, NULL) : NULL;
		free(folder);
		if (length == 1)
			break;
	}
	if (real && asprintf(&out, "%s/%s", strcmp(real, "/") == 0 ? "" : real,
			     path + length + strspn(path + length, "/")) < 0)
		out = NULL;
	free(real);
	return out;
}

/* The store may not exist yet. */
static int resolve_store(struct plan *plan, const char *store, struct snap_err *err)
{
	if (!store)
		return 0;
	plan->store = resolve_existing(store);
	return plan->store ? 0 : fault_memory(err);
}

int plan_make(struct plan *plan, const struct options *options, struct snap_err *err)
{
	int rc;

	*plan = (struct plan){.mountpoint = MOUNTPOINT_INIT};
	rc = mountpoint_resolve(&plan->mountpoint, options->mountpoint, err);
	if (rc == 0)
		rc = resolve_sources(plan, options, err);
	if (rc == 0)
		rc = resolve_store(plan, options->store, err);
	if (rc == 0)
		rc = check_mountpoint(plan, options, err);
	if (rc == 0)
		rc = check_relations(plan, err);
	if (rc == 0)
		rc = check_device(err);
	return rc;
}

/* ---- texts --------------------------------------------------------------------------------------------- */

void plan_describe(const struct plan *plan, size_t databases, bool more, char *out, size_t size)
{
	char mode[48] = "restore by writing is on", number[64] = "";

	if (plan->refusing)
		snprintf(mode, sizeof(mode), "reading only (%s)", plan->refusing);
	else if (plan->hiding)
		snprintf(mode, sizeof(mode), "for restores only (hide_databases)");
	if (databases != PLAN_UNCOUNTED && (databases || !more))
		snprintf(number, sizeof(number), "%s%zu database%s, ", more ? "at least " : "", databases,
			 databases == 1 ? "" : "s");
	if (plan->count == 1)
		snprintf(out, size, "%s on %s: %s%s", plan->sources[0].path, plan->mountpoint.path, number,
			 mode);
	else
		snprintf(out, size, "%zu sources on %s: %s%s", plan->count, plan->mountpoint.path, number,
			 mode);
}

const char *plan_fsname(const struct plan *plan, const struct options *options)
{
	if (options->fsname)
		return options->fsname;
	return plan->count == 1 ? plan->sources[0].path : "sqlsnapfs";
}
