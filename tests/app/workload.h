/* SPDX-License-Identifier: MIT */
/*
 * workload.h - what the writing application of the tests keeps true in its database, so that any copy can be
 * judged by itself.
 *
 *   accounts(id, balance)      the sum of all balances never changes: every transaction moves money between
 * two. log(seq, sum, payload)     one row a commit, numbered without gaps; old rows are deleted so that pages
 * are reused and the file moves. SUM is workload_checksum() of number and payload. meta(id, commits, total)
 * one row: the number of the last commit (= max(seq)) and the sum of all balances.
 *
 * A copy that mixes two commits breaks at least one of them; a copy that is whole but old has a commit number
 * below the one that the writer had acknowledged (struct workload_ack).
 */
#ifndef SQLSNAP_TEST_WORKLOAD_H
#define SQLSNAP_TEST_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sqlite3;
struct sqlite3_stmt;

/*
 * A small file that writer and readers map. Where nobody restores, ACKED and BEGUN only grow and the others
 * are 0. Who restores (tests/soak) sets UPLOAD before a database with a higher number is uploaded; one with a
 * lower number takes the time between two changes of EPOCH, in which age cannot be judged.
 */
struct workload_ack {
	_Atomic uint64_t acked;	 /* the last commit whose COMMIT has returned */
	_Atomic uint64_t begun;	 /* the last commit whose COMMIT has been started */
	_Atomic uint64_t upload; /* the commit of a database that may be restored now, or has been */
	_Atomic uint64_t epoch;	 /* odd: commit numbers are going back */
};

/* How old a copy may be, by what stands there before and after its open(2). */
struct workload_age {
	uint64_t acked, begun, epoch; /* begun 0: not to be judged */
};
void workload_age_before(struct workload_age *age, const struct workload_ack *ack);
void workload_age_after(struct workload_age *age, const struct workload_ack *ack);

/* Maps PATH, creating it for the writer. NULL and a line on stderr when it cannot. */
struct workload_ack *workload_ack_map(const char *path, bool create);

struct workload_options {
	const char *path, *journal, *sync; /* borrowed */
	int page_size, auto_vacuum;
	int rows;	    /* accounts */
	int keep;	    /* rows of log that stay */
	int cache_size;	    /* pages; 0: SQLite's own. A small one makes large transactions spill */
	int autocheckpoint; /* pages; < 0: SQLite's own */
	int busy_timeout;   /* milliseconds */
	int big_size;	    /* bytes of every BIG_EVERYth payload */
	int big_every;
	uint64_t base; /* the number that a database without tables begins after */
	bool exclusive;
	bool follow; /* each transaction has the number after the one that it finds: somebody restores */
	uint64_t seed;
};

struct workload {
	struct sqlite3 *db;
	struct sqlite3_stmt *move, *append, *prune, *meta;
	uint64_t random; /* state of the generator */
	unsigned char *payload;
	uint64_t seq;				/* number of the last transaction that was begun */
	const struct workload_options *options; /* borrowed */
};

/* Opens a connection and makes the tables when there are none. SQLite's result code, with a line on stderr.
 */
int workload_open(struct workload *w, const struct workload_options *options);
int workload_close(struct workload *w);

/* Number of the last commit in the database. */
int workload_last(struct workload *w, uint64_t *commits);

/*
 * One transaction with the number SEQ (or w->seq, see follow); with KEEP_IT false it is rolled back at its
 * end. ACK may be NULL.
 * After a failure nothing of it stays. SQLite's result code, with a line on stderr.
 */
int workload_commit(struct workload *w, uint64_t seq, bool keep_it, struct workload_ack *ack);

/* Begins a transaction that changes every row and spills, and leaves it open: what a power cut finds. */
int workload_leave_open(struct workload *w);

int workload_exec(struct workload *w, const char *sql);

uint64_t workload_checksum(uint64_t seq, const unsigned char *bytes, size_t size);

#endif
