/* SPDX-License-Identifier: MIT */
/* control.c - see control.h: the table. */
#include "control.h"

#include <stdlib.h>
#include <string.h>

#include "log_ring.h"
#include "ops_private.h"
#include "status.h"

static char *log_text(struct fs *fs)
{
	(void)fs;
	return log_recent();
}

static char *status_text(struct fs *fs)
{
	const struct status_order order = {.snap = fs->config.snap,
					   .tasks = &fs->uploads.tasks,
					   .options = fs->config.options,
					   .mountpoint = fs->config.mountpoint,
					   .folder = fs->config.folder,
					   .read_only = fs->config.read_only,
					   .started_ns = fs->started_ns,
					   .passed_through = passthrough_opens(&fs->passthrough)};

	return status_make(&order);
}

const struct control_file control_files[CONTROL_FILES] = {
	{.name = "log", .text = log_text},
	{.name = "status.json", .text = status_text, .costly = true},
};

static size_t number_of(const struct control_file *file)
{
	return (size_t)(file - control_files);
}

const struct control_file *control_at(const char *path)
{
	static const char folder[] = CONTROL_FOLDER "/";

	if (strncmp(path, folder, sizeof(folder) - 1) != 0)
		return NULL;
	for (size_t i = 0; i < CONTROL_FILES; i++) {
		if (strcmp(path + sizeof(folder) - 1, control_files[i].name) == 0)
			return &control_files[i];
	}
	return NULL;
}

const struct control_file *control_of(const struct node *node)
{
	uint64_t i = node->key[1] - CONTROL_KEY - 1;

	return node->key[0] == CONTROL_KEY && i < CONTROL_FILES ? &control_files[i] : NULL;
}

uint64_t control_ino(const struct control_file *file)
{
	return CONTROL_KEY + 1 + number_of(file);
}

char *control_text(struct fs *fs, const struct control_file *file)
{
	char *text = file->text(fs);

	if (text)
		atomic_store(&fs->control_sizes[number_of(file)], strlen(text));
	return text;
}

int control_stat(struct fs *fs, const struct control_file *file, struct snap_attr *attr)
{
	const _Atomic uint64_t *size = &fs->control_sizes[number_of(file)];
	int rc = snap_lookup(fs->config.snap, CONTROL_FOLDER, attr, NULL, NULL);

	if (rc)
		return rc;
	if (!file->costly || atomic_load(size) == 0)
		free(control_text(fs, file));
	attr->kind = SNAP_PLAIN;
	attr->key_dev = CONTROL_KEY;
	attr->key_ino = attr->ino = control_ino(file);
	attr->mode = S_IFREG | 0400;
	attr->nlink = 1;
	attr->size = atomic_load(size);
	attr->blocks = (attr->size + 511) / 512;
	return 0;
}
