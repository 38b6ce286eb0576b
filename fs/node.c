/* SPDX-License-Identifier: MIT */
/* node.c - see node.h. The lock is held for table work only; references to generations are dropped outside
 * it. */
#include "node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../src/hash.h"
#include "upload.h"

static unsigned hash_id(uint64_t id)
{
	return (unsigned)(id % NODE_BUCKETS);
}

static unsigned hash_name(const struct node *parent, const char *name)
{
	return (unsigned)(hash_text(HASH_START ^ (parent ? parent->id : 0), name) % NODE_BUCKETS);
}

static struct node *find_id(struct nodes *nodes, uint64_t id)
{
	struct node *n = nodes->by_id[hash_id(id)];

	while (n && n->id != id)
		n = n->next_id;
	return n;
}

static void insert(struct nodes *nodes, struct node *n)
{
	struct node **by_id = &nodes->by_id[hash_id(n->id)];
	struct node **by_name = &nodes->by_name[hash_name(n->parent, n->name)];

	n->next_id = *by_id;
	*by_id = n;
	n->next_name = *by_name;
	*by_name = n;
}

static void take_out(struct nodes *nodes, struct node *n)
{
	struct node **p = &nodes->by_id[hash_id(n->id)];

	while (*p != n)
		p = &(*p)->next_id;
	*p = n->next_id;
	p = &nodes->by_name[hash_name(n->parent, n->name)];
	while (*p != n)
		p = &(*p)->next_name;
	*p = n->next_name;
}

static void free_node(struct node *n)
{
	snap_gen_unref(n->gen);
	upload_unref(n->upload);
	free(n->name);
	free(n);
}

/* Unlinks N from the tables if it is no longer referenced, with any parents that only it kept alive, and
 * returns them chained by next_id. Lock held. */
static struct node *collect(struct nodes *nodes, struct node *n)
{
	struct node *dead = NULL;

	while (n && n->refs == 0 && n->lookups == 0) {
		struct node *parent = n->parent;

		take_out(nodes, n);
		n->next_id = dead;
		dead = n;
		if (parent)
			parent->refs--;
		n = parent;
	}
	return dead;
}

static void free_all(struct node *dead)
{
	while (dead) {
		struct node *next = dead->next_id;

		free_node(dead);
		dead = next;
	}
}

int nodes_init(struct nodes *nodes)
{
	struct node *root = calloc(1, sizeof(*root));

	memset(nodes, 0, sizeof(*nodes));
	if (root)
		root->name = strdup("");
	if (!root || !root->name) {
		free(root);
		return -ENOMEM;
	}
	pthread_mutex_init(&nodes->lock, NULL);
	root->id = nodes->last_id = NODE_ROOT;
	root->kind = SNAP_FOLDER;
	root->refs = 1; /* never released */
	insert(nodes, root);
	return 0;
}

void nodes_finish(struct nodes *nodes)
{
	for (unsigned i = 0; i < NODE_BUCKETS; i++) {
		free_all(nodes->by_id[i]);
		nodes->by_id[i] = NULL;
	}
	pthread_mutex_destroy(&nodes->lock);
}

struct node *node_get(struct nodes *nodes, uint64_t id)
{
	struct node *n;

	pthread_mutex_lock(&nodes->lock);
	n = find_id(nodes, id);
	if (n)
		n->refs++;
	pthread_mutex_unlock(&nodes->lock);
	return n;
}

struct node *node_ref(struct nodes *nodes, struct node *n)
{
	pthread_mutex_lock(&nodes->lock);
	n->refs++;
	pthread_mutex_unlock(&nodes->lock);
	return n;
}

void node_put(struct nodes *nodes, struct node *n)
{
	struct node *dead;

	if (!n)
		return;
	pthread_mutex_lock(&nodes->lock);
	n->refs--;
	dead = collect(nodes, n);
	pthread_mutex_unlock(&nodes->lock);
	free_all(dead);
}

static struct node *make(struct node *parent, const char *name, enum snap_kind kind, const uint64_t key[2],
			 struct snap_gen *gen)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->name = strdup(name);
	if (!n->name) {
		free(n);
		return NULL;
	}
	n->parent = parent;
	n->kind = kind;
	n->gen = gen ? snap_gen_ref(gen) : NULL;
	memcpy(n->key, key, sizeof(n->key));
	return n;
}

/* Lock held. */
static struct node *find_name(struct nodes *nodes, const struct node *parent, const char *name,
			      enum snap_kind kind, const uint64_t key[2])
{
	struct node *n = nodes->by_name[hash_name(parent, name)];

	while (n && (n->parent != parent || n->kind != kind || n->key[0] != key[0] || n->key[1] != key[1] ||
		     strcmp(n->name, name) != 0))
		n = n->next_name;
	return n;
}

static int enter(struct nodes *nodes, struct node *parent, const char *name, const struct snap_attr *attr,
		 struct snap_gen *gen, struct upload *upload, uint64_t *id)
{
	uint64_t key[2] = {gen ? snap_gen_id(gen) : attr->key_dev, gen ? 0 : attr->key_ino};
	struct node *n, *fresh;

	/* Allocated before the lock is taken, because that must not happen under it; it may turn out not to
	 * be needed. */
	fresh = make(parent, name, attr->kind, key, gen);
	if (!fresh)
		return -ENOMEM;
	fresh->upload = upload ? upload_ref(upload) : NULL;
	pthread_mutex_lock(&nodes->lock);
	n = upload ? find_id(nodes, upload->node) : find_name(nodes, parent, name, attr->kind, key);
	if (!n) {
		n = fresh;
		fresh = NULL;
		n->id = ++nodes->last_id;
		if (upload)
			upload->node = n->id;
		parent->refs++;
		insert(nodes, n);
	}
	n->lookups++;
	*id = n->id;
	pthread_mutex_unlock(&nodes->lock);
	if (fresh)
		free_node(fresh);
	return 0;
}

int node_enter(struct nodes *nodes, struct node *parent, const char *name, const struct snap_attr *attr,
	       struct snap_gen *gen, uint64_t *id)
{
	return enter(nodes, parent, name, attr, gen, NULL, id);
}

int node_enter_upload(struct nodes *nodes, struct node *parent, const char *name,
		      const struct snap_attr *attr, struct upload *upload, uint64_t *id)
{
	return enter(nodes, parent, name, attr, NULL, upload, id);
}

void node_forget(struct nodes *nodes, uint64_t id, uint64_t count)
{
	struct node *n, *dead = NULL;

	pthread_mutex_lock(&nodes->lock);
	n = find_id(nodes, id);
	if (n && n->id != NODE_ROOT) {
		n->lookups -= count < n->lookups ? count : n->lookups;
		dead = collect(nodes, n);
	}
	pthread_mutex_unlock(&nodes->lock);
	free_all(dead);
}

void node_hold(struct nodes *nodes, uint64_t id, bool held)
{
	struct node *n = node_get(nodes, id);

	if (n && held)
		return;
	node_put(nodes, n);
	if (n)
		node_put(nodes, n); /* the reference that was held */
}

size_t nodes_of_gen(struct nodes *nodes, uint64_t gen_id, uint64_t *ids, size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&nodes->lock);
	for (unsigned i = 0; i < NODE_BUCKETS; i++) {
		for (const struct node *node = nodes->by_id[i]; node && n < max; node = node->next_id) {
			if (node->gen && node->key[0] == gen_id)
				ids[n++] = node->id;
		}
	}
	pthread_mutex_unlock(&nodes->lock);
	return n;
}

struct snap_inode node_folder(const struct node *node)
{
	bool known = node && node->parent && node->kind == SNAP_FOLDER && !node->upload;

	return known ? (struct snap_inode){node->key[0], node->key[1]} : (struct snap_inode){0};
}

int node_path(const struct node *node, const char *name, char *path, size_t size)
{
	size_t at = size;

	/* Filled from the end, because the walk goes up through the parents. */
	if (at == 0)
		return -ENAMETOOLONG;
	path[--at] = '\0';
	for (const char *part = name ? name : node->name;; part = node->name) {
		size_t n = strlen(part);

		if (n > at)
			return -ENAMETOOLONG;
		at -= n;
		memcpy(path + at, part, n);
		if (part != name)
			node = node->parent;
		if (!node || !node->parent)
			break;
		if (at == 0)
			return -ENAMETOOLONG;
		path[--at] = '/';
	}
	memmove(path, path + at, size - at);
	return 0;
}
