/* SPDX-License-Identifier: MIT */
/* tree_private.h - what the files tree*.c share, with the others that look things up below a root. */
#ifndef SQLSNAP_TREE_PRIVATE_H
#define SQLSNAP_TREE_PRIVATE_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "sniff.h"
#include "tree.h"

#define NOTICES_PENDING 8u /* texts that wait to be taken */
#define NOTICES_MAX 1024u  /* links that are remembered as reported; later ones are not reported */

/* A named database. */
struct tree_file {
	char *name;	  /* owned: in the mount */
	char *base;	  /* owned: in its folder */
	int dir;	  /* owned: O_PATH of its folder */
	mode_t last_mode; /* guarded by the tree's lock, as the next two: at the last look */
	uint64_t last_dev, last_ino;
};

/* What our mount covers. */
struct tree_cover {
	int parent; /* owned: O_PATH; -1 until tree_set_mountpoint() */
	char name[NAME_MAX + 1];
	struct stat parent_st;
	struct stat covered;	/* the folder, as it was before */
	_Atomic uint64_t mount; /* our mount's id and device; 0 until tree_note_mounted() */
	_Atomic uint64_t dev;
};

struct tree_link_id {
	uint64_t dev, ino;
};

/* The path that a folder is known by. */
struct tree_known {
	char *path; /* owned; absolute */
	uint64_t dev, ino;
};

struct tree {
	struct rawfd_table *table; /* borrowed */
	struct sniff *sniff;	   /* owned */
	bool databases_only, unlisted;
	int root;		 /* owned: O_PATH of the folder; -1: named databases */
	uint64_t dev;		 /* of the folder, or of the first database's folder */
	uint64_t proc_dev;	 /* of /proc, into which no symlink is followed */
	struct tree_file *files; /* owned; constant once the tree is served */
	size_t file_count;
	struct tree_known *known; /* owned; constant once the tree is served */
	size_t known_count;
	bool links_uncounted; /* the file system reports 0 links for a folder that exists */
	struct tree_cover cover;

	pthread_mutex_t lock;
	bool root_looked;	    /* guarded by lock, as the next */
	struct snap_attr root_attr; /* of the mount's root, as it was when it could last be looked at */
	struct snap_err pending[NOTICES_PENDING]; /* guarded by lock, as the next three; oldest first */
	size_t pending_count;
	struct tree_link_id told[NOTICES_MAX];
	size_t told_count;
};

/* A name in a folder that is open. */
struct tree_spot {
	int base;	  /* borrowed: the folder that places are relative to */
	int dir;	  /* borrowed: the folder, O_PATH or opened for reading */
	const char *path; /* of the folder, relative to BASE; "" is BASE */
	const char *name;
	bool named; /* a named database: a database whatever it holds */
};

/* ---- tree.c ---- */
bool tree_path_valid(const char *path);
/* An O_PATH descriptor of the folder PATH, or -errno. */
int tree_open_folder(struct tree *tree, const char *path);
/* Splits PATH, which is not "": *NAME points into PATH, the folder's path goes to PARENT (PATH_MAX bytes). */
int tree_split(const char *path, char *parent, const char **name);
struct tree_file *tree_find_file(struct tree *tree, const char *name, size_t len);
/* Whether the folder with these stats, or NAME in the folder DIR, is what our mount covers. */
bool tree_is_covered(const struct tree *tree, const struct stat *st);
bool tree_is_cover(const struct tree *tree, int dir, const char *name);

/* ---- tree_notice.c ---- */
/* Notes that the symlink NAME, whose lstat(2) is LINK, shows the database TARGET from outside the tree. */
void tree_notice(struct tree *tree, const struct stat *link, const char *name, const char *target);

/* ---- tree_entry.c ---- */
/* Facts about an entry that are not shown. */
struct tree_aside {
	bool link;     /* a symlink that is shown as what it leads to, */
	bool outside;  /* which lies outside the tree */
	nlink_t links; /* of a database; else 1 */
};
/* What is at SPOT, apart from sidecars and hard links. ASIDE may be NULL. On failure OUT holds nothing. */
int tree_look_entry(struct tree *tree, const struct tree_spot *spot, struct tree_found *out,
		    struct tree_aside *aside, struct snap_err *err);
/* FD's permission bits, less what an ACL takes away. */
mode_t tree_shown_bits(int fd, const struct stat *st);
void tree_fill_attr(const struct tree *tree, struct snap_attr *attr, enum snap_kind kind,
		    const struct stat *st, mode_t bits);

/* ---- tree_look.c ---- */
/* -ESTALE when FD is not INODE (NULL: any). */
int tree_check_inode(int fd, const struct snap_inode *inode);
/* Bytes of NAME without a sidecar's suffix, 0 when it has none; *JOURNAL: the suffix is -journal. */
size_t tree_sidecar_base(const char *name, bool *journal);

/* ---- tree_link.c ---- */
/* Where a symlink ends. */
struct tree_end {
	int file; /* owned: O_PATH of a regular file */
	int dir;  /* owned: O_PATH of its folder */
	char name[NAME_MAX + 1];
	struct stat st;
};
#define TREE_END_INIT ((struct tree_end){.file = -1, .dir = -1})
void tree_end_finish(struct tree_end *end);

enum tree_link_answer {
	LINK_ELSEWHERE =
		1, /* to no regular file, to nothing, in a circle, into a mount that may not be asked */
};
/* Follows the symlink LINK (O_PATH) in the folder DIR. 0, an answer, or an error for what this process ran
 * out of. */
int tree_link_follow(struct tree *tree, int dir, int link, struct tree_end *end);
/* Names END's place: relative to BASE when it lies below it on the same mount, else absolute and *OUTSIDE
 * true. */
int tree_link_place(struct tree *tree, int base, const struct tree_end *end, struct place *out,
		    bool *outside);

/* Stats the folder that the absolute PATH leads to, through links. 0; LINK_ELSEWHERE: it leads to none, or
 * this cannot be found out; or an error for what this process ran out of. */
int tree_link_folder(struct tree *tree, const char *path, struct stat *st);

/* ---- tree_known.c ---- */
void tree_known_finish(struct tree *tree);

#endif
