/* SPDX-License-Identifier: MIT */
/*
 * calls_memory.c - memory that cannot be had: by the program's own code, or by SQLite's. Whose a request is
 * the return address tells; those of other libraries, libfuse and libc, are never refused.
 *
 * Below AddressSanitizer this library stands before its allocator (verify_asan_link_order=0) and hands on to
 * it.
 */
#include "calls.h"

#include <link.h>
#include <stdio.h>
#include <string.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

/* NULL: there is no AddressSanitizer. */
extern void __asan_init(void) __attribute__((weak, visibility("default")));

/* libc's are known by name: finding the next would have to wait until the loader has done its work. */
static void *get(size_t size)
{
	if (!__asan_init)
		return __libc_malloc(size);
	NEXT(void *(*)(size_t), "malloc");
	return real(size);
}

static void *get_zeroed(size_t n, size_t size)
{
	if (!__asan_init)
		return __libc_calloc(n, size);
	NEXT(void *(*)(size_t, size_t), "calloc");
	return real(n, size);
}

static void *get_again(void *old, size_t size)
{
	if (!__asan_init)
		return __libc_realloc(old, size);
	NEXT(void *(*)(void *, size_t), "realloc");
	return real(old, size);
}

struct range {
	uintptr_t from, to;
};

static struct range program, sqlite;

static int find_ranges(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct range *range = NULL;

	(void)size;
	(void)arg;
	if (info->dlpi_name[0] == '\0' && program.to == 0)
		range = &program;
	else if (strstr(info->dlpi_name, "libsqlite3"))
		range = &sqlite;
	for (int i = 0; range && i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];

		if (part->p_type == PT_LOAD && part->p_flags & PF_X) {
			range->from = info->dlpi_addr + part->p_vaddr;
			range->to = range->from + part->p_memsz;
		}
	}
	return 0;
}

__attribute__((constructor)) static void load(void)
{
	if (fault_control())
		dl_iterate_phdr(find_ranges, NULL);
}

static bool is_in(const struct range *range, const void *address)
{
	return (uintptr_t)address >= range->from && (uintptr_t)address < range->to;
}

/* $SQLSNAPFS_FAULT_LEAK: what is lost where a call fails is found, or the search for leaks is of no use. */
static bool leak(void)
{
	if (getenv("SQLSNAPFS_FAULT_LEAK")) {
		/* Some may still be pointed to, by what nobody has overwritten. */
		for (int i = 0; i < 100; i++)
			memset(get(77), 0, 77);
	}
	return true;
}

static bool is_refused(const char *name, const void *caller)
{
	if (is_in(&program, caller))
		return fault_hit(FAULT_MEMORY, name, NULL) && leak();
	return is_in(&sqlite, caller) && fault_hit(FAULT_SQLITE, name, "by SQLite");
}

REPLACED void *malloc(size_t size)
{
	return is_refused("malloc", __builtin_return_address(0)) ? NULL : get(size);
}

REPLACED void *calloc(size_t n, size_t size)
{
	return is_refused("calloc", __builtin_return_address(0)) ? NULL : get_zeroed(n, size);
}

REPLACED void *realloc(void *old, size_t size)
{
	return is_refused("realloc", __builtin_return_address(0)) ? NULL : get_again(old, size);
}

REPLACED void *reallocarray(void *old, size_t n, size_t size)
{
	size_t all;

	if (is_refused("reallocarray", __builtin_return_address(0)))
		return NULL;
	if (__builtin_mul_overflow(n, size, &all)) {
		errno = ENOMEM;
		return NULL;
	}
	return get_again(old, all);
}

static char *copy_text(const char *text, size_t n)
{
	char *copy = get(n + 1);

	if (!copy)
		return NULL;
	memcpy(copy, text, n);
	copy[n] = '\0';
	return copy;
}

REPLACED char *strdup(const char *text)
{
	if (is_refused("strdup", __builtin_return_address(0)))
		return NULL;
	return copy_text(text, strlen(text));
}

REPLACED char *strndup(const char *text, size_t max)
{
	if (is_refused("strndup", __builtin_return_address(0)))
		return NULL;
	return copy_text(text, strnlen(text, max));
}

REPLACED int asprintf(char **restrict out, const char *restrict format, ...)
{
	va_list args;
	int n;

	if (is_refused("asprintf", __builtin_return_address(0)))
		return -1;
	va_start(args, format);
	n = vasprintf(out, format, args);
	va_end(args);
	return n;
}

REPLACED int __asprintf_chk(char **restrict out, int flag, const char *restrict format, ...)
{
	va_list args;
	int n;

	(void)flag;
	if (is_refused("asprintf", __builtin_return_address(0)))
		return -1;
	va_start(args, format);
	n = vasprintf(out, format, args);
	va_end(args);
	return n;
}
