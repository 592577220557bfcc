#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "loader/worker/dns.h"

/* Response to www.example.com A: CNAME example.com (compressed), A 93.184.216.34. */
static const uint8_t response[] = {
    0x12, 0x34, 0x81, 0x80, 0, 1,   0,   2,   0,   0,   0,   0, /* header */
    3,    'w',  'w',  'w',  7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 3,    'c', 'o', 'm',
    0,    0,    1,    0,    1,                                                        /* question at 12 */
    0xc0, 12,   0,    5,    0, 1,   0,   0,   0,   60,  0,   2,   0xc0, 16,           /* CNAME example.com */
    0xc0, 16,   0,    1,    0, 1,   0,   0,   0,   60,  0,   4,   93,   184, 216, 34, /* A */
};

static void response_is_taken_apart(void **state)
{
	struct dns_message m;
	char text[DNS_ANSWER_TEXT];

	(void)state;
	assert_true(dns_parse(response, sizeof(response), &m));
	assert_string_equal(m.name, "www.example.com");
	assert_int_equal(m.type, 1);
	assert_true(m.is_response);
	assert_int_equal(m.code, 0);
	size_t at = m.answers_at;
	unsigned left = m.answers;
	assert_true(dns_next_answer(&m, &at, &left, text));
	assert_string_equal(text, "example.com");
	assert_true(dns_next_answer(&m, &at, &left, text));
	assert_string_equal(text, "93.184.216.34");
	assert_false(dns_next_answer(&m, &at, &left, text));
}

/* Whatever is cut off, nothing is read past the end (valgrind and the sanitizers see) and the question stays right. */
static void message_cut_anywhere_is_read_as_far_as_it_goes(void **state)
{
	(void)state;
	for (size_t size = 0; size < sizeof(response); size++) {
		uint8_t *copy = malloc(size + 1);
		struct dns_message m;
		char text[DNS_ANSWER_TEXT];
		memcpy(copy, response, size);
		bool ok = dns_parse(copy, size, &m);
		assert_int_equal(ok, size >= 33);
		if (ok) {
			size_t at = m.answers_at;
			unsigned left = m.answers, got = 0;
			while (dns_next_answer(&m, &at, &left, text))
				got++;
			assert_int_equal(got, size >= 47 ? 1 : 0);
		}
		free(copy);
	}
}

static bool parse_name(const uint8_t *name, size_t size, struct dns_message *m)
{
	static uint8_t packet[1024];

	memset(packet, 0, sizeof(packet));
	packet[5] = 1;
	memcpy(packet + 12, name, size);
	return dns_parse(packet, 12 + size + 4, m);
}

static void names_with_odd_bytes_are_escaped(void **state)
{
	static const uint8_t odd[] = {5, 'a', '.', '\\', 0x1b, 0xff, 1, ' ', 0};
	static const uint8_t root[] = {0};
	struct dns_message m;

	(void)state;
	assert_true(parse_name(odd, sizeof(odd), &m));
	assert_string_equal(m.name, "a\\.\\\\\\027\\255.\\032");
	assert_true(parse_name(root, sizeof(root), &m));
	assert_string_equal(m.name, ".");
}

static void pointers_that_do_not_go_back_are_refused(void **state)
{
	static const uint8_t to_itself[] = {0xc0, 12}, forward[] = {0xc0, 40}, reserved[] = {0x40, 0}, cut[] = {0xc0};
	struct dns_message m;

	(void)state;
	assert_false(parse_name(to_itself, sizeof(to_itself), &m));
	assert_false(parse_name(forward, sizeof(forward), &m));
	assert_false(parse_name(reserved, sizeof(reserved), &m));
	assert_false(dns_parse((const uint8_t[]){0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, cut[0]}, 13, &m));
}

static void name_of_more_than_255_bytes_is_refused(void **state)
{
	uint8_t name[400];
	struct dns_message m;
	size_t size = 0;

	(void)state;
	for (int labels = 0; labels < 5; labels++) {
		name[size++] = 63;
		memset(name + size, 0xff, 63);
		size += 63;
	}
	name[size++] = 0;
	assert_false(parse_name(name, size, &m));
	/* Three labels of 63 and one of 61 are just 255; shown escaped they fill the text. */
	size = 192;
	name[size++] = 61;
	memset(name + size, 0xff, 61);
	size += 61;
	name[size++] = 0;
	assert_true(parse_name(name, size, &m));
	assert_int_equal(strlen(m.name), 4 * (3 * 63 + 61) + 3);
}

static void kinds_of_answers_are_shown(void **state)
{
	static const uint8_t records[] = {
	    0x12, 0x34, 0x81, 0x83, 0,    1,    0,  5,  0,    0, 0,   0, /* header, NXDOMAIN */
	    1,    'a',  0,    0,    15,   0,    1,                       /* question a MX at 12 */
	    0xc0, 12,   0,    15,   0,    1,    0,  0,  0,    1, 0,   4,    0, 10, 0xc0, 12,   0xc0, 12, 0,   28,
	    0,    1,    0,    0,    0,    1,    0,  16, 0x20, 1, 0xd, 0xb8, 0, 0,  0,    0,    0,    0,  0,   0,
	    0,    0,    0,    1,    0xc0, 12,   0,  33, 0,    1, 0,   0,    0, 1,  0,    9,    0,    1,  0,   2,
	    0,    80,   1,    'b',  0,    0xc0, 12, 0,  16,   0, 1,   0,    0, 0,  1,    0,    6,    2,  'h', 'i',
	    2,    '\\', 1,    0xc0, 12,   1,    0,  0,  1,    0, 0,   0,    1, 0,  2,    0xab, 0xcd,
	};
	static const char *const expected[] = {"10 a", "2001:db8::1", "1 2 80 b", "hi \\\\\\001", "\\# 2 abcd"};
	struct dns_message m;
	char text[DNS_ANSWER_TEXT], word[DNS_TYPE_TEXT];

	(void)state;
	assert_true(dns_parse(records, sizeof(records), &m));
	size_t at = m.answers_at;
	unsigned left = m.answers;
	for (size_t i = 0; i < 5; i++) {
		assert_true(dns_next_answer(&m, &at, &left, text));
		assert_string_equal(text, expected[i]);
	}
	dns_type_text(m.type, word);
	assert_string_equal(word, "MX");
	dns_code_text(m.code, word);
	assert_string_equal(word, "NXDOMAIN");
	dns_type_text(65280, word);
	assert_string_equal(word, "TYPE65280");
	dns_code_text(13, word);
	assert_string_equal(word, "RCODE13");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(response_is_taken_apart),
	    cmocka_unit_test(message_cut_anywhere_is_read_as_far_as_it_goes),
	    cmocka_unit_test(names_with_odd_bytes_are_escaped),
	    cmocka_unit_test(pointers_that_do_not_go_back_are_refused),
	    cmocka_unit_test(name_of_more_than_255_bytes_is_refused),
	    cmocka_unit_test(kinds_of_answers_are_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
