--- RS256 signatures and SHA-256 digests through LuaJIT's FFI; nginx has libcrypto loaded already.

local ffi = require "ffi"

ffi.cdef [[
typedef struct bio_st BIO;
typedef struct x509_st X509;
typedef struct evp_pkey_st EVP_PKEY;
typedef struct evp_md_st EVP_MD;
typedef struct evp_md_ctx_st EVP_MD_CTX;
BIO *BIO_new_mem_buf(const void *, int);
int BIO_free(BIO *);
X509 *PEM_read_bio_X509(BIO *, X509 **, void *, void *);
EVP_PKEY *X509_get_pubkey(X509 *);
void X509_free(X509 *);
void EVP_PKEY_free(EVP_PKEY *);
const EVP_MD *EVP_sha256(void);
EVP_MD_CTX *EVP_MD_CTX_new(void);
void EVP_MD_CTX_free(EVP_MD_CTX *);
int EVP_DigestVerifyInit(EVP_MD_CTX *, void *, const EVP_MD *, void *, EVP_PKEY *);
int EVP_DigestVerify(EVP_MD_CTX *, const char *, size_t, const char *, size_t);
int EVP_DigestInit_ex(EVP_MD_CTX *, const EVP_MD *, void *);
int EVP_DigestUpdate(EVP_MD_CTX *, const char *, size_t);
int EVP_DigestFinal_ex(EVP_MD_CTX *, unsigned char *, unsigned int *);
void ERR_clear_error(void);
]]

local C = pcall(function() return ffi.C.EVP_sha256 end) and ffi.C or ffi.load "libcrypto.so.3"

local M = {}

local function public_key(certificate)
  local bio = C.BIO_new_mem_buf(certificate, #certificate)
  local x509 = C.PEM_read_bio_X509(bio, nil, nil, nil)
  C.BIO_free(bio)
  if x509 == nil then
    return nil
  end
  local key = C.X509_get_pubkey(x509)
  C.X509_free(x509)
  return key
end

--- Is `signature` that of the text by the key of the certificate (PEM)?
function M.verify(certificate, text, signature)
  local key = public_key(certificate)
  if not key then
    C.ERR_clear_error()
    return false
  end
  local context = C.EVP_MD_CTX_new()
  local good = C.EVP_DigestVerifyInit(context, nil, C.EVP_sha256(), nil, key) == 1
    and C.EVP_DigestVerify(context, signature, #signature, text, #text) == 1
  C.EVP_MD_CTX_free(context)
  C.EVP_PKEY_free(key)
  C.ERR_clear_error() -- nginx would take it for its own
  return good
end

--- A function that takes pieces of data; called without one, it gives the SHA-256 of all of them, in hexadecimal digits.
function M.sha256()
  local context = ffi.gc(C.EVP_MD_CTX_new(), C.EVP_MD_CTX_free)
  assert(C.EVP_DigestInit_ex(context, C.EVP_sha256(), nil) == 1)
  return function(piece)
    if piece then
      C.EVP_DigestUpdate(context, piece, #piece)
      return nil
    end
    local out = ffi.new "unsigned char[32]"
    C.EVP_DigestFinal_ex(context, out, nil)
    return (ffi.string(out, 32):gsub(".", function(c)
      return ("%02x"):format(c:byte())
    end))
  end
end

return M
