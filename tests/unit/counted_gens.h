/* SPDX-License-Identifier: MIT */
/* counted_gens.h - stand-ins for generations, which count their references. Included once in a program. */
#ifndef SQLSNAP_COUNTED_GENS_H
#define SQLSNAP_COUNTED_GENS_H

#include <stdatomic.h>

#include "../../src/sqlsnap.h"

struct snap_gen {
	atomic_int refs;
	uint64_t id;
};

struct snap_gen *snap_gen_ref(struct snap_gen *gen)
{
	atomic_fetch_add(&gen->refs, 1);
	return gen;
}

void snap_gen_unref(struct snap_gen *gen)
{
	if (gen)
		atomic_fetch_sub(&gen->refs, 1);
}

#endif
