/* SPDX-License-Identifier: MIT */
/* test_shmguard.c - real SIGBUS on mappings of files that were truncated, and on others. */
#include "../../src/shmguard.h"

#include <errno.h>
#include <sys/mman.h>

#include "app.h"

#define SIZE 32768u

struct mapping {
	int fd;
	unsigned char *addr;
};

/* Maps a file of SIZE bytes, all of them 0xAA. */
static struct mapping map_file(void)
{
	struct mapping m;

	m.fd = memfd_create("shm", MFD_CLOEXEC);
	assert_true(m.fd >= 0);
	assert_int_equal(ftruncate(m.fd, SIZE), 0);
	m.addr = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
	assert_ptr_not_equal(m.addr, MAP_FAILED);
	memset(m.addr, 0xAA, SIZE);
	return m;
}

static void unmap_file(struct mapping *m)
{
	munmap(m->addr, SIZE);
	close(m->fd);
}

/* cmocka puts a SIGBUS handler of its own around every test. */
static struct sigaction guard_action;

static void guard_on(void)
{
	assert_int_equal(sigaction(SIGBUS, &guard_action, NULL), 0);
}

static unsigned char peek(const unsigned char *addr)
{
	return *(const volatile unsigned char *)addr;
}

static void test_truncated_reads_zeros(void **state)
{
	static const size_t touch[] = {0, 1, 4095, 4096, SIZE - 1};

	(void)state;
	guard_on();
	for (size_t i = 0; i < sizeof(touch) / sizeof(touch[0]); i++) {
		struct mapping m = map_file(), other = map_file();

		assert_int_equal(shmguard_add(m.addr, SIZE), 0);
		assert_int_equal(shmguard_add(other.addr, SIZE), 0);
		assert_int_equal(ftruncate(m.fd, 0), 0);
		assert_false(shmguard_lost(m.addr));
		assert_int_equal(peek(m.addr + touch[i]), 0);
		assert_true(shmguard_lost(m.addr));
		assert_false(shmguard_lost(other.addr));
		assert_int_equal(peek(other.addr), 0xAA);
		shmguard_forget(m.addr, SIZE);
		shmguard_forget(other.addr, SIZE);
		unmap_file(&m);
		unmap_file(&other);
	}
}

/* The part of the file that is left stops showing too: the range is one thing. */
static void test_whole_range_is_replaced(void **state)
{
	struct mapping m = map_file();
	unsigned char byte = 0;

	(void)state;
	guard_on();
	assert_int_equal(shmguard_add(m.addr, SIZE), 0);
	assert_int_equal(ftruncate(m.fd, 4096), 0);
	assert_int_equal(peek(m.addr), 0xAA);
	assert_false(shmguard_lost(m.addr));
	assert_int_equal(peek(m.addr + SIZE - 1), 0);
	assert_int_equal(peek(m.addr), 0);
	m.addr[0] = 7;
	assert_int_equal(pread(m.fd, &byte, 1, 0), 1);
	assert_int_equal(byte, 0xAA);
	shmguard_forget(m.addr, SIZE);
	unmap_file(&m);
}

/* However many use it, and come and go, it is one mapping as long as it is mapped. */
static void test_until_it_is_unmapped(void **state)
{
	struct mapping m = map_file(), other = map_file();

	(void)state;
	guard_on();
	assert_int_equal(shmguard_add(m.addr, SIZE), 0);
	assert_int_equal(shmguard_add(m.addr, SIZE), 0);
	assert_int_equal(ftruncate(m.fd, 0), 0);
	assert_int_equal(peek(m.addr), 0);
	assert_true(shmguard_lost(m.addr));
	/* A newcomer to the same mapping is told as well. */
	assert_int_equal(shmguard_add(m.addr, SIZE), 0);
	assert_true(shmguard_lost(m.addr));
	shmguard_forget(other.addr, SIZE);
	assert_true(shmguard_lost(m.addr));
	shmguard_forget(m.addr, SIZE);
	assert_false(shmguard_lost(m.addr));
	/* Another mapping at the same address starts afresh. */
	assert_int_equal(shmguard_add(m.addr, SIZE), 0);
	assert_false(shmguard_lost(m.addr));
	shmguard_forget(m.addr, SIZE);
	unmap_file(&m);
	unmap_file(&other);
}

/* Where a page of memory holds several regions SQLite unmaps it by the first of them, and gives its size. */
static void test_whole_pages_are_forgotten(void **state)
{
	struct mapping m = map_file();

	(void)state;
	guard_on();
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(shmguard_add(m.addr + i * 2048, 2048), 0);
	assert_int_equal(ftruncate(m.fd, 0), 0);
	assert_int_equal(peek(m.addr), 0);
	assert_int_equal(peek(m.addr + 6000), 0);
	shmguard_forget(m.addr, 2048);
	assert_false(shmguard_lost(m.addr) || shmguard_lost(m.addr + 2048));
	assert_true(shmguard_lost(m.addr + 4096) && shmguard_lost(m.addr + 6144));
	shmguard_forget(m.addr + 4096, 2048);
	assert_false(shmguard_lost(m.addr + 4096) || shmguard_lost(m.addr + 6144));
	unmap_file(&m);
}

static void test_limit(void **state)
{
	unsigned char *base = mmap(NULL, 16384, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t n = 0;

	(void)state;
	guard_on();
	assert_ptr_not_equal(base, MAP_FAILED);
	while (n < 16384 && shmguard_add(&base[n], 1) == 0)
		n++;
	assert_int_equal(n, 4096);
	assert_int_equal(shmguard_add(&base[n], 1), -ENOMEM);
	assert_int_equal(shmguard_add(&base[17], 1), 0);
	assert_int_equal(shmguard_add(&base[n], 1), -ENOMEM);
	shmguard_forget(base, n);
	assert_int_equal(shmguard_add(&base[n], 1), 0);
	shmguard_forget(base, 16384);
	munmap(base, 16384);
}

static int die_unguarded(void *arg)
{
	struct mapping *m = arg;

	if (ftruncate(m->fd, 0) == 0)
		peek(m->addr);
	return 0;
}

static int die_removed(void *arg)
{
	struct mapping *m = arg;

	if (shmguard_add(m->addr, SIZE) < 0)
		return 1;
	shmguard_forget(m->addr, SIZE);
	return die_unguarded(arg);
}

static int die_sent(void *arg)
{
	(void)arg;
	kill(getpid(), SIGBUS);
	return 0;
}

/* A SIGBUS elsewhere ends the process by SIGBUS, as it would without us. */
static void test_others_die(void **state)
{
	static int (*const deaths[])(void *) = {die_unguarded, die_removed, die_sent};

	(void)state;
	guard_on();
	for (size_t i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++) {
		struct mapping m = map_file();

		assert_int_equal(in_child(deaths[i], &m), 256 + SIGBUS);
		unmap_file(&m);
	}
}

static void test_errno_survives(void **state)
{
	struct mapping m = map_file();

	(void)state;
	guard_on();
	assert_int_equal(shmguard_add(m.addr, SIZE), 0);
	assert_int_equal(ftruncate(m.fd, 0), 0);
	errno = EXDEV;
	peek(m.addr);
	assert_int_equal(errno, EXDEV);
	shmguard_forget(m.addr, SIZE);
	unmap_file(&m);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_truncated_reads_zeros),
		cmocka_unit_test(test_whole_range_is_replaced),
		cmocka_unit_test(test_until_it_is_unmapped),
		cmocka_unit_test(test_whole_pages_are_forgotten),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_others_die),
		cmocka_unit_test(test_errno_survives),
	};

	if (shmguard_install() < 0 || shmguard_install() < 0 || sigaction(SIGBUS, NULL, &guard_action) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
