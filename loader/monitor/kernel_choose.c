#include <string.h>

#include "loader/monitor/kernel_impl.h"

/* Alternatives: programs of one group that share an order stand or fall together (an entry and an exit program, say);
 * the lowest order of which all are available is chosen. A group may reach over objects of the bundle. */

static bool same_group(const struct kernel_prog *a, const struct kernel_prog *b)
{
	return strcmp(a->program->group, b->program->group) == 0;
}

static bool group_required(const struct kernel_bundle *kb, const struct kernel_prog *of)
{
	for (size_t i = 0; i < kb->prog_count; i++)
		if (same_group(&kb->progs[i], of) && kb->progs[i].program->required)
			return true;
	return false;
}

static bool order_available(const struct kernel_bundle *kb, const struct kernel_prog *of, uint32_t order)
{
	for (size_t i = 0; i < kb->prog_count; i++) {
		const struct kernel_prog *p = &kb->progs[i];
		if (same_group(p, of) && p->program->order == order && !p->available)
			return false;
	}
	return true;
}

/* Index of a program of the best alternative that is wholly available, without counting order `except`; prog_count: none. */
static size_t group_best(const struct kernel_bundle *kb, const struct kernel_prog *of, int64_t except)
{
	size_t best = kb->prog_count;

	for (size_t i = 0; i < kb->prog_count; i++) {
		const struct kernel_prog *p = &kb->progs[i];
		if (!same_group(p, of) || p->program->order == except || !order_available(kb, of, p->program->order))
			continue;
		if (best == kb->prog_count || p->program->order < kb->progs[best].program->order)
			best = i;
	}
	return best;
}

/* The first program of the group in manifest order speaks for it. */
static bool group_first(const struct kernel_bundle *kb, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (same_group(&kb->progs[j], &kb->progs[i]))
			return false;
	return true;
}

bool choose_can_do_without(const struct kernel_bundle *kb, size_t i)
{
	const struct kernel_prog *p = &kb->progs[i];

	if (!p->program->group[0])
		return !p->program->required;
	return !group_required(kb, p) || group_best(kb, p, p->program->order) < kb->prog_count;
}

static int nothing_left(const struct kernel_bundle *kb, size_t first, struct err *e)
{
	char why[ERR_FRAME_BYTES - 64] = "";
	size_t used = 0;

	for (size_t i = first; i < kb->prog_count; i++) {
		if (!same_group(&kb->progs[i], &kb->progs[first]) || kb->progs[i].available)
			continue;
		int n = snprintf(why + used, sizeof(why) - used, "%s%s %s", used ? "; " : "",
				 kb->progs[i].program->name, kb->views[i].reason);
		if (n < 0 || (used += (size_t)n) >= sizeof(why))
			break;
	}
	return err_set(e, ERR_KERNEL_REQUIREMENT, "no program of %s works here: %s", kb->progs[first].program->group,
		       why);
}

static int choose_group(struct kernel_bundle *kb, size_t first, struct err *e)
{
	const struct kernel_prog *of = &kb->progs[first];
	size_t best = group_best(kb, of, -1);

	if (best == kb->prog_count && group_required(kb, of))
		return nothing_left(kb, first, e);
	for (size_t i = first; i < kb->prog_count; i++) {
		struct kernel_prog *p = &kb->progs[i];
		if (!same_group(p, of))
			continue;
		p->chosen = best < kb->prog_count && p->program->order == kb->progs[best].program->order;
		if (p->chosen || !p->available)
			continue;
		prog_set_state(kb, i, KERNEL_UNUSED);
		if (best < kb->prog_count)
			prog_set_reason(kb, i, "%s is in use", kb->progs[best].program->name);
		else
			prog_set_reason(kb, i, "what belongs to it is not available");
	}
	return 0;
}

/* What a chosen program stands in for: the best alternative that did not work. */
static void explain_fallback(struct kernel_bundle *kb, size_t i)
{
	const struct kernel_prog *p = &kb->progs[i];
	size_t better = kb->prog_count;

	for (size_t j = 0; j < kb->prog_count; j++) {
		const struct kernel_prog *q = &kb->progs[j];
		if (p->program->group[0] && same_group(p, q) && q->program->order < p->program->order &&
		    !q->available && (better == kb->prog_count || q->program->order < kb->progs[better].program->order))
			better = j;
	}
	if (better == kb->prog_count)
		prog_set_reason(kb, i, "%s", "");
	else
		prog_set_reason(kb, i, "in place of %s, which %s", kb->progs[better].program->name,
				kb->views[better].reason);
}

int choose_programs(struct kernel_bundle *kb, struct err *e)
{
	for (size_t i = 0; i < kb->prog_count; i++) {
		struct kernel_prog *p = &kb->progs[i];
		if (p->program->group[0]) {
			if (group_first(kb, i) && choose_group(kb, i, e))
				return -1;
			continue;
		}
		p->chosen = p->available;
		if (!p->available && p->program->required)
			return err_set(e, ERR_KERNEL_REQUIREMENT, "program %s %s", p->program->name,
				       kb->views[i].reason);
	}
	for (size_t i = 0; i < kb->prog_count; i++)
		if (kb->progs[i].chosen)
			explain_fallback(kb, i);
	return 0;
}
