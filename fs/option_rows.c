/* SPDX-License-Identifier: MIT */
/*
 * option_rows.c - every option that there is, in the order of usage, whose headings stand in usage.c.
 *
 * What mount(8) and fstab may add is accepted here, or mounting at boot fails: libfuse refuses most of it.
 * suid and dev, which mount.fuse3 adds by itself, are dropped: a mount is always nosuid and nodev.
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
	SWITCH("-f", NULL, foreground, "stay in the foreground, log to stderr"),
	SWITCH("-d", NULL, debug, "the same, with every request in the log"),
	SWITCH("-h", "--help", help, "print this"),
	SWITCH("-V", "--version", version, "print the versions"),
	ARGUMENT("--check", "FILE", check_file, "say whether FILE could be restored, and why not"),

	/* Reading. */
	NUMBER("wal_limit", "SIZE", OPTION_SIZE, wal_limit, 64 * KIB, TIB,
	       "WAL that readers may hold back (64M)"),
	NUMBER("wal_max", "SIZE", OPTION_SIZE, wal_max, 64 * KIB, TIB,
	       "WAL at which the oldest readers end (1G)"),
	FLAG("frozen", frozen, "databases stay as of now; refuse restores"),
	FLAG("databases_only", databases_only, "show databases and folders, nothing else"),
	FLAG("shared_locks", shared_locks, "every writer runs in this kernel and sees this path"),

	/* Restoring. */
	FLAG("norestore", norestore, "refuse restores"),
	UNFLAG("restore", norestore, "accept restores, also behind norestore"),
	WORD("check", "quick|full", check, check_words, "how an upload is checked (quick)"),
	NUMBER("busy_timeout", "SECONDS", OPTION_SECONDS, busy_timeout, 0, 3600,
	       "how long a restore waits for the live database (30)"),
	NUMBER("keep", "N", OPTION_COUNT, keep, 0, 1000, "kept snapshots of what restores replaced (3)"),
	FLAG("force", force, "accept restores that look like a mistake"),
	FLAG("hide_databases", hide_databases, "show a database to nobody who has not written it"),

	/* The mount. */
	STRING("store", "DIR", store, "folder for what a slow reader needs kept, and for kept snapshots"),
	WORD("log", "LEVEL", log, log_words, "debug, info, warning or error (info)"),
	FLAG("ro", read_only, "refuse every change"),
	UNFLAG("rw", read_only, NULL),
	FLAG("nonempty", nonempty, "mount over a folder that is not empty"),
	FLAG("allow_other", allow_other, "let other users in (always on for root)"),
	FLAG("allow_root", allow_root, "let root in, and nobody else"),
	STRING("fsname", "NAME", fsname, "what the table of mounts shows as the source"),
	NUMBER("max_read", "BYTES", OPTION_COUNT, max_read, 4096, MIB, "largest read request"),

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
	/* Without a meaning here. */
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
