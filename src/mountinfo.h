/* SPDX-License-Identifier: MIT */
/*
 * mountinfo.h - /proc/PID/mountinfo: which folders are layers of overlays, and the types of mounts. Source:
 * proc(5); show_mountinfo() and seq_show_option() of the kernel for the octal escapes; the kernel's
 * overlayfs.rst for "lowerdir=a:b::c", "lowerdir+=", "datadir+=" and the backslash that protects a colon.
 */
#ifndef SQLSNAP_MOUNTINFO_H
#define SQLSNAP_MOUNTINFO_H

#include <stddef.h>
#include <stdint.h>

/* The text for this process, owned by the caller. NULL with errno. */
char *mountinfo_read(void);

/* Called with the KEY that named the layer ("upperdir", ...) and its folder, as the mounter wrote it; both
 * borrowed. A value other than 0 ends the walk. */
typedef int (*mountinfo_layer_fn)(void *arg, const char *key, const char *folder);

/* Calls FN for every layer of every overlay in TEXT, skipping malformed lines. FN's last answer, or
 * -ENOMEM. */
int mountinfo_layers(const char *text, mountinfo_layer_fn fn, void *arg);

/* Copies the type of the file system that is mounted as ID (statx(2)'s stx_mnt_id) to TYPE, cut to SIZE
 * bytes: 0; -ENOENT: TEXT has no such mount. */
int mountinfo_type(const char *text, uint64_t id, char *type, size_t size);

#endif
