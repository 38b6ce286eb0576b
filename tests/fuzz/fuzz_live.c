/* SPDX-License-Identifier: MIT */
/*
 * fuzz_live.c - a live database that nobody has open, as a killed application, a broken disk or an enemy has
 * left it: with a WAL, whose checksums hold so that it is believed, or a journal; opened and read as through
 * the mount.
 *
 * What is read must be what SQLite finds, which gets a copy of the files and all rights over them; and not a
 * byte of the files may change.
 */
#include "fuzz.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/header.h"
#include "../../src/shmguard.h"
#include "../../src/snap_private.h"

#define FRAMES_MAX 32u
#define IMAGE_MAX (4u << 20) /* bytes: a WAL can name any page */
#define PAGES_MAX 64u

enum {
	HAS_WAL = 1,
	WAL_EDITED = 2, /* here and there, after the checksums */
	HAS_JOURNAL = 4,
	OWN_DATABASE = 8, /* the input's bytes; else one of ours */
	ANY_PAGE = 16,	  /* frames name pages beyond the next one, and commit any number of pages */
};

/* ---- files --------------------------------------------------------------------------------------------- */

static uint8_t *ours; /* owned: a small database in WAL mode */
static size_t ours_size;

static void make_ours(void)
{
	sqlite3 *db;

	if (ours)
		return;
	must(shmguard_install() == 0);
	fuzz_folder_clear();
	must(sqlite3_open(fuzz_path("ours"), &db) == SQLITE_OK);
	must(sqlite3_exec(db,
			  "PRAGMA page_size=512; PRAGMA journal_mode=WAL; CREATE TABLE t(a, b);"
			  "CREATE INDEX i ON t(b); INSERT INTO t VALUES(1, zeroblob(900)), (2, 'two')",
			  NULL, NULL, NULL) == SQLITE_OK);
	must(sqlite3_close(db) == SQLITE_OK);
	ours = fuzz_get("ours", &ours_size);
	must(ours != NULL && ours_size > 1024);
}

static void put_be32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* walChecksumBytes(), words in the order of this machine. */
static void add_up(uint32_t sum[2], const uint8_t *bytes, size_t size)
{
	for (size_t at = 0; at < size; at += 8) {
		uint32_t word[2];

		memcpy(word, bytes + at, sizeof(word));
		sum[0] += word[0] + sum[1];
		sum[1] += word[1] + sum[0];
	}
}

/* A WAL of the frames that the input asks for: pages of DB with a few bytes of their own. */
static void put_wal(struct bytes *how, uint8_t flags, const uint8_t *db, size_t db_size, uint32_t page_size)
{
	uint32_t frames = bytes_u8(how) % (FRAMES_MAX + 1), sum[2] = {0, 0},
		 pages = (uint32_t)(db_size / page_size);
	size_t frame_size = WAL_FRAME_HEADER + page_size, size = WAL_FILE_HEADER + frames * frame_size;
	uint8_t *wal = calloc(1, size + 1);
	const uint32_t one = 1;

	must(wal != NULL);
	put_be32(wal,
		 *(const uint8_t *)&one ? 0x377f0682 : 0x377f0683); /* whose order the checksums are in */
	put_be32(wal + 4, 3007000);
	put_be32(wal + 8, page_size);
	memcpy(wal + 16, "saltSALT", 8);
	add_up(sum, wal, 24);
	put_be32(wal + 24, sum[0]);
	put_be32(wal + 28, sum[1]);
	for (uint32_t i = 0; i < frames; i++) {
		uint8_t *frame = wal + WAL_FILE_HEADER + i * frame_size;
		uint32_t pgno = bytes_u8(how), at = bytes_u8(how), commit = bytes_u8(how);

		if (flags & ANY_PAGE) {
			pgno %= PAGES_MAX;
			commit = commit & 1 ? commit % PAGES_MAX : 0;
		} else {
			pgno = 1 + pgno % (pages + 1);
			pages = pgno > pages ? pgno : pages;
			commit = commit & 1 ? pages : 0;
		}
		put_be32(frame, pgno);
		put_be32(frame + 4, commit);
		memcpy(frame + 8, wal + 16, 8);
		if (pgno > 0 && (uint64_t)pgno * page_size <= db_size)
			memcpy(frame + WAL_FRAME_HEADER, db + (pgno - 1) * page_size, page_size);
		if (at < 200)
			frame[WAL_FRAME_HEADER + at + 100] = bytes_u8(how);
		add_up(sum, frame, 8);
		add_up(sum, frame + WAL_FRAME_HEADER, page_size);
		put_be32(frame + 16, sum[0]);
		put_be32(frame + 20, sum[1]);
	}
	for (int i = 0; flags & WAL_EDITED && i < 4; i++) {
		uint8_t value = bytes_u8(how);

		wal[bytes_u16(how) % size] = value;
	}
	if (flags & WAL_EDITED)
		size -= bytes_u8(how) % size;
	fuzz_put("live/db-wal", wal, size);
	fuzz_put("copy/db-wal", wal, size);
	free(wal);
}

/* ---- what SQLite finds --------------------------------------------------------------------------------- */

/* The bytes of the copy once its WAL is in it. NULL: SQLite cannot read it, or they are too many. */
static uint8_t *find(size_t *size)
{
	uint8_t *bytes = NULL;
	sqlite3_stmt *stmt = NULL;
	sqlite3 *db = NULL;
	struct stat st;
	int rc = sqlite3_open(fuzz_path("copy/db"), &db);

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, "PRAGMA user_version", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(db, "PRAGMA wal_checkpoint(TRUNCATE)", -1, &stmt, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_int(stmt, 0) == 0 ? SQLITE_OK
											  : SQLITE_ERROR;
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	/* A journal may say that the database was of any size. */
	if (rc == SQLITE_OK && stat(fuzz_path("copy/db"), &st) == 0 && st.st_size <= IMAGE_MAX)
		bytes = fuzz_get("copy/db", size);
	return bytes;
}

/* What two copies of one content may differ in: counters, and who wrote them. */
static void mask(uint8_t *bytes, size_t size)
{
	if (size < HEADER_SIZE)
		return;
	memset(bytes + 24, 0, 4);
	memset(bytes + 40, 0, 4);
	memset(bytes + 92, 0, 8);
}

/* ---- what is read -------------------------------------------------------------------------------------- */

static void take_event(void *arg, enum snap_level level, const char *text)
{
	(void)arg;
	(void)level;
	must(fuzz_is_line(text, sizeof(struct snap_err)));
	fuzz_note(text);
}

/* Opens what stands there now, as the kernel's one retry does. NULL with *RC. */
static struct snap_gen *open_gen(struct snap *snap, int *rc)
{
	struct snap_gen *gen = NULL, *moved = NULL;
	struct snap_err err = {""};
	struct snap_attr attr;

	*rc = snap_lookup(snap, "db", &attr, &gen, &err);
	if (*rc || attr.kind != SNAP_DATABASE) {
		must(*rc <= 0 && !gen);
		*rc = *rc ? *rc : -EINVAL;
		return NULL;
	}
	for (int i = 0; i < 3; i++) {
		*rc = snap_gen_open(gen, 0, &moved, &err);
		if (*rc != SNAP_MOVED)
			break;
		snap_gen_unref(gen);
		gen = moved;
	}
	if (*rc == 0)
		return gen;
	must(*rc < 0 && fuzz_is_line(err.text, sizeof(err.text)));
	fuzz_note(err.text);
	snap_gen_unref(gen);
	return NULL;
}

/* All bytes, in pieces that end nowhere in particular. NULL: they cannot be had. */
static uint8_t *read_gen(struct snap_gen *gen, size_t *size, size_t piece)
{
	struct snap_err err = {""};
	struct snap_attr attr;
	uint8_t *bytes;

	snap_gen_stat(gen, &attr);
	*size = (size_t)attr.size;
	if (attr.size > IMAGE_MAX)
		return NULL;
	bytes = malloc(*size + 1);
	must(bytes != NULL);
	for (size_t at = 0; at < *size;) {
		size_t want = piece < *size - at ? piece : *size - at;
		ssize_t n = snap_gen_read(gen, bytes + at, want, at, &err);

		if (n < 0) {
			must(fuzz_is_line(err.text, sizeof(err.text)));
			fuzz_note(err.text);
			free(bytes);
			return NULL;
		}
		must((size_t)n == want);
		at += want;
	}
	must(snap_gen_read(gen, bytes, 1, attr.size, &err) == 0);
	return bytes;
}

/* READ is FOUND, but for the end of a last page that was cut, which reads as zeros. */
static void must_be_found(const uint8_t *read, size_t size, const uint8_t *found, size_t found_size)
{
	size_t common = size < found_size ? size : found_size;

	must(memcmp(read, found, common) == 0 && size - common < 65536);
	for (size_t at = common; at < size; at++)
		must(read[at] == 0);
}

/* WHOLE: every page stands somewhere, so that it can be read; unless a journal leaves nothing. */
static void read_live(const uint8_t *found, size_t found_size, size_t piece, bool whole)
{
	struct snap_config config = {
		.wal_limit = 1 << 20, .wal_max = 64 << 20, .shared_locks = true, .event = take_event};
	struct snap_err err = {""};
	struct snap_gen *gen;
	struct snap *snap;
	int rc;

	config.store = fuzz_path("store");
	must(snap_create(&snap, &config, &err) == 0);
	must(snap_add_folder(snap, fuzz_path("live"), &err) == 0);
	gen = open_gen(snap, &rc);
	must(gen || found_size == 0 || !whole);
	if (gen) {
		size_t size;
		uint8_t *bytes = read_gen(gen, &size, piece);

		must(bytes || !found || !whole);
		if (bytes && found) {
			mask(bytes, size);
			must_be_found(bytes, size, found, found_size);
		}
		free(bytes);
		snap_gen_close(gen);
		snap_gen_unref(gen);
	}
	snap_destroy(snap);
}

/* ---- one input ----------------------------------------------------------------------------------------- */

static void must_be_same(const char *name, const uint8_t *bytes, size_t size)
{
	size_t now;
	uint8_t *read = fuzz_get(name, &now);

	must(bytes ? read && now == size && memcmp(read, bytes, size) == 0 : !read || now == 0);
	free(read);
}

static void put_files(struct bytes *bytes)
{
	uint8_t flags = bytes_u8(bytes), journal[512];
	size_t room = 128;
	struct bytes how = {bytes_take(bytes, &room), room};
	size_t size = bytes->left;
	const uint8_t *db = bytes->at;
	struct header header;
	uint32_t page_size = 512;

	if (!(flags & OWN_DATABASE)) {
		db = ours;
		size = ours_size;
	} else if (header_decode(&header, db, size) == 0) {
		page_size = header.page_size;
	}
	fuzz_folder_clear();
	must(mkdir(fuzz_path("live"), 0755) == 0 && mkdir(fuzz_path("copy"), 0755) == 0);
	fuzz_put("live/db", db, size);
	fuzz_put("copy/db", db, size);
	if (flags & HAS_WAL)
		put_wal(&how, flags, db, size, page_size);
	if (flags & HAS_JOURNAL) {
		memset(journal, 0, sizeof(journal));
		memcpy(journal, "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", 8);
		for (int i = 0; i < 8; i++) {
			uint8_t value = bytes_u8(&how);

			journal[8 + bytes_u8(&how) % 64] = value;
		}
		fuzz_put("live/db-journal", journal, sizeof(journal));
		fuzz_put("copy/db-journal", journal, sizeof(journal));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes bytes = {data, size};
	size_t db_size, wal_size, journal_size, found_size = 0;
	uint8_t *db, *wal, *journal, *found;
	size_t piece = 1 + (size ? data[size - 1] : 0) * 16u;
	int fd;

	make_ours();
	put_files(&bytes);
	fd = fuzz_free_fd();
	db = fuzz_get("live/db", &db_size);
	wal = fuzz_get("live/db-wal", &wal_size);
	journal = fuzz_get("live/db-journal", &journal_size);
	found = find(&found_size);
	if (found)
		mask(found, found_size);
	read_live(found, found_size, piece, size > 0 && (data[0] & ~(HAS_WAL | HAS_JOURNAL)) == 0);
	must_be_same("live/db", db, db_size);
	must_be_same("live/db-wal", wal, wal_size);
	must_be_same("live/db-journal", journal, journal_size);
	must(fuzz_free_fd() == fd);
	free(found);
	free(db);
	free(wal);
	free(journal);
	return 0;
}
