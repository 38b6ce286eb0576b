/* SPDX-License-Identifier: MIT */
/* fault.c - see fault.h. */
#include "fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int fault(struct snap_err *err, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(err->text, sizeof(err->text), format, ap);
	va_end(ap);
	return code;
}

int fault_memory(struct snap_err *err)
{
	return fault(err, -ENOMEM, "out of memory");
}

const char *fault_remedy(int code)
{
	return code == -EMFILE ? "; raise the limit of open files of sqlsnapfs (ulimit -Hn, LimitNOFILE=)"
			       : "";
}
