/* SPDX-License-Identifier: MIT */
/*
 * place_locks.c - whether POSIX locks at a path are seen by everybody who can write there.
 *
 * What must stay true: when in doubt the answer is a refusal, because two writers that do not see each
 * other's locks lose acknowledged commits (demonstrated with an overlay's upperdir and its merged folder).
 * Follows symlinks: PATH comes from the user, at the start, before our own mount exists.
 */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "cleanup.h"
#include "mountinfo.h"
#include "opath.h"

#define ANCESTORS_MAX (PATH_MAX / 2) /* realpath(3) returns no more: each takes a slash and a letter */

/* linux/magic.h and the file systems' own sources. */
static const struct {
	uint32_t magic;
	const char *name;
} unshared[] = {
	{0x6969, "NFS"},
	{0x517b, "SMB"},
	{0xff534d42, "CIFS (SMB)"},
	{0xfe534d42, "SMB"},
	{0x01021997, "9p"},
	{0x65735546, "FUSE or virtiofs"},
	{0x00c36400, "Ceph"},
	{0x5346414f, "AFS"},
	{0x6b414653, "AFS"},
	{0x73757245, "Coda"},
	{0x0bd00bd0, "Lustre"},
	{0x47504653, "GPFS"},
	{0x19830326, "BeeGFS"},
	{0x20030528, "OrangeFS"},
	{0x7461636f, "OCFS2"},
	{0x01161970, "GFS2"},
	{0x786f4256, "a VirtualBox shared folder"},
	{0xbacbacbc, "a VMware shared folder"},
	{0x7c7c6673, "a Parallels shared folder"},
};

static const char *unshared_name(const char *path, struct snap_err *err, int *code)
{
	struct statfs fs;

	*code = 0;
	if (statfs(path, &fs) < 0) {
		*code = err_errno(err, "cannot examine the file system of \"%s\"", path);
		return NULL;
	}
	for (size_t i = 0; i < sizeof(unshared) / sizeof(unshared[0]); i++)
		if (unshared[i].magic == (uint32_t)fs.f_type)
			return unshared[i].name;
	return NULL;
}

/* What layers are compared with: the path, and the inodes of it and of all folders above. */
struct subject {
	const char *path; /* absolute, resolved */
	dev_t dev;
	struct stat above[ANCESTORS_MAX];
	size_t count;
	char key[16];
	char layer[256];
};

static bool at_or_below(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	while (len > 0 && folder[len - 1] == '/')
		len--;
	return strncmp(path, folder, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* A relative layer was relative to the mounter's working directory, which is unknown by now: "/LAYER" matches
 * anywhere in PATH. */
static bool on_the_way(const char *path, const char *layer)
{
	size_t len = strlen(layer);

	for (const char *at = strstr(path, layer); at; at = strstr(at + 1, layer))
		if (at > path && at[-1] == '/' && (at[len] == '/' || at[len] == '\0'))
			return true;
	return false;
}

/* An overlay does not reach into the mounts below its layer: only what is on the layer's own device is in it.
 */
static bool in_layer(const struct subject *s, const char *folder)
{
	struct stat st;

	if (folder[0] != '/')
		return on_the_way(s->path, folder);
	if (stat(folder, &st) < 0)
		return at_or_below(s->path, folder);
	for (size_t i = 0; i < s->count; i++)
		if (opath_same(&s->above[i], &st))
			return s->dev == st.st_dev;
	return false;
}

static int match_layer(void *arg, const char *key, const char *folder)
{
	struct subject *s = arg;

	if (!in_layer(s, folder))
		return 0;
	snprintf(s->key, sizeof(s->key), "%s", key);
	snprintf(s->layer, sizeof(s->layer), "%s", folder);
	return 1;
}

static int gather(struct subject *s, const char *real)
{
	autofree char *path = strdup(real);

	if (!path)
		return -ENOMEM;
	while (s->count < ANCESTORS_MAX) {
		char *slash = strrchr(path, '/');

		if (stat(path[0] ? path : "/", &s->above[s->count]) < 0)
			return -errno;
		s->count++;
		if (!path[0] || !slash)
			break;
		*slash = '\0';
	}
	s->path = real;
	s->dev = s->above[0].st_dev;
	return 0;
}

static int check_layers(const char *path, struct snap_err *err)
{
	autofree char *real = realpath(path, NULL);
	autofree char *text = NULL;
	autofree struct subject *s = NULL;
	int rc;

	if (!real)
		return err_errno(err, "cannot resolve \"%s\"", path);
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	text = mountinfo_read();
	if (!text)
		return err_errno(err, "cannot read /proc/self/mountinfo");
	rc = gather(s, real);
	if (rc == 0)
		rc = mountinfo_layers(text, match_layer, s);
	if (rc <= 0)
		return rc ? err_set(err, rc, "cannot examine \"%s\": %s", path, strerror(-rc)) : 0;
	return err_set(err, -EREMOTE,
		       "\"%s\" is in an overlay's %s (%s), where the container's locks are not seen: give "
		       "the path that the"
		       " container uses, or -o shared_locks if no program uses that one",
		       path, s->key, s->layer);
}

int place_locks_shared(const char *path, struct snap_err *err)
{
	int code;
	const char *name = unshared_name(path, err, &code);

	if (code)
		return code;
	if (name)
		return err_set(err, -EREMOTE,
			       "\"%s\" is on %s, where others' locks may not be seen: -o shared_locks if "
			       "every program that"
			       " writes it runs on this machine",
			       path, name);
	return check_layers(path, err);
}
