/* SPDX-License-Identifier: MIT */
/* images.h - what the tests of images share: bytes of an image, compared with a copy from the same moment. */
#ifndef SQLSNAP_TEST_IMAGES_H
#define SQLSNAP_TEST_IMAGES_H

#include "live_db.h"

#include "../../src/image.h"

#define PLENTY (1ull << 40)

/* The database as it is now, read in a transaction of its own. */
static inline struct copy copy_now(struct fixture *f)
{
	struct conn *conn = pin(f, 0);
	struct copy copy = copy_of(conn->db.handle);

	live_unpin(conn);
	return copy;
}

/* An image of this moment whose connection, which also goes to CONN, fails as FAULT says (NULL: never). COPY,
 * unless NULL, receives what the image must read; nobody commits meanwhile. */
static inline struct image *pin_faulty(struct fixture *f, int (*fault)(void *arg, enum vfs_call call),
				       void *arg, struct conn **conn, uint32_t *max_frame, struct copy *copy)
{
	struct image *image = NULL;
	uint32_t page_size;

	*conn = pin(f, 0);
	*max_frame = (*conn)->start.max_frame;
	page_size = (*conn)->start.page_size;
	if (copy)
		*copy = copy_of((*conn)->db.handle);
	if (copy && page_size == 0) { /* an empty WAL has no page size */
		page_size = (uint32_t)copy->bytes[16] << 8 | copy->bytes[17];
		page_size = page_size == 1 ? 65536 : page_size;
	}
	vfs_set_fault((*conn)->db.vfs, fault, arg);
	assert_int_equal(image_create_pinned(&image, *conn, page_size), 0);
	return image;
}

static inline struct image *pin_image(struct fixture *f, uint32_t *max_frame, struct copy *copy)
{
	struct conn *conn;

	return pin_faulty(f, NULL, NULL, &conn, max_frame, copy);
}

/* image_spool() of one image that somebody else holds too. */
static inline int spool(struct image *image, uint32_t max_frame, uint64_t size, bool clone_only,
			struct snap_err *err)
{
	int rc;

	image_ref(image);
	rc = image_spool(&image, &max_frame, 1, size, clone_only, err);
	image_unref(image);
	return rc;
}

static inline bool app_can_truncate(struct fixture *f)
{
	return app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)") == 0;
}

/* The application goes on writing under the image. */
static inline void go_on(struct fixture *f)
{
	app_do(&f->app, "UPDATE t SET b=randomblob(length(b)) WHERE a%4=1");
	app_do(&f->app, "INSERT INTO t(b) SELECT randomblob(length(b)) FROM t WHERE a%9=0");
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
	app_do(&f->app, "DELETE FROM t WHERE a%11=0");
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* 0 when the bytes are right, 1 when they are not, -errno. BUF has room for SIZE + 2. */
static inline int read_and_compare(struct image *image, uint32_t max_frame, const struct copy *copy,
				   unsigned char *buf, size_t size, uint64_t offset)
{
	int rc;

	buf[0] = buf[size + 1] = 0x5a;
	memset(buf + 1, 0xa5, size);
	rc = image_read(image, max_frame, buf + 1, size, offset, NULL);
	if (rc)
		return rc;
	mask(buf + 1, size, offset);
	return memcmp(buf + 1, copy->bytes + offset, size) != 0 || buf[0] != 0x5a || buf[size + 1] != 0x5a;
}

static inline void assert_read(struct image *image, uint32_t max_frame, const struct copy *copy, size_t size,
			       uint64_t offset)
{
	unsigned char *buf = malloc(size + 2);
	int rc;

	assert_non_null(buf);
	rc = read_and_compare(image, max_frame, copy, buf, size, offset);
	if (rc)
		fail_msg("%zu bytes at %llu: %d", size, (unsigned long long)offset, rc);
	free(buf);
}

static inline void assert_reads_all(struct image *image, uint32_t max_frame, const struct copy *copy)
{
	assert_read(image, max_frame, copy, copy->size, 0);
}

static inline uint32_t next_random(uint32_t *random)
{
	*random = *random * 1103515245u + 12345u;
	return *random >> 8;
}

#define BIG 50000 /* bytes */

/* Pieces of any size at any place, and the ones where mistakes would be made. */
static inline void assert_reads_pieces(struct image *image, uint32_t max_frame, const struct copy *copy,
				       uint32_t page_size)
{
	const uint64_t edges[] = {0,
				  23,
				  99,
				  page_size,
				  2ull * page_size,
				  255ull * page_size,
				  256ull * page_size,
				  257ull * page_size,
				  512ull * page_size,
				  copy->size};
	const size_t sizes[] = {1,
				2,
				24,
				511,
				page_size - 1,
				page_size,
				page_size + 1,
				3ull * page_size,
				131072,
				256ull * page_size - 1,
				256ull * page_size,
				256ull * page_size + 1};
	uint32_t random = page_size;

	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]) * 3; i++) {
		/* One byte before, at, and after the edge; pieces that begin there, and that end there. */
		uint64_t at = edges[i / 3] + i % 3 - 1;

		for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
			if (sizes[k] > BIG && i % 9 != k % 9)
				continue; /* some of them are enough */
			if (at <= copy->size && at + sizes[k] <= copy->size)
				assert_read(image, max_frame, copy, sizes[k], at);
			if (at >= sizes[k] && at <= copy->size)
				assert_read(image, max_frame, copy, sizes[k], at - sizes[k]);
		}
	}
	for (int i = 0; i < 100; i++) {
		uint64_t at = next_random(&random) % copy->size;
		size_t size = 1 + next_random(&random) % (3u * page_size);

		assert_read(image, max_frame, copy, size < copy->size - at ? size : copy->size - at, at);
	}
	assert_int_equal(image_read(image, max_frame, NULL, 0, 0, NULL), 0);
}

static inline void assert_dead(struct fixture *f, struct image *image, uint32_t max_frame)
{
	struct wal_header now;
	int64_t since;
	char byte = 'x';

	assert_true(image_is_dead(image));
	assert_false(image_covers(image, max_frame) || image_covers(image, 0));
	for (int i = 0; i < 2; i++) {
		f->err.text[0] = '\0';
		assert_int_equal(image_read(image, max_frame, &byte, 1, 0, &f->err), -EIO);
		assert_true(strlen(f->err.text) > 0);
	}
	assert_int_equal(image_read(image, 0, &byte, 1, 0, NULL), -EIO);
	assert_false(image_is_pinned(image, &since));
	if (live_sample(f->live, &now) == 0)
		assert_false(image_accepts(image, &now, PLENTY));
	assert_int_equal(spool(image, max_frame, 4096, false, &f->err), 0); /* nothing to do */
	assert_true(image_is_dead(image));
}

#endif
