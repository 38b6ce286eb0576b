/* SPDX-License-Identifier: MIT */
/*
 * fuzz_store.c - what is read from the store after a crash, a full disk or somebody's editor: records, the
 * paths of sources, what was shown last, folders of snapshots, groups, leavings; links and fifos in the place
 * of each.
 *
 * The input is a list of things to put there, some of them by the store's own hand, and then of things to ask
 * for. What stands outside of the store must not change, and what is whole must stay so.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/kept_tree.h"
#include "../../src/store_private.h"
#include "../unit/kept_file.h"
#include "record.h"

#define STEPS 24
#define OUTSIDE "outside"

static const char *const sources[] = {"app/a.db", "app/sub/b.db"};
static const char *const names[] = {"n",
				    "before-restore-1",
				    "before-restore-2",
				    "before-restore-3",
				    ".n-0123456789abcdef.partial",
				    ".work-0123456789abcdef",
				    "0123456789abcdef",
				    ""};
static const char *const files[] = {"meta", "db", "wal", "journal", "", "x"};
static const char *const places[] = {"source", "seen", "opened", "kept", ".seen-0123456789abcdef"};

#define PICK(list, bytes) (list)[bytes_u8(bytes) % (sizeof(list) / sizeof((list)[0]))]

struct ground {
	struct store *store;
	struct bytes *bytes;
	bool foreign_groups; /* one was put there whose text may name anybody */
};

/* ---- putting things there ------------------------------------------------------------------------------ */

/* A file, or what somebody has put in its place. False: there is no such place. */
static bool put_at(struct ground *g, int dir, const char *name)
{
	static const uint8_t zeros[256];
	char text[KEEP_RECORD_SIZE];
	uint8_t how = bytes_u8(g->bytes);
	size_t size = bytes_u8(g->bytes);
	const void *content = zeros;
	int fd;

	unlinkat(dir, name, 0);
	unlinkat(dir, name, AT_REMOVEDIR);
	switch (how % 8) {
	case 0:
		return symlinkat(fuzz_path(how & 8 ? OUTSIDE "/folder" : OUTSIDE "/file"), dir, name) == 0;
	case 1:
		return mkfifoat(dir, name, 0600) == 0;
	case 2:
		return mkdirat(dir, name, 0700) == 0;
	case 3:
	case 4:
		size = make_record(g->bytes, text);
		content = text;
		try_record(text, size);
		break;
	case 5:
		content = bytes_take(g->bytes, &size);
		try_record(content, size);
		break;
	case 6: /* the magic of the store's own files, and bytes behind it */
		snprintf(text, sizeof(text), "sqlsnapfs %s 1\n", name);
		memset(text + strlen(text), bytes_u8(g->bytes), 600);
		content = text;
		size = 1 + bytes_u16(g->bytes) % 600;
		break;
	default:
		break;
	}
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	must(write(fd, content, size) == (ssize_t)size);
	close(fd);
	return true;
}

/* A snapshot as the program keeps it. */
static void keep_one(struct ground *g, const char *source)
{
	struct keep_meta meta = {.made_ns = realtime_ns(), .mode = 0600, .page_size = 512};
	uint8_t how = bytes_u8(g->bytes);
	char group[KEEP_GROUP_SIZE];
	struct keep *keep = NULL;
	struct snap_err err;

	if (keep_begin(&keep, g->store, source, PICK(names, g->bytes), &err)) {
		must(fuzz_is_line(err.text, sizeof(err.text)));
		return;
	}
	must(write(keep_fd(keep), "0123456789", 10) == 10);
	if (how & 1)
		must(keep_add_file(keep, "-wal") >= 0);
	if ((how & 2) && keep_reserve(keep, &err)) {
		must(fuzz_is_line(err.text, sizeof(err.text)));
	} else if (how & 4) {
		must(keep_group_name(group) == 0);
		if (keep_seal(keep, &meta, group, &err) == 0)
			keep_publish(&keep, 1, group, &err);
	} else {
		keep_commit(keep, &meta, &err);
	}
	keep_destroy(keep);
}

/* The folder NAME in DIR, which it closes; made if there is nothing. A link that stands there is not
 * followed: -1. */
static int step_into(int dir, const char *name)
{
	int sub = -1;

	if (dir >= 0 && (mkdirat(dir, name, 0700) == 0 || errno == EEXIST))
		sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0)
		close(dir);
	return sub;
}

static void put_something(struct ground *g)
{
	char source[PATH_MAX];
	uint8_t what = bytes_u8(g->bytes) % 8;
	const char *name;
	int dir;

	snprintf(source, sizeof(source), "%s/%s", fuzz_folder(), PICK(sources, g->bytes));
	if (what < 2) {
		keep_one(g, source);
		return;
	}
	dir = store_open_source(g->store, source, true, NULL);
	switch (what) {
	case 2: /* in the source's folder */
		name = PICK(places, g->bytes);
		break;
	case 3: /* beside it */
	case 4:
		if (dir >= 0)
			close(dir);
		dir = open(store_dir(g->store), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (what == 4)
			dir = step_into(dir, "groups");
		g->foreign_groups |= what == 4;
		name = PICK(names, g->bytes);
		break;
	default:
		dir = step_into(step_into(dir, "kept"), PICK(names, g->bytes));
		name = PICK(files, g->bytes);
		break;
	}
	if (dir < 0)
		return;
	put_at(g, dir, name);
	close(dir);
}

/* ---- asking -------------------------------------------------------------------------------------------- */

static void ask_entry(struct ground *g, const char *source, const struct keep_entry *entry)
{
	static const char *const suffixes[] = {"", "-wal", "-journal"};
	const bool has[] = {true, entry->has_wal, entry->has_journal};
	struct keep_entry found;

	must(keep_name_valid(entry->name));
	must(keep_find(g->store, source, entry->name, &found) == 0 && !found.name);
	must(found.dev == entry->dev && found.ino == entry->ino && found.meta.size == entry->meta.size);
	for (int part = 0; part < KEEP_PARTS; part++) {
		struct keep_meta meta;
		struct stat st;
		int fd = kept_file_open(g->store, source, entry->name, suffixes[part], &meta);

		must(has[part] ? fd >= 0 : fd == -ENOENT);
		if (fd < 0)
			continue;
		must(fstat(fd, &st) == 0 && S_ISREG(st.st_mode));
		must(part != KEEP_DB ||
		     ((uint64_t)st.st_size == entry->meta.size && st.st_ino == entry->ino));
		close(fd);
	}
}

/* How many snapshots of SOURCE there are, each of which is whole. */
static size_t ask_source(struct ground *g, const char *source)
{
	struct keep_entry *entries = NULL;
	struct snap_opened opened;
	struct store_seen seen;
	size_t count = 0;
	int rc = keep_list(g->store, source, &entries, &count);

	must(rc == 0 || (!entries && !count));
	for (size_t i = 0; i < count; i++) {
		ask_entry(g, source, &entries[i]);
		must(i == 0 || entries[i - 1].meta.made_ns <= entries[i].meta.made_ns);
	}
	keep_list_free(entries, count);
	if (store_load_opened(g->store, source, &opened) == 0) {
		must(opened.time_ns >= 0);
		must(memchr(opened.snapshot, '\0', sizeof(opened.snapshot)) != NULL);
		must(memchr(opened.who.command, '\0', sizeof(opened.who.command)) != NULL);
	}
	if (store_load_seen(g->store, source, &seen) == 0)
		version_equal(&seen.version, &seen.version);
	store_knows(g->store, source);
	return count;
}

static int count_name(void *arg, const char *source)
{
	must(source[0] == '/' && source[1]);
	++*(size_t *)arg;
	return 0;
}

/* Everything that the mount shows of PATH can be looked up, and is what it was listed as. */
static void ask_tree(struct kept_tree *kept, struct rawfd_table *table, const char *path, int depth)
{
	struct tree_list list = {0};
	struct snap_attr attr;
	int rc = kept_tree_look(kept, path, &attr);

	must(rc == 0 && S_ISDIR(attr.mode));
	rc = kept_tree_list(kept, path, &list);
	must(rc == 0 || (rc == -ENOENT && depth > 1));
	for (size_t i = 0; i < list.count; i++) {
		struct rawfd raw = RAWFD_INIT;
		char sub[PATH_MAX];
		struct stat st;

		must(i == 0 || strcmp(list.names[i - 1].name, list.names[i].name) < 0);
		must(list.names[i].name[0] != '.' && !strchr(list.names[i].name, '/'));
		must(snprintf(sub, sizeof(sub), "%s/%s", path, list.names[i].name) < (int)sizeof(sub));
		must(kept_tree_look(kept, sub, &attr) == 0);
		must((attr.mode & S_IFMT) == list.names[i].type && attr.ino == list.names[i].ino);
		if (S_ISDIR(attr.mode)) {
			must(depth < 16);
			ask_tree(kept, table, sub, depth + 1);
			continue;
		}
		must(attr.kind == SNAP_PLAIN);
		must(kept_tree_open(kept, sub, attr.key_dev, attr.key_ino, &raw) == 0);
		must(fstat(raw.fd, &st) == 0 && (uint64_t)st.st_size == attr.size);
		rawfd_close(table, &raw);
	}
	tree_list_finish(&list);
}

static void ask_mount(struct ground *g)
{
	struct rawfd_table *table;
	struct kept_tree *kept;

	must(rawfd_table_create(&table) == 0);
	must(kept_tree_create(&kept, g->store, table) == 0);
	if (bytes_u8(g->bytes) & 1)
		must(kept_tree_set_folder(kept, fuzz_path("app")) == 0);
	else
		must(kept_tree_add_file(kept, "named", fuzz_path(sources[0])) == 0);
	ask_tree(kept, table, ".sqlsnapfs", 0);
	kept_tree_destroy(kept);
	rawfd_table_destroy(table);
}

static bool is_ours(void *arg, const char *source)
{
	(void)arg;
	return strncmp(source, fuzz_folder(), strlen(fuzz_folder())) == 0;
}

/* Something that lets go of what is kept, whatever that may be by now. */
static void drop_something(struct ground *g, const char *source)
{
	char ended[KEEP_GROUP_SIZE];
	uint8_t what = bytes_u8(g->bytes);
	const char *name = PICK(names, g->bytes);
	struct snap_err err = {""};
	size_t before = ask_source(g, source), after;

	if (what & 1) {
		keep_prune(g->store, source, what >> 1 & 3, NULL,
			   realtime_ns() + (what & 8 ? 2 * KEEP_DAY_NS : 0), &err);
		after = ask_source(g, source);
		must(after <= before && after >= (before < (what >> 1 & 3u) ? before : (what >> 1 & 3u)));
		return;
	}
	keep_group_end(g->store, source, name, is_ours, NULL, ended, &err);
	if (keep_drop(g->store, source, name, &err) == 0)
		must(keep_find(g->store, source, name, &(struct keep_entry){0}) == -ENOENT);
	else
		must(fuzz_is_line(err.text, sizeof(err.text)));
}

/* ---- one input ----------------------------------------------------------------------------------------- */

static void lay_out(void)
{
	fuzz_folder_clear();
	must(mkdir(fuzz_path("app"), 0755) == 0 && mkdir(fuzz_path("app/sub"), 0755) == 0);
	must(mkdir(fuzz_path(OUTSIDE), 0755) == 0 && mkdir(fuzz_path(OUTSIDE "/folder"), 0755) == 0);
	fuzz_put("app/a.db", "", 0);
	fuzz_put("app/sub/b.db", "", 0);
	fuzz_put(OUTSIDE "/file", "precious", 8);
	fuzz_put(OUTSIDE "/folder/db", "precious", 8);
}

static void must_be_untouched(void)
{
	static const char *const precious[] = {OUTSIDE "/file", OUTSIDE "/folder/db"};

	for (size_t i = 0; i < 2; i++) {
		size_t size;
		uint8_t *bytes = fuzz_get(precious[i], &size);

		must(bytes && size == 8 && memcmp(bytes, "precious", 8) == 0);
		free(bytes);
	}
	/* Nothing was made beside them. */
	must(unlink(fuzz_path(OUTSIDE "/folder/db")) == 0 && rmdir(fuzz_path(OUTSIDE "/folder")) == 0);
	must(unlink(fuzz_path(OUTSIDE "/file")) == 0 && rmdir(fuzz_path(OUTSIDE)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes bytes = {data, size};
	struct ground g = {.bytes = &bytes};
	char source[2][PATH_MAX];
	size_t counts[2], known = 0;
	struct snap_err err = {""};
	int fd, rc;

	lay_out();
	fd = fuzz_free_fd();
	must(store_create(&g.store, fuzz_path("store"), &err) == 0);
	for (int i = 0; i < STEPS && bytes.left > 0; i++)
		put_something(&g);
	for (int i = 0; i < 2; i++) {
		snprintf(source[i], sizeof(source[i]), "%s/%s", fuzz_folder(), sources[i]);
		counts[i] = ask_source(&g, source[i]);
	}
	ask_mount(&g);
	keep_sources(g.store, count_name, &known);
	/* Cleaning takes leavings, and nothing that is whole. */
	rc = keep_clean(g.store, NULL, NULL, NULL, &err);
	must(rc == 0 || fuzz_is_line(err.text, sizeof(err.text)));
	for (int i = 0; i < 2; i++)
		must(ask_source(&g, source[i]) == counts[i] || g.foreign_groups);
	drop_something(&g, source[0]);
	drop_something(&g, source[1]);
	ask_mount(&g);
	store_destroy(g.store);
	must(fuzz_free_fd() == fd);
	must_be_untouched();
	return 0;
}
