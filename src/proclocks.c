/* SPDX-License-Identifier: MIT */
/*
 * proclocks.c - /proc/locks, as lock_get_status() in the kernel's fs/locks.c writes it:
 *
 *   12: POSIX  ADVISORY  WRITE 4711 fe:00:1234 120 121
 *   12: -> POSIX  ADVISORY  WRITE 4712 fe:00:1234 120 120	(waits for it)
 *   13: OFDLCK ADVISORY  READ -1 00:1b:99 128 EOF
 *
 * What must stay true: any bytes are safe to read; lines that cannot be parsed are skipped. Does not check
 * whether a process is alive.
 */
#include "proclocks.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "cleanup.h"
#include "clock.h"

#define TEXT_MIN (16u << 10)
#define TEXT_MAX (16u << 20)

/* The bytes that form one lock. */
struct span {
	uint64_t first, last;
};

static const struct span spans[PROCLOCKS_COUNT] = {
	{PROCLOCKS_WAL_WRITE, PROCLOCKS_WAL_WRITE},	{PROCLOCKS_WAL_CKPT, PROCLOCKS_WAL_CKPT},
	{PROCLOCKS_WAL_RECOVER, PROCLOCKS_WAL_RECOVER}, {PROCLOCKS_WAL_READ(0), PROCLOCKS_WAL_READ(0)},
	{PROCLOCKS_WAL_READ(1), PROCLOCKS_WAL_READ(1)}, {PROCLOCKS_WAL_READ(2), PROCLOCKS_WAL_READ(2)},
	{PROCLOCKS_WAL_READ(3), PROCLOCKS_WAL_READ(3)}, {PROCLOCKS_WAL_READ(4), PROCLOCKS_WAL_READ(4)},
	{PROCLOCKS_WAL_DMS, PROCLOCKS_WAL_DMS},		{PROCLOCKS_PENDING, PROCLOCKS_PENDING},
	{PROCLOCKS_RESERVED, PROCLOCKS_RESERVED},	{PROCLOCKS_SHARED_FIRST, PROCLOCKS_SHARED_LAST},
};

/* One line. */
struct lock {
	bool write;
	pid_t pid; /* -1: not known */
	uint64_t dev, ino;
	struct span bytes;
};

/* Which of the lines with an inode number are taken to mean the file. */
struct filter {
	uint64_t ino;
	uint64_t dev;
	bool any_dev;
};

static bool touches(const struct span *a, const struct span *b)
{
	return a->first <= b->last && b->first <= a->last;
}

/* ---- text ---------------------------------------------------------------------------------------------- */

struct text {
	const char *at, *end;
};

static void skip_spaces(struct text *t)
{
	while (t->at < t->end && *t->at == ' ')
		t->at++;
}

/* The next word, up to a space; empty at the end. */
static struct text take_word(struct text *t)
{
	struct text word;

	skip_spaces(t);
	word.at = t->at;
	while (t->at < t->end && *t->at != ' ')
		t->at++;
	word.end = t->at;
	return word;
}

static bool is_word(const struct text *word, const char *is)
{
	size_t size = (size_t)(word->end - word->at);

	return size == strlen(is) && memcmp(word->at, is, size) == 0;
}

static unsigned digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a') + 10;
	return 16;
}

/* Consumes digits and then AFTER, up to which they must reach; with AFTER 0, up to the end. */
static bool take_number(struct text *t, unsigned base, char after, uint64_t *out)
{
	const char *start = t->at;
	uint64_t value = 0;

	for (; t->at < t->end && digit_value(*t->at) < base; t->at++)
		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, digit_value(*t->at), &value))
			return false;
	if (t->at == start)
		return false;
	*out = value;
	if (!after)
		return t->at == t->end;
	if (t->at == t->end || *t->at != after)
		return false;
	t->at++;
	return true;
}

/* "fe:00:1234" */
static bool parse_file(struct text word, struct lock *lock)
{
	uint64_t major, minor;

	if (!take_number(&word, 16, ':', &major) || !take_number(&word, 16, ':', &minor))
		return false;
	if (major > UINT32_MAX || minor > UINT32_MAX)
		return false;
	lock->dev = makedev((unsigned)major, (unsigned)minor);
	return take_number(&word, 10, 0, &lock->ino);
}

/* "4711", and "-1" for an open file description. */
static bool parse_pid(struct text word, struct lock *lock)
{
	bool unknown = word.at < word.end && *word.at == '-';
	uint64_t pid;

	if (unknown)
		word.at++;
	if (!take_number(&word, 10, 0, &pid) || pid > INT32_MAX)
		return false;
	lock->pid = unknown || pid == 0 ? -1 : (pid_t)pid;
	return true;
}

/* LINE comes without its newline. False: it is not a held lock on bytes of a file. */
static bool parse_line(struct text line, struct lock *lock)
{
	struct text word = take_word(&line);
	uint64_t id;

	if (!take_number(&word, 10, ':', &id) || word.at != word.end)
		return false;
	word = take_word(&line);
	if (!is_word(&word, "POSIX") && !is_word(&word, "OFDLCK"))
		return false;
	take_word(&line); /* ADVISORY */
	word = take_word(&line);
	lock->write = is_word(&word, "WRITE");
	if (!lock->write && !is_word(&word, "READ"))
		return false;
	if (!parse_pid(take_word(&line), lock) || !parse_file(take_word(&line), lock))
		return false;
	word = take_word(&line);
	if (!take_number(&word, 10, 0, &lock->bytes.first))
		return false;
	word = take_word(&line);
	if (is_word(&word, "EOF"))
		lock->bytes.last = UINT64_MAX;
	else if (!take_number(&word, 10, 0, &lock->bytes.last))
		return false;
	skip_spaces(&line);
	return line.at == line.end && lock->bytes.first <= lock->bytes.last;
}

/* The next lock; false at the end. */
static bool next_lock(struct text *t, struct lock *lock)
{
	const char *newline;

	while (t->at < t->end && (newline = memchr(t->at, '\n', (size_t)(t->end - t->at)))) {
		struct text line = {t->at, newline};

		t->at = newline + 1;
		if (parse_line(line, lock))
			return true;
	}
	return false;
}

/* ---- whose they are ------------------------------------------------------------------------------------ */

static bool is_ours_to_see(const struct lock *lock)
{
	for (size_t i = 0; i < PROCLOCKS_COUNT; i++)
		if (touches(&spans[i], &lock->bytes))
			return true;
	return false;
}

/* Finds out under which device the lines list the file DEV, INO. */
static struct filter choose(struct text t, uint64_t dev, uint64_t ino, pid_t self)
{
	struct filter own = {.ino = ino, .any_dev = true};
	bool has_own = false;
	struct lock lock;

	while (next_lock(&t, &lock)) {
		if (lock.ino != ino || !is_ours_to_see(&lock))
			continue;
		if (lock.dev == dev)
			return (struct filter){.ino = ino, .dev = dev};
		if (lock.pid != self)
			continue;
		/* We hold locks on two files with this inode number, which cannot be told apart. */
		own.any_dev = has_own && (own.any_dev || own.dev != lock.dev);
		own.dev = lock.dev;
		has_own = true;
	}
	return own;
}

static void add(struct proclocks_seen *seen, const struct lock *lock, pid_t self)
{
	for (size_t i = 0; i < PROCLOCKS_COUNT; i++) {
		struct proclocks_held *held = &seen->held[i];

		if (!touches(&spans[i], &lock->bytes))
			continue;
		if (lock->pid == self)
			held->self = true;
		else
			held->others = true;
		if (lock->write)
			held->writer = lock->pid;
	}
}

void proclocks_parse(struct proclocks_seen *out, const char *text, size_t size, uint64_t dev, uint64_t ino,
		     pid_t self)
{
	struct text t = {text, text + size};
	struct filter filter = choose(t, dev, ino, self);
	struct lock lock;

	memset(out, 0, sizeof(*out));
	while (next_lock(&t, &lock))
		if (lock.ino == filter.ino && (filter.any_dev || lock.dev == filter.dev))
			add(out, &lock, self);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* All of FD; *TEXT is owned by the caller. */
static int read_all(int fd, char **text, size_t *size)
{
	autofree char *buf = NULL;
	size_t room = 0, used = 0;
	ssize_t got;

	do {
		if (used == room) {
			char *grown;

			if (room >= TEXT_MAX)
				return -EFBIG;
			room = room ? room * 2 : TEXT_MIN;
			grown = realloc(buf, room);
			if (!grown)
				return -ENOMEM;
			buf = grown;
		}
		got = read(fd, buf + used, room - used);
		if (got < 0 && errno != EINTR)
			return -errno;
		used += got > 0 ? (size_t)got : 0;
	} while (got != 0);
	*text = steal_ptr(&buf);
	*size = used;
	return 0;
}

/* The current text; *TEXT is owned by the caller. */
static int read_locks(char **text, size_t *size)
{
	autoclose int fd = open("/proc/locks", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : read_all(fd, text, size);
}

struct proclocks {
	pthread_mutex_t lock; /* held while reading: who calls meanwhile asks for the same text */
	char *text;	      /* guarded by lock, as the next two; owned */
	size_t size;
	int64_t read_ns; /* CLOCK_MONOTONIC, right before the text was read; 0: not yet */
};

int proclocks_create(struct proclocks **out)
{
	struct proclocks *locks = calloc(1, sizeof(*locks));

	if (!locks)
		return -ENOMEM;
	pthread_mutex_init(&locks->lock, NULL);
	*out = locks;
	return 0;
}

void proclocks_destroy(struct proclocks *locks)
{
	if (!locks)
		return;
	pthread_mutex_destroy(&locks->lock);
	free(locks->text);
	free(locks);
}

int proclocks_look(struct proclocks *locks, int64_t max_age_ns, uint64_t dev, uint64_t ino, pid_t self,
		   struct proclocks_seen *out)
{
	int64_t now = monotonic_ns(); /* a text that is read while we wait is newer than this */
	lock_scope(&locks->lock);

	if (locks->read_ns == 0 || now - locks->read_ns > max_age_ns) {
		char *text = NULL;
		int rc;

		now = monotonic_ns();
		rc = read_locks(&text, &locks->size);
		if (rc)
			return rc;
		free(locks->text);
		locks->text = text;
		locks->read_ns = now;
	}
	proclocks_parse(out, locks->text, locks->size, dev, ino, self);
	return 0;
}

/* ---- asking -------------------------------------------------------------------------------------------- */

bool proclocks_others_hold(const struct proclocks_seen *seen, uint64_t first, uint64_t last)
{
	const struct span asked = {first, last};

	for (size_t i = 0; i < PROCLOCKS_COUNT; i++)
		if (seen->held[i].others && touches(&spans[i], &asked))
			return true;
	return false;
}

bool proclocks_self_holds(const struct proclocks_seen *seen, uint64_t first, uint64_t last)
{
	const struct span asked = {first, last};

	for (size_t i = 0; i < PROCLOCKS_COUNT; i++)
		if (seen->held[i].self && touches(&spans[i], &asked))
			return true;
	return false;
}

pid_t proclocks_writer(const struct proclocks_seen *seen, uint64_t byte)
{
	const struct span asked = {byte, byte};

	for (size_t i = 0; i < PROCLOCKS_COUNT; i++)
		if (touches(&spans[i], &asked))
			return seen->held[i].writer;
	return 0;
}

bool proclocks_readers_awaited(const struct proclocks_seen *shm, pid_t self)
{
	pid_t pid = proclocks_writer(shm, PROCLOCKS_WAL_WRITE);

	/* SQLite's locks belong to processes: a lock that names none is not SQLite's. */
	return pid > 0 && pid != self && proclocks_writer(shm, PROCLOCKS_WAL_CKPT) == pid &&
	       proclocks_writer(shm, PROCLOCKS_WAL_RECOVER) != pid;
}
