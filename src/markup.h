/* What an answer in XML or HTML says, without a parser: only good for error texts. */
#ifndef BULKJOB_MARKUP_H
#define BULKJOB_MARKUP_H

#include <stdbool.h>
#include <stddef.h>

/* The content of the first <name>…</name>, as it stands. NULL when there is none. */
const char *markup_element(const char *text, size_t len, const char *name, size_t *content_len);

/* Replaces the named entities of XML, and numbers of ASCII characters, by what they stand for, in place. Answers the
 * new length, which is never more. */
size_t markup_unescape(char *text, size_t len);

/* The words outside tags, white space folded, scripts and styles left out, entities replaced, cut to `room` - 1 bytes
 * and terminated. Answers the length. */
size_t markup_words(const char *text, size_t len, char *out, size_t room);

#endif
