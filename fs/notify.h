/* SPDX-License-Identifier: MIT */
/* notify.h - reports our state to systemd: sd_notify(3) without its library. */
#ifndef SQLSNAPFS_NOTIFY_H
#define SQLSNAPFS_NOTIFY_H

/*
 * Sends STATE ("READY=1") as one datagram to $NOTIFY_SOCKET, a path or, with @ in front, a name in the
 * abstract namespace. 0 also if that is not set; -errno.
 */
int notify_send(const char *state);

#endif
