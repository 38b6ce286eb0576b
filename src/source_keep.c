/* SPDX-License-Identifier: MIT */
/* source_keep.c - see source.h: generations that are written to the store, or stay as they are. */
#include <errno.h>

#include "cleanup.h"
#include "source.h"

/* The image that GEN's bytes are read from now: a reference; NULL: they are lost. */
static struct image *take_image(struct snap_gen *gen, uint32_t *max_frame, unsigned *which)
{
	lock_scope(&gen->source->lock);
	*max_frame = gen->max_frame;
	*which = gen->images;
	return gen->image ? image_ref(gen->image) : NULL;
}

bool source_gen_clone(struct snap_gen *gen, int fd, unsigned *of)
{
	uint32_t max_frame;
	struct image *im = take_image(gen, &max_frame, of);
	bool cloned = im && image_clone(im, fd);

	image_unref(im);
	if (!cloned)
		*of = 0;
	return cloned;
}

int source_gen_copy(struct snap_gen *gen, unsigned of, struct image_copy *copy, struct snap_err *err)
{
	unsigned which;
	struct image *im = take_image(gen, &copy->max_frame, &which);
	int rc;

	if (!im)
		return err_set(err, -EIO, "the snapshot was given up");
	copy->size = gen->size;
	copy->cloned = of == which;
	rc = image_copy(im, copy, err);
	image_unref(im);
	return rc;
}

int source_gen_replace(struct snap_gen *gen, int fd, uint32_t page_size)
{
	struct image *flat, *old;
	int rc = image_create_flat(&flat, fd, page_size);

	if (rc)
		return rc;
	pthread_mutex_lock(&gen->source->lock);
	old = gen->image;
	gen->image = flat;
	gen->images++;
	gen->max_frame = 0;
	pthread_mutex_unlock(&gen->source->lock);
	image_unref(old);
	return 0;
}

void source_gen_freeze(struct snap_gen *gen)
{
	lock_scope(&gen->source->lock);
	gen->frozen = true;
}

/* ---- files that are a generation ---- */

struct lending {
	struct rawfd_table *raw;
	int (*use)(void *arg, int fd);
	void *arg;
};

static int lend(void *arg, int fd)
{
	const struct lending *l = arg;

	return rawfd_takes_direct(l->raw, fd) ? l->use(l->arg, fd) : -ENOENT;
}

int snap_gen_lend(struct snap_gen *gen, int (*use)(void *arg, int fd), void *arg)
{
	struct lending lending = {gen->source->core->raw, use, arg};
	uint32_t max_frame;
	unsigned which;
	struct image *im = take_image(gen, &max_frame, &which);
	int rc = im ? image_lend(im, max_frame, gen->size, lend, &lending) : -ENOENT;

	image_unref(im);
	return rc;
}
