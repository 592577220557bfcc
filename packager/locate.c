#include "packager/packager.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "bundles/base/file.h"

enum { SOURCE_MAX_BYTES = 8 << 20 };

static bool word_char(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* Past a comment or literal that starts here, else p. */
static const char *skip_other(const char *p)
{
	if (p[0] == '/' && p[1] == '/') {
		const char *end = strchr(p, '\n');
		return end ? end : p + strlen(p);
	}
	if (p[0] == '/' && p[1] == '*') {
		const char *end = strstr(p + 2, "*/");
		return end ? end + 2 : p + strlen(p);
	}
	if (p[0] == '"') {
		for (p++; *p && *p != '"' && *p != '\n'; p++)
			p += p[0] == '\\' && p[1];
		return *p ? p + 1 : p;
	}
	return p;
}

/* The next place of a word in code, NULL if there is none. */
static const char *find_word(const char *p, const char *word)
{
	size_t len = strlen(word);

	while (*p) {
		const char *next = skip_other(p);
		if (next != p) {
			p = next;
			continue;
		}
		if (!word_char(*p)) {
			p++;
			continue;
		}
		size_t this_len = 0;
		while (word_char(p[this_len]))
			this_len++;
		if (this_len == len && strncmp(p, word, len) == 0)
			return p;
		p += this_len;
	}
	return NULL;
}

static const char *find_struct(const char *text, const char *name)
{
	for (const char *p = text; (p = find_word(p, "struct"));) {
		p += strlen("struct");
		const char *after = p + strspn(p, " \t\r\n");
		size_t len = strlen(name);
		if (strncmp(after, name, len) != 0 || word_char(after[len]))
			continue;
		const char *brace = after + len + strspn(after + len, " \t\r\n");
		if (*brace == '{')
			return after;
	}
	return NULL;
}

static bool search(const struct definition *d, const char *path, bool structure, const char *first, const char *second,
		   struct place *out)
{
	OWN_FREE uint8_t *bytes = NULL;
	size_t size = 0;
	char whole[PATH_MAX];
	unsigned line = 1;

	if ((size_t)snprintf(whole, sizeof(whole), "%s/%s", d->folder, path) >= sizeof(whole) ||
	    file_read(whole, SOURCE_MAX_BYTES, ERR_LIMIT, &bytes, &size, NULL))
		return false;
	const char *text = (const char *)bytes;
	const char *found = structure ? find_struct(text, first) : find_word(text, first);
	if (!found)
		return false;
	const char *inner = second ? find_word(found + strlen(first), second) : NULL;
	if (inner)
		found = inner;
	for (const char *p = text; p < found; p++)
		line += *p == '\n';
	snprintf(out->text, sizeof(out->text), "%s:%u", path, line);
	return true;
}

static bool search_folder(const struct definition *d, const char *folder, bool structure, const char *first,
			  const char *second, struct place *out)
{
	char whole[PATH_MAX], path[PATH_MAX];
	struct dirent *entry;
	bool found = false;

	snprintf(whole, sizeof(whole), "%s/%s", d->folder, folder);
	DIR *dir = opendir(whole);
	while (dir && !found && (entry = readdir(dir))) {
		size_t len = strlen(entry->d_name);
		if (len < 3 || strcmp(entry->d_name + len - 2, ".h") != 0)
			continue;
		snprintf(path, sizeof(path), "%s%s%s", folder, folder[0] ? "/" : "", entry->d_name);
		found = search(d, path, structure, first, second, out);
	}
	if (dir)
		closedir(dir);
	return found;
}

void locate(const struct definition *definition, const char *source, bool structure, const char *first,
	    const char *second, struct place *out)
{
	const char *slash = strrchr(source, '/');
	char beside[PATH_MAX];

	snprintf(beside, sizeof(beside), "%.*s", slash ? (int)(slash - source) : 0, source);
	if (search(definition, source, structure, first, second, out) ||
	    search_folder(definition, beside, structure, first, second, out))
		return;
	for (size_t i = 0; i < definition->includes.count; i++)
		if (search_folder(definition, definition->includes.text[i], structure, first, second, out))
			return;
	snprintf(out->text, sizeof(out->text), "%s", source);
}
