/* SPDX-License-Identifier: MIT */
/*
 * restore_anew.c - writing where SQLite finds no database: an empty file, or one that it cannot read.
 *
 * What must stay true: nobody who has the file open mistakes the restored content for content cached before.
 */
#include "restore_private.h"

#include <sqlite3.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "clock.h"
#include "place_raw.h"

static uint32_t any_number(void)
{
	uint32_t n;

	if (getrandom(&n, sizeof(n), 0) != sizeof(n))
		n = (uint32_t)monotonic_ns();
	return n ? n : 1;
}

/* Reads the beginning of the unreadable file, or of a sidecar; returns the file's size, or 0. */
static off_t read_beginning(struct restore *r, const char *suffix, uint8_t *to, size_t size)
{
	struct rawfd raw = RAWFD_INIT;
	struct stat st;

	memset(to, 0, size);
	if (place_open_raw(r->core->raw, &r->source->place, suffix, &raw, &st, NULL))
		return 0;
	if (pread(raw.fd, to, size, 0) != (ssize_t)size)
		memset(to, 0, size);
	rawfd_close(r->core->raw, &raw);
	return st.st_size;
}

/* Whether SQLite treats the unreadable file as a WAL database, and its page size; 0: not known. */
static bool is_broken_wal(struct restore *r, uint32_t *page_size)
{
	uint8_t first[HEADER_SIZE], wal[WAL_FILE_HEADER];
	struct header header;
	bool has_wal = read_beginning(r, "-wal", wal, sizeof(wal)) > 0;

	*page_size = wal_file_page_size(wal);
	if (read_beginning(r, "", first, sizeof(first)) <= 1)
		return false; /* SQLite treats one byte as empty, and deletes the -wal of an empty database */
	if (header_decode(&header, first, sizeof(first)))
		return has_wal;
	*page_size = *page_size ? *page_size : header.page_size;
	return has_wal || header_is_wal(&header);
}

/*
 * Where SQLite finds no database, its counters start at 1 again. An application that has the file open and
 * has cached pages or a schema with the same number would go on using them, and read and write the wrong
 * tables. So what is written gets random numbers. An unreadable file is treated as empty.
 */
void restore_begin_anew(struct restore *r)
{
	uint32_t page_size = 0;

	if (restore_is_readable(r))
		return;
	r->broken_wal = r->kind == RESTORE_BROKEN && is_broken_wal(r, &page_size);
	if (r->broken_wal) {
		vfs_set_emptied(r->dest.vfs, page_size ? page_size : r->fit.page_size, any_number());
		return;
	}
	vfs_set_counters(r->dest.vfs, any_number(), any_number());
	if (r->kind == RESTORE_BROKEN)
		sqlite3_db_config(r->dest.handle, SQLITE_DBCONFIG_RESET_DATABASE, 1, NULL);
}
