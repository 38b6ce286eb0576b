/* SPDX-License-Identifier: MIT */
/* test_workers.c - how many threads serve, and how they end. The kernel is the other end of a socket here:
 * the test makes its requests, and reads the replies. */
#include "../../fs/workers.h"

#include "unit.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOT_ID 1

/* What is asked of the root's attributes waits at this gate. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int inside, let_in; /* at the gate; how many may pass */
} gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};

static struct {
	int kernel, served; /* the two ends */
	struct fuse_session *fuse;
	struct workers workers;
	pthread_t main;
	int rc;
} it;

static unsigned unwanted;	/* capabilities that are asked for though the kernel lacks them */
static atomic_int threads_left; /* that may still be started; -1: any number */
static atomic_int read_fails;	/* errno of the next read(2), once */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	if (atomic_load(&threads_left) == 0)
		return EAGAIN;
	if (atomic_load(&threads_left) > 0)
		atomic_fetch_sub(&threads_left, 1);
	return __real_pthread_create(thread, attr, fn, arg);
}

ssize_t __real_read(int fd, void *buf, size_t size);
ssize_t __wrap_read(int fd, void *buf, size_t size);

ssize_t __wrap_read(int fd, void *buf, size_t size)
{
	ssize_t got = __real_read(fd, buf, size);
	int error = fd == it.served ? atomic_exchange(&read_fails, 0) : 0;

	if (!error)
		return got;
	errno = error;
	return -1;
}

/* ---- the file system ----------------------------------------------------------------------------------- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->want |= unwanted;
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	pthread_mutex_lock(&gate.lock);
	gate.inside++;
	pthread_cond_broadcast(&gate.changed);
	while (gate.let_in == 0)
		pthread_cond_wait(&gate.changed, &gate.lock);
	gate.let_in--;
	gate.inside--;
	pthread_mutex_unlock(&gate.lock);
	fuse_reply_err(req, ENOENT);
}

static void await_inside(int count)
{
	pthread_mutex_lock(&gate.lock);
	while (gate.inside != count)
		pthread_cond_wait(&gate.changed, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
}

static void let_in(int count)
{
	pthread_mutex_lock(&gate.lock);
	gate.let_in += count;
	pthread_cond_broadcast(&gate.changed);
	pthread_mutex_unlock(&gate.lock);
}

/* ---- the kernel ---------------------------------------------------------------------------------------- */

static void ask(uint32_t opcode, const void *arg, size_t size)
{
	static uint64_t unique;
	char request[256];
	struct fuse_in_header header = {.len = (uint32_t)(sizeof(header) + size),
					.opcode = opcode,
					.unique = ++unique,
					.nodeid = ROOT_ID};

	memcpy(request, &header, sizeof(header));
	memcpy(request + sizeof(header), arg, size);
	assert_int_equal(write(it.kernel, request, header.len), header.len);
}

/* The error in the next reply. */
static int reply(void)
{
	char answer[512];
	struct fuse_out_header header;

	assert_true(__real_read(it.kernel, answer, sizeof(answer)) >= (ssize_t)sizeof(header));
	memcpy(&header, answer, sizeof(header));
	return -header.error;
}

static void ask_attributes(void)
{
	ask(FUSE_GETATTR, &(struct fuse_getattr_in){0}, sizeof(struct fuse_getattr_in));
}

static void ask_init(void)
{
	struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_readahead = 131072};

	ask(FUSE_INIT, &init, sizeof(init));
}

/* ---- tests --------------------------------------------------------------------------------------------- */

static void *run(void *arg)
{
	(void)arg;
	it.rc = workers_run(&it.workers);
	return NULL;
}

static int setup(void **state)
{
	static char name[] = "test", *argv[] = {name, NULL};
	static const struct fuse_lowlevel_ops ops = {.init = op_init, .getattr = op_getattr};
	struct fuse_args args = {.argc = 1, .argv = argv};
	char path[32];
	int ends[2];

	(void)state;
	unwanted = 0;
	atomic_store(&threads_left, -1);
	atomic_store(&read_fails, 0);
	gate.let_in = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	it.kernel = ends[0];
	it.served = ends[1];
	it.fuse = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	fuse_opt_free_args(&args);
	assert_non_null(it.fuse);
	snprintf(path, sizeof(path), "/dev/fd/%d", it.served);
	assert_int_equal(fuse_session_mount(it.fuse, path), 0);
	workers_init(&it.workers, it.fuse);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	workers_finish(&it.workers);
	fuse_session_unmount(it.fuse);
	fuse_session_destroy(it.fuse);
	close(it.kernel);
	return 0;
}

static void begin(void)
{
	assert_int_equal(__real_pthread_create(&it.main, NULL, run, NULL), 0);
}

static void begin_agreed(void)
{
	begin();
	ask_init();
	assert_int_equal(reply(), 0);
}

/* What workers_run() returns, once it does. */
static int outcome(void)
{
	pthread_join(it.main, NULL);
	assert_true(fuse_session_exited(it.fuse));
	return it.rc;
}

static void test_one_for_each_request_at_once(void **state)
{
	(void)state;
	begin_agreed();
	for (int i = 0; i < WORKERS_MAX; i++) {
		ask_attributes();
		await_inside(i + 1);
	}
	ask_attributes(); /* waits for one of them */
	let_in(WORKERS_MAX);
	for (int i = 0; i < WORKERS_MAX; i++)
		assert_int_equal(reply(), ENOENT);
	await_inside(1);
	let_in(1);
	assert_int_equal(reply(), ENOENT);
	assert_int_equal(it.workers.count, WORKERS_MAX);
	workers_end(&it.workers);
	assert_int_equal(outcome(), 0);
}

static void test_ended_before_it_starts(void **state)
{
	(void)state;
	workers_end(&it.workers);
	begin();
	assert_int_equal(outcome(), 0);
}

/* A request that was read when it is told to end is still answered. */
static void test_ended_while_one_works(void **state)
{
	(void)state;
	begin_agreed();
	ask_attributes();
	await_inside(1);
	workers_end(&it.workers);
	assert_int_equal(recv(it.kernel, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT), -1);
	let_in(1);
	assert_int_equal(reply(), ENOENT);
	assert_int_equal(outcome(), 0);
}

/* What read(2) reports when the mount has gone, however it went. */
static void test_mount_has_gone(void **state)
{
	static const int errors[] = {ENODEV, ECONNABORTED};

	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		if (i > 0)
			setup(state);
		begin_agreed();
		atomic_store(&read_fails, errors[i]);
		ask_attributes(); /* is lost */
		assert_int_equal(outcome(), 0);
		if (i == 0)
			teardown(state);
	}
}

static void test_read_is_tried_again(void **state)
{
	static const int errors[] = {ENOENT, EINTR};

	(void)state;
	begin_agreed();
	let_in(2);
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		atomic_store(&read_fails, errors[i]);
		ask_attributes(); /* is lost */
		ask_attributes();
		assert_int_equal(reply(), ENOENT);
	}
	workers_end(&it.workers);
	assert_int_equal(outcome(), 0);
}

static void test_read_fails(void **state)
{
	(void)state;
	begin_agreed();
	atomic_store(&read_fails, EIO);
	ask_attributes();
	assert_int_equal(outcome(), -EIO);
}

static void test_no_agreement(void **state)
{
	(void)state;
	unwanted = FUSE_CAP_WRITEBACK_CACHE;
	begin();
	ask_init();
	assert_int_equal(reply(), EPROTO);
	assert_int_equal(outcome(), -EPROTO);
}

static void test_no_thread(void **state)
{
	(void)state;
	atomic_store(&threads_left, 0);
	begin();
	assert_int_equal(outcome(), -EAGAIN);
}

/* One that cannot have help works alone, and gets help when there is some again. */
static void test_no_second_thread(void **state)
{
	(void)state;
	atomic_store(&threads_left, 1);
	begin_agreed();
	let_in(1);
	ask_attributes();
	assert_int_equal(reply(), ENOENT);
	atomic_store(&threads_left, -1);
	ask_attributes();
	await_inside(1);
	ask_attributes();
	await_inside(2);
	let_in(2);
	assert_int_equal(reply(), ENOENT);
	assert_int_equal(reply(), ENOENT);
	workers_end(&it.workers);
	assert_int_equal(outcome(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_for_each_request_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ended_before_it_starts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ended_while_one_works, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mount_has_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_is_tried_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_agreement, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_thread, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_second_thread, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
