/* SPDX-License-Identifier: MIT */
/* test_refusals.c - each process hears of a refusal, and nobody fills the log with them. */
#include "unit.h"

#include "../../fs/refusals.h"

static void test_due(void **state)
{
	struct refusals all;
	int64_t now = 1;
	int told = 0;

	(void)state;
	refusals_init(&all);
	assert_true(refusals_due(&all, REFUSAL_FOLDER, 7, now));
	assert_false(refusals_due(&all, REFUSAL_FOLDER, 7, now + REFUSALS_NS - 1));
	assert_true(refusals_due(&all, REFUSAL_RENAME, 7, now));
	assert_true(refusals_due(&all, REFUSAL_FOLDER, 8, now));
	assert_false(refusals_due(&all, REFUSAL_FOLDER, 8, now));
	assert_true(refusals_due(&all, REFUSAL_FOLDER, 8, now + REFUSALS_NS));
	now += 10 * REFUSALS_NS;
	for (pid_t i = 0; i < 1000; i++)
		told += refusals_due(&all, REFUSAL_FOLDER, i, now);
	assert_int_equal(told, REFUSALS_MAX);
	assert_true(refusals_due(&all, REFUSAL_FOLDER, 9, now + REFUSALS_NS));
	refusals_finish(&all);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
