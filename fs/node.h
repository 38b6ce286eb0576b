/* SPDX-License-Identifier: MIT */
/*
 * node.h - names and nodeids. A node is what a name led to at one lookup. Its nodeid comes from a 64-bit
 * counter and is never reused, so a nodeid always means the same generation (or inode, or folder), and the
 * kernel's page cache for it is always right.
 *
 * A node lives as long as the kernel remembers it (lookups) or somebody here holds a reference: an open
 * handle, a child, a request under way, a file that is being written in the folder.
 */
#ifndef SQLSNAPFS_NODE_H
#define SQLSNAPFS_NODE_H

#include <pthread.h>
#include <stdbool.h>

#include "../src/sqlsnap.h"

struct upload;

#define NODE_ROOT 1 /* FUSE_ROOT_ID */
#define NODE_BUCKETS 4096u

struct node {
	uint64_t id;	     /* constant, as are parent, name, kind, gen and the key */
	struct node *parent; /* a reference; NULL: the root */
	char *name;	     /* owned */
	enum snap_kind kind;
	struct snap_gen *gen;  /* a reference; SNAP_DATABASE only */
	struct upload *upload; /* a reference; what is being written under this nodeid, else NULL */
	uint64_t key[2];       /* the node's identity: the generation's id, or st_dev and st_ino */
	/* guarded by nodes->lock */
	uint64_t lookups; /* that the kernel has not forgotten */
	unsigned refs;
	struct node *next_id, *next_name; /* hash chains */
	/* passthrough.h's, guarded by its lock: the descriptors that it counts, and the backing id of the
	 * file that they read from; 0: none. */
	unsigned opens;
	int backing;
};

struct nodes {
	pthread_mutex_t lock;
	uint64_t last_id;
	struct node *by_id[NODE_BUCKETS];
	struct node *by_name[NODE_BUCKETS];
};

int nodes_init(struct nodes *nodes); /* -ENOMEM */
/* Drops everything, whatever the kernel still remembers. No handle may be left. */
void nodes_finish(struct nodes *nodes);

/* A reference to the node, NULL when there is none. */
struct node *node_get(struct nodes *nodes, uint64_t id);
struct node *node_ref(struct nodes *nodes, struct node *node);
void node_put(struct nodes *nodes, struct node *node); /* Accepts NULL. */

/*
 * Finds or makes the node for what the lookup of NAME in PARENT found (GEN for databases, else NULL), and
 * counts one lookup. -ENOMEM.
 */
int node_enter(struct nodes *nodes, struct node *parent, const char *name, const struct snap_attr *attr,
	       struct snap_gen *gen, uint64_t *id);
/* The same for a file that is being written; ATTR as upload_stat() gives it. A scratch file that was renamed
 * has the node of its first name: what is open goes by the kernel's inode, with its size and locks, and that
 * must be one. */
int node_enter_upload(struct nodes *nodes, struct node *parent, const char *name,
		      const struct snap_attr *attr, struct upload *upload, uint64_t *id);
/* The kernel forgets N lookups. */
void node_forget(struct nodes *nodes, uint64_t id, uint64_t n);

/* The nodeids of the generation GEN_ID, MAX at most: one for each name of the database. */
size_t nodes_of_gen(struct nodes *nodes, uint64_t gen_id, uint64_t *ids, size_t max);
#define NODE_NAMES_MAX 8

/* HELD: folder ID keeps its nodeid, even if the kernel forgets it, until the next call without HELD. */
void node_hold(struct nodes *nodes, uint64_t id, bool held);

/* node_hold() for uploads and tombstones, which know a folder's nodeid and a name but no nodes. */
struct node_holder {
	void (*hold)(struct nodes *nodes, uint64_t id, bool held); /* NULL: nothing is held */
	struct nodes *nodes;					   /* borrowed */
};

static inline void node_holder_set(const struct node_holder *holder, uint64_t id, bool held)
{
	if (holder->hold)
		holder->hold(holder->nodes, id, held);
}

/* The inode that folder NODE must still have when a name is looked up in it; any inode, for the root and for
 * what is not a folder of the tree. */
struct snap_inode node_folder(const struct node *node);

/* Path of NAME in NODE (of NODE itself if NAME is NULL), relative to the tree's root. -ENAMETOOLONG */
int node_path(const struct node *node, const char *name, char *path, size_t size);

#endif
