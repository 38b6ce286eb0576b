/* SPDX-License-Identifier: MIT */
/*
 * mountinfo.h - pure decoding of /proc/PID/mountinfo: text in, layers of overlays out. Opens nothing.
 * Source: proc(5); show_mountinfo() and seq_show_option() of the kernel for the octal escapes; the kernel's
 * overlayfs.rst for "lowerdir=a:b::c", "lowerdir+=", "datadir+=" and the backslash that protects a colon.
 */
#ifndef SQLSNAP_MOUNTINFO_H
#define SQLSNAP_MOUNTINFO_H

/* Called with the KEY that named the layer ("upperdir", ...) and its folder, as the mounter wrote it; both
 * borrowed. Another value than 0 ends the walk. */
typedef int (*mountinfo_layer_fn)(void *arg, const char *key, const char *folder);

/* Calls FN for every layer of every overlay in TEXT, malformed lines apart. FN's last answer, or -ENOMEM. */
int mountinfo_layers(const char *text, mountinfo_layer_fn fn, void *arg);

#endif
