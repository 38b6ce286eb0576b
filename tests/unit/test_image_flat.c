/* SPDX-License-Identifier: MIT */
/* test_image_flat.c - images of a single file, which may be cut or nothing at all. */
#include "images.h"

/* A file of SIZE bytes that tell their place, and the same in memory. */
static int make_flat(struct fixture *f, struct copy *copy, size_t size)
{
	char path[PATH_MAX];
	int fd = open(folder_file(&f->folder, "flat", path), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	copy->size = size;
	copy->bytes = sqlite3_malloc64(size);
	assert_non_null(copy->bytes);
	for (size_t i = 0; i < size; i++)
		copy->bytes[i] = (unsigned char)(i * 31 + i / 256 + 1);
	assert_int_equal(write(fd, copy->bytes, size), size);
	mask(copy->bytes, size, 0);
	return fd;
}

static void test_flat(void **state)
{
	struct fixture *f = *state;
	struct image *image;
	struct copy copy;
	int64_t since;
	char byte;
	int fd = make_flat(f, &copy, 3 * 512);

	assert_int_equal(image_create_flat(&image, fd, 512), 0);
	assert_reads_all(image, 0, &copy);
	for (uint64_t offset = 0; offset < copy.size; offset += 7) {
		for (size_t size = 1; offset + size <= copy.size; size += 11)
			assert_read(image, 0, &copy, size, offset);
	}
	assert_false(image_is_pinned(image, &since));
	assert_null(image_live(image));
	assert_true(image_covers(image, 0));
	assert_false(image_covers(image, 1));
	assert_int_equal(spool(image, 0, copy.size, false, &f->err), 0);
	assert_int_equal(spool(image, 0, copy.size, true, &f->err), 0);
	assert_reads_all(image, 0, &copy);
	/* It has no frames, and an end. */
	assert_int_equal(image_read(image, 1, &byte, 1, 0, &f->err), -EIO);
	assert_true(strlen(f->err.text) > 0);
	assert_int_equal(image_read(image, 0, &byte, 1, 3 * 512, NULL), -EIO);
	assert_ptr_equal(image_ref(image), image);
	image_unref(image);
	assert_reads_all(image, 0, &copy);
	assert_false(image_is_dead(image));
	image_unref(image);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	sqlite3_free(copy.bytes);
}

static void assert_zeros(struct image *image, size_t size, uint64_t offset)
{
	unsigned char *buf = malloc(size);

	assert_non_null(buf);
	memset(buf, 0xa5, size);
	assert_int_equal(image_read(image, 0, buf, size, offset, NULL), 0);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(buf[i], 0);
	free(buf);
}

/* SQLite takes a last page that is cut for one that ends in zeros. */
static void test_flat_cut(void **state)
{
	struct fixture *f = *state;
	struct image *image;
	struct copy copy;
	unsigned char bytes[1024];
	int fd = make_flat(f, &copy, 1024 + 100);

	assert_int_equal(image_create_flat(&image, fd, 512), 0);
	assert_reads_all(image, 0, &copy);
	memset(bytes, 0xa5, sizeof(bytes));
	assert_int_equal(image_read(image, 0, bytes, 1024, 512, NULL), 0);
	assert_memory_equal(bytes, copy.bytes + 512, 612);
	for (int i = 612; i < 1024; i++)
		assert_int_equal(bytes[i], 0);
	assert_zeros(image, 412, 1024 + 100);
	assert_zeros(image, 1, 1535);
	assert_int_equal(image_read(image, 0, bytes, 1, 1536, NULL), -EIO);
	assert_int_equal(image_read(image, 0, bytes, 2, 1535, NULL), -EIO);
	image_unref(image);
	sqlite3_free(copy.bytes);
}

/* SQLite never uses the page of the lock bytes, and leaves it out when it comes last. */
static void test_lock_byte_page(void **state)
{
	static const uint32_t page_sizes[] = {512, 4096, 65536};
	struct fixture *f = *state;
	char path[PATH_MAX];

	for (size_t i = 0; i < 3; i++) {
		uint32_t page_size = page_sizes[i];
		struct image *image;
		char byte;
		int fd = open(folder_file(&f->folder, "big", path), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
			      0600);

		assert_int_equal(ftruncate(fd, 1 << 30), 0);
		assert_int_equal(pwrite(fd, "x", 1, (1 << 30) - 1), 1);
		assert_int_equal(image_create_flat(&image, fd, page_size), 0);
		assert_int_equal(image_read(image, 0, &byte, 1, (1 << 30) - 1, NULL), 0);
		assert_int_equal(byte, 'x');
		assert_zeros(image, page_size, 1 << 30);
		assert_zeros(image, page_size - 1, (1 << 30) + 1);
		assert_int_equal(image_read(image, 0, &byte, 1, (1 << 30) + page_size, NULL), -EIO);
		image_unref(image);
	}
}

static void test_flat_of_nothing(void **state)
{
	struct image *image;
	char byte;

	(void)state;
	assert_int_equal(image_create_flat(&image, -1, 512), 0);
	assert_int_equal(image_read(image, 0, &byte, 0, 0, NULL), 0);
	assert_int_equal(image_read(image, 0, &byte, 1, 0, NULL), -EIO);
	image_unref(image);
	image_unref(NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_flat),
		test(test_flat_cut),
		test(test_lock_byte_page),
		test(test_flat_of_nothing),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
