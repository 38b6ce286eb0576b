/* SPDX-License-Identifier: MIT */
/* handle.c - see handle.h. */
#include "handle.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"

void handles_init(struct handles *handles, struct snap *snap, struct nodes *nodes)
{
	pthread_mutex_init(&handles->lock, NULL);
	handles->first = NULL;
	handles->snap = snap;
	handles->nodes = nodes;
}

void handles_finish(struct handles *handles)
{
	while (handles->first)
		handle_close(handles->first, handles);
	pthread_mutex_destroy(&handles->lock);
}

static struct handle *make(struct handles *handles, struct node *node, enum handle_kind kind)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->kind = kind;
	h->node = node_ref(handles->nodes, node);
	atomic_init(&h->failed, false);
	pthread_mutex_init(&h->list_lock, NULL);
	return h;
}

static void unmake(struct handles *handles, struct handle *h)
{
	node_put(handles->nodes, h->node);
	pthread_mutex_destroy(&h->list_lock);
	free(h);
}

static void enter(struct handles *handles, struct handle *h)
{
	pthread_mutex_lock(&handles->lock);
	h->next = handles->first;
	if (h->next)
		h->next->prev = h;
	handles->first = h;
	pthread_mutex_unlock(&handles->lock);
}

static void leave(struct handles *handles, struct handle *h)
{
	pthread_mutex_lock(&handles->lock);
	if (h->next)
		h->next->prev = h->prev;
	if (h->prev)
		h->prev->next = h->next;
	else
		handles->first = h->next;
	pthread_mutex_unlock(&handles->lock);
}

/* Returns RC, and adds a message to a failure that has none. */
static int explain(int rc, struct snap_err *err)
{
	if (rc >= 0 || !err || err->text[0])
		return rc;
	switch (rc) {
	case -ENOMEM:
		return fault_memory(err);
	case -ENAMETOOLONG:
		return fault(err, rc, "its path is longer than %d bytes", PATH_MAX - 1);
	case -EXDEV:
		return fault(err, rc, "another mount covers it, or it is no file");
	case -EBUSY:
		return fault(err, rc, "it changed at every try");
	default:
		return fault(err, rc, "%s", strerror(-rc));
	}
}

static int open_file(struct handle *h, struct snap *snap, struct snap_err *err)
{
	char path[PATH_MAX];
	int rc = node_path(h->node, NULL, path, sizeof(path));

	return rc ? rc : snap_file_open(snap, path, h->node->key[0], h->node->key[1], &h->file, err);
}

int handle_open(struct handle **out, struct handles *handles, struct node *node, bool may_wait,
		struct snap_gen **moved, struct snap_err *err)
{
	struct handle *h = make(handles, node, HANDLE_EMPTY);
	int rc = -EXDEV; /* another mount's file; the kernel itself opens what is neither file nor folder */

	if (!h)
		return explain(-ENOMEM, err);
	switch (node->kind) {
	case SNAP_DATABASE:
		h->kind = HANDLE_GENERATION;
		h->gen = node->gen;
		rc = snap_gen_open(h->gen, may_wait ? 0 : SNAP_NOWAIT, moved, err);
		break;
	case SNAP_PLAIN:
		h->kind = HANDLE_FILE;
		rc = open_file(h, handles->snap, err);
		break;
	case SNAP_SIDECAR:
		rc = 0;
		break;
	case SNAP_FOLDER:
	case SNAP_MOUNTPOINT:
	case SNAP_SYMLINK:
	case SNAP_SPECIAL:
		break;
	}
	if (rc) {
		unmake(handles, h);
		return explain(rc, err);
	}
	enter(handles, h);
	*out = h;
	return 0;
}

int handle_open_upload(struct handle **out, struct handles *handles, struct node *node, pid_t tid,
		       struct snap_err *err)
{
	struct handle *h = make(handles, node, HANDLE_UPLOAD);
	int rc;

	if (!h)
		return fault_memory(err);
	rc = upload_opened(node->upload, tid);
	if (rc) {
		unmake(handles, h);
		return rc;
	}
	h->upload = node->upload;
	enter(handles, h);
	*out = h;
	return 0;
}

int handle_open_text(struct handle **out, struct handles *handles, struct node *node, char *text,
		     struct snap_err *err)
{
	struct handle *h = text ? make(handles, node, HANDLE_TEXT) : NULL;

	if (!h) {
		free(text);
		return fault_memory(err);
	}
	h->text = text;
	enter(handles, h);
	*out = h;
	return 0;
}

static int list_folder(const struct node *node, struct snap *snap, struct snap_list **out,
		       struct snap_err *err)
{
	struct snap_inode folder = node_folder(node);
	char path[PATH_MAX];
	int rc = node_path(node, NULL, path, sizeof(path));

	return explain(rc ? rc : snap_list_create(snap, &folder, path, out, err), err);
}

int handle_open_folder(struct handle **out, struct handles *handles, struct node *node, struct snap_err *err)
{
	struct handle *h = make(handles, node, HANDLE_FOLDER);
	int rc;

	if (!h)
		return explain(-ENOMEM, err);
	rc = list_folder(node, handles->snap, &h->list, err);
	if (rc) {
		unmake(handles, h);
		return rc;
	}
	enter(handles, h);
	*out = h;
	return 0;
}

int handle_begin_list(struct handle *h, struct handles *handles, struct snap_err *err)
{
	struct snap_list *list = NULL, *old;
	bool again;
	int rc;

	pthread_mutex_lock(&h->list_lock);
	again = h->begun;
	h->begun = true;
	pthread_mutex_unlock(&h->list_lock);
	if (!again)
		return 0; /* open(2) has already made the list */
	rc = list_folder(h->node, handles->snap, &list, err);
	if (rc)
		return rc;
	pthread_mutex_lock(&h->list_lock);
	old = h->list;
	h->list = list;
	pthread_mutex_unlock(&h->list_lock);
	snap_list_destroy(old);
	return 0;
}

static ssize_t read_text(const char *text, void *buf, size_t size, uint64_t offset)
{
	size_t length = strlen(text);

	if (offset >= length)
		return 0;
	if (size > length - offset)
		size = (size_t)(length - offset);
	memcpy(buf, text + offset, size);
	return (ssize_t)size;
}

ssize_t handle_read(struct handle *h, void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	switch (h->kind) {
	case HANDLE_GENERATION:
		return snap_gen_read(h->gen, buf, size, offset, err);
	case HANDLE_FILE:
		return snap_file_read(h->file, buf, size, offset);
	case HANDLE_UPLOAD:
		return upload_read(h->upload, buf, size, offset, err);
	case HANDLE_TEXT:
		return read_text(h->text, buf, size, offset);
	case HANDLE_EMPTY:
		return 0;
	case HANDLE_FOLDER:
		break;
	}
	return -EISDIR;
}

int handle_stat(struct handles *handles, const struct node *node, struct snap_attr *attr)
{
	int rc = -ENOENT;

	pthread_mutex_lock(&handles->lock);
	for (struct handle *h = handles->first; rc && h; h = h->next)
		if (h->node == node && h->kind == HANDLE_FILE)
			rc = snap_file_stat(h->file, attr);
	pthread_mutex_unlock(&handles->lock);
	return rc;
}

void handle_close(struct handle *h, struct handles *handles)
{
	leave(handles, h);
	switch (h->kind) {
	case HANDLE_GENERATION:
		snap_gen_close(h->gen);
		break;
	case HANDLE_FILE:
		snap_file_close(h->file);
		break;
	case HANDLE_FOLDER:
		snap_list_destroy(h->list);
		break;
	case HANDLE_UPLOAD:
		upload_closed(h->upload);
		break;
	case HANDLE_TEXT:
		free(h->text);
		break;
	case HANDLE_EMPTY:
		break;
	}
	unmake(handles, h);
}
