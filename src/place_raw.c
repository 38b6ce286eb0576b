/* SPDX-License-Identifier: MIT */
/* place_raw.c - see place_raw.h. */
#include "place_raw.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "header.h"
#include "opath.h"

int place_open_raw(struct rawfd_table *table, const struct place *place, const char *suffix,
		   struct rawfd *raw, struct stat *st, struct snap_err *err)
{
	char name[NAME_MAX + 16];
	autoclose int dir = place_open_dir(place);
	struct stat ignored;
	int rc;

	st = st ? st : &ignored;
	snprintf(name, sizeof(name), "%s%s", place->name, suffix);
	rc = dir < 0 ? dir : rawfd_open(table, dir, name, raw, st);
	if (!rc && *suffix && st->st_nlink > 1) { /* as the shim does, vfs.h */
		rawfd_close(table, raw);
		rc = -EMLINK;
	}
	return rc ? err_set(err, rc, "cannot open %s: %s", name, strerror(-rc)) : 0;
}

int place_is_wal(struct rawfd_table *table, const struct place *place)
{
	struct rawfd raw = RAWFD_INIT;
	struct header header;
	uint8_t bytes[HEADER_SIZE];
	struct stat st;
	bool wal;
	int rc = place_open_raw(table, place, "", &raw, &st, NULL);

	if (rc)
		return opath_transient(rc) ? rc : 0;
	wal = pread(raw.fd, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes) &&
	      header_decode(&header, bytes, sizeof(bytes)) == 0 && header_is_wal(&header);
	rawfd_close(table, &raw);
	return wal;
}
