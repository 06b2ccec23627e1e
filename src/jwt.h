/* A signed JSON Web Token (RFC 7519) by RS256, the form in which the service takes proof of a private key. */
#ifndef BULKJOB_JWT_H
#define BULKJOB_JWT_H

#include "buf.h"

#include <stddef.h>

/* A private RSA key in PEM, and the passphrase that opens it (NULL: none). */
struct jwt_key {
    const char *pem;
    size_t pem_len;
    const char *passphrase;
    size_t passphrase_len;
};

/* Appends the token of these claims, a JSON text. NULL, or what is wrong: a static text that holds nothing of the key.
 */
const char *jwt_sign(const struct jwt_key *key, const char *claims, size_t claims_len, struct buf *out);

#endif
