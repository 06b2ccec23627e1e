/* Checksums of text as it passes by, in hexadecimal digits. */
#ifndef BULKJOB_DIGEST_H
#define BULKJOB_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

enum digest_kind {
    DIGEST_BODY, /* XXH3, 128 bits: of the body of an upload. Fast; it finds changes, not attacks */
    DIGEST_FILE, /* SHA-256: of a whole file, where it stands for the content in a file that is kept */
};

enum { DIGEST_BODY_HEX = 32, DIGEST_FILE_HEX = 64, DIGEST_HEX = DIGEST_FILE_HEX };

struct digest;

/* NULL: out of memory. */
struct digest *digest_new(enum digest_kind kind);
void digest_free(struct digest *d);

/* Begins anew, with no bytes. */
void digest_reset(struct digest *d);
void digest_add(struct digest *d, const void *data, size_t n);

/* The checksum of what was added so far; more can be added after. False: libcrypto failed. */
bool digest_hex(const struct digest *d, char hex[DIGEST_HEX + 1]);

/* Is the text a checksum of this kind: as many hexadecimal digits, in small letters? */
bool digest_is(enum digest_kind kind, const char *text, size_t len);

#endif
