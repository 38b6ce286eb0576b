/* SPDX-License-Identifier: MIT */
/* source_private.h - between source_bind.c, source_connect.c and source_hold.c; nobody else includes it. */
#ifndef SQLSNAP_SOURCE_PRIVATE_H
#define SQLSNAP_SOURCE_PRIVATE_H

#include "source.h"

/* Bytes for a version, on their way to a generation. */
struct source_binding {
	struct sample sample;
	int64_t since;	     /* CLOCK_MONOTONIC before that was sampled */
	struct image *image; /* a reference */
	uint32_t max_frame;
};

/* stat(2) of database and -wal, before anything else is sampled. */
int source_sample_place(struct source *s, struct sample *sample, struct stat *st, struct snap_err *err);
/* Takes over what the wal-index says. */
void source_sample_wal(struct sample *sample, const struct live *live, const struct wal_header *wal);
/* A copy becomes the binding's image; FLAT's descriptor is taken over, also on failure. */
int source_bind_flat(struct source_binding *b, struct spool_flat *flat, struct snap_err *err);
/* Ends an open: 0 when the bytes are GEN's, SNAP_MOVED when they are another generation's. Takes B's image.
 * -EAGAIN: they have gone meanwhile, or a restore is about to commit and MAY_WAIT is false; -ENOMEM. */
int source_adopt(struct source *s, struct snap_gen *gen, struct source_binding *b, bool may_wait,
		 struct snap_gen **moved);

#endif
