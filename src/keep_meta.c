/* SPDX-License-Identifier: MIT */
/*
 * keep_meta.c - the text stored beside the bytes of a kept snapshot:
 *
 *     sqlsnapfs kept 1
 *     made_ns 1795144502000000000     CLOCK_REALTIME; as the next one
 *     mtime_ns 1795144321123456789
 *     mode 0640
 *     uid 1000
 *     gid 1000
 *     db 851443712                    bytes of each file that belongs to it; wal and journal of a raw state
 *     page_size 4096
 *     group 0123456789abcdef          of a snapshot of several databases
 *     why before the restore of ...
 *     end
 *
 * Works on bytes in memory; opens nothing. A field that is missing, given twice or out of range invalidates
 * all of it, because then somebody else has written it; lines of another name are a later program's and are
 * skipped.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keep_private.h"

#define MAGIC "sqlsnapfs kept 1"

const char *const keep_files[KEEP_PARTS] = {"db", "wal", "journal"};

int keep_part(const char *suffix)
{
	static const char *const suffixes[KEEP_PARTS] = {"", "-wal", "-journal"};

	for (int part = 0; part < KEEP_PARTS; part++)
		if (strcmp(suffix, suffixes[part]) == 0)
			return part;
	return -EINVAL;
}

size_t keep_record_format(const struct keep_record *r, char buf[KEEP_RECORD_SIZE])
{
	const struct keep_meta *m = &r->meta;
	char why[sizeof(m->why)];
	size_t n;

	snprintf(why, sizeof(why), "%.*s", (int)sizeof(why) - 1, m->why);
	for (char *c = why; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	n = (size_t)snprintf(
		buf, KEEP_RECORD_SIZE, MAGIC "\nmade_ns %lld\nmtime_ns %lld\nmode %04o\nuid %u\ngid %u\n",
		(long long)m->made_ns, (long long)m->mtime_ns, (unsigned)m->mode & 0777, m->uid, m->gid);
	for (int part = 0; part < KEEP_PARTS; part++)
		if (r->has[part])
			n += (size_t)snprintf(buf + n, KEEP_RECORD_SIZE - n, "%s %llu\n", keep_files[part],
					      (unsigned long long)r->sizes[part]);
	n += (size_t)snprintf(buf + n, KEEP_RECORD_SIZE - n, "page_size %u\n", m->page_size);
	if (r->group[0])
		n += (size_t)snprintf(buf + n, KEEP_RECORD_SIZE - n, "group %s\n", r->group);
	n += (size_t)snprintf(buf + n, KEEP_RECORD_SIZE - n, "why %s\nend\n", why);
	return n;
}

/* Digits of BASE and nothing else, MAX at most. */
static bool parse_number(const char *text, int base, uint64_t max, uint64_t *out)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, base);
	return !errno && !*end && *out <= max;
}

static bool parse_time(const char *text, int64_t *out)
{
	bool negative = text[0] == '-';
	uint64_t n;

	if (!parse_number(text + negative, 10, (uint64_t)INT64_MAX + negative, &n))
		return false;
	*out = negative ? (int64_t)(0 - n) : (int64_t)n;
	return true;
}

enum field {
	MADE,
	MTIME,
	MODE,
	UID,
	GID,
	FILES, /* one for each of KEEP_PARTS, from here on */
	PAGE_SIZE = FILES + KEEP_PARTS,
	GROUP,
	WHY,
	FIELDS,
};

/* Parses the value of one line; false if it is not one that we write. */
static bool parse_value(struct keep_record *r, enum field field, const char *value)
{
	struct keep_meta *m = &r->meta;
	uint64_t n = 0;
	bool good = true;

	switch (field) {
	case MADE:
		return parse_time(value, &m->made_ns);
	case MTIME:
		return parse_time(value, &m->mtime_ns);
	case MODE:
		good = parse_number(value, 8, 0777, &n);
		m->mode = (mode_t)n;
		return good;
	case UID:
		good = parse_number(value, 10, UINT32_MAX, &n);
		m->uid = (uid_t)n;
		return good;
	case GID:
		good = parse_number(value, 10, UINT32_MAX, &n);
		m->gid = (gid_t)n;
		return good;
	case PAGE_SIZE:
		good = parse_number(value, 10, 65536, &n);
		m->page_size = (uint32_t)n;
		return good;
	case GROUP:
		snprintf(r->group, sizeof(r->group), "%s", value);
		return strlen(value) == sizeof(r->group) - 1 &&
		       strspn(value, "0123456789abcdef") == sizeof(r->group) - 1;
	case WHY:
		snprintf(m->why, sizeof(m->why), "%s", value);
		return true;
	default:
		r->has[field - FILES] = true;
		return parse_number(value, 10, INT64_MAX, &r->sizes[field - FILES]);
	}
}

static int find_field(const char *name)
{
	static const char *const names[FIELDS] = {
		[MADE] = "made_ns", [MTIME] = "mtime_ns",      [MODE] = "mode",	  [UID] = "uid",
		[GID] = "gid",	    [PAGE_SIZE] = "page_size", [GROUP] = "group", [WHY] = "why"};

	for (int field = 0; field < FIELDS; field++) {
		bool file = field >= FILES && field < FILES + KEEP_PARTS;

		if (strcmp(name, file ? keep_files[field - FILES] : names[field]) == 0)
			return field;
	}
	return -1;
}

/* Parses a line between the first and the last. */
static int parse_line(struct keep_record *r, char *line, unsigned *given)
{
	char *value = strchr(line, ' ');
	int field;

	if (!value)
		return -EINVAL;
	*value++ = '\0';
	field = find_field(line);
	if (field < 0)
		return 0;
	if ((*given & (1u << field)) || !parse_value(r, (enum field)field, value))
		return -EINVAL;
	*given |= 1u << field;
	return 0;
}

int keep_record_parse(struct keep_record *out, const char *text, size_t size)
{
	const unsigned needed =
		1u << MADE | 1u << MTIME | 1u << MODE | 1u << UID | 1u << GID | 1u << (FILES + KEEP_DB);
	struct keep_record r = {.meta = {.mode = 0}};
	char copy[KEEP_RECORD_SIZE + 1], *line = copy, *end;
	unsigned given = 0;

	if (size > KEEP_RECORD_SIZE || memchr(text, '\0', size))
		return -EINVAL;
	memcpy(copy, text, size);
	copy[size] = '\0';
	for (bool first = true; (end = strchr(line, '\n')) != NULL; first = false, line = end + 1) {
		*end = '\0';
		if (first ? strcmp(line, MAGIC) != 0 : false)
			return -EINVAL;
		if (!first && strcmp(line, "end") == 0) {
			if (end[1] || (given & needed) != needed)
				return -EINVAL;
			r.meta.size = r.sizes[KEEP_DB];
			*out = r;
			return 0;
		}
		if (!first && parse_line(&r, line, &given))
			return -EINVAL;
	}
	return -EINVAL;
}
