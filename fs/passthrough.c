/* SPDX-License-Identifier: MIT */
/* passthrough.c - see passthrough.h. */
#define LOG_MODULE "passthrough"
#include "passthrough.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "backing.h"
#include "log.h"

void passthrough_init(struct passthrough *p)
{
	*p = (struct passthrough){.device = -1};
	pthread_mutex_init(&p->lock, NULL);
}

void passthrough_finish(struct passthrough *p)
{
	pthread_mutex_destroy(&p->lock);
}

void passthrough_attach(struct passthrough *p, struct fuse_session *session)
{
	pthread_mutex_lock(&p->lock);
	p->device = session ? fuse_session_fd(session) : -1;
	pthread_mutex_unlock(&p->lock);
}

uint64_t passthrough_opens(struct passthrough *p)
{
	uint64_t opens;

	pthread_mutex_lock(&p->lock);
	opens = p->opens;
	pthread_mutex_unlock(&p->lock);
	return opens;
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)

void passthrough_ask(struct passthrough *p, struct fuse_conn_info *conn)
{
	if (!(conn->capable & FUSE_CAP_PASSTHROUGH) || geteuid() != 0)
		return;
	conn->want |= FUSE_CAP_PASSTHROUGH;
	pthread_mutex_lock(&p->lock);
	p->on = true;
	pthread_mutex_unlock(&p->lock);
}

static int tell_kernel(void *arg, int fd)
{
	const struct passthrough *p = arg;

	return backing_open(p->device, fd);
}

/* The backing id of the file that H reads; 0: there is none. Lock held. */
static int find_file(struct passthrough *p, const struct handle *h)
{
	int rc = -ENOENT;

	if (h->kind == HANDLE_GENERATION)
		rc = snap_gen_lend(h->gen, tell_kernel, p);
	else if (h->kind == HANDLE_FILE)
		rc = snap_file_lend(h->file, tell_kernel, p);
	if (rc > 0)
		log_debug("\"%s\" is read from its file by the kernel", h->node->name);
	else if (rc != -ENOENT)
		log_debug("\"%s\" cannot be read from its file by the kernel: %s", h->node->name,
			  strerror(-rc));
	return rc > 0 ? rc : 0;
}

void passthrough_open(struct passthrough *p, struct handle *h, struct fuse_file_info *fi)
{
	struct node *node = h->node;

	pthread_mutex_lock(&p->lock);
	h->counted = p->on;
	if (h->counted && node->opens++ == 0 && !(fi->flags & O_DIRECT))
		node->backing = find_file(p, h);
	if (node->backing) {
		fi->backing_id = node->backing;
		fi->keep_cache = 0; /* none of its pages is ever cached; the kernel refuses both */
		/* With O_DIRECT, reads still go to op_read(), which needs no alignment; mmap(2) maps the
		 * file. */
		fi->direct_io = (fi->flags & O_DIRECT) != 0;
		p->opens++;
	}
	pthread_mutex_unlock(&p->lock);
}

#else

void passthrough_ask(struct passthrough *p, struct fuse_conn_info *conn)
{
	(void)p;
	(void)conn;
}

void passthrough_open(struct passthrough *p, struct handle *h, struct fuse_file_info *fi)
{
	(void)p;
	(void)h;
	(void)fi;
}

#endif

void passthrough_close(struct passthrough *p, struct handle *h)
{
	struct node *node = h->node;

	if (!h->counted)
		return;
	pthread_mutex_lock(&p->lock);
	if (--node->opens == 0 && node->backing) {
		backing_close(p->device, node->backing);
		node->backing = 0;
	}
	pthread_mutex_unlock(&p->lock);
}
