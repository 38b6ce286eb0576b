/* SPDX-License-Identifier: MIT */
/*
 * test_spool.c - copies of a database that is in use: whether they are what it was at one moment, and whether
 * it notices. Compared with what sqlite3_backup gives, and with the file where nobody writes to it.
 */
#include <stdbool.h>

#include "app.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <time.h>

#include "../../src/clock.h"
#include "../../src/spool.h"

#define NAME "db"
#define NOBODY 65534u

struct fixture {
	struct folder folder, store;
	bool available; /* the file system that the test is about */
	struct app app;
	struct core core;
	struct place place;
	struct live *live;
	struct snap_err err;
	struct {
		pid_t pid;
		int go;		     /* closing it lets the writer begin */
		atomic_int *commits; /* shared with it */
	} writer;
};

/* A database in memory. */
struct copy {
	unsigned char *bytes; /* sqlite3_malloc'ed */
	size_t size;
};

/* ---- file systems ----------------------------------------------------------------------------------- */

/* Mounts are seen by this process and its children alone, and end with it. */
static int own_mounts(void **state)
{
	(void)state;
	return unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static void reopen(struct folder *folder)
{
	close(folder->fd);
	folder->fd = open(folder->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(folder->fd >= 0);
}

static void mount_tmpfs(struct folder *folder, const char *options)
{
	assert_int_equal(mount("test", folder->path, "tmpfs", 0, options), 0);
	reopen(folder);
}

/* Fails while anything there is open. */
static void unmount(struct folder *folder)
{
	close(folder->fd);
	assert_int_equal(umount2(folder->path, 0), 0);
	folder->fd = open(folder->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(folder->fd >= 0);
}

/* A file system that clones, in a file of the store's folder. False: its tools or its module are not there.
 */
static bool mount_cloning(struct fixture *f, const char *kind)
{
	char command[600], image[80];

	snprintf(image, sizeof(image), "%s/image", f->store.path);
	snprintf(command, sizeof(command),
		 "command -v mkfs.%s >/dev/null && truncate -s 512M %s && mkfs.%s -q %s >/dev/null && mount "
		 "-o loop %s %s",
		 kind, image, kind, image, image, f->folder.path);
	if (system(command) != 0) {
		print_message("no %s can be made here\n", kind);
		return false;
	}
	reopen(&f->folder);
	return true;
}

/* *STATE: NULL, or the name of a file system that clones. */
static int setup(void **state)
{
	const char *kind = *state;
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	*state = f;
	folder_make(&f->folder);
	folder_make(&f->store);
	if (!kind) /* cannot clone, wherever the test runs */
		mount_tmpfs(&f->folder, NULL);
	f->available = !kind || mount_cloning(f, kind);
	f->place = (struct place){.root = f->folder.fd, .dir = strdup(""), .name = strdup(NAME)};
	assert_int_equal(rawfd_table_create(&f->core.raw), 0);
	assert_int_equal(foldertimes_create(&f->core.folders), 0);
	assert_int_equal(store_create(&f->core.store, f->store.path, NULL), 0);
	if (f->available) {
		app_start(&f->app, &f->folder, NAME);
		app_do(&f->app, "PRAGMA synchronous=OFF");
	}
	return 0;
}

static void stop_writer(struct fixture *f)
{
	if (!f->writer.pid)
		return;
	kill(f->writer.pid, SIGKILL);
	assert_int_equal(waitpid(f->writer.pid, NULL, 0), f->writer.pid);
	f->writer.pid = 0;
	if (f->writer.go >= 0)
		close(f->writer.go);
	munmap(f->writer.commits, sizeof(*f->writer.commits));
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	stop_writer(f);
	live_unref(f->live);
	if (f->app.pid)
		app_stop(&f->app);
	place_finish(&f->place);
	store_destroy(f->core.store);
	foldertimes_destroy(f->core.folders);
	rawfd_table_destroy(f->core.raw);
	umount2(f->folder.path, MNT_DETACH);
	umount2(f->store.path, MNT_DETACH);
	folder_remove(&f->folder);
	folder_remove(&f->store);
	free(f);
	return 0;
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int count_entries(const struct folder *folder)
{
	DIR *dir = opendir(folder->path);
	int n = -2; /* . and .. */

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* ---- the database ----------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void app_run(struct fixture *f, const char *format, ...)
{
	char sql[512];
	va_list args;

	va_start(args, format);
	vsnprintf(sql, sizeof(sql), format, args);
	va_end(args);
	app_do(&f->app, sql);
}

/* ROWS rows of BYTES bytes; the sum of n is never changed. */
static void make_database(struct fixture *f, const char *journal_mode, uint32_t page_size, unsigned rows,
			  unsigned bytes)
{
	app_run(f, "PRAGMA page_size=%u; PRAGMA journal_mode=%s", page_size, journal_mode);
	app_do(&f->app, "PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a INTEGER PRIMARY KEY, n, b)");
	app_run(f,
		"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<%u) "
		"INSERT INTO t(n, b) SELECT 100, randomblob(%u) FROM c",
		rows, bytes);
}

static void connect_live(struct fixture *f)
{
	struct stat st;

	assert_int_equal(place_stat(&f->place, "", &st), 0);
	assert_int_equal(
		live_create(&f->live, &f->core, &f->place, &st, monotonic_ns() + 5 * NS_PER_S, &f->err), 0);
}

static struct conn *pin(struct fixture *f, int answer)
{
	struct conn *conn = NULL;

	assert_int_equal(live_pin(f->live, monotonic_ns() + 5 * NS_PER_S, &conn, &f->err), answer);
	return conn;
}

static void mask(struct copy *copy)
{
	memset(copy->bytes + 24, 0, 4);
	memset(copy->bytes + 40, 0, 4);
	memset(copy->bytes + 92, 0, 8);
}

/* Through SQLite, masked. */
static struct copy copy_of(struct conn *conn)
{
	sqlite3_backup *backup;
	sqlite3_int64 size;
	struct copy copy;
	sqlite3 *to;

	assert_int_equal(sqlite3_open(":memory:", &to), SQLITE_OK);
	backup = sqlite3_backup_init(to, "main", conn->db.handle, "main");
	assert_non_null(backup);
	assert_int_equal(sqlite3_backup_step(backup, -1), SQLITE_DONE);
	assert_int_equal(sqlite3_backup_finish(backup), SQLITE_OK);
	copy.bytes = sqlite3_serialize(to, "main", &size, 0);
	assert_non_null(copy.bytes);
	copy.size = (size_t)size;
	sqlite3_close(to);
	mask(&copy);
	return copy;
}

static struct copy read_whole(int fd, size_t size)
{
	struct copy copy = {sqlite3_malloc64(size + 1), size};
	size_t done = 0;
	ssize_t got;

	assert_non_null(copy.bytes);
	memset(copy.bytes, 0, size + 1);
	while ((got = pread(fd, copy.bytes + done, size - done, (off_t)done)) > 0)
		done += (size_t)got;
	assert_int_equal(got, 0);
	return copy;
}

/* The file itself. Only while this process has no connection: the close would cost it its locks. */
static struct copy read_file(struct fixture *f, const char *name)
{
	int fd = openat(f->folder.fd, name, O_RDONLY | O_CLOEXEC);
	struct copy copy;
	struct stat st;

	assert_null(f->live);
	assert_int_equal(fstat(fd, &st), 0);
	copy = read_whole(fd, (size_t)st.st_size);
	close(fd);
	return copy;
}

static void assert_same(const struct copy *a, const struct copy *b)
{
	assert_int_equal(a->size, b->size);
	for (size_t at = 0; at < a->size; at += 4096) /* which page is told when it fails */
		assert_memory_equal(a->bytes + at, b->bytes + at, a->size - at < 4096 ? a->size - at : 4096);
}

static int64_t ask(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t value;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return value;
}

/* A whole database of one moment; COPY is taken over. */
static void assert_consistent(struct copy copy, int64_t sum)
{
	sqlite3_int64 size = (sqlite3_int64)copy.size;
	sqlite3 *db;

	copy.bytes[18] = copy.bytes[19] = 1; /* memory has no WAL */
	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_deserialize(db, "main", copy.bytes, size, size, SQLITE_DESERIALIZE_FREEONCLOSE),
		SQLITE_OK);
	assert_int_equal(ask(db, "SELECT sum(n) FROM t"), sum);
	assert_int_equal(ask(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
			 0);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* ---- a writer that never stops ---------------------------------------------------------------------- */

static void write_without_end(const char *path, int go, atomic_int *commits)
{
	static const char *const others[] = {
		"UPDATE t SET b=randomblob(length(b)) WHERE a%7=abs(random())%7",
		"INSERT INTO t(n, b) SELECT 0, b FROM t WHERE a%9=0",
		"PRAGMA wal_checkpoint(PASSIVE)",
		"DELETE FROM t WHERE n=0",
		"PRAGMA wal_checkpoint(FULL)",
	};
	sqlite3 *db;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(go, &byte, 1) != 0 || sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, "unix") != SQLITE_OK)
		_exit(2);
	sqlite3_busy_timeout(db, 60000);
	sqlite3_exec(db, "PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0", NULL, NULL, NULL);
	for (unsigned i = 0;; i++) {
		char sql[200];

		snprintf(sql, sizeof(sql),
			 "BEGIN; UPDATE t SET n=n-7 WHERE a=%u; UPDATE t SET n=n+7 WHERE a=%u; COMMIT",
			 i % 50 + 1, i % 37 + 60);
		if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
			_exit(2);
		atomic_fetch_add(commits, 1);
		sqlite3_busy_timeout(db, 0); /* FULL would wait for readers */
		if (i % 4 == 0)
			sqlite3_exec(db, others[i / 4 % 5], NULL, NULL, NULL);
		sqlite3_busy_timeout(db, 60000);
		nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL); /* not to have the machine alone */
	}
}

/* It begins when it is told to, but must be there before this process opens the database. */
static void prepare_writer(struct fixture *f)
{
	char path[PATH_MAX];
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	f->writer.commits = mmap(NULL, sizeof(*f->writer.commits), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(f->writer.commits != MAP_FAILED);
	atomic_init(f->writer.commits, 0);
	f->writer.pid = fork();
	assert_true(f->writer.pid >= 0);
	if (f->writer.pid == 0) {
		close(ends[1]);
		write_without_end(folder_file(&f->folder, NAME, path), ends[0], f->writer.commits);
	}
	close(ends[0]);
	f->writer.go = ends[1];
}

/* Waits for N commits more; the writer is alive. */
static void await_commits(struct fixture *f, int n)
{
	int from;

	if (f->writer.go >= 0)
		close(f->writer.go);
	f->writer.go = -1;
	from = atomic_load(f->writer.commits);
	while (atomic_load(f->writer.commits) < from + n) {
		assert_int_equal(waitpid(f->writer.pid, NULL, WNOHANG), 0);
		sched_yield();
	}
}

/* ---- spools of a pin -------------------------------------------------------------------------------- */

/* The image as the format describes it: the latest frame of a page, else the database file. */
static struct copy compose(const struct spool *s, uint32_t page_size, uint32_t max_frame, size_t size)
{
	struct copy copy = {sqlite3_malloc64(size), size};
	uint8_t header[WAL_FRAME_HEADER];
	size_t done = 0;
	ssize_t got;

	memset(copy.bytes, 0, size);
	while ((got = spool_read_db(s, copy.bytes + done, size - done, done)) > 0)
		done += (size_t)got;
	assert_int_equal(got, 0);
	for (uint32_t frame = 1; frame <= max_frame; frame++) {
		uint64_t at = wal_frame_offset(frame, page_size);
		uint64_t page;

		assert_int_equal(spool_read_wal(s, header, sizeof(header), at), sizeof(header));
		page = (uint64_t)header[0] << 24 | (uint64_t)header[1] << 16 | (uint64_t)header[2] << 8 |
		       header[3];
		assert_true(page > 0);
		if (page * page_size <= size)
			assert_int_equal(spool_read_wal(s, copy.bytes + (page - 1) * page_size, page_size,
							at + WAL_FRAME_HEADER),
					 page_size);
	}
	/* Nothing of what came later. */
	if (max_frame)
		assert_int_equal(spool_read_wal(s, header, 1, wal_frame_offset(max_frame + 1, page_size)), 0);
	mask(&copy);
	return copy;
}

static void assert_spool(const struct spool *s, struct conn *conn, uint32_t page_size,
			 const struct copy *expected)
{
	struct copy got = compose(s, page_size, conn->start.max_frame, expected->size);

	assert_same(&got, expected);
	sqlite3_free(got.bytes);
}

/* All that CONN's pin began with. */
static struct spool_order order_of(const struct conn *conn, uint32_t page_size, uint64_t size)
{
	return (struct spool_order){.page_size = page_size, .max_frame = conn->start.max_frame, .size = size};
}

/* The application commits and checkpoints on while its image of one moment is copied. */
static void check_pinned(struct fixture *f, uint32_t page_size, unsigned bytes, bool clone)
{
	struct copy expected;
	struct conn *conn;
	struct stat st;

	make_database(f, "WAL", page_size, 1500, bytes);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	app_do(&f->app, "UPDATE t SET b=randomblob(length(b)) WHERE a%3=0");
	prepare_writer(f);
	connect_live(f);
	conn = pin(f, 0);
	expected = copy_of(conn);
	for (int i = 0; i < 15; i++) {
		struct spool_order order = order_of(conn, page_size, expected.size);
		struct spool s = SPOOL_INIT;

		await_commits(f, 3);
		order.clone_only = clone;
		assert_int_equal(spool_pinned(&s, conn, &order, &f->err), 0);
		assert_true(conn_intact(conn, conn->start.max_frame, conn->start.salt));
		assert_spool(&s, conn, page_size, &expected);
		assert_int_equal(fstat(s.db_fd, &st), 0);
		assert_int_equal(st.st_nlink, 0);
		assert_true(!clone || (uint64_t)st.st_dev == f->live->dev);
		spool_finish(&s);
		assert_true(s.db_fd == -1 && s.wal_fd == -1);
		spool_finish(&s);
	}
	live_unpin(conn);
	sqlite3_free(expected.bytes);
	stop_writer(f);
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
}

static void test_pinned_512(void **state)
{
	check_pinned(*state, 512, 300, false);
}

static void test_pinned_4096(void **state)
{
	check_pinned(*state, 4096, 3000, false);
}

static void test_pinned_65536(void **state)
{
	check_pinned(*state, 65536, 3000, false);
}

static void test_pinned_empty_wal(void **state)
{
	struct fixture *f = *state;
	struct spool s = SPOOL_INIT;
	struct spool_order order;
	struct copy expected;
	struct conn *conn;

	make_database(f, "WAL", 4096, 100, 3000);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	connect_live(f);
	conn = pin(f, 0);
	expected = copy_of(conn);
	order = order_of(conn, 4096, expected.size);
	app_do(&f->app, "UPDATE t SET b=randomblob(3000)");
	assert_int_equal(spool_pinned(&s, conn, &order, &f->err), 0);
	assert_int_equal(s.wal_fd, -1);
	assert_spool(&s, conn, 4096, &expected);
	spool_finish(&s);
	live_unpin(conn);
	sqlite3_free(expected.bytes);
}

static int fail_reads(void *arg, enum vfs_call call)
{
	return *(bool *)arg && call == VFS_READ ? SQLITE_IOERR_READ : SQLITE_OK;
}

/* Whatever fails, nothing is left, neither in *OUT nor in the store. */
static void test_pinned_fails(void **state)
{
	static const struct {
		const char *store;
		bool clone_only, read_only, read_fails;
		int rc;
	} cases[] = {
		{"size=64m", true, false, false, -EOPNOTSUPP}, {"size=17m", false, false, false, -ENOSPC},
		{"size=64m", false, true, false, -EROFS},      {"size=64m", false, false, true, -EIO},
		{"size=64m", false, false, false, 0},
	};
	struct fixture *f = *state;

	make_database(f, "WAL", 4096, 500, 3000);
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
	connect_live(f);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct spool s = {.db_fd = 1000, .wal_fd = 1001};
		struct conn *conn = pin(f, 0);
		struct spool_order order = order_of(conn, 4096, 500 * 4096);
		bool fail = cases[i].read_fails;
		int fds, rc;

		mount_tmpfs(&f->store, cases[i].store);
		if (cases[i].read_only)
			assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
		vfs_set_fault(conn->db.vfs, fail_reads, &fail);
		f->err.text[0] = '\0';
		order.clone_only = cases[i].clone_only;
		rc = spool_pinned(&s, conn, &order, &f->err);
		fds = count_fds();
		assert_int_equal(rc, cases[i].rc);
		assert_true(rc == 0 || rc == -EOPNOTSUPP || strlen(f->err.text) > 0);
		assert_int_equal(s.db_fd >= 0, rc == 0);
		assert_int_equal(s.wal_fd >= 0, rc == 0);
		assert_int_equal(count_entries(&f->store), 0);
		spool_finish(&s);
		assert_int_equal(count_fds(), rc == 0 ? fds - 2 : fds);
		vfs_set_fault(conn->db.vfs, NULL, NULL);
		live_unpin(conn);
		unmount(&f->store);
	}
}

static bool count_down(void *arg)
{
	int *left = arg;

	return (*left)-- > 0;
}

/* It is asked before each mebibyte whether anybody still wants it. */
static void test_pinned_unwanted(void **state)
{
	struct fixture *f = *state;
	struct spool s = SPOOL_INIT;
	struct copy expected;
	struct conn *conn;
	int fds = 0, rc = -ECANCELED, n;

	make_database(f, "WAL", 4096, 700, 3500);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	app_do(&f->app, "UPDATE t SET b=randomblob(3500) WHERE a<500");
	connect_live(f);
	conn = pin(f, 0);
	expected = copy_of(conn);
	for (n = 0; rc == -ECANCELED; n++) {
		struct spool_order order = order_of(conn, 4096, expected.size);
		int left = n;

		order.wanted = count_down;
		order.arg = &left;
		s = (struct spool){.db_fd = 1000, .wal_fd = 1001};
		rc = spool_pinned(&s, conn, &order, &f->err);
		if (rc == 0)
			break;
		assert_int_equal(rc, -ECANCELED);
		assert_true(s.db_fd == -1 && s.wal_fd == -1);
		assert_int_equal(count_entries(&f->store), 0);
		assert_true(n == 0 || count_fds() == fds);
		fds = count_fds();
	}
	assert_int_equal(rc, 0);
	assert_in_range(n, 5, 6);
	assert_spool(&s, conn, 4096, &expected);
	spool_finish(&s);
	assert_int_equal(count_fds(), fds);
	live_unpin(conn);
	sqlite3_free(expected.bytes);
}

static void test_spool_of_nothing(void **state)
{
	struct spool s = SPOOL_INIT;
	uint64_t size = 1;
	char byte;

	(void)state;
	assert_int_equal(spool_read_db(&s, &byte, 1, 0), 0);
	assert_int_equal(spool_read_wal(&s, &byte, 1, 0), 0);
	assert_int_equal(spool_db_size(&s, &size), 0);
	assert_int_equal(size, 0);
	spool_finish(&s);
}

static void test_image_size(void **state)
{
	static const struct {
		uint32_t page_size, page_count;
		uint64_t file_size, expected;
	} cases[] = {
		{4096, 3, 12288, 12288},
		{4096, 3, 99999, 12288},
		{4096, 5, 12288, 20480},
		{4096, 0, 12288, 12288},
		{4096, 0, 12289, 16384},
		{4096, 0, 100, 4096},
		{512, 0, 0, 0},
		{512, 1, 0, 512},
		{65536, 4294967294u, 1, 65536ull * 4294967294u},
		{65536, 0, (1ull << 47) + 1, (1ull << 47) + 65536},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct header h = {.page_size = cases[i].page_size, .page_count = cases[i].page_count};

		assert_int_equal(spool_image_size(&h, cases[i].file_size), cases[i].expected);
	}
}

/* ---- clones ----------------------------------------------------------------------------------------- */

/* Beside a writer, and without room in the store for a copy. */
static void test_clone_pinned(void **state)
{
	struct fixture *f = *state;

	if (f->available)
		check_pinned(f, 4096, 3000, true);
}

static void assert_flat(struct fixture *f, struct spool_flat *flat, const struct copy *expected);

static void test_clone_needs_no_room(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct spool s = SPOOL_INIT;
	struct spool_order order;
	struct copy expected;
	struct conn *conn;
	struct stat st;

	if (!f->available)
		return;
	make_database(f, "WAL", 4096, 500, 3000);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	mount_tmpfs(&f->store, "size=1m");
	connect_live(f);
	conn = pin(f, 0);
	expected = copy_of(conn);
	order = order_of(conn, 4096, expected.size);
	order.clone_only = true;
	app_do(&f->app, "UPDATE t SET b=randomblob(3000)");
	assert_int_equal(spool_pinned(&s, conn, &order, &f->err), 0);
	assert_spool(&s, conn, 4096, &expected);
	spool_finish(&s);
	/* The descriptor that is cloned has cost no lock. */
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 1);
	live_unpin(conn);
	sqlite3_free(expected.bytes);
	live_unref(f->live);
	f->live = NULL;
	assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);

	app_do(&f->app, "PRAGMA journal_mode=DELETE");
	expected = read_file(f, NAME);
	connect_live(f);
	assert_int_equal(spool_rollback(&flat, pin(f, PIN_ROLLBACK), &f->err), 0);
	app_do(&f->app, "UPDATE t SET b=randomblob(3000)");
	assert_int_equal(fstat(flat.fd, &st), 0);
	assert_int_equal(st.st_dev, f->live->dev);
	assert_flat(f, &flat, &expected);
	assert_int_equal(count_entries(&f->folder), 1);
	sqlite3_free(expected.bytes);
}

/* ---- rollback mode ---------------------------------------------------------------------------------- */

/* The copy is EXPECTED and says what it is; it is closed. */
static void assert_flat(struct fixture *f, struct spool_flat *flat, const struct copy *expected)
{
	struct header header;
	struct copy got;

	assert_true(flat->fd >= 0);
	assert_true(fcntl(flat->fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(flat->size, expected->size);
	got = read_whole(flat->fd, flat->size);
	assert_same(&got, expected);
	assert_int_equal(header_decode(&header, got.bytes, got.size), 0);
	assert_memory_equal(&header.counters, &flat->header.counters, sizeof(header.counters));
	assert_int_equal(header.page_size, flat->header.page_size);
	assert_int_equal(header.page_count, flat->header.page_count);
	assert_in_range(flat->seen_ns, realtime_ns() - 60 * NS_PER_S, realtime_ns());
	close(flat->fd);
	flat->fd = -1;
	sqlite3_free(got.bytes);
	(void)f;
}

static void assert_stat(struct fixture *f, const struct stat *st)
{
	struct stat now;

	assert_int_equal(place_stat(&f->place, "", &now), 0);
	assert_int_equal(st->st_ino, now.st_ino);
	assert_int_equal(st->st_dev, now.st_dev);
	assert_int_equal(st->st_size, now.st_size);
	assert_int_equal(timespec_ns(st->st_mtim), timespec_ns(now.st_mtim));
	assert_int_equal(timespec_ns(st->st_ctim), timespec_ns(now.st_ctim));
}

static void test_rollback(void **state)
{
	static const struct {
		const char *journal_mode;
		uint32_t page_size;
		unsigned rows, bytes;
	} cases[] = {
		{"DELETE", 512, 1, 10},		{"DELETE", 512, 500, 300},     {"PERSIST", 1024, 3000, 900},
		{"TRUNCATE", 4096, 1000, 3000}, {"MEMORY", 65536, 100, 60000},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture *f = *state;
		struct spool_flat flat = SPOOL_FLAT_INIT;
		struct copy expected;
		int fds;

		make_database(f, cases[i].journal_mode, cases[i].page_size, cases[i].rows, cases[i].bytes);
		expected = read_file(f, NAME);
		connect_live(f);
		for (int k = 0; k < 2; k++) {
			assert_int_equal(spool_rollback(&flat, pin(f, PIN_ROLLBACK), &f->err), 0);
			assert_stat(f, &flat.st);
			assert_flat(f, &flat, &expected);
			fds = k == 0 ? count_fds() : fds;
		}
		assert_int_equal(count_fds(), fds);
		/* Nothing is held any more. */
		app_do(&f->app, "DROP TABLE t; VACUUM");
		live_unref(f->live);
		f->live = NULL;
		sqlite3_free(expected.bytes);
		app_stop(&f->app);
		assert_int_equal(unlinkat(f->folder.fd, NAME, 0), 0);
		unlinkat(f->folder.fd, NAME "-journal", 0);
		app_start(&f->app, &f->folder, NAME);
	}
}

/* A disk that takes 20 ms for 64 KiB: a mebibyte takes longer than a step may. */
struct slow {
	bool on;
	int reads;
	struct app *ask; /* is asked SQL at the first read, and not waited for */
	const char *sql;
};

static int read_slowly(void *arg, enum vfs_call call)
{
	struct slow *slow = arg;

	if (!slow->on || call != VFS_READ)
		return SQLITE_OK;
	if (slow->reads++ == 0 && slow->ask) {
		uint32_t size = (uint32_t)strlen(slow->sql);

		if (write(slow->ask->sock, &size, sizeof(size)) != sizeof(size) ||
		    write(slow->ask->sock, slow->sql, size) != size)
			return SQLITE_IOERR_READ;
	}
	nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
	return SQLITE_OK;
}

static int64_t await_reply(struct app *app)
{
	struct app_reply reply;

	assert_int_equal(read(app->sock, &reply, sizeof(reply)), sizeof(reply));
	assert_int_equal(reply.rc, SQLITE_OK);
	return reply.value;
}

/* Writers get in between the steps, so that it starts over, until it takes its two seconds. */
static void test_rollback_beside_writer(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct slow slow = {.on = true};
	struct conn *conn;

	make_database(f, "DELETE", 4096, 450, 3000);
	prepare_writer(f);
	connect_live(f);
	await_commits(f, 20);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(spool_rollback(&flat, pin(f, PIN_ROLLBACK), &f->err), 0);
		await_commits(f, 2);
		assert_consistent(read_whole(flat.fd, flat.size), 45000);
		close(flat.fd);
	}
	conn = pin(f, PIN_ROLLBACK);
	vfs_set_fault(conn->db.vfs, read_slowly, &slow);
	assert_int_equal(spool_rollback(&flat, conn, &f->err), 0);
	slow.on = false;
	await_commits(f, 2);
	assert_consistent(read_whole(flat.fd, flat.size), 45000);
	close(flat.fd);
	/* Three tries that ended after a mebibyte, and the one that did not. */
	assert_true(slow.reads > 3 * 16 + 16);
	stop_writer(f);
}

/* More than two seconds are not asked of writers. */
static void test_rollback_gives_up(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = {.fd = 1000};
	struct slow slow = {.on = true};
	int fds, entries = count_entries(&f->store);
	struct conn *conn;
	int64_t began;

	make_database(f, "DELETE", 4096, 3000, 3000);
	prepare_writer(f);
	connect_live(f);
	await_commits(f, 20);
	fds = count_fds();
	conn = pin(f, PIN_ROLLBACK);
	vfs_set_fault(conn->db.vfs, read_slowly, &slow);
	began = monotonic_ns();
	assert_int_equal(spool_rollback(&flat, conn, &f->err), -EBUSY);
	slow.on = false;
	assert_true(monotonic_ns() - began > 2 * NS_PER_S);
	assert_true(strlen(f->err.text) > 0);
	assert_int_equal(flat.fd, 1000);
	assert_int_equal(count_entries(&f->store), entries);
	assert_true(count_fds() <= fds + 2); /* SQLite's, and the one for clones */
	await_commits(f, 5);
	stop_writer(f);
}

/* One commit between two steps: what is given is the state after it. */
static void test_rollback_starts_over(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct slow slow = {.on = true, .ask = &f->app};
	struct copy expected;
	struct conn *conn;

	make_database(f, "DELETE", 4096, 700, 3000);
	app_do(&f->app, "PRAGMA busy_timeout=20000");
	connect_live(f);
	conn = pin(f, PIN_ROLLBACK);
	slow.sql = "UPDATE t SET b=randomblob(3000)";
	vfs_set_fault(conn->db.vfs, read_slowly, &slow);
	assert_int_equal(spool_rollback(&flat, conn, &f->err), 0);
	slow.on = false;
	await_reply(&f->app);
	live_unref(f->live);
	f->live = NULL;
	expected = read_file(f, NAME);
	assert_stat(f, &flat.st);
	assert_flat(f, &flat, &expected);
	sqlite3_free(expected.bytes);
}

static void test_rollback_becomes_wal(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = {.fd = 1000};
	struct slow slow = {.on = true, .ask = &f->app};
	struct conn *conn;

	make_database(f, "DELETE", 4096, 700, 3000);
	app_do(&f->app, "PRAGMA busy_timeout=20000");
	connect_live(f);
	conn = pin(f, PIN_ROLLBACK);
	slow.sql = "PRAGMA journal_mode=WAL";
	vfs_set_fault(conn->db.vfs, read_slowly, &slow);
	assert_int_equal(spool_rollback(&flat, conn, &f->err), -EBUSY);
	assert_true(strlen(f->err.text) > 0);
	assert_int_equal(flat.fd, 1000);
	slow.on = false;
	await_reply(&f->app);
	app_do(&f->app, "UPDATE t SET b=randomblob(3000); PRAGMA wal_checkpoint(TRUNCATE)");
	/* And it can be pinned. */
	live_unpin(pin(f, 0));
}

static void test_rollback_fails(void **state)
{
	static const struct {
		const char *store;
		bool read_only, read_fails;
		int rc;
	} cases[] = {
		{"size=17m", false, false, -ENOSPC},
		{"size=64m", true, false, -EROFS},
		{"size=64m", false, true, -EIO},
	};
	struct fixture *f = *state;

	make_database(f, "DELETE", 4096, 500, 3000);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct spool_flat flat = {.fd = 1000};
		bool fail = cases[i].read_fails;
		struct conn *conn;

		mount_tmpfs(&f->store, cases[i].store);
		if (cases[i].read_only)
			assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
		connect_live(f);
		conn = pin(f, PIN_ROLLBACK);
		vfs_set_fault(conn->db.vfs, fail_reads, &fail);
		f->err.text[0] = '\0';
		assert_int_equal(spool_rollback(&flat, conn, &f->err), cases[i].rc);
		fail = false;
		assert_true(strlen(f->err.text) > 0);
		assert_int_equal(flat.fd, 1000);
		assert_int_equal(count_entries(&f->store), 0);
		/* The application is free to write. */
		app_do(&f->app, "UPDATE t SET n=n");
		live_unref(f->live);
		f->live = NULL;
		unmount(&f->store);
	}
}

/* ---- hot journals ----------------------------------------------------------------------------------- */

static const char *const hot_transactions[] = {
	"UPDATE t SET b=randomblob(300)",
	"INSERT INTO t(n, b) SELECT n, b FROM t; INSERT INTO t(n, b) SELECT n, b FROM t",
	"DELETE FROM t WHERE a%2=0; CREATE TABLE u AS SELECT * FROM t",
};

/* The application is killed in a transaction that had spilled its cache. */
static void die_in_transaction(struct fixture *f, const char *sql)
{
	app_run(f, "PRAGMA cache_size=10; PRAGMA cache_spill=1; BEGIN; %s", sql);
	app_kill(&f->app);
	f->app.pid = 0;
}

/* Files as young as these prove nothing by their times; the caller tries again, as an open does. */
static int hot_when_settled(struct fixture *f, struct spool_flat *flat)
{
	int rc = -EAGAIN;

	for (int i = 0; i < 200 && rc == -EAGAIN; i++) {
		rc = spool_hot(flat, &f->core, &f->place, &f->err);
		if (rc == -EAGAIN)
			nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	}
	return rc;
}

static void test_hot(void **state)
{
	static const char *const modes[] = {"DELETE", "TRUNCATE", "PERSIST"};
	static const uint32_t page_sizes[] = {512, 4096};
	struct fixture *f = *state;

	for (int i = 0; i < 18; i++) {
		struct spool_flat flat = SPOOL_FLAT_INIT;
		struct file_look db, journal;
		struct copy before;
		int fds;

		make_database(f, modes[i % 3], page_sizes[i / 3 % 2], 2000, 300);
		app_run(f, "PRAGMA synchronous=%s", i % 2 ? "OFF" : "FULL");
		before = read_file(f, NAME);
		die_in_transaction(f, hot_transactions[i / 6]);
		db = file_look(&f->folder, NAME);
		journal = file_look(&f->folder, NAME "-journal");
		assert_true(journal.size > 512);
		fds = count_fds();
		assert_int_equal(hot_when_settled(f, &flat), 0);
		assert_stat(f, &flat.st);
		assert_flat(f, &flat, &before);
		assert_same_file(db, file_look(&f->folder, NAME));
		assert_same_file(journal, file_look(&f->folder, NAME "-journal"));
		assert_int_equal(count_entries(&f->store), 0);
		assert_int_equal(count_fds(), fds);
		sqlite3_free(before.bytes);
		assert_int_equal(unlinkat(f->folder.fd, NAME, 0), 0);
		assert_int_equal(unlinkat(f->folder.fd, NAME "-journal", 0), 0);
		app_start(&f->app, &f->folder, NAME);
	}
}

/* It is what a pin asks for. */
static void test_hot_as_pinned(void **state)
{
	struct fixture *f = *state;
	struct snap_err err;
	struct live *live;
	struct stat st;

	make_database(f, "DELETE", 4096, 2000, 300);
	die_in_transaction(f, hot_transactions[0]);
	assert_int_equal(place_stat(&f->place, "", &st), 0);
	assert_int_equal(live_create(&live, &f->core, &f->place, &st, monotonic_ns() + NS_PER_S, &err),
			 PIN_HOT_JOURNAL);
}

static void test_hot_fails(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = {.fd = 1000};
	struct file_look db, journal;
	int fds;

	make_database(f, "DELETE", 4096, 3000, 300);
	assert_int_equal(hot_when_settled(f, &flat), -EAGAIN); /* somebody rolled it back */
	die_in_transaction(f, hot_transactions[0]);
	db = file_look(&f->folder, NAME);
	journal = file_look(&f->folder, NAME "-journal");
	fds = count_fds();
	for (int i = 0; i < 2; i++) {
		mount_tmpfs(&f->store, "size=1m");
		if (i)
			assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
		f->err.text[0] = '\0';
		assert_int_equal(hot_when_settled(f, &flat), i ? -EROFS : -ENOSPC);
		assert_true(strlen(f->err.text) > 0);
		assert_int_equal(count_entries(&f->store), 0);
		unmount(&f->store);
	}
	assert_int_equal(flat.fd, 1000);
	assert_int_equal(count_fds(), fds);
	assert_same_file(db, file_look(&f->folder, NAME));
	assert_same_file(journal, file_look(&f->folder, NAME "-journal"));
}

/* Changes FILE all the time, as far as stat(2) tells, until it is killed. */
static pid_t start_toucher(struct fixture *f, const char *file)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (utimensat(f->folder.fd, file, NULL, 0) == 0)
			;
		_exit(1);
	}
	return pid;
}

/* Until FN finds that FILE was changed while it was copied; it never says anything else but that all is well.
 */
static void assert_notices(struct fixture *f, const char *file,
			   int (*fn)(struct spool_flat *out, struct core *core, const struct place *place,
				     struct snap_err *err))
{
	pid_t pid = start_toucher(f, file);
	int64_t began = monotonic_ns();
	int fds = count_fds(), rc;

	do {
		struct spool_flat flat = SPOOL_FLAT_INIT;

		rc = fn(&flat, &f->core, &f->place, &f->err);
		assert_true(rc == 0 || rc == -EAGAIN);
		assert_int_equal(flat.fd >= 0, rc == 0);
		if (flat.fd >= 0)
			close(flat.fd);
	} while (rc == 0 && monotonic_ns() - began < 20 * NS_PER_S);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(rc, -EAGAIN);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_entries(&f->store), 0);
}

static void test_hot_changed(void **state)
{
	struct fixture *f = *state;

	make_database(f, "DELETE", 4096, 10000, 3000);
	die_in_transaction(f, hot_transactions[0]);
	assert_notices(f, NAME, spool_hot);
	assert_notices(f, NAME "-journal", spool_hot);
}

/* ---- files that nobody writes ----------------------------------------------------------------------- */

static void test_raw(void **state)
{
	static const char *const modes[] = {"DELETE", "WAL"};
	struct fixture *f = *state;

	for (int i = 0; i < 2; i++) {
		struct spool_flat flat = SPOOL_FLAT_INIT;
		struct copy expected;
		int fds;

		make_database(f, modes[i], 4096, 600, 3000);
		app_stop(&f->app);
		f->app.pid = 0;
		assert_int_equal(count_entries(&f->folder), 1);
		expected = read_file(f, NAME);
		fds = count_fds();
		assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), 0);
		assert_stat(f, &flat.st);
		assert_int_equal(header_is_wal(&flat.header), i == 1);
		assert_flat(f, &flat, &expected);
		assert_int_equal(count_entries(&f->folder), 1);
		assert_int_equal(count_entries(&f->store), 0);
		assert_int_equal(count_fds(), fds);
		sqlite3_free(expected.bytes);
		assert_int_equal(unlinkat(f->folder.fd, NAME, 0), 0);
		app_start(&f->app, &f->folder, NAME);
	}
}

static void put(struct fixture *f, const char *name, const char *bytes, size_t size)
{
	int fd = openat(f->folder.fd, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
}

static void test_raw_refused(void **state)
{
	static const char *const sidecars[] = {NAME "-wal", NAME "-shm", NAME "-journal"};
	static char garbage[8192] = "SQLite format 2";
	struct fixture *f = *state;
	struct spool_flat flat = {.fd = 1000};
	int fds;

	make_database(f, "DELETE", 4096, 1000, 3000);
	app_stop(&f->app);
	f->app.pid = 0;
	fds = count_fds();
	/* An empty one too: it says that somebody has it open. */
	for (int i = 0; i < 3; i++) {
		put(f, sidecars[i], "x", i == 0 ? 0 : 1);
		assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), -EAGAIN);
		assert_true(strlen(f->err.text) > 0);
		assert_int_equal(unlinkat(f->folder.fd, sidecars[i], 0), 0);
	}
	mount_tmpfs(&f->store, "size=18m");
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), -ENOSPC);
	assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT | MS_RDONLY, "size=64m"), 0);
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), -EROFS);
	assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT, "size=64m"), 0);
	put(f, NAME, garbage, sizeof(garbage));
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), -EIO);
	assert_true(strlen(f->err.text) > 0);
	put(f, NAME, "", 0);
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), -EIO);
	assert_int_equal(unlinkat(f->folder.fd, NAME, 0), 0);
	assert_int_equal(spool_raw(&flat, &f->core, &f->place, &f->err), -ENOENT);
	assert_int_equal(flat.fd, 1000);
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_entries(&f->store), 0);
}

static void test_raw_changed(void **state)
{
	struct fixture *f = *state;

	make_database(f, "DELETE", 4096, 10000, 3000);
	app_stop(&f->app);
	f->app.pid = 0;
	assert_notices(f, NAME, spool_raw);
}

/* ---- through SQLite --------------------------------------------------------------------------------- */

static void test_backup(void **state)
{
	struct fixture *f = *state;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct copy expected, got;
	struct conn *conn;
	int fds;

	make_database(f, "WAL", 4096, 500, 3000);
	app_do(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)");
	app_do(&f->app, "UPDATE t SET b=randomblob(3000) WHERE a%3=0");
	connect_live(f);
	fds = count_fds();
	for (int i = 0; i < 2; i++) {
		conn = pin(f, 0);
		expected = copy_of(conn);
		/* Not of the transaction that was pinned. */
		app_do(&f->app, "UPDATE t SET b=randomblob(3000)");
		assert_int_equal(spool_backup(&flat, conn, &f->err), 0);
		assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
		assert_int_equal(flat.size, expected.size);
		got = read_whole(flat.fd, flat.size);
		mask(&got);
		assert_same(&got, &expected);
		assert_true(header_is_wal(&flat.header));
		close(flat.fd);
		assert_int_equal(count_entries(&f->store), 0);
		assert_int_equal(count_fds(), fds);
		sqlite3_free(expected.bytes);
		sqlite3_free(got.bytes);
	}
}

static void test_backup_fails(void **state)
{
	struct fixture *f = *state;
	int fds;

	make_database(f, "WAL", 4096, 1000, 3000);
	connect_live(f);
	fds = count_fds();
	for (int i = 0; i < 3; i++) {
		struct spool_flat flat = {.fd = 1000};
		struct conn *conn = pin(f, 0);
		bool fail = i == 2;

		mount_tmpfs(&f->store, i == 2 ? "size=64m" : "size=1m");
		if (i == 1)
			assert_int_equal(mount(NULL, f->store.path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
		vfs_set_fault(conn->db.vfs, fail_reads, &fail);
		f->err.text[0] = '\0';
		assert_int_equal(spool_backup(&flat, conn, &f->err), i == 0   ? -ENOSPC
								     : i == 1 ? -EROFS
									      : -EIO);
		fail = false;
		assert_true(strlen(f->err.text) > 0);
		assert_int_equal(flat.fd, 1000);
		assert_int_equal(count_entries(&f->store), 0);
		assert_int_equal(app_get(&f->app, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
		app_do(&f->app, "UPDATE t SET n=n");
		unmount(&f->store);
		conn = pin(f, 0);
		vfs_set_fault(conn->db.vfs, NULL, NULL);
		live_unpin(conn);
	}
	assert_int_equal(count_fds(), fds);
}

/* Copies a database whose -shm is read-only and has no writer, as a user who may not change that, to "out".
 */
static int backup_as_nobody(void *arg)
{
	struct fixture *f = arg;
	struct spool_flat flat = SPOOL_FLAT_INIT;
	struct conn *conn;
	struct stat st;
	char path[PATH_MAX], buf[4096];
	uint64_t done = 0;
	ssize_t got;
	int out;

	if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY) || prctl(PR_SET_DUMPABLE, 1))
		return 90;
	if (place_stat(&f->place, "", &st) ||
	    live_create(&f->live, &f->core, &f->place, &st, monotonic_ns() + NS_PER_S, &f->err))
		return 91;
	if (live_pin(f->live, monotonic_ns() + NS_PER_S, &conn, &f->err) != PIN_UNRELIABLE)
		return 92;
	if (spool_backup(&flat, conn, &f->err))
		return 93;
	out = open(folder_file(&f->store, "out", path), O_CREAT | O_WRONLY, 0600);
	while ((got = pread(flat.fd, buf, sizeof(buf), (off_t)done)) > 0) {
		if (write(out, buf, (size_t)got) != got)
			return 94;
		done += (uint64_t)got;
	}
	live_unref(f->live);
	return got == 0 && done == flat.size ? 0 : 95;
}

static void test_backup_of_unreliable(void **state)
{
	static const char *const files[] = {NAME, NAME "-wal", NAME "-shm"};
	struct fixture *f = *state;
	struct file_look looks[3];
	struct copy expected, got;
	struct conn *conn;
	char path[PATH_MAX];
	int out;

	make_database(f, "WAL", 4096, 500, 3000);
	app_do(&f->app, "PRAGMA wal_checkpoint(PASSIVE)");
	app_do(&f->app, "UPDATE t SET b=randomblob(3000) WHERE a%3=0");
	app_kill(&f->app);
	f->app.pid = 0;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(fchmodat(f->folder.fd, files[i], 0444, 0), 0);
		looks[i] = file_look(&f->folder, files[i]);
	}
	assert_int_equal(chmod(f->folder.path, 0555), 0);
	assert_int_equal(chown(f->store.path, NOBODY, NOBODY), 0);
	assert_int_equal(in_child(backup_as_nobody, f), 0);
	for (int i = 0; i < 3; i++)
		assert_same_file(looks[i], file_look(&f->folder, files[i]));
	assert_int_equal(count_entries(&f->store), 1);
	connect_live(f);
	conn = pin(f, 0);
	expected = copy_of(conn);
	live_unpin(conn);
	out = open(folder_file(&f->store, "out", path), O_RDONLY | O_CLOEXEC);
	got = read_whole(out, expected.size);
	close(out);
	mask(&got);
	assert_same(&got, &expected);
	sqlite3_free(expected.bytes);
	sqlite3_free(got.bytes);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define test_on(name, kind) cmocka_unit_test_prestate_setup_teardown(name, setup, teardown, kind)

int main(void)
{
	static char xfs[] = "xfs", btrfs[] = "btrfs";
	const struct CMUnitTest tests[] = {
		test(test_spool_of_nothing),
		test(test_image_size),
		test(test_pinned_512),
		test(test_pinned_4096),
		test(test_pinned_65536),
		test(test_pinned_empty_wal),
		test(test_pinned_fails),
		test(test_pinned_unwanted),
		test_on(test_clone_pinned, xfs),
		test_on(test_clone_pinned, btrfs),
		test_on(test_clone_needs_no_room, xfs),
		test_on(test_clone_needs_no_room, btrfs),
		test(test_rollback),
		test(test_rollback_beside_writer),
		test(test_rollback_gives_up),
		test(test_rollback_starts_over),
		test(test_rollback_becomes_wal),
		test(test_rollback_fails),
		test(test_hot),
		test(test_hot_as_pinned),
		test(test_hot_fails),
		test(test_hot_changed),
		test(test_raw),
		test(test_raw_refused),
		test(test_raw_changed),
		test(test_backup),
		test(test_backup_fails),
		test(test_backup_of_unreliable),
	};

	return cmocka_run_group_tests(tests, own_mounts, NULL);
}
