/* SPDX-License-Identifier: MIT */
/*
 * fuzz_upload.c - a file that somebody uploads, from its first byte to the verdict about it: pieces in any
 * order, over what stood there before, cut and announced; then the rules before SQLite, SQLite's own check,
 * and the copy with another page size.
 *
 * The last bytes of the input say how; what is before them is the file, so that a database is a seed.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/staging.h"
#include "gate.h"

#define HOW_BYTES 24
#define FILE_MAX (3u << 16) /* bytes */

/* ---- staging ------------------------------------------------------------------------------------------- */

/* What the file must hold, and may say of itself. */
struct model {
	uint8_t *bytes; /* owned; FILE_MAX */
	bool *known;	/* owned; written, or zeros because it was empty once */
	uint64_t size, base_size;
	bool touched, was_empty, announced;
};

static uint8_t base_byte(uint64_t at)
{
	return (uint8_t)(at * 7 + 3);
}

static ssize_t read_base(void *arg, void *buf, size_t size, uint64_t offset, struct snap_err *err)
{
	const struct model *m = arg;
	size_t n = offset >= m->base_size	  ? 0
		   : size > m->base_size - offset ? (size_t)(m->base_size - offset)
						  : size;

	(void)err;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)buf)[i] = base_byte(offset + i);
	return (ssize_t)n;
}

static void model_resize(struct model *m, uint64_t size)
{
	uint64_t from = size < m->size ? size : m->size, to = size < m->size ? m->size : size;

	/* Behind the end all is zeros; of what is added, zeros are what it holds. */
	memset(m->bytes + from, 0, to - from);
	memset(m->known + from, size > from, to - from);
	if (m->size == 0 && size > 0)
		m->announced = m->announced || m->was_empty;
	m->size = size;
	m->touched = true;
}

static void model_check(const struct model *m, struct staging *st)
{
	enum snap_upload_state state = staging_state(st);
	uint8_t *read = malloc(FILE_MAX + 1);

	must(read != NULL && staging_size(st) == m->size);
	must(staging_read(st, read, FILE_MAX + 1, 0, NULL) == (ssize_t)m->size);
	must(memcmp(read, m->bytes, m->size) == 0);
	must((state == SNAP_UPLOAD_UNTOUCHED) == !m->touched);
	must((state == SNAP_UPLOAD_EMPTY) == (m->touched && m->size == 0));
	if (state == SNAP_UPLOAD_COMPLETE)
		for (uint64_t at = 0; at < m->size; at++)
			must(m->known[at]); /* not a byte of what stood there before */
	free(read);
}

static void write_piece(struct model *m, struct staging *st, const uint8_t *from, size_t size, uint64_t at)
{
	if (at >= FILE_MAX || size > FILE_MAX - at || size == 0)
		return;
	must(staging_write(st, from, size, at, NULL) == (ssize_t)size);
	if (at + size > m->size) {
		for (uint64_t gap = m->size; gap < at; gap++)
			m->known[gap] = true;
		m->size = at + size;
	}
	memcpy(m->bytes + at, from, size);
	memset(m->known + at, true, size);
	m->touched = true;
}

static void stage_something(struct model *m, struct staging *st, struct bytes *how, const uint8_t *data,
			    size_t size)
{
	uint8_t what = bytes_u8(how);
	uint64_t at = bytes_u16(how);

	switch (what % 4) {
	case 0:
		must(staging_truncate(st, at % 5 ? at : 0, NULL) == 0);
		if (at % 5 == 0) {
			model_resize(m, 0);
			m->was_empty = true;
		} else if (at != m->size) {
			model_resize(m, at);
		}
		break;
	case 1:
		if (staging_allocate(st, at, 1u + what, what & 4, NULL) == 0 && !(what & 4) &&
		    at + 1u + what > m->size)
			model_resize(m, at + 1u + what);
		break;
	default:
		at %= size + 1;
		write_piece(m, st, data + at, (size_t)what * 16 < size - at ? (size_t)what * 16 : size - at,
			    at);
		break;
	}
}

/* ---- the verdict --------------------------------------------------------------------------------------- */

/* The number that SQL answers; -1: none. */
static sqlite3_int64 number(sqlite3 *db, const char *sql, const char *name)
{
	sqlite3_int64 value = -1;
	sqlite3_stmt *stmt = NULL;
	char *text = sqlite3_mprintf(sql, name);

	if (sqlite3_prepare_v2(db, text, -1, &stmt, NULL) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
		value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_free(text);
	return value;
}

/* Whether SQLite says so; not where it cannot be asked, for want of an application's functions. */
static bool is_damaged(sqlite3 *db)
{
	sqlite3_stmt *stmt = NULL;
	bool damaged = false;
	int rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &stmt, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		damaged = strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") != 0;
	sqlite3_finalize(stmt);
	return damaged || (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

static void must_be_sane(const struct validate_report *report, uint64_t size)
{
	const char *before = NULL;
	uint32_t count = 0;

	must(report->pages > 0 && report->size == (uint64_t)report->pages * report->header.page_size);
	must(report->size <= size && report->names_size <= VALIDATE_NAMES_MAX);
	must(report->names_size == 0 || report->names[report->names_size - 1] == '\0');
	for (size_t at = 0; at < report->names_size; at += strlen(report->names + at) + 1, count++) {
		must(!before || strcmp(before, report->names + at) <= 0);
		before = report->names + at;
	}
	must(report->names_cut ? count <= report->tables : count == report->tables);
}

/* The copy has the page size that was asked for and the rows that the original has. */
static void must_fit(sqlite3 *db, int fd, uint32_t page_size, const struct validate_report *report)
{
	struct stat st;
	struct header header;
	uint8_t *bytes;
	sqlite3 *copy;

	must(fstat(fd, &st) == 0);
	bytes = malloc((size_t)st.st_size + 1);
	must(bytes != NULL && pread(fd, bytes, (size_t)st.st_size, 0) == st.st_size);
	must(header_decode(&header, bytes, (size_t)st.st_size) == 0 && header.page_size == page_size);
	must(header.write_version == 1 && header.read_version == 1);
	must(header.application_id == report->header.application_id);
	must(header.user_version == report->header.user_version);
	copy = gate_open_copy(bytes, (size_t)st.st_size);
	must(!is_damaged(copy) || gate_was_stopped() || report->note[0]);
	for (size_t at = 0; at < report->names_size; at += strlen(report->names + at) + 1) {
		const char *name = report->names + at;
		sqlite3_int64 rows = number(db, "SELECT count(*) FROM \"%w\" NOT INDEXED", name);

		must(number(copy, "SELECT count(*) FROM \"%w\" NOT INDEXED", name) == rows || rows < 0 ||
		     gate_was_stopped());
	}
	sqlite3_close(copy);
	free(bytes);
}

static void judge(struct staging *st, const struct model *m, uint8_t how)
{
	static const uint32_t page_sizes[] = {512, 1024, 4096, 65536};
	struct validate_order order = VALIDATE_ORDER_INIT;
	struct validate_report report = {.tables = 12345};
	struct snap_err err = {""};
	sqlite3 *db;
	int rc;

	order.fd = staging_fd(st);
	order.size = staging_size(st);
	order.full = how & 1;
	order.timeout_ms = 20000;
	if (how & 2) {
		order.fit_fd = memfd_create("fit", MFD_CLOEXEC);
		order.fit_page_size = page_sizes[how >> 2 & 3];
		must(order.fit_fd >= 0);
	}
	gate_was_stopped();
	rc = validate_file(&order, &report, &err);
	fuzz_note(rc ? err.text : report.note);
	if (rc) {
		must(report.tables == 12345 && fuzz_is_line(err.text, sizeof(err.text)));
	} else if (!gate_was_stopped()) {
		must_be_sane(&report, order.size);
		db = gate_open_copy(m->bytes, report.size);
		/* Nothing is waved through that SQLite calls damaged. */
		must(report.note[0] || !is_damaged(db) || gate_was_stopped());
		if (how & 2)
			must_fit(db, order.fit_fd, order.fit_page_size, &report);
		sqlite3_close(db);
	}
	if (rc == 0)
		validate_report_finish(&report);
	if (order.fit_fd >= 0)
		close(order.fit_fd);
}

/* ---- one input ----------------------------------------------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t content = size > HOW_BYTES ? size - HOW_BYTES : 0;
	struct bytes how = {data + content, size - content};
	struct model m = {.bytes = calloc(1, FILE_MAX), .known = calloc(1, FILE_MAX)};
	struct staging_base base = {.read = read_base, .arg = &m};
	uint8_t check = bytes_u8(&how), steps = bytes_u8(&how);
	struct snap_err err;
	struct store *store;
	struct staging *st;
	int fd;

	if (content > FILE_MAX)
		content = FILE_MAX;
	must(m.bytes != NULL && m.known != NULL);
	fuzz_folder();
	fd = fuzz_free_fd();
	must(store_create(&store, fuzz_folder(), &err) == 0);
	must(staging_create(&st, store, &err) == 0);
	if (steps & 0x80) { /* over something */
		m.size = m.base_size = base.size = bytes_u16(&how);
		for (uint64_t at = 0; at < m.size; at++)
			m.bytes[at] = base_byte(at);
		staging_set_base(st, &base);
	} else {
		memset(m.known, true, FILE_MAX);
	}
	for (int i = 0; i < (steps & 7) && how.left > 0; i++) {
		stage_something(&m, st, &how, data, content);
		model_check(&m, st);
	}
	if (!(steps & 8)) { /* all of it, after all */
		must(staging_truncate(st, 0, &err) == 0);
		m.was_empty = true;
		model_resize(&m, 0);
		write_piece(&m, st, data, content, 0);
		must(staging_state(st) == (content ? SNAP_UPLOAD_COMPLETE : SNAP_UPLOAD_EMPTY));
	}
	model_check(&m, st);
	if (staging_state(st) == SNAP_UPLOAD_COMPLETE)
		judge(st, &m, check);
	staging_destroy(st);
	store_destroy(store);
	must(fuzz_free_fd() == fd);
	free(m.bytes);
	free(m.known);
	return 0;
}
