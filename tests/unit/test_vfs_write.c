/* SPDX-License-Identifier: MIT */
/*
 * test_vfs_write.c - who does not write and the WRITE lock of the wal-index: it is a writer's, and an
 * application without a busy timeout is "database is locked" for as long as anybody else has it.
 *
 * What a reader meets by chance is made here: the header is torn as a commit leaves it for nanoseconds, and
 * whole again when SQLite asks for the lock. Every lock that this process takes on the byte is seen on its
 * way to the kernel.
 */
#include "reader.h"

#include <sys/mman.h>

#include "../../src/vfs_private.h"

#define WRITE_OFFSET 0 /* offset; wal.c, WAL_WRITE_LOCK */
#define WRITE_BYTE 120 /* walformat.html 2.3 */
#define WORD_CHANGE 2  /* iChange in both copies of the header */
#define COPY_WORDS (WAL_INDEX_HEADER / sizeof(uint32_t))

/* ---- what is locked ------------------------------------------------------------------------------------ */

static struct {
	struct app *app; /* asked while the lock is held */
	int taken;
	int refused;		  /* the application's own requests */
	struct commit *ends;	  /* as the kernel is about to be asked */
	sqlite3_syscall_ptr real; /* what the library has put in the place of fcntl(2) */
} write_lock;

static int begin_immediate(struct app *app)
{
	int rc = app_ask(app, "BEGIN IMMEDIATE").rc;

	if (rc == SQLITE_OK)
		app_do(app, "ROLLBACK");
	return rc;
}

/* A commit that is between the two copies of the header. */
struct commit {
	volatile uint32_t *header;
	bool begins; /* when SQLite asks for its first lock, and this is cleared */
	bool ends;   /* when SQLite asks for a lock */
	int asked;
};

static void tear(struct commit *c)
{
	c->header[WORD_CHANGE]++;
}

static bool is_torn(const struct commit *c)
{
	return c->header[WORD_CHANGE] != c->header[COPY_WORDS + WORD_CHANGE];
}

/* As it was: the checksum is that of what was there before. */
static void end(struct commit *c)
{
	uint32_t first = c->header[WORD_CHANGE], second = c->header[COPY_WORDS + WORD_CHANGE];

	c->header[WORD_CHANGE] = c->header[COPY_WORDS + WORD_CHANGE] = first < second ? first : second;
}

/* Stands before what the library has in the place of fcntl(2) in the unix VFS. */
static int watch_fcntl(int fd, int op, ...)
{
	int (*real)(int, int, ...) = (int (*)(int, int, ...))write_lock.real;
	const struct flock *lock;
	va_list args;
	bool takes;
	int rc;

	va_start(args, op);
	lock = op == F_SETLK || op == F_GETLK ? va_arg(args, struct flock *) : NULL;
	takes = op == F_SETLK && lock->l_type != F_UNLCK && lock->l_start <= WRITE_BYTE &&
		lock->l_start + lock->l_len > WRITE_BYTE;
	if (takes && write_lock.ends)
		end(write_lock.ends);
	rc = lock ? real(fd, op, lock) : real(fd, op, va_arg(args, int));
	va_end(args);
	if (takes && rc == 0) {
		write_lock.taken++;
		write_lock.refused += begin_immediate(write_lock.app) != SQLITE_OK;
	}
	return rc;
}

static void watch(struct app *app)
{
	sqlite3_vfs *real = sqlite3_vfs_find("unix");

	memset(&write_lock, 0, sizeof(write_lock));
	write_lock.app = app;
	write_lock.real = real->xGetSystemCall(real, "fcntl");
	assert_int_equal(real->xSetSystemCall(real, "fcntl", (sqlite3_syscall_ptr)watch_fcntl), SQLITE_OK);
}

static int unwatch(void **state)
{
	sqlite3_vfs *real = sqlite3_vfs_find("unix");

	if (write_lock.real)
		real->xSetSystemCall(real, "fcntl", write_lock.real);
	write_lock.real = NULL;
	if (geteuid() != 0 && seteuid(0) < 0)
		return -1;
	return teardown(state);
}

static void become_nobody(void)
{
	assert_int_equal(seteuid(65534), 0);
	assert_int_equal(prctl(PR_SET_DUMPABLE, 1), 0); /* /proc/self/fd stays ours */
}

/* ---- the header ---------------------------------------------------------------------------------------- */

static int end_commit(void *arg, enum vfs_call call)
{
	struct commit *c = arg;

	if (call != VFS_SHM_LOCK)
		return SQLITE_OK;
	c->asked++;
	if (c->ends && is_torn(c))
		end(c);
	if (c->begins) {
		c->begins = false;
		c->header[COPY_WORDS + WORD_CHANGE]++; /* writers change the second copy first */
	}
	return SQLITE_OK;
}

/* A reader without a transaction, before whose eyes a commit is to happen. */
static void open_before(struct fixture *f, struct commit *c, bool ends)
{
	begin_reader(f, APP_ROWS(10));
	assert_int_equal(db_exec(&f->db, "ROLLBACK"), SQLITE_OK);
	*c = (struct commit){.header = f->db.vfs->regions[0], .ends = ends};
	vfs_set_fault(f->db.vfs, end_commit, c);
	watch(&f->app);
	assert_int_equal(begin_immediate(&f->app), SQLITE_OK);
	tear(c);
}

static void test_a_commit_that_ends(void **state)
{
	struct fixture *f = *state;
	struct commit c;

	open_before(f, &c, true);
	assert_int_equal(begin(&f->db), SQLITE_OK);
	assert_true(c.asked > 0);
	assert_false(is_torn(&c));
	assert_between(vfs_read_slot(f->db.vfs), 1, 4);
	assert_int_equal(write_lock.refused, 0);
	assert_int_equal(write_lock.taken, 0);
}

/* A writer that was held up there for so long that it looks dead, and goes on as the kernel is asked. */
static void test_a_commit_that_was_held_up(void **state)
{
	struct fixture *f = *state;
	struct commit c;

	open_before(f, &c, false);
	write_lock.ends = &c;
	assert_int_equal(begin(&f->db), SQLITE_OK);
	assert_false(is_torn(&c));
	assert_int_equal(write_lock.refused, 0);
	assert_int_equal(write_lock.taken, 0);
}

/* The same through pin_begin(), which is what the library does. */
static void test_a_pin_beside_a_commit(void **state)
{
	struct fixture *f = *state;
	struct commit c;

	open_before(f, &c, true);
	for (int i = 0; i < 20; i++) {
		if (i > 0)
			tear(&c);
		assert_int_equal(pin(f, 1000), 0);
		assert_false(is_torn(&c));
		pin_end(&f->db);
	}
	assert_true(c.asked >= 20);
	assert_int_equal(write_lock.refused, 0);
	assert_int_equal(write_lock.taken, 0);
}

/*
 * A -shm that this process may only read: SQLite asks for the lock SHARED then, to see whether there is a
 * writer, and that keeps a writer out just as well.
 */
static void test_a_commit_in_a_read_only_shm(void **state)
{
	static const char *const names[] = {NAME, NAME "-wal", NAME "-shm"};
	struct fixture *f = *state;
	struct commit c = {.ends = true};
	char path[PATH_MAX];
	void *shm;
	int fd;

	app_do(&f->app, APP_WAL ";" APP_ROWS(10));
	assert_int_equal(chmod(f->folder.path, 0755), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(chmod(folder_file(&f->folder, names[i], path), 0644), 0);
	/* The commit is the application's, who may write. */
	fd = open(path, O_RDWR | O_CLOEXEC);
	shm = mmap(NULL, WAL_INDEX_REGION, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(shm != MAP_FAILED);
	close(fd); /* before anything of SQLite's is locked here */
	c.header = shm;
	become_nobody();
	open_reader(f);
	assert_int_equal(begin(&f->db), SQLITE_OK);
	assert_true(atomic_load(&f->db.vfs->read_only));
	assert_int_equal(db_exec(&f->db, "ROLLBACK"), SQLITE_OK);
	vfs_set_fault(f->db.vfs, end_commit, &c);
	watch(&f->app);
	for (int i = 0; i < 20; i++) {
		tear(&c);
		assert_int_equal(pin(f, 1000), 0);
		assert_false(is_torn(&c));
		pin_end(&f->db);
	}
	assert_true(c.asked >= 20);
	assert_int_equal(write_lock.refused, 0);
	assert_int_equal(write_lock.taken, 0);
	munmap(shm, WAL_INDEX_REGION);
}

/* What a dead writer left stays torn: then the reader takes the lock, and makes the header anew. */
static void test_a_writer_that_died(void **state)
{
	struct fixture *f = *state;
	struct wal_header header;
	struct commit c;

	open_before(f, &c, false);
	assert_int_equal(vfs_wal_header(f->db.vfs, &header), WAL_TORN);
	assert_int_equal(begin(&f->db), SQLITE_OK);
	assert_true(write_lock.taken > 0);
	assert_int_equal(vfs_wal_header(f->db.vfs, &header), 0);
	assert_true(header.max_frame > 0);
	assert_int_equal(db_exec(&f->db, "SELECT count(*) FROM t"), SQLITE_OK);
	assert_int_equal(begin_immediate(&f->app), SQLITE_OK);
	app_do(&f->app, APP_ROWS(10));
	assert_int_equal(app_get(&f->app, "SELECT count(*) FROM t"), 20);
}

/* ---- a commit that begins as a pin does ---------------------------------------------------------------- */

/* A pin whose transaction has begun, and before whose look at the header a writer begins to commit. */
static int pin_as_it_begins(struct fixture *f, struct commit *c, bool ends, int64_t patience_ms)
{
	begin_reader(f, APP_ROWS(10));
	assert_int_equal(db_exec(&f->db, "ROLLBACK"), SQLITE_OK);
	*c = (struct commit){.header = f->db.vfs->regions[0], .begins = true, .ends = ends};
	vfs_set_fault(f->db.vfs, end_commit, c);
	return pin(f, patience_ms);
}

static void test_a_commit_that_begins(void **state)
{
	struct fixture *f = *state;
	struct wal_header now;
	struct commit c;

	assert_int_equal(pin_as_it_begins(f, &c, true, 1000), 0);
	assert_false(c.begins || is_torn(&c));
	assert_between(vfs_read_slot(f->db.vfs), 1, 4);
	assert_int_equal(vfs_wal_header(f->db.vfs, &now), 0);
	assert_memory_equal(f->start.raw, now.raw, sizeof(now.raw));
}

static void test_a_writer_that_dies_as_a_pin_begins(void **state)
{
	struct fixture *f = *state;
	struct commit c;

	assert_int_equal(pin_as_it_begins(f, &c, false, 1000), 0);
	assert_false(c.begins || is_torn(&c));
	assert_true(f->start.max_frame > 0);
	assert_between(vfs_read_slot(f->db.vfs), 1, 4);
	assert_int_equal(app_get(&f->app, "SELECT count(*) FROM t"), 10);
}

/* A writer that lives, and does not go on. */
static void test_a_writer_that_stands_still(void **state)
{
	struct fixture *f = *state;
	struct commit c;

	begin_reader(f, APP_ROWS(10));
	db_close(&f->db);
	app_do(&f->app, "BEGIN IMMEDIATE");
	open_reader(f);
	assert_int_equal(begin(&f->db), SQLITE_OK);
	assert_int_equal(db_exec(&f->db, "ROLLBACK"), SQLITE_OK);
	c = (struct commit){.header = f->db.vfs->regions[0], .begins = true};
	vfs_set_fault(f->db.vfs, end_commit, &c);
	assert_int_equal(pin(f, 100), -EBUSY);
	assert_true(is_torn(&c));
	assert_nothing_held(f);
	assert_false(vfs_lost(f->db.vfs));
	end(&c);
	assert_int_equal(pin(f, 0), 0);
	pin_end(&f->db);
	app_do(&f->app, "COMMIT");
	/* A deadline that has passed: one try, and the commit begins in the middle of it. */
	c.begins = true;
	assert_int_equal(pin(f, 0), -EBUSY);
	assert_string_equal(f->err.text, "a writer is held up in the middle of a commit");
	assert_nothing_held(f);
	end(&c);
}

/* ---- the request itself -------------------------------------------------------------------------------- */

static int lock_write(struct db *db)
{
	sqlite3_file *file = raw_file(db, SQLITE_FCNTL_FILE_POINTER);
	int rc = file->pMethods->xShmLock(file, WRITE_OFFSET, 1, SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE);

	if (rc == SQLITE_OK)
		assert_int_equal(file->pMethods->xShmLock(file, WRITE_OFFSET, 1,
							  SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE),
				 SQLITE_OK);
	return rc;
}

static void test_who_may_ask(void **state)
{
	static const enum db_kind kinds[] = {DB_READER, DB_CLOSER};
	struct fixture *f = *state;
	struct commit c;

	app_do(&f->app, APP_WAL ";" APP_ROWS(10));
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(db_open(&f->db, f->folder.fd, NAME, kinds[i], NULL), 0);
		assert_int_equal(begin(&f->db), SQLITE_OK);
		c.header = f->db.vfs->regions[0];
		assert_int_equal(lock_write(&f->db), SQLITE_BUSY);
		tear(&c);
		assert_int_equal(lock_write(&f->db), SQLITE_OK);
		/* Torn by a writer that has the lock. */
		end(&c);
		app_do(&f->app, "BEGIN IMMEDIATE");
		tear(&c);
		assert_int_equal(lock_write(&f->db), SQLITE_BUSY);
		end(&c);
		app_do(&f->app, "COMMIT");
		assert_int_equal(lock_write(&f->db), SQLITE_BUSY);
		db_close(&f->db);
	}
	assert_int_equal(db_open(&f->db, f->folder.fd, NAME, DB_RESTORER, NULL), 0);
	assert_int_equal(begin(&f->db), SQLITE_OK);
	assert_int_equal(lock_write(&f->db), SQLITE_OK);
	assert_int_equal(begin_immediate(&f->app), SQLITE_OK);
}

#define watched(name) cmocka_unit_test_setup_teardown(name, setup, unwatch)

int main(void)
{
	const struct CMUnitTest tests[] = {
		watched(test_a_commit_that_ends),
		watched(test_a_commit_that_was_held_up),
		watched(test_a_pin_beside_a_commit),
		watched(test_a_commit_in_a_read_only_shm),
		watched(test_a_writer_that_died),
		test(test_a_commit_that_begins),
		test(test_a_writer_that_dies_as_a_pin_begins),
		test(test_a_writer_that_stands_still),
		test(test_who_may_ask),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
