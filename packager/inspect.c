#include <string.h>

#include "bundles/archive.h"
#include "bundles/base/file.h"
#include "bundles/base/text.h"
#include "keys/cms.h"
#include "packager/packager.h"

/* Everything printed here comes from a file that nobody has verified: it goes through text_terminal or text_json. */

static const char help[] =
    "usage: obspkg inspect BUNDLE|- [--json]\n\n"
    "Shows what a bundle says about itself. Signatures are shown, not verified: obspkg verify does.\n\n"
    "      --json\n";

/* ---- readable ---- */

static void padded(const char *text, int width)
{
	text_terminal(stdout, text, false);
	printf("%*s", (int)strlen(text) < width ? width - (int)strlen(text) : 1, "");
}

static void row(const char *title, const char *text)
{
	printf("%-13s", title);
	text_terminal(stdout, text, false);
	putchar('\n');
}

static void show_head(const struct manifest *m)
{
	char text[64];

	row("name", m->name);
	row("version", m->version);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)m->serial);
	row("serial", text);
	row("description", m->description);
	row("licence", m->licence);
	row("created", m->created);
	for (size_t i = 0; i < m->toolchain_count; i++) {
		printf("%-13s", i ? "" : "toolchain");
		padded(m->toolchain[i].name, 0);
		text_terminal(stdout, m->toolchain[i].version, false);
		putchar('\n');
	}
	snprintf(text, sizeof(text), "%u.%u", m->kernel_major, m->kernel_minor);
	row("kernel", m->kernel_major ? text : "any");
	for (size_t i = 0; i < m->kernel_config_count; i++)
		row(i ? "" : "config", m->kernel_config[i]);
}

static void show_signers(const struct bundle_files *files)
{
	size_t count = 0;

	puts("\nSIGNERS (not verified)");
	for (size_t i = 0; i < files->count; i++) {
		const struct bundle_file *f = &files->file[i];
		OWN(cms) struct cms *cms = NULL;
		struct cert_info info;
		char hex[DIGEST_HEX_BYTES];

		if (f->kind != BUNDLE_FILE_SIGNATURE)
			continue;
		count++;
		if (cms_open(f->data, f->size, &cms, NULL)) {
			printf("  %s: unreadable\n", f->path);
			continue;
		}
		cms_info(cms, &info);
		digest_hex(&info.signer, hex);
		printf("  %s  %-9s ", hex, info.algorithm);
		text_terminal(stdout, info.subject, false);
		putchar('\n');
	}
	if (count == 0)
		puts("  none");
}

static void show_program(const struct manifest_program *p)
{
	fputs("    ", stdout);
	padded(p->name, 24);
	padded(p->section, 40);
	fputs(p->required ? "required" : "optional", stdout);
	if (p->group[0]) {
		fputs(", alternative ", stdout);
		text_terminal(stdout, p->group, false);
		printf(" %u", p->order);
	}
	if (p->since[0]) {
		fputs(", since ", stdout);
		text_terminal(stdout, p->since, false);
	}
	if (p->options[0]) {
		fputs(", ", stdout);
		text_terminal(stdout, p->options, false);
	}
	putchar('\n');
}

static void show_objects(const struct manifest *m)
{
	puts("\nOBJECTS");
	for (size_t i = 0; i < m->object_count; i++) {
		const struct manifest_object *o = &m->objects[i];
		char hex[DIGEST_HEX_BYTES];

		digest_hex(&o->digest, hex);
		fputs("  ", stdout);
		text_terminal(stdout, o->name, false);
		printf(" for %s, %llu bytes, sha256 %s\n   programs\n", o->arch, (unsigned long long)o->size, hex);
		for (size_t k = 0; k < o->program_count; k++)
			show_program(&o->programs[k]);
		puts("   maps");
		for (size_t k = 0; k < o->map_count; k++) {
			const struct manifest_map *map = &o->maps[k];
			fputs("    ", stdout);
			padded(map->name, 24);
			padded(map->type, 18);
			printf("key %u, value %u, entries %u\n", map->key_size, map->value_size, map->max_entries);
		}
		puts("   capabilities");
		for (size_t k = 0; k < o->capabilities.count; k++) {
			fputs("    ", stdout);
			text_terminal(stdout, o->capabilities.word[k], false);
			putchar('\n');
		}
	}
}

static void show_fields(const struct manifest *m, const struct manifest_field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct manifest_field *f = &fields[i];
		char type[64];

		snprintf(type, sizeof(type),
			 f->count  ? "%s%u[%u]"
			 : f->size ? "%s%u"
				   : "%s",
			 field_kind_names[f->kind],
			 f->kind == FIELD_CHARS || f->kind == FIELD_BYTES ? f->size
			 : f->bit_size                                    ? f->bit_size
									  : f->size * 8,
			 f->count);
		fputs("    ", stdout);
		padded(f->name, 40);
		printf("%-12s%s", type, f->format == FORMAT_PLAIN ? "" : field_format_names[f->format]);
		if (f->enum_index >= 0) {
			fputs("enum ", stdout);
			text_terminal(stdout, m->enums[f->enum_index].name, false);
		}
		putchar('\n');
	}
}

static void show_events(const struct manifest *m)
{
	puts("\nEVENTS");
	for (size_t i = 0; i < m->event_count; i++) {
		fputs("  ", stdout);
		text_terminal(stdout, m->events[i].name, false);
		fputs(" of ", stdout);
		text_terminal(stdout, m->events[i].object, false);
		printf(", number %u, %u bytes\n", m->events[i].id, m->events[i].size);
		show_fields(m, m->events[i].fields, m->events[i].field_count);
	}
	puts("\nOUTPUTS");
	for (size_t i = 0; i < m->output_count; i++) {
		const struct manifest_output *o = &m->outputs[i];
		printf("  %-7s ", output_kind_names[o->kind]);
		text_terminal(stdout, o->object, false);
		putchar(' ');
		text_terminal(stdout, o->map, false);
		if (o->kind == OUTPUT_SAMPLE) {
			fputs(" as ", stdout);
			text_terminal(stdout, o->event, false);
			printf(" every %u ms%s%s", o->interval_ms, o->only_changed ? ", what changed" : "",
			       o->clear ? ", cleared" : "");
		}
		putchar('\n');
		show_fields(m, o->key_fields, o->key_field_count);
		show_fields(m, o->value_fields, o->value_field_count);
	}
}

static void show_params(const struct manifest *m)
{
	puts("\nPARAMETERS");
	for (size_t i = 0; i < m->param_count; i++) {
		const struct manifest_param *p = &m->params[i];
		char range[96] = "";

		if (p->kind == PARAM_UINT)
			snprintf(range, sizeof(range), "%llu to %llu", (unsigned long long)p->umin,
				 (unsigned long long)p->umax);
		else if (p->kind == PARAM_INT)
			snprintf(range, sizeof(range), "%lld to %lld", (long long)p->min, (long long)p->max);
		fputs("  ", stdout);
		padded(p->name, 24);
		printf("%-6s", param_kind_names[p->kind]);
		if (p->count)
			printf(" list of %u", p->count);
		printf(" %s ", range);
		text_terminal(stdout, p->unit, false);
		fputs("\n      ", stdout);
		text_terminal(stdout, p->help, false);
		putchar('\n');
	}
	if (m->param_count == 0)
		puts("  none");
}

/* ---- JSON: the manifest as it is, and the signers ---- */

static void json_signers(const struct bundle_files *files)
{
	bool first = true;

	for (size_t i = 0; i < files->count; i++) {
		const struct bundle_file *f = &files->file[i];
		OWN(cms) struct cms *cms = NULL;
		struct cert_info info;
		char hex[DIGEST_HEX_BYTES];

		if (f->kind != BUNDLE_FILE_SIGNATURE)
			continue;
		fputs(first ? "" : ",", stdout);
		first = false;
		fputs("{\"file\":", stdout);
		text_json(stdout, f->path);
		if (cms_open(f->data, f->size, &cms, NULL) == 0) {
			cms_info(cms, &info);
			digest_hex(&info.signer, hex);
			printf(",\"signer\":\"%s\",\"subject\":", hex);
			text_json(stdout, info.subject);
			fputs(",\"algorithm\":", stdout);
			text_json(stdout, info.algorithm);
			printf(",\"not_before\":%lld,\"not_after\":%lld", (long long)info.not_before,
			       (long long)info.not_after);
		}
		fputs(",\"verified\":false}", stdout);
	}
}

static int show_json(const struct bundle_files *files, const struct manifest *m, struct err *e)
{
	OWN_FREE char *text = NULL;
	struct digest digest;
	char hex[DIGEST_HEX_BYTES];
	const struct bundle_file *manifest = bundle_files_manifest(files);
	size_t size = 0;

	if (manifest_format(m, &text, &size, e) || digest_of(manifest->data, manifest->size, &digest, e))
		return -1;
	digest_hex(&digest, hex);
	printf("{\"manifest_sha256\":\"%s\",\"signers\":[", hex);
	json_signers(files);
	printf("],\"manifest\":%.*s}\n", (int)size - 1, text);
	return 0;
}

static int run(const struct options *o, struct err *e)
{
	OWN_FREE uint8_t *tar = NULL;
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN(manifest) struct manifest *m = NULL;
	const char *file = o->word;
	size_t size = 0;

	if (file_read(file, BUNDLE_MAX_BYTES, ERR_ARCHIVE_TOO_LARGE, &tar, &size, e))
		return -1;
	if (archive_take(&tar, size, &files, e))
		return err_wrap(e, "%s", file);
	const struct bundle_file *manifest = bundle_files_manifest(files);
	if (!manifest)
		return err_set(e, ERR_MANIFEST_MISSING, "%s: no manifest.json", file);
	if (manifest_parse(manifest->data, manifest->size, &m, e))
		return err_wrap(e, "%s", file);
	if (o->json)
		return show_json(files, m, e);
	show_head(m);
	show_signers(files);
	show_objects(m);
	show_events(m);
	show_params(m);
	return 0;
}

const struct command command_inspect = {
    .name = "inspect",
    .summary = "show what is in a bundle",
    .help = help,
    .word = "bundle",
    .run = run,
};
