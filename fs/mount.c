/* SPDX-License-Identifier: MIT */
/*
 * mount.c - see mount.h. Mounting itself is libfuse's business (session.c).
 *
 * A backup of an uncovered, empty folder would silently be empty, so a folder that we made is removed as soon
 * as our mount is gone, and nobody may write into it until then. Whether a mount is ours is checked by its
 * device number, which no other mount has while ours lives: somebody else may have mounted at the same path
 * since.
 */
#include "mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"

#define LOG_MODULE "mount"
#include "log.h"

#define DEAD_MOUNTS 16	/* a daemon that is killed and started again piles them up */
#define ANSWER_MS 10000 /* for a mount that may hang, or whose answer finds the machine busy */

extern char **environ;

bool path_is_below(const char *path, const char *folder)
{
	size_t length = strlen(folder);

	if (strcmp(folder, "/") == 0)
		return true;
	return strncmp(path, folder, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

/* ---- resolving ----------------------------------------------------------------------------------------- */

/* Resolves the folder above PATH with realpath(3) and appends PATH's last part. PATH is not empty and does
 * not end in a slash. */
static int resolve_missing(struct mountpoint *mp, char *path, struct snap_err *err)
{
	char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	const char *folder = slash ? path : ".";
	char *parent;

	if (strcmp(name, "..") == 0 || strcmp(name, ".") == 0)
		return fault(err, -ENOENT, "%s: no such directory", path);
	if (slash == path)
		folder = "/";
	else if (slash)
		*slash = '\0';
	parent = realpath(folder, NULL);
	if (!parent)
		return fault(err, -errno, "%s: %s, and only the MOUNTPOINT itself is made", folder,
			     strerror(errno));
	if (asprintf(&mp->path, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name) < 0)
		mp->path = NULL;
	free(parent);
	return mp->path ? 0 : fault_memory(err);
}

int mountpoint_resolve(struct mountpoint *mp, const char *path, struct snap_err *err)
{
	char *copy = strdup(path);
	size_t length = strlen(path);
	int rc = 0;

	if (!copy)
		return fault_memory(err);
	/* With a trailing slash, realpath(3) would send a request to the mount there. */
	while (length > 1 && copy[length - 1] == '/')
		copy[--length] = '\0';
	mp->path = realpath(copy, NULL);
	if (!mp->path) {
		struct stat st;

		if (errno != ENOENT)
			rc = fault(err, -errno, "%s: %s", path, strerror(errno));
		else if (lstat(copy, &st) == 0)
			rc = fault(err, -ENOENT, "%s is a link that leads nowhere", path);
		else
			rc = resolve_missing(mp, copy, err);
	}
	free(copy);
	return rc;
}

void mountpoint_finish(struct mountpoint *mp)
{
	free(mp->path);
	if (mp->dirfd >= 0)
		close(mp->dirfd);
	*mp = MOUNTPOINT_INIT;
}

/* ---- what is there ------------------------------------------------------------------------------------- */

/* Takes the next field off *LINE and decodes mountinfo's \ooo escapes; false at the end. FIELD is as large as
 * the line. */
static bool next_field(const char **line, char *field)
{
	const char *c = *line;

	while (*c == ' ')
		c++;
	if (!*c || *c == '\n')
		return false;
	for (; *c && *c != ' ' && *c != '\n'; c++) {
		if (c[0] == '\\' && c[1] >= '0' && c[1] <= '3' && c[2] >= '0' && c[2] <= '7' && c[3] >= '0' &&
		    c[3] <= '7') {
			*field++ = (char)((c[1] - '0') * 64 + (c[2] - '0') * 8 + (c[3] - '0'));
			c += 3;
		} else {
			*field++ = *c;
		}
	}
	*field = '\0';
	*line = c;
	return true;
}

/* proc(5): id, parent, device, root, mount point, options, optional fields, "-", type, source, super options.
 */
static bool line_is_fuse_at(const char *line, const char *path, char *field)
{
	for (int i = 0; i < 5; i++) {
		if (!next_field(&line, field))
			return false;
	}
	if (strcmp(field, path) != 0)
		return false;
	do {
		if (!next_field(&line, field))
			return false;
	} while (strcmp(field, "-") != 0);
	if (!next_field(&line, field))
		return false;
	return strcmp(field, "fuse") == 0 || strncmp(field, "fuse.", 5) == 0;
}

bool mountinfo_is_fuse_at(const char *line, const char *path)
{
	char *field = malloc(strlen(line) + 1);
	bool found = field && line_is_fuse_at(line, path, field);

	free(field);
	return found;
}

static bool path_has_fuse(const char *path)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t size = 0;
	bool found = false;

	if (!mounts)
		return false;
	while (!found && getline(&line, &size, mounts) > 0)
		found = mountinfo_is_fuse_at(line, path);
	free(line);
	fclose(mounts);
	return found;
}

/*
 * A request to a dead mount fails at once; one to a live mount may wait forever and cannot be interrupted. So
 * a child process sends it, and is abandoned if it hangs. FORCE_SYNC, because the kernel may still know the
 * attributes of the root.
 */
static bool mount_is_dead(const char *path)
{
	int fds[2], status = 0;
	bool answered;
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return false;
	child = fork();
	if (child == 0) {
		struct statx st;

		/* ECONNABORTED: the mount died during the request. */
		_exit(statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_TYPE, &st) < 0 &&
		      (errno == ENOTCONN || errno == ECONNABORTED));
	}
	close(fds[1]);
	/* The other end closes when the child ends. */
	answered = child > 0 && poll(&(struct pollfd){.fd = fds[0]}, 1, ANSWER_MS) == 1;
	close(fds[0]);
	if (child < 0)
		return false;
	if (!answered) {
		kill(child, SIGKILL);
		return false;
	}
	return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

static int folder_is_empty(const char *path, struct snap_err *err)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int answer = 0;

	if (!dir && errno == ENOTDIR)
		return MOUNTPOINT_NO_FOLDER;
	if (!dir)
		return fault(err, -errno, "%s: %s", path, strerror(errno));
	while (answer == 0 && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			answer = MOUNTPOINT_NOT_EMPTY;
	}
	closedir(dir);
	return answer;
}

/* Lazily unmounts the topmost mount at PATH. */
static int unmount_path(const char *path, struct snap_err *err)
{
	char *argv[] = {(char[]){"fusermount3"},
			(char[]){"-u"},
			(char[]){"-z"},
			(char[]){"-q"},
			(char[]){"--"},
			strdup(path),
			NULL};
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t child;
	int status, rc;

	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
		free(argv[5]);
		return 0;
	}
	if (errno != EPERM || !argv[5]) {
		free(argv[5]);
		return fault(err, -errno, "cannot unmount %s: %s", path, strerror(errno));
	}
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	rc = posix_spawnp(&child, argv[0], NULL, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	free(argv[5]);
	if (rc)
		return fault(err, -rc, "cannot unmount %s: fusermount3: %s", path, strerror(rc));
	if (waitpid(child, &status, 0) != child || status != 0)
		return fault(err, -EPERM, "cannot unmount %s: fusermount3 refuses", path);
	return 0;
}

int mountpoint_look(struct mountpoint *mp, struct snap_err *err)
{
	struct stat st;

	for (int i = 0; path_has_fuse(mp->path); i++) {
		int rc;

		if (i == DEAD_MOUNTS || !mount_is_dead(mp->path))
			return MOUNTPOINT_TAKEN;
		rc = unmount_path(mp->path, err);
		if (rc < 0)
			return rc;
		log_info("detached the dead mount at \"%s\"", mp->path);
	}
	if (lstat(mp->path, &st) < 0)
		return errno == ENOENT ? MOUNTPOINT_MISSING
				       : fault(err, -errno, "%s: %s", mp->path, strerror(errno));
	return S_ISDIR(st.st_mode) ? folder_is_empty(mp->path, err) : MOUNTPOINT_NO_FOLDER;
}

/* ---- from making to removing --------------------------------------------------------------------------- */

/*
 * The mode of a folder that we made, while it is covered: nobody can write below the mount, or into the
 * folder after this program was killed. The sticky bit tells the next instance that the folder is to be
 * removed.
 */
#define MADE_MODE 01555

/* Whether folder FD was left behind by an instance of this program that was killed. */
static bool is_left_behind(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 07777) == MADE_MODE;
}

int mountpoint_make(struct mountpoint *mp, struct snap_err *err)
{
	bool made = mkdir(mp->path, 0755) == 0;
	int fd;

	if (!made && errno != EEXIST)
		return fault(err, -errno, "cannot make %s: %s", mp->path, strerror(errno));
	fd = open(mp->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		if (made)
			rmdir(mp->path);
		return fault(err, -errno, "%s: %s", mp->path, strerror(errno));
	}
	if (!made && !is_left_behind(fd)) {
		close(fd);
		return 0;
	}
	/* fusermount3 mounts only where the user may write. */
	if (fchmod(fd, 0755) < 0)
		log_debug("chmod of \"%s\": %s, ignoring", mp->path, strerror(errno));
	mp->made = true;
	mp->dirfd = fd;
	return 0;
}

#ifndef STATX_MNT_ID_UNIQUE /* Linux 6.8; older kernels answer STATX_MNT_ID */
#define STATX_MNT_ID_UNIQUE 0x00004000U
#endif

/* Device numbers of mounts are reused at once, and so were ids before Linux 6.8: both must be equal. */
static bool path_mount(const char *path, struct mount_id *id)
{
	struct statx stx;

	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
		  STATX_TYPE | STATX_MNT_ID | STATX_MNT_ID_UNIQUE, &stx) < 0)
		return false;
	id->dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
	id->mount = stx.stx_mask & (STATX_MNT_ID | STATX_MNT_ID_UNIQUE) ? stx.stx_mnt_id : 0;
	return true;
}

void mountpoint_covered(struct mountpoint *mp)
{
	mp->mounted = path_mount(mp->path, &mp->id);
	if (mp->dirfd < 0)
		return;
	if (fchmod(mp->dirfd, MADE_MODE) < 0)
		log_debug("chmod of the directory below the mount: %s, ignoring", strerror(errno));
	close(mp->dirfd);
	mp->dirfd = -1;
}

bool mountpoint_is_ours(const struct mountpoint *mp)
{
	struct mount_id id;

	return mp->mounted && path_mount(mp->path, &id) && id.dev == mp->id.dev && id.mount == mp->id.mount;
}

bool mountpoint_is_told(const struct mountpoint *mp)
{
	struct mount_id id;

	return mp->mounted &&
	       (path_mount(mp->path, &id) || (errno != EIO && errno != ENOMEM && errno != EINTR));
}

int mountpoint_detach(struct mountpoint *mp, struct snap_err *err)
{
	int rc = 0;

	if (mp->mounted && !mountpoint_is_told(mp))
		return fault(err, -EIO, "cannot unmount %s: whether the mount is ours cannot be told",
			     mp->path);
	if (mountpoint_is_ours(mp))
		rc = unmount_path(mp->path, err);
	if (rc == 0)
		mountpoint_remove(mp);
	return rc;
}

void mountpoint_remove(struct mountpoint *mp)
{
	if (!mp->made)
		return;
	/* rmdir(2) sends no request to what may be mounted there. */
	if (rmdir(mp->path) < 0 && errno != ENOENT) {
		log_debug("removing \"%s\": %s, ignoring", mp->path, strerror(errno));
		return;
	}
	mp->made = false;
}

void mountpoint_set_readahead(const struct mountpoint *mp, unsigned kib)
{
	char path[96], text[16];
	int fd, length;

	if (!mp->mounted || geteuid() != 0)
		return;
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(mp->id.dev),
		 minor(mp->id.dev));
	length = snprintf(text, sizeof(text), "%u", kib);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)length) < 0)
		log_debug("%s: %s, ignoring", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}
