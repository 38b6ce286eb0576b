/* SPDX-License-Identifier: MIT */
/*
 * kept STORE SOURCE... - does to a store what a mount does to it as it starts, and says what is kept of each
 * source: lines of its number from 0, the snapshot's name and the path of its bytes, with tabs between them.
 * For tests, which cannot mount a thousand times.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "../../src/cleanup.h"
#include "../../src/keep.h"
#include "../../src/opath.h"

static int show(struct store *store, const char *source, int number, const char *name)
{
	struct keep_entry entry;
	autoclose int fd = keep_reach(store, source, name, "", &entry);
	char path[PATH_MAX];

	if (fd < 0 || opath_path(fd, path, sizeof(path))) {
		fprintf(stderr, "%s of %s is listed and cannot be found\n", name, source);
		return 1;
	}
	printf("%d\t%s\t%s\n", number, name, path);
	return 0;
}

static int list(struct store *store, const char *source, int number)
{
	struct keep_entry *entries = NULL;
	size_t count = 0;
	int rc = keep_list(store, source, &entries, &count);

	for (size_t i = 0; i < count && !rc; i++)
		rc = show(store, source, number, entries[i].name);
	keep_list_free(entries, count);
	return rc;
}

int main(int argc, char **argv)
{
	struct snap_err err = {{0}};
	struct store *store = NULL;
	int rc = argc < 2 ? -1 : store_create(&store, argv[1], &err);

	if (!rc)
		rc = keep_clean(store, NULL, NULL, NULL, &err);
	for (int i = 2; i < argc && !rc; i++)
		rc = list(store, argv[i], i - 2);
	store_destroy(store);
	if (rc)
		fprintf(stderr, "%d: %s\n", rc, err.text);
	return rc ? 1 : 0;
}
