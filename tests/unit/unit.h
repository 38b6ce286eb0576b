/* SPDX-License-Identifier: MIT */
/* unit.h - cmocka, with what its header needs, and one assertion that its versions spell differently. */
#ifndef SQLSNAP_TEST_UNIT_H
#define SQLSNAP_TEST_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* That LEAST <= VALUE <= MOST, none of them negative; each is evaluated once. */
#ifdef assert_int_in_range /* since cmocka 2 */
#define assert_between(value, least, most) assert_int_in_range(value, least, most)
#else
#define assert_between(value, least, most) assert_in_range(value, least, most)
#endif

#endif
