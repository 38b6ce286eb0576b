/* SPDX-License-Identifier: MIT */
/* test_vfs_stream.c - larger pieces: what reaches the file and when, on a file that only remembers. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "../../src/vfs_private.h"

#define ROOM (1u << 20)
#define PAGE 4096
#define FRAME (WAL_FRAME_HEADER + PAGE)

/* A file in memory that counts its calls, and refuses the one that it is told to. */
struct fake {
	sqlite3_file base;
	uint8_t bytes[ROOM];
	sqlite3_int64 size;
	int writes, reads;
	int refuse; /* this many writes from now; 0: none */
};

static int fake_write(sqlite3_file *base, const void *bytes, int n, sqlite3_int64 offset)
{
	struct fake *f = (struct fake *)base;

	f->writes++;
	if (f->refuse > 0 && --f->refuse == 0)
		return SQLITE_FULL;
	assert_between(n, 1, (1 << 17) - 1); /* what unixWrite() takes at a time */
	assert_true(offset + n <= ROOM);
	memcpy(f->bytes + offset, bytes, (size_t)n);
	if (offset + n > f->size)
		f->size = offset + n;
	return SQLITE_OK;
}

static int fake_read(sqlite3_file *base, void *bytes, int n, sqlite3_int64 offset)
{
	struct fake *f = (struct fake *)base;
	sqlite3_int64 left = f->size > offset ? f->size - offset : 0;

	f->reads++;
	assert_between(n, 1, (1 << 17) - 1);
	memset(bytes, 0, (size_t)n);
	memcpy(bytes, f->bytes + offset, (size_t)(left < n ? left : n));
	return left < n ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

static int fake_size(sqlite3_file *base, sqlite3_int64 *size)
{
	*size = ((struct fake *)base)->size;
	return SQLITE_OK;
}

static const sqlite3_io_methods fake_methods = {
	.iVersion = 1, .xRead = fake_read, .xWrite = fake_write, .xFileSize = fake_size};

static struct fake *fake_new(void)
{
	struct fake *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->base.pMethods = &fake_methods;
	return f;
}

/* A frame as walWriteOneFrame() writes it: its header, its page. COMMIT: the database's size after it. */
static int put_frame(struct vfs_stream *s, struct fake *f, uint32_t frame, uint8_t commit)
{
	sqlite3_int64 at = (sqlite3_int64)wal_frame_offset(frame, PAGE);
	uint8_t header[WAL_FRAME_HEADER] = {[3] = (uint8_t)frame, [7] = commit}, page[PAGE];
	int rc = vfs_stream_write(s, &f->base, header, sizeof(header), at);

	memset(page, (int)frame, sizeof(page));
	return rc ? rc : vfs_stream_write(s, &f->base, page, sizeof(page), at + WAL_FRAME_HEADER);
}

static void check_frames(const struct fake *f, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i <= last; i++) {
		const uint8_t *frame = f->bytes + wal_frame_offset(i, PAGE);

		assert_int_equal(frame[3], (uint8_t)i);
		for (size_t b = 0; b < PAGE; b++)
			assert_int_equal(frame[WAL_FRAME_HEADER + b], (uint8_t)i);
	}
}

static void test_collects(void **state)
{
	struct vfs_stream s = {.bytes = NULL};
	struct fake *f = fake_new();

	(void)state;
	for (uint32_t i = 1; i <= 100; i++)
		assert_int_equal(put_frame(&s, f, i, 0), SQLITE_OK);
	assert_between(f->writes, 1, 10); /* instead of 200 */
	assert_int_equal(vfs_stream_flush(&s, &f->base), SQLITE_OK);
	assert_int_equal(f->size, (sqlite3_int64)wal_frame_offset(101, PAGE));
	check_frames(f, 1, 100);
	assert_int_equal(vfs_stream_flush(&s, &f->base), SQLITE_OK); /* nothing twice */
	assert_between(f->writes, 1, 11);
	vfs_stream_finish(&s);
	free(f);
}

/* When SQLite's xWrite of a frame that commits has returned, the file has all of it. */
static void test_commit_goes_out(void **state)
{
	(void)state;
	for (uint32_t frames = 1; frames <= 40; frames++) {
		struct vfs_stream s = {.bytes = NULL};
		struct fake *f = fake_new();

		for (uint32_t i = 1; i < frames; i++)
			assert_int_equal(put_frame(&s, f, i, 0), SQLITE_OK);
		assert_int_equal(put_frame(&s, f, frames, 9), SQLITE_OK);
		assert_int_equal(f->size, (sqlite3_int64)wal_frame_offset(frames + 1, PAGE));
		check_frames(f, 1, frames);
		vfs_stream_finish(&s);
		free(f);
	}
}

/* walRewriteChecksums(): the headers of frames that are there already are written again, the one that commits
 * last, and nothing after it. walWriteToLog(): a frame beyond a sync comes in parts. */
static void test_commit_without_page(void **state)
{
	uint8_t header[WAL_FRAME_HEADER] = {[3] = 4, [7] = 4, [20] = 99}, page[PAGE];
	sqlite3_int64 at = (sqlite3_int64)wal_frame_offset(4, PAGE);
	struct vfs_stream s = {.bytes = NULL};
	struct fake *f = fake_new();

	(void)state;
	for (uint32_t i = 1; i <= 4; i++)
		assert_int_equal(put_frame(&s, f, i, i == 4 ? 4 : 0), SQLITE_OK);
	assert_int_equal(vfs_stream_write(&s, &f->base, header, sizeof(header), at), SQLITE_OK);
	assert_memory_equal(f->bytes + at, header, sizeof(header));
	header[20] = 98; /* followed by its page, in parts */
	memset(page, 5, sizeof(page));
	at = (sqlite3_int64)wal_frame_offset(5, PAGE);
	for (int part = 1; part < PAGE; part += 777) {
		assert_int_equal(vfs_stream_write(&s, &f->base, header, sizeof(header), at), SQLITE_OK);
		assert_int_equal(vfs_stream_write(&s, &f->base, page, part, at + WAL_FRAME_HEADER),
				 SQLITE_OK);
		assert_int_equal(vfs_stream_write(&s, &f->base, page + part, PAGE - part,
						  at + WAL_FRAME_HEADER + part),
				 SQLITE_OK);
		assert_memory_equal(f->bytes + at, header, sizeof(header));
		assert_memory_equal(f->bytes + at + WAL_FRAME_HEADER, page, sizeof(page));
		memset(f->bytes + at, 0, FRAME);
	}
	check_frames(f, 1, 4);
	vfs_stream_finish(&s);
	free(f);
}

/* The header of a WAL that starts over. */
static void test_wal_header(void **state)
{
	uint8_t header[WAL_FILE_HEADER] = {1, 2, 3};
	struct vfs_stream s = {.bytes = NULL};
	struct fake *f = fake_new();

	(void)state;
	assert_int_equal(vfs_stream_write(&s, &f->base, header, sizeof(header), 0), SQLITE_OK);
	assert_memory_equal(f->bytes, header, sizeof(header));
	vfs_stream_finish(&s);
	free(f);
}

/* A disk that refuses is heard of no later than with the frame that commits, whichever write it was. */
static void test_refusal_before_commit(void **state)
{
	(void)state;
	for (int n = 1; n <= 8; n++) {
		struct vfs_stream s = {.bytes = NULL};
		struct fake *f = fake_new();
		int rc = SQLITE_OK, writes;

		for (uint32_t i = 1; i < 60; i++)
			assert_int_equal(put_frame(&s, f, i, 0), SQLITE_OK);
		assert_int_equal(put_frame(&s, f, 60, 9), SQLITE_OK);
		writes = f->writes;
		vfs_stream_finish(&s);
		memset(f->bytes, 0, sizeof(f->bytes));
		f->refuse = n;
		f->size = 0;
		for (uint32_t i = 1; i < 60 && rc == SQLITE_OK; i++)
			rc = put_frame(&s, f, i, 0);
		if (rc == SQLITE_OK)
			rc = put_frame(&s, f, 60, 9);
		assert_int_equal(rc, n <= writes ? SQLITE_FULL : SQLITE_OK);
		vfs_stream_finish(&s);
		free(f);
	}
}

/* A page that is written again lies before what waits: the order on the file is that of the calls. */
static void test_rewrites(void **state)
{
	struct vfs_stream s = {.bytes = NULL};
	struct fake *f = fake_new();
	uint8_t page[PAGE];

	(void)state;
	for (uint32_t i = 1; i <= 5; i++)
		put_frame(&s, f, i, 0);
	memset(page, 77, sizeof(page));
	assert_int_equal(vfs_stream_write(&s, &f->base, page, PAGE,
					  (sqlite3_int64)wal_frame_offset(2, PAGE) + WAL_FRAME_HEADER),
			 SQLITE_OK);
	put_frame(&s, f, 6, 0);
	assert_int_equal(vfs_stream_flush(&s, &f->base), SQLITE_OK);
	check_frames(f, 3, 6);
	assert_int_equal(f->bytes[wal_frame_offset(2, PAGE) + WAL_FRAME_HEADER], 77);
	vfs_stream_finish(&s);
	free(f);
}

/* In whatever order and size it is read, the bytes are the file's, zeros past its end. */
static void test_reads_ahead(void **state)
{
	static const sqlite3_int64 sizes[] = {1, PAGE, 65535, 65536, 65537, 300000, 200 * PAGE};
	struct fake *f = fake_new();
	uint8_t page[PAGE];

	(void)state;
	srand(1);
	for (size_t i = 0; i < ROOM; i++)
		f->bytes[i] = (uint8_t)rand();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct vfs_stream s = {.bytes = NULL};

		f->size = sizes[i];
		f->reads = 0;
		for (sqlite3_int64 at = 0; at < f->size + PAGE; at += PAGE) {
			int rc = vfs_stream_read(&s, &f->base, page, PAGE, at);

			assert_int_equal(rc, at + PAGE <= f->size ? SQLITE_OK : SQLITE_IOERR_SHORT_READ);
			for (sqlite3_int64 b = 0; b < PAGE; b++)
				assert_int_equal(page[b], at + b < f->size ? f->bytes[at + b] : 0);
		}
		if (f->size == 200 * PAGE)
			assert_between(f->reads, 1, 40);
		for (int n = 0; n < 300; n++) {
			sqlite3_int64 at = rand() % (int)(f->size + 1);
			int size = 1 + rand() % PAGE;

			vfs_stream_read(&s, &f->base, page, size, at);
			for (sqlite3_int64 b = 0; b < size; b++)
				assert_int_equal(page[b], at + b < f->size ? f->bytes[at + b] : 0);
		}
		vfs_stream_finish(&s);
	}
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_collects),
		cmocka_unit_test(test_commit_goes_out),
		cmocka_unit_test(test_commit_without_page),
		cmocka_unit_test(test_wal_header),
		cmocka_unit_test(test_refusal_before_commit),
		cmocka_unit_test(test_rewrites),
		cmocka_unit_test(test_reads_ahead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
