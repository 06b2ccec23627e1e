#include "jwt.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BASE64_IN = 3, BASE64_OUT = 4, SIGNATURE_MAX = 2048 };

/* Appends the data as base64url without padding (RFC 7515, appendix C). */
static bool add_base64url(struct buf *out, const unsigned char *data, size_t n)
{
    unsigned char piece[BASE64_OUT + 1];
    for (size_t at = 0; at < n; at += BASE64_IN) {
        int len = (int)(n - at < BASE64_IN ? n - at : BASE64_IN);
        EVP_EncodeBlock(piece, data + at, len);
        for (int i = 0; i <= len; i++) {
            char c = (char)piece[i];
            if (!buf_add_char(out, c == '+' ? '-' : c == '/' ? '_' : c))
                return false;
        }
    }
    return true;
}

/* libcrypto's own would ask on the terminal. */
static int give_passphrase(char *out, int room, int writing, void *user)
{
    const struct jwt_key *key = user;
    (void)writing;
    if (!key->passphrase || key->passphrase_len > (size_t)room)
        return -1;
    memcpy(out, key->passphrase, key->passphrase_len);
    return (int)key->passphrase_len;
}

static bool contains(const struct jwt_key *key, const char *text)
{
    return memmem(key->pem, key->pem_len, text, strlen(text)) != NULL;
}

static const char *explain_key(const struct jwt_key *key)
{
    if (contains(key, "ENCRYPTED"))
        return key->passphrase ? "the passphrase does not open the key"
                               : "the key is encrypted, and there is no passphrase";
    if (contains(key, "PRIVATE KEY-----"))
        return "the private key is damaged";
    if (contains(key, "CERTIFICATE-----"))
        return "a private key is needed, and this is a certificate";
    if (contains(key, "PUBLIC KEY-----"))
        return "a private key is needed, and this is a public one";
    return "no private key in PEM form";
}

static EVP_PKEY *read_key(const struct jwt_key *key)
{
    BIO *bio = key->pem_len <= INT_MAX ? BIO_new_mem_buf(key->pem, (int)key->pem_len) : NULL;
    EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, (void *)(size_t)key) : NULL;
    BIO_free(bio);
    return pkey;
}

static bool add_signature(struct buf *out, EVP_PKEY *pkey)
{
    unsigned char signature[SIGNATURE_MAX];
    size_t len = sizeof signature;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = context && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, pkey) == 1 &&
              EVP_DigestSign(context, signature, &len, (const unsigned char *)out->data, out->len) == 1;
    EVP_MD_CTX_free(context);
    return ok && buf_add_char(out, '.') && add_base64url(out, signature, len);
}

const char *jwt_sign(const struct jwt_key *key, const char *claims, size_t claims_len, struct buf *out)
{
    static const char header[] = "{\"alg\":\"RS256\"}";
    EVP_PKEY *pkey = read_key(key);
    const char *problem = NULL;
    if (!pkey)
        problem = explain_key(key);
    else if (EVP_PKEY_get_base_id(pkey) != EVP_PKEY_RSA)
        problem = "an RSA key is needed: the service knows RS256 only";
    else if (!add_base64url(out, (const unsigned char *)header, sizeof header - 1) || !buf_add_char(out, '.') ||
             !add_base64url(out, (const unsigned char *)claims, claims_len) || !add_signature(out, pkey))
        problem = "the token could not be signed";
    EVP_PKEY_free(pkey);
    ERR_clear_error(); /* libcurl looks at the same queue */
    return problem;
}
