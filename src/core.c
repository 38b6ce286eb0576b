/* SPDX-License-Identifier: MIT */
/* core.c - see core.h. */
#include "core.h"

#include <stdarg.h>
#include <stdio.h>

#include "cleanup.h"
#include "sources.h"

void core_event(const struct core *core, enum snap_level level, const char *format, ...)
{
	char text[sizeof(struct snap_err)];
	va_list ap;

	if (!core->config.event)
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	core->config.event(core->config.event_arg, level, text);
}

void core_wake(struct core *core)
{
	lock_scope(&core->lock);
	if (!core->awake) {
		core->awake = true;
		pthread_cond_signal(&core->changed);
	}
}

bool core_is_ending(struct core *core)
{
	lock_scope(&core->lock);
	return core->ending;
}

static int shed(void *arg, struct source *source)
{
	(void)arg;
	source_shed(source);
	return 0;
}

void core_shed(struct core *core)
{
	sources_each(core->sources, shed, NULL);
}

static int forget_upload(void *arg, struct source *source)
{
	(void)arg;
	source_upload_forget(source);
	return 0;
}

void core_make_room(struct core *core)
{
	sources_each(core->sources, forget_upload, NULL);
}
