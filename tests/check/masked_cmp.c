/* SPDX-License-Identifier: MIT */
/*
 * masked_cmp.c - masked_cmp A B: are two database files the same bytes, but for the header fields that
 * SQLite's backup sets anew (24..27, 40..43, 92..99, and the page count 28..31 where it is stale)? Files of
 * any size. Exit status 0: yes.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP (1 << 20)

struct side {
	const char *path;
	int fd;
	long long size;
	unsigned char buf[STEP];
};

static bool side_open(struct side *s, const char *path)
{
	struct stat st;

	s->path = path;
	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0 || fstat(s->fd, &st) != 0) {
		perror(path);
		return false;
	}
	s->size = st.st_size;
	return true;
}

/* STEP bytes, fewer at the end; -1 and a line on stderr. */
static ssize_t side_read(struct side *s)
{
	size_t done = 0;
	ssize_t got = 1;

	while (done < STEP && (got = read(s->fd, s->buf + done, STEP - done)) > 0)
		done += (size_t)got;
	if (got < 0)
		perror(s->path);
	return got < 0 ? -1 : (ssize_t)done;
}

static void mask(unsigned char *a, unsigned char *b)
{
	bool stale = memcmp(a + 24, a + 92, 4) != 0 || memcmp(b + 24, b + 92, 4) != 0;
	unsigned char *both[] = {a, b};

	for (int i = 0; i < 2; i++) {
		memset(both[i] + 24, 0, stale ? 8 : 4);
		memset(both[i] + 40, 0, 4);
		memset(both[i] + 92, 0, 8);
	}
}

int main(int argc, char **argv)
{
	static struct side a, b;
	long long offset = 0;

	if (argc != 3 || !side_open(&a, argv[1]) || !side_open(&b, argv[2]))
		return 2;
	if (a.size != b.size) {
		fprintf(stderr, "masked_cmp: %lld bytes, and %lld\n", a.size, b.size);
		return 1;
	}
	for (;;) {
		ssize_t n = side_read(&a), m = side_read(&b);

		if (n < 0 || m < 0)
			return 2;
		if (n != m) {
			fprintf(stderr, "masked_cmp: one ends before its size\n");
			return 1;
		}
		if (n == 0)
			return offset == a.size ? 0 : 1;
		if (offset == 0 && n >= 100)
			mask(a.buf, b.buf);
		for (ssize_t i = 0; i < n; i++) {
			if (a.buf[i] != b.buf[i]) {
				fprintf(stderr, "masked_cmp: they differ at byte %lld\n", offset + i);
				return 1;
			}
		}
		offset += n;
	}
}
