#include "digest.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL /* nothing to link with */
#include <xxhash.h>

struct digest {
    enum digest_kind kind;
    XXH3_state_t *body;
    EVP_MD_CTX *file;
    bool failed;
};

struct digest *digest_new(enum digest_kind kind)
{
    struct digest *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->kind = kind;
    if (kind == DIGEST_BODY)
        d->body = XXH3_createState();
    else
        d->file = EVP_MD_CTX_new();
    if (!d->body && !d->file) {
        free(d);
        return NULL;
    }
    digest_reset(d);
    return d;
}

void digest_free(struct digest *d)
{
    if (!d)
        return;
    XXH3_freeState(d->body);
    EVP_MD_CTX_free(d->file);
    free(d);
}

void digest_reset(struct digest *d)
{
    if (d->kind == DIGEST_BODY)
        d->failed = XXH3_128bits_reset(d->body) != XXH_OK;
    else
        d->failed = EVP_DigestInit_ex(d->file, EVP_sha256(), NULL) != 1;
}

void digest_add(struct digest *d, const void *data, size_t n)
{
    if (n == 0 || d->failed)
        return;
    if (d->kind == DIGEST_BODY)
        d->failed = XXH3_128bits_update(d->body, data, n) != XXH_OK;
    else
        d->failed = EVP_DigestUpdate(d->file, data, n) != 1;
}

/* EVP_DigestFinal_ex ends the context it is given, so a copy is ended. */
static bool end_file(const struct digest *d, unsigned char *bytes)
{
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    bool ok = copy && EVP_MD_CTX_copy_ex(copy, d->file) == 1 && EVP_DigestFinal_ex(copy, bytes, NULL) == 1;
    EVP_MD_CTX_free(copy);
    return ok;
}

bool digest_hex(const struct digest *d, char hex[DIGEST_HEX + 1])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[EVP_MAX_MD_SIZE];
    size_t len = d->kind == DIGEST_BODY ? DIGEST_BODY_HEX / 2 : DIGEST_FILE_HEX / 2;
    hex[0] = '\0';
    if (d->failed)
        return false;
    if (d->kind == DIGEST_BODY) {
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(d->body));
        memcpy(bytes, canonical.digest, len);
    } else if (!end_file(d, bytes)) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    hex[2 * len] = '\0';
    return true;
}

bool digest_is(enum digest_kind kind, const char *text, size_t len)
{
    return len == (kind == DIGEST_BODY ? DIGEST_BODY_HEX : DIGEST_FILE_HEX) && strspn(text, "0123456789abcdef") == len;
}
