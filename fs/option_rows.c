/* SPDX-License-Identifier: MIT */
/*
 * option_rows.c - the table of all options, in the order of the usage text; its headings are in usage.c.
 *
 * Whatever mount(8) and fstab may add is accepted here. Otherwise mounting at boot would fail, because
 * libfuse refuses most of it. suid and dev, which mount.fuse3 adds by itself, are dropped: a mount is always
 * nosuid and nodev.
 */
#include "options.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define TIB (UINT64_C(1) << 40)

#define AT(field) offsetof(struct options, field)
#define SWITCH(n, a, f, h)                                                                            \
	{                                                                                             \
		.name = n, .alias = a, .kind = OPTION_SWITCH, .offset = AT(f), .set = true, .help = h \
	}
#define ARGUMENT(n, v, f, h)                                                               \
	{                                                                                  \
		.name = n, .value = v, .kind = OPTION_ARGUMENT, .offset = AT(f), .help = h \
	}
#define FLAG(n, f, h)                                                                   \
	{                                                                               \
		.name = n, .kind = OPTION_FLAG, .offset = AT(f), .set = true, .help = h \
	}
#define UNFLAG(n, f, h)                                                                  \
	{                                                                                \
		.name = n, .kind = OPTION_FLAG, .offset = AT(f), .set = false, .help = h \
	}
#define NUMBER(n, v, k, f, lo, hi, h)                                                              \
	{                                                                                          \
		.name = n, .value = v, .kind = k, .offset = AT(f), .min = lo, .max = hi, .help = h \
	}
#define WORD(n, v, f, w, h)                                                                        \
	{                                                                                          \
		.name = n, .value = v, .kind = OPTION_WORD, .offset = AT(f), .words = w, .help = h \
	}
#define STRING(n, v, f, h)                                                               \
	{                                                                                \
		.name = n, .value = v, .kind = OPTION_STRING, .offset = AT(f), .help = h \
	}
#define FUSE(n, v)                                         \
	{                                                  \
		.name = n, .value = v, .kind = OPTION_FUSE \
	}
#define IGNORED(n)                                \
	{                                         \
		.name = n, .kind = OPTION_IGNORED \
	}

static const char *const check_words[] = {"quick", "full", NULL};		    /* enum options_check */
static const char *const log_words[] = {"debug", "info", "warning", "error", NULL}; /* enum snap_level */

const struct option_row option_rows[] = {
	SWITCH("-f", NULL, foreground, "stay in the foreground and log to stderr"),
	SWITCH("-d", NULL, debug, "like -f, and log every request"),
	SWITCH("-h", "--help", help, "print this help"),
	SWITCH("-V", "--version", version, "print version information"),
	ARGUMENT("--check", "FILE", check_file, "check whether FILE could be restored, and why not"),

	/* Reading. */
	NUMBER("wal_limit", "SIZE", OPTION_SIZE, wal_limit, 64 * KIB, TIB,
	       "WAL that readers may hold back before data is copied (64M)"),
	NUMBER("wal_max", "SIZE", OPTION_SIZE, wal_max, 64 * KIB, TIB,
	       "held-back WAL at which the oldest readers fail (1G)"),
	FLAG("frozen", frozen, "show databases as of mount time; refuse restores"),
	FLAG("databases_only", databases_only, "show only databases and directories, no other files"),
	FLAG("shared_locks", shared_locks, "accept a file system that may hide locks (see the manual)"),

	/* Restoring. */
	FLAG("norestore", norestore, "refuse restores"),
	UNFLAG("restore", norestore, "accept restores; cancels an earlier norestore"),
	WORD("check", "quick|full", check, check_words, "how uploads are checked (quick)"),
	NUMBER("busy_timeout", "SECONDS", OPTION_SECONDS, busy_timeout, 0, 3600,
	       "how long a restore waits for the database lock (30)"),
	NUMBER("keep", "N", OPTION_COUNT, keep, 0, 1000,
	       "snapshots of replaced content to keep per database (3)"),
	FLAG("force", force, "accept restores that look like mistakes"),
	FLAG("hide_databases", hide_databases, "hide a database from processes that have not written it"),

	/* The mount. */
	STRING("store", "DIR", store, "directory for slow readers' data, uploads and snapshots"),
	WORD("log", "LEVEL", log, log_words, "lowest level to log: debug, info, warning or error (info)"),
	FLAG("ro", read_only, "refuse every change"),
	UNFLAG("rw", read_only, NULL),
	FLAG("nonempty", nonempty, "mount over a directory that is not empty"),
	FLAG("allow_other", allow_other, "allow access by other users (always on for root)"),
	FLAG("allow_root", allow_root, "allow access by root too, but by no other user"),
	STRING("fsname", "NAME", fsname, "source that the mount table shows"),
	NUMBER("max_read", "BYTES", OPTION_COUNT, max_read, 4096, MIB, "maximum size of a read request"),

	FLAG("debug", debug, NULL),
	FLAG("auto_unmount", auto_unmount, NULL),
	FUSE("exec", NULL),
	FUSE("noexec", NULL),
	FUSE("context", "CONTEXT"),
	FUSE("fscontext", "CONTEXT"),
	FUSE("defcontext", "CONTEXT"),
	FUSE("rootcontext", "CONTEXT"),

	/* Always on. */
	IGNORED("default_permissions"),
	IGNORED("nosuid"),
	IGNORED("nodev"),
	IGNORED("noatime"),
	IGNORED("subtype"),
	/* Never on. */
	IGNORED("suid"),
	IGNORED("dev"),
	/* No effect here. */
	IGNORED("defaults"),
	IGNORED("auto"),
	IGNORED("noauto"),
	IGNORED("nofail"),
	IGNORED("_netdev"),
	IGNORED("user"),
	IGNORED("nouser"),
	IGNORED("users"),
	IGNORED("nousers"),
	IGNORED("owner"),
	IGNORED("noowner"),
	IGNORED("group"),
	IGNORED("nogroup"),
	IGNORED("async"),
	IGNORED("sync"),
	IGNORED("dirsync"),
	IGNORED("atime"),
	IGNORED("diratime"),
	IGNORED("nodiratime"),
	IGNORED("relatime"),
	IGNORED("norelatime"),
	IGNORED("strictatime"),
	IGNORED("nostrictatime"),
	IGNORED("lazytime"),
	IGNORED("nolazytime"),
	IGNORED("iversion"),
	IGNORED("noiversion"),
	IGNORED("mand"),
	IGNORED("nomand"),
	IGNORED("silent"),
	IGNORED("loud"),
	IGNORED("comment"),
	IGNORED("uhelper"),
	IGNORED("x-*"),
	IGNORED("X-*"),
	{.name = NULL},
};
