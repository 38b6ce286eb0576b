/* SPDX-License-Identifier: MIT */
/* fuseopts.c - see fuseopts.h. */
#include "fuseopts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool fuseopts_read_only(const struct options *options)
{
	return options->read_only || options->frozen;
}

/* Commas of VALUE are escaped. */
static bool add(char **list, const char *name, const char *value)
{
	char *word = NULL;
	bool ok;

	if (asprintf(&word, "%s%s", name, value) < 0)
		return false;
	ok = fuse_opt_add_opt_escaped(list, word) == 0;
	free(word);
	return ok;
}

static bool build_list(char **list, const struct options *options, const struct plan *plan)
{
	/* Without allow_other, not even root can enter another user's mount, nor a user enter root's. The
	 * modes of the live files and default_permissions keep others out. */
	bool all = options->allow_other || (geteuid() == 0 && !options->allow_root);
	char max_read[24];

	snprintf(max_read, sizeof(max_read), "%" PRIu64, options->max_read);
	return fuse_opt_add_opt(list, "default_permissions,nosuid,nodev,noatime,subtype=sqlsnapfs") == 0 &&
	       add(list, "fsname=", plan_fsname(plan, options)) &&
	       (!fuseopts_read_only(options) || add(list, "ro", "")) &&
	       (!all || add(list, "allow_other", "")) &&
	       (!options->allow_root || add(list, "allow_root", "")) &&
	       (!options->max_read || add(list, "max_read=", max_read)) &&
	       (!options->debug || add(list, "debug", "")) &&
	       (!options->fuse || fuse_opt_add_opt(list, options->fuse) == 0);
}

int fuseopts_build(struct fuse_args *args, const struct options *options, const struct plan *plan)
{
	char *list = NULL;
	bool ok = build_list(&list, options, plan) && fuse_opt_add_arg(args, "sqlsnapfs") == 0 &&
		  fuse_opt_add_arg(args, "-o") == 0 && fuse_opt_add_arg(args, list) == 0;

	free(list);
	return ok ? 0 : -ENOMEM;
}
