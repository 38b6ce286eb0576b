/* SPDX-License-Identifier: MIT */
/*
 * holders.c - see holders.h.
 *
 * What must stay true: descriptors are opened and closed by rawfd, for our own connections may have locks on
 * these files; what cannot be told is nobody.
 */
#include "holders.h"

#include <fcntl.h>

#include "proclocks.h"
#include "spool_private.h"

#define SHARED_SIZE (PROCLOCKS_SHARED_LAST - PROCLOCKS_SHARED_FIRST + 1)

/* Whether another process has a lock on the SIZE bytes of PLACE's file with SUFFIX from FIRST on. */
static bool is_locked(struct core *core, const struct place *place, const char *suffix, off_t first,
		      off_t size)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = first, .l_len = size};
	struct rawfd raw = RAWFD_INIT;
	bool locked;

	if (spool_open_raw(core, place, suffix, &raw, NULL, NULL))
		return false;
	locked = fcntl(raw.fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	rawfd_close(core->raw, &raw);
	return locked;
}

bool holders_have_shm(struct core *core, const struct place *place)
{
	return is_locked(core, place, "-shm", PROCLOCKS_WAL_DMS, 1);
}

bool holders_have_db(struct core *core, const struct place *place)
{
	return is_locked(core, place, "", PROCLOCKS_SHARED_FIRST, SHARED_SIZE);
}
