/* SPDX-License-Identifier: MIT */
/* superjournal.c - see superjournal.h. */
#include "superjournal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "header.h"
#include "opath.h"

#define TAIL_SIZE 16 /* bytes after the name: its length, its checksum, the magic */

static const unsigned char magic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};

int superjournal_read(int fd, char name[PATH_MAX])
{
	unsigned char tail[TAIL_SIZE];
	uint32_t length, sum = 0;
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < TAIL_SIZE)
		return 0;
	n = pread(fd, tail, sizeof(tail), st.st_size - TAIL_SIZE);
	if (n != TAIL_SIZE)
		return n < 0 ? -errno : 0;
	length = load_be32(tail);
	if (memcmp(tail + 8, magic, sizeof(magic)) != 0 || length == 0 || length >= PATH_MAX ||
	    length > st.st_size - TAIL_SIZE)
		return 0;
	n = pread(fd, name, length, st.st_size - TAIL_SIZE - length);
	if (n != (ssize_t)length)
		return n < 0 ? -errno : 0;
	for (uint32_t i = 0; i < length; i++) {
		uint8_t c = (uint8_t)name[i];

		sum += c;
		if (CHAR_MIN < 0 && c > 127)
			sum -= 256; /* SQLite adds chars, which are signed or not */
	}
	name[length] = '\0';
	return sum == load_be32(tail + 4) && name[0] ? (int)length : 0;
}

int superjournal_hide(int fd)
{
	static const unsigned char none[sizeof(magic)];
	unsigned char end[sizeof(magic)];
	struct stat st;
	off_t at;

	if (fstat(fd, &st) < 0)
		return -errno;
	at = st.st_size - (off_t)sizeof(magic);
	if (at < 0 || pread(fd, end, sizeof(end), at) != sizeof(end) || memcmp(end, magic, sizeof(end)) != 0)
		return 0;
	return pwrite(fd, none, sizeof(none), at) == sizeof(none) ? 0 : -EIO;
}

/* Whether NAME, up to BASE, is the path of the folder DIR. */
static bool is_named_so(int dir, const char *name, const char *base)
{
	char path[PATH_MAX];
	size_t len = (size_t)(base - name);

	if (opath_path(dir, path, sizeof(path)))
		return false;
	return len > 0 && (strlen(path) == len - 1 || strcmp(path, "/") == 0) &&
	       strncmp(path, name, len > 1 ? len - 1 : 1) == 0;
}

int superjournal_look(const struct place *place, const char *name)
{
	const char *slash = strrchr(name, '/');
	const char *base = slash ? slash + 1 : name;
	autoclose int dir = place_open_dir(place);
	struct stat st;
	int rc;

	if (dir < 0)
		return dir;
	if (base[0] == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		return SUPER_UNKNOWN;
	rc = opath_stat(dir, base, &st, NULL);
	if (rc == 0)
		return SUPER_THERE;
	if (rc != -ENOENT && rc != -ENAMETOOLONG)
		return rc;
	return is_named_so(dir, name, base) ? SUPER_GONE : SUPER_UNKNOWN;
}
