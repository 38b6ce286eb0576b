/* SPDX-License-Identifier: MIT */
/* log_ring.c - see log_ring.h. The ring belongs to log.c's globals: there is one log in a process. */
#include "log_ring.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct {
	pthread_mutex_t lock;
	char lines[LOG_RING_LINES][LOG_RING_WIDTH];
	unsigned next;	/* where the next line goes */
	unsigned count; /* lines in use */
} ring = {.lock = PTHREAD_MUTEX_INITIALIZER};

void log_ring_add(const char *prefix, const char *module, const char *text)
{
	char stamp[32] = "";
	time_t now = time(NULL);
	struct tm tm;

	if (gmtime_r(&now, &tm))
		strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &tm);
	pthread_mutex_lock(&ring.lock);
	snprintf(ring.lines[ring.next], LOG_RING_WIDTH, "%s %s%s: %s", stamp, prefix, module, text);
	ring.next = (ring.next + 1) % LOG_RING_LINES;
	if (ring.count < LOG_RING_LINES)
		ring.count++;
	pthread_mutex_unlock(&ring.lock);
}

char *log_recent(void)
{
	char *text = malloc(LOG_RING_LINES * (LOG_RING_WIDTH + 1) + 1), *fitted;
	size_t used = 0;

	if (!text)
		return NULL;
	pthread_mutex_lock(&ring.lock);
	for (unsigned i = 0; i < ring.count; i++) {
		const char *line = ring.lines[(ring.next + LOG_RING_LINES - ring.count + i) % LOG_RING_LINES];
		size_t n = strlen(line);

		memcpy(text + used, line, n);
		used += n;
		text[used++] = '\n';
	}
	pthread_mutex_unlock(&ring.lock);
	text[used] = '\0';
	fitted = realloc(text, used + 1);
	return fitted ? fitted : text;
}
