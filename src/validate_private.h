/* SPDX-License-Identifier: MIT */
/*
 * validate_private.h - what the files of validate.h share: the task that the child is given in its arguments,
 * and the verdict that comes back through a pipe. Both ends are the same program, so the verdict is a struct;
 * but the parent trusts nothing in it.
 */
#ifndef SQLSNAP_VALIDATE_PRIVATE_H
#define SQLSNAP_VALIDATE_PRIVATE_H

#include "validate.h"

/* The child's descriptors; 0, 1 and 2 are /dev/null, and there are no others. */
enum {
	VALIDATE_FD_FILE = 3,
	VALIDATE_FD_FIT = 4, /* only with fit_page_size */
	VALIDATE_FD_VERDICT = 5,
};

struct validate_task {
	uint64_t size; /* bytes of the file */
	bool full;
	bool fit_only;
	uint32_t fit_page_size; /* 0: nothing to make */
	uint64_t fit_max;	/* bytes that the fit file may have */
	uint32_t timeout_s;	/* of processor time; 0: none. The parent's clock is the one that counts. */
};

#define VALIDATE_VERDICT_MAGIC 0x53514c56u

struct validate_verdict {
	uint32_t magic;
	int32_t code; /* 0 or -errno, as validate_file() */
	uint32_t tables;
	uint32_t names_cut;
	uint32_t names_size; /* bytes of names that follow */
	char note[sizeof(((struct validate_report *)0)->note)];
	char text[sizeof(((struct snap_err *)0)->text)];
};

struct validate_answer {
	struct validate_verdict verdict;
	char *names; /* owned; verdict.names_size bytes */
};

/* Tells the parent that DONE bytes were read; the second pass counts from the file's size on. */
void validate_tell(uint64_t done);

/* Sets the verdict's code and text. Returns CODE. */
int validate_answer_refuse(struct validate_answer *answer, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- validate_jail.c ----------------------------------------------------------------------------------- */

/*
 * Gives up everything with which the process could do harm. Afterwards it can use its memory and the three
 * descriptors, and nothing else. -errno with a message when this is impossible.
 */
int validate_jail_enter(const struct validate_task *task, struct snap_err *err);

/* Whether this is built with a sanitizer, which needs what a jail forbids: limits and filter are then off. */
bool validate_jail_is_open(void);

/* ---- validate_vfs.c ------------------------------------------------------------------------------------ */

#define VALIDATE_VFS "validate"
#define VALIDATE_FILE "file" /* the names under which SQLite opens the two */
#define VALIDATE_FIT "fit"

/* Registers VALIDATE_VFS with SQLite, as the default; SIZE as in the task. SQLite's result code. Never
 * undone; called again for another file in this process. */
int validate_vfs_register(uint64_t size);
/* errno of the last read or write that failed; 0: none. */
int validate_vfs_errno(void);

/* ---- validate_sql.c ------------------------------------------------------------------------------------ */

struct sqlite3;

/* Asks SQLite everything that TASK says. 0 or a refusal, which is also in *ANSWER. */
int validate_sql_run(const struct validate_task *task, struct validate_answer *answer);

/* Refuses because of SQLite's error RC, with its message. For an error that is neither damage nor lack of
 * memory, space or a readable file, the code is OTHERWISE. */
int validate_sql_refuse(struct validate_answer *answer, struct sqlite3 *db, int rc, int otherwise);

/* Whether COMPLAINT, a row of a check, says only that a virtual table could not be checked, because of an
 * error that is no damage: a function, a tokenizer or a view that does not exist here (fts3IntegrityMethod()
 * and fts5IntegrityMethod() of SQLite 3.44 and later). */
bool validate_sql_lacks(const char *complaint);

/* ---- validate_fit.c ------------------------------------------------------------------------------------ */

/* Fills the fit file; DB is a fresh connection. 0 or a refusal. */
int validate_fit_make(struct sqlite3 *db, const struct validate_task *task, struct validate_answer *answer);

#endif
