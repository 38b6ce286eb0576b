/* SPDX-License-Identifier: MIT */
/* list.h - doubly linked lists whose links are members of their elements. An element is in one list or in
 * none (self-linked). */
#ifndef SQLSNAP_LIST_H
#define SQLSNAP_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

/* Puts E at the end of L. */
static inline void list_append(struct list *l, struct list *e)
{
	e->prev = l->prev;
	e->next = l;
	l->prev->next = e;
	l->prev = e;
}

/* Takes E out of its list; harmless when it is in none. */
static inline void list_remove(struct list *e)
{
	e->prev->next = e->next;
	e->next->prev = e->prev;
	list_init(e);
}

#define list_entry(e, type, member) ((type *)(void *)((char *)(e)-offsetof(type, member)))

/* Walks L; the body must not remove the element after E. */
#define list_each(e, l) \
	for (struct list *e = (l)->next, *e##_next = e->next; e != (l); e = e##_next, e##_next = e->next)

#endif
