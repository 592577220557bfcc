/* A DNS message from the network. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "loader/worker/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t room)
{
	size_t size = strnlen(text, room);

	if (size == room)
		abort();
	for (size_t i = 0; i < size; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_message m;
	char text[DNS_ANSWER_TEXT], word[DNS_TYPE_TEXT];

	if (!dns_parse(data, size, &m))
		return 0;
	check_text(m.name, sizeof(m.name));
	dns_type_text(m.type, word);
	check_text(word, sizeof(word));
	dns_code_text(m.code, word);
	check_text(word, sizeof(word));
	size_t at = m.answers_at;
	unsigned left = m.answers;
	while (dns_next_answer(&m, &at, &left, text))
		check_text(text, sizeof(text));
	return 0;
}
