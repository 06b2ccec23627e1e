/* Halves of characters in JSON. JSON writes a character beyond U+FFFF as two escapes, a high and a low surrogate (RFC
 * 8259, section 7). A program that cuts its text between the two sends one alone, which lua-cjson refuses. */
#ifndef BULKJOB_SURROGATES_H
#define BULKJOB_SURROGATES_H

#include <stdbool.h>
#include <stddef.h>

/* Rewrites, in place, each escape of a surrogate without its other half to that of U+FFFD, the replacement character. A
 * high one whose low one is cut off by the end of the text is alone, too. False: there was none. */
bool surrogates_mend(char *text, size_t len);

#endif
