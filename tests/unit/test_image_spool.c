/* SPDX-License-Identifier: MIT */
/* test_image_spool.c - spools of images: those that fail, those nobody wants, those that several share. */
#include "images.h"

static void assert_as_it_was(struct image *image, uint32_t max_frame, const struct copy *copy, int fds)
{
	int64_t since;

	assert_int_equal(count_fds(), fds);
	assert_true(image_is_pinned(image, &since));
	assert_false(image_is_dead(image));
	assert_reads_all(image, max_frame, copy);
}

/* Takes what room is left, at the first read once that is armed. */
struct filler {
	bool armed;
	int fd;
};

static int fill_at_read(void *arg, enum vfs_call call)
{
	struct filler *filler = arg;
	char zeros[4096] = "";

	if (filler->armed && call == VFS_READ) {
		while (write(filler->fd, zeros, sizeof(zeros)) > 0)
			;
		filler->armed = false;
	}
	return SQLITE_OK;
}

static void test_spool_fails(void **state)
{
	struct fixture *f = *state;
	struct filler filler = {.armed = false};
	struct image *image;
	struct conn *conn;
	struct copy copy;
	uint32_t max_frame;
	char path[PATH_MAX];
	int fds;

	make_database(f, "WAL", 4096, 500, 3500);
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
	folder_mount_tmpfs(&f->store, "size=19m");
	connect_live(f);
	image = pin_faulty(f, fill_at_read, &filler, &conn, &max_frame, &copy);
	/* The file system cannot clone; the descriptor for it stays. */
	assert_int_equal(spool(image, max_frame, copy.size, true, &f->err), -EOPNOTSUPP);
	fds = count_fds();
	assert_int_equal(spool(image, max_frame, copy.size, true, &f->err), -EOPNOTSUPP);
	assert_as_it_was(image, max_frame, &copy, fds);
	/* No room at the beginning. */
	assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), -ENOSPC);
	assert_non_null(strstr(f->err.text, f->store.path));
	assert_as_it_was(image, max_frame, &copy, fds);
	/* No room any more. */
	assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT, "size=40m"), 0);
	filler.fd = open(folder_file(&f->store, "fill", path), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	filler.armed = true;
	assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), -ENOSPC);
	assert_false(filler.armed);
	assert_as_it_was(image, max_frame, &copy, fds + 1);
	assert_int_equal(ftruncate(filler.fd, 0), 0);
	close(filler.fd);
	/* Read-only. */
	assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), -EROFS);
	assert_as_it_was(image, max_frame, &copy, fds);
	assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT, NULL), 0);
	assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), 0);
	assert_reads_all(image, max_frame, &copy);
	image_unref(image);
	assert_int_equal(count_fds(), fds);
	sqlite3_free(copy.bytes);
}

/* Somebody who goes away after some reads. */
struct leaver {
	struct image *image; /* a reference; NULL: gone */
	int reads_left;
};

static int leave_at_read(void *arg, enum vfs_call call)
{
	struct leaver *leaver = arg;

	if (call == VFS_READ && leaver->image && leaver->reads_left-- == 0) {
		image_unref(leaver->image);
		leaver->image = NULL;
	}
	return SQLITE_OK;
}

/* What nobody reads any more is not copied to the end: 3 MiB of file and 2 of WAL, at 16 reads each. */
static void test_spool_unwanted(void **state)
{
	struct fixture *f = *state;
	struct leaver leaver = {.image = NULL};
	struct image *image;
	struct conn *conn;
	struct copy copy;
	uint32_t max_frame;
	int fds, ended_early = 0;

	make_database(f, "WAL", 4096, 700, 3500);
	assert_true(app_can_truncate(f));
	app_do(&f->app, "UPDATE t SET b=randomblob(3500) WHERE a<500");
	connect_live(f);
	image = pin_faulty(f, leave_at_read, &leaver, &conn, &max_frame, &copy);
	assert_int_equal(image_spool(&image, &max_frame, 1, copy.size, false, &f->err), 0);
	fds = count_fds();
	assert_as_it_was(image, max_frame, &copy, fds);
	for (int n = 0;; n += 8) {
		int64_t since;

		leaver = (struct leaver){.image = image_ref(image), .reads_left = n};
		assert_int_equal(image_spool(&image, &max_frame, 1, copy.size, false, &f->err), 0);
		if (leaver.image)
			image_unref(leaver.image);
		leaver.image = NULL;
		if (!image_is_pinned(image, &since))
			break;
		assert_as_it_was(image, max_frame, &copy, fds);
		ended_early++;
	}
	assert_between(ended_early, 3, 12);
	assert_reads_all(image, max_frame, &copy);
	image_unref(image);
	sqlite3_free(copy.bytes);
}

/* Somebody who opens while it is copied. */
struct comer {
	struct fixture *f;
	struct image *image;
	struct wal_header now; /* that he was promised */
	bool comes;
};

static int come_at_read(void *arg, enum vfs_call call)
{
	struct comer *comer = arg;

	if (comer->comes && call == VFS_READ) {
		comer->comes = false;
		app_do(&comer->f->app, "UPDATE t SET b=randomblob(length(b)) WHERE a%4=1");
		assert_int_equal(live_sample(comer->f->live, &comer->now), 0);
		assert_true(image_accepts(comer->image, &comer->now, UINT64_MAX));
	}
	return SQLITE_OK;
}

/* Whoever is promised a commit while older ones are copied reads it, then and later. */
static void test_spool_beside_an_open(void **state)
{
	struct fixture *f = *state;
	struct comer comer = {.f = f};
	struct image *image;
	struct conn *conn;
	struct copy copy, newer;
	uint32_t max_frame;
	uint64_t promised;
	int64_t since;

	make_database(f, "WAL", 4096, 500, 3500);
	connect_live(f);
	image = comer.image = pin_faulty(f, come_at_read, &comer, &conn, &max_frame, &copy);
	comer.comes = true;
	assert_int_equal(spool(image, max_frame, copy.size, false, &f->err), 0);
	assert_false(comer.comes);
	assert_true(comer.now.max_frame > max_frame);
	newer = copy_now(f);
	assert_true(image_covers(image, comer.now.max_frame));
	assert_reads_all(image, comer.now.max_frame, &newer);
	assert_reads_all(image, max_frame, &copy);
	assert_int_equal(image_promised(image, &promised), comer.now.max_frame);
	assert_int_equal(promised, newer.size);
	assert_int_equal(spool(image, comer.now.max_frame, newer.size, false, &f->err), 0);
	assert_false(image_is_pinned(image, &since));
	assert_true(image_covers(image, comer.now.max_frame));
	assert_false(image_covers(image, comer.now.max_frame + 1));
	assert_reads_all(image, comer.now.max_frame, &newer);
	assert_reads_all(image, max_frame, &copy);
	image_unref(image);
	sqlite3_free(copy.bytes);
	sqlite3_free(newer.bytes);
}

#define SEVERAL 5

/* Pins on one WAL at SEVERAL moments. */
static void pin_several(struct fixture *f, struct image *images[SEVERAL], uint32_t max_frames[SEVERAL],
			struct copy copies[SEVERAL], uint64_t *size)
{
	*size = 0;
	for (int i = 0; i < SEVERAL; i++) {
		images[i] = pin_image(f, &max_frames[i], &copies[i]);
		if (copies[i].size > *size)
			*size = copies[i].size;
		go_on(f);
	}
}

static void exchange(struct image **images, uint32_t *max_frames, struct copy *copies, int a, int b)
{
	struct image *image = images[a];
	uint32_t max_frame = max_frames[a];
	struct copy copy = copies[a];

	images[a] = images[b];
	max_frames[a] = max_frames[b];
	copies[a] = copies[b];
	images[b] = image;
	max_frames[b] = max_frame;
	copies[b] = copy;
}

static void test_spool_of_several(void **state)
{
	struct fixture *f = *state;
	struct image *images[SEVERAL + 2];
	uint32_t max_frames[SEVERAL + 2] = {0};
	struct copy copies[SEVERAL];
	uint64_t size;
	int fds;

	make_database(f, "WAL", 1024, 300, 700);
	connect_live(f);
	assert_true(app_can_truncate(f));
	app_do(&f->app, "UPDATE t SET b=randomblob(700) WHERE a%3=0");
	pin_several(f, images, max_frames, copies, &size);
	/* Others that need nothing may be among them. */
	assert_int_equal(image_create_flat(&images[SEVERAL], -1, 1024), 0);
	assert_int_equal(image_create_flat(&images[SEVERAL + 1], -1, 1024), 0);
	image_kill(images[SEVERAL + 1]);
	/* In no order of time. */
	exchange(images, max_frames, copies, 0, SEVERAL - 1);
	exchange(images, max_frames, copies, 1, 2);
	for (int i = 0; i < SEVERAL; i++)
		assert_ptr_equal(image_live(images[i]), f->live);
	fds = count_fds();
	image_ref(images[SEVERAL]); /* anybody's reader keeps it going */
	assert_int_equal(image_spool(images, max_frames, SEVERAL + 2, size, false, &f->err), 0);
	image_unref(images[SEVERAL]);
	/* One spool for all, and connections that nobody needs any more. */
	assert_true(count_fds() <= fds + 2);
	assert_true(app_can_truncate(f));
	go_on(f);
	for (int i = 0; i < SEVERAL; i++) {
		assert_null(image_live(images[i]));
		assert_reads_pieces(images[i], max_frames[i], &copies[i], 1024);
		assert_reads_all(images[i], max_frames[i], &copies[i]);
	}
	/* It lasts as long as one of them. */
	for (int i = 0; i < SEVERAL + 2; i++) {
		image_unref(images[i]);
		if (i + 1 < SEVERAL)
			assert_reads_all(images[SEVERAL - 1], max_frames[SEVERAL - 1], &copies[SEVERAL - 1]);
	}
	assert_int_equal(image_spool(NULL, NULL, 0, 0, false, NULL), 0);
	for (int i = 0; i < SEVERAL; i++)
		sqlite3_free(copies[i].bytes);
}

/* One that turns out to be lost harms none of the others. */
static void test_spool_of_several_one_lost(void **state)
{
	struct fixture *f = *state;
	struct image *images[3];
	uint32_t max_frames[3];
	struct copy copies[2];
	struct conn *conn = NULL;
	bool fail = false;

	make_database(f, "WAL", 1024, 300, 700);
	connect_live(f);
	for (int lost = 0; lost < 3; lost++) {
		fail = false;
		for (int i = 0, k = 0; i < 3; i++) {
			if (i == lost)
				images[i] = pin_faulty(f, fail_reads, &fail, &conn, &max_frames[i], NULL);
			else
				images[i] = pin_image(f, &max_frames[i], &copies[k++]);
		}
		fail = true;
		assert_int_equal(db_exec(&conn->db, "SELECT sum(length(b)) FROM t"), SQLITE_IOERR_READ);
		fail = false;
		image_ref(images[0]);
		assert_int_equal(image_spool(images, max_frames, 3, copies[0].size, false, &f->err), -EIO);
		image_unref(images[0]);
		assert_non_null(strstr(f->err.text, "lock"));
		for (int i = 0, k = 0; i < 3; i++) {
			assert_int_equal(image_is_dead(images[i]), i == lost);
			assert_null(image_live(images[i]));
			if (i != lost)
				assert_reads_all(images[i], max_frames[i], &copies[k++]);
			image_unref(images[i]);
		}
		sqlite3_free(copies[0].bytes);
		sqlite3_free(copies[1].bytes);
		disconnect_live(f); /* with it the connection that was told to fail */
		connect_live(f);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(test_spool_fails),
		test(test_spool_unwanted),
		test(test_spool_beside_an_open),
		test(test_spool_of_several),
		test(test_spool_of_several_one_lost),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
