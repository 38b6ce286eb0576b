/* SPDX-License-Identifier: MIT */
/*
 * fuzz_tree.c - folders of other people: files, databases and what begins like one, names of sidecars, links
 * of all sorts, fifos; looked up, listed, walked, read.
 *
 * The input is a list of things to make in a small tree. Beside the tree stand files that it must not show,
 * unless they are databases that a link leads to; and whatever one call says of a name another one must say,
 * too.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/target.h"
#include "../../src/tree_private.h"

#define STEPS 24
#define SECRET "not to be shown"

static const char *const bases[] = {"a", "b", "c.db", "d", "-wal", "x\xff", "sub", "sub/a"};
static const char *const suffixes[] = {"", "", "-wal", "-shm", "-journal", "-wal-wal", "-shm-journal", "/x"};
static const char *const outside[] = {"/",	    "/out/plain", "/out/db",  "/out",
				      "/tree/c.db", "/out/link",  "/out/none"};

#define PICK(list, bytes) (list)[bytes_u8(bytes) % (sizeof(list) / sizeof((list)[0]))]

/* ---- making -------------------------------------------------------------------------------------------- */

/* A header that SQLite would write, but for what the input changes in it. */
static void make_header(struct bytes *bytes, uint8_t page[512])
{
	uint8_t edits = bytes_u8(bytes) % 4;

	memset(page, 0, 512);
	memcpy(page, "SQLite format 3", 16);
	page[16] = 2;
	page[18] = page[19] = 1;
	page[21] = 64;
	page[22] = page[23] = 32;
	page[47] = 4;
	page[59] = 1;
	for (; edits > 0; edits--) {
		uint8_t at = bytes_u8(bytes);

		page[at % 100] = bytes_u8(bytes);
	}
}

static void pick_name(struct bytes *bytes, char name[64])
{
	snprintf(name, 64, "tree/%s", PICK(bases, bytes));
	strcat(name, PICK(suffixes, bytes));
}

static void make_link(struct bytes *bytes, const char *path)
{
	uint8_t how = bytes_u8(bytes);
	const char *to = PICK(outside, bytes), *base = how & 3 ? NULL : PICK(bases, bytes);
	char target[PATH_MAX];

	if (how & 1)
		snprintf(target, sizeof(target), "%s%s", fuzz_folder(), to);
	else if (how & 2)
		snprintf(target, sizeof(target), "..%s", to);
	else
		snprintf(target, sizeof(target), "%s%s", base, PICK(suffixes, bytes));
	if (symlink(target, path) < 0)
		return; /* something stands there */
}

static void make_something(struct bytes *bytes)
{
	uint8_t what = bytes_u8(bytes), page[512];
	char name[64], other[64];
	const char *path;
	size_t size = 512;
	int fd;

	pick_name(bytes, name);
	path = fuzz_path(name);
	switch (what % 8) {
	case 0:
		mkdir(path, what & 8 ? 0700 : 0755);
		return;
	case 1:
		make_link(bytes, path);
		return;
	case 2:
		pick_name(bytes, other);
		if (link(fuzz_path(other), path) < 0)
			return;
		return;
	case 3:
		mkfifo(path, 0644);
		return;
	case 4:
		size = bytes_u8(bytes);
		memset(page, what, size);
		break;
	default:
		make_header(bytes, page);
		size = what & 16 ? bytes_u8(bytes) : 512;
		break;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, what & 32 ? 0600 : 0644);
	if (fd < 0)
		return;
	must(write(fd, page, size) == (ssize_t)size);
	close(fd);
}

static void lay_out(void)
{
	uint8_t page[512];

	fuzz_folder_clear();
	must(mkdir(fuzz_path("tree"), 0755) == 0 && mkdir(fuzz_path("out"), 0755) == 0);
	fuzz_put("out/plain", SECRET, strlen(SECRET));
	make_header(&(struct bytes){NULL, 0}, page);
	fuzz_put("out/db", page, sizeof(page));
	must(symlink("plain", fuzz_path("out/link")) == 0);
}

/* ---- asking -------------------------------------------------------------------------------------------- */

struct asked {
	struct tree *tree;
	struct rawfd_table *table;
	size_t databases; /* that are listed and not links within the tree */
};

/* What is read as a plain file is the file of that name, and none from elsewhere. */
static void read_plain(struct asked *a, const char *path, const struct snap_attr *attr)
{
	struct rawfd raw = RAWFD_INIT;
	char name[PATH_MAX], text[600];
	struct stat named, open;
	ssize_t n;
	int rc = tree_open_plain(a->tree, path, attr->key_dev, attr->key_ino, &raw);

	must(rc == 0);
	must(snprintf(name, sizeof(name), "tree/%s", path) < (int)sizeof(name));
	must(fstatat(AT_FDCWD, fuzz_path(name), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	     fstat(raw.fd, &open) == 0);
	must(named.st_ino == open.st_ino && S_ISREG(named.st_mode));
	n = pread(raw.fd, text, sizeof(text), 0);
	must(n >= 0 && (uint64_t)n == attr->size);
	must(!memmem(text, (size_t)n, SECRET, strlen(SECRET)));
	must(n < 100 || memcmp(text, "SQLite format 3", 16) != 0);
	rawfd_close(a->table, &raw);
	must(tree_open_plain(a->tree, path, attr->key_dev, attr->key_ino + 1, &raw) == -ESTALE);
}

/* A database stands where it is said to, and begins as one. */
static void read_place(struct asked *a, const struct tree_found *found)
{
	int dir = place_open_dir(&found->place);
	uint8_t magic[16];
	struct stat st;
	int fd;

	(void)a;
	must(dir >= 0 && place_stat(&found->place, "", &st) == 0);
	must(st.st_ino == found->attr.key_ino && S_ISREG(st.st_mode) && st.st_size >= HEADER_SIZE);
	fd = openat(dir, found->place.name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	must(fd >= 0 && read(fd, magic, sizeof(magic)) == 16 && memcmp(magic, "SQLite format 3", 16) == 0);
	must((found->attr.mode & S_IFMT) == S_IFREG && (found->attr.mode & 07000) == 0);
	must((found->attr.mode & 0777 & ~st.st_mode) == 0);
	close(fd);
	close(dir);
}

/* What a path leads to beside a database, whatever stands there. */
static void ask_sidecars(struct asked *a, const char *path)
{
	static const char *const names[] = {"-wal", "-shm", "-journal"};

	for (int i = 0; i < 3; i++) {
		struct tree_found found;
		char sidecar[PATH_MAX];
		int rc;

		snprintf(sidecar, sizeof(sidecar), "%s%s", path, names[i]);
		rc = tree_look(a->tree, sidecar, &found, NULL);
		if (rc == 0 && S_ISDIR(found.attr.mode)) {
			tree_found_finish(&found);
			continue;
		}
		must(rc == (i == 2 ? -ENOENT : 0));
		if (rc == 0)
			must(found.attr.kind == SNAP_SIDECAR && found.attr.size == 0 &&
			     !(found.attr.mode & 0222));
		tree_found_finish(&found);
	}
}

static void ask_name(struct asked *a, const char *path, const struct tree_name *name);

static void ask_folder(struct asked *a, const char *path)
{
	struct tree_list list;
	int rc = tree_list(a->tree, path, &list, NULL);

	must(rc == 0);
	for (size_t i = 0; i < list.count; i++) {
		char sub[PATH_MAX];

		must(i == 0 || strcmp(list.names[i - 1].name, list.names[i].name) < 0);
		must(!strchr(list.names[i].name, '/'));
		snprintf(sub, sizeof(sub), "%s%s%s", path, path[0] ? "/" : "", list.names[i].name);
		ask_name(a, sub, &list.names[i]);
	}
	tree_list_finish(&list);
}

/* NAME is what was listed. */
static void ask_name(struct asked *a, const char *path, const struct tree_name *name)
{
	struct tree_found found;
	struct snap_err err = {""};
	char target[PATH_MAX];
	bool journal;
	int rc = tree_look(a->tree, path, &found, &err);

	if (rc == -EMLINK) {
		must(fuzz_is_line(err.text, sizeof(err.text)) && name->type == S_IFREG);
		return;
	}
	must(rc == 0 && found.attr.kind != SNAP_SIDECAR);
	must((found.attr.mode & S_IFMT) == name->type && found.attr.ino == name->ino);
	switch (found.attr.kind) {
	case SNAP_FOLDER:
		ask_folder(a, path);
		break;
	case SNAP_PLAIN:
		read_plain(a, path, &found.attr);
		break;
	case SNAP_SYMLINK:
		must(tree_readlink(a->tree, path, target, sizeof(target)) == 0 && target[0]);
		must(tree_readlink(a->tree, path, target, 1) == -ENAMETOOLONG);
		break;
	case SNAP_DATABASE:
		read_place(a, &found);
		if (!tree_sidecar_base(path, &journal))
			ask_sidecars(a, path);
		break;
	case SNAP_SPECIAL:
	case SNAP_SIDECAR:
	case SNAP_MOUNTPOINT:
	default:
		must(found.attr.kind == SNAP_SPECIAL && name->type == S_IFIFO);
		break;
	}
	tree_found_finish(&found);
}

/* A name that may or may not be there; paths that nobody may pass. */
static void ask_anything(struct asked *a, struct store *store, const char *path)
{
	struct target target = TARGET_INIT;
	struct tree_found found;
	struct snap_err err = {""};
	int rc = tree_look(a->tree, path, &found, &err);

	if (rc == 0)
		must(!strstr(path, "..") && path[0] != '/');
	tree_found_finish(&found);
	rc = target_find(a->tree, store, path, &target, &err);
	must(rc <= 0);
	if (rc == 0 && target.kind == SNAP_NAME_DATABASE)
		must(target.place.name && !strchr(target.place.name, '/'));
	if (rc == 0 && (target.kind == SNAP_NAME_OTHER || target.kind == SNAP_NAME_SIDECAR))
		must(fuzz_is_line(err.text, sizeof(err.text)));
	target_finish(&target);
}

static int take_database(void *arg, const char *path)
{
	struct asked *a = arg;
	struct tree_found found;
	int rc = tree_look(a->tree, path, &found, NULL);

	must(rc == -EMLINK || (rc == 0 && found.attr.kind == SNAP_DATABASE));
	tree_found_finish(&found);
	a->databases++;
	return 0;
}

static void ask_tree(struct tree *tree, struct rawfd_table *table, struct bytes *bytes)
{
	struct asked a = {.tree = tree, .table = table};
	struct snap_err text;
	struct store *store;
	size_t count = 0;

	must(store_create(&store, fuzz_path("store"), NULL) == 0);
	ask_folder(&a, "");
	must(tree_walk(tree, SIZE_MAX, take_database, &a) == 0);
	must(tree_count(tree, SIZE_MAX, SIZE_MAX - 1, &count) == 0 && count == a.databases);
	for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
		char path[64];

		snprintf(path, sizeof(path), "%s%s", bases[i], PICK(suffixes, bytes));
		ask_anything(&a, store, path);
	}
	ask_anything(&a, store, "../out/plain");
	ask_anything(&a, store, "sub/../../out/db");
	ask_anything(&a, store, "/out/db");
	while (tree_take_notice(tree, &text))
		must(fuzz_is_line(text.text, sizeof(text.text)));
	store_destroy(store);
}

/* ---- one input ----------------------------------------------------------------------------------------- */

/* Named databases instead of a folder: those that there are. */
static void name_files(struct tree *tree, struct bytes *bytes)
{
	for (int i = 0; i < 4; i++) {
		struct snap_err err = {""};
		char path[64];

		pick_name(bytes, path);
		if (tree_add_file(tree, PICK(bases, bytes), fuzz_path(path), &err) < 0)
			must(fuzz_is_line(err.text, sizeof(err.text)));
	}
}

static void ask_named(struct tree *tree)
{
	struct tree_list list;

	must(tree_list(tree, "", &list, NULL) == 0);
	for (size_t i = 0; i < list.count; i++) {
		struct tree_found found;
		int rc = tree_look(tree, list.names[i].name, &found, NULL);

		must(rc == -EMLINK || (rc == 0 && found.attr.kind == SNAP_DATABASE));
		tree_found_finish(&found);
	}
	tree_list_finish(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes bytes = {data, size};
	uint8_t how = bytes_u8(&bytes);
	struct rawfd_table *table;
	struct tree *tree;
	int fd;

	lay_out();
	fd = fuzz_free_fd();
	for (int i = 0; i < STEPS && bytes.left > 8; i++)
		make_something(&bytes);
	must(rawfd_table_create(&table) == 0 && tree_create(&tree, table, how & 1) == 0);
	if (how & 2) {
		name_files(tree, &bytes);
		ask_named(tree);
	} else {
		must(tree_set_folder(tree, fuzz_path("tree"), NULL) == 0);
		ask_tree(tree, table, &bytes);
	}
	tree_destroy(tree);
	rawfd_table_destroy(table);
	must(fuzz_free_fd() == fd);
	return 0;
}
