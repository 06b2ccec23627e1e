/* Secrets out of texts that others wrote. */
#ifndef BULKJOB_MASK_H
#define BULKJOB_MASK_H

#include <stddef.h>

/* Strikes out the secret (of `n` bytes) wherever it stands in the text: as it is, or with any of its characters escaped
 * as in a URL or a form. */
void mask_secret(char *text, size_t len, const char *secret, size_t n);

/* Strikes out what follows "Authorization: Basic" or "Bearer", and the same of a proxy, in whatever notation: who
 * echoes a request shows the password of a proxy there, in base64. */
void mask_credentials(char *text, size_t len);

#endif
