// What the Keys room uses of libcrypto 3, and inline functions for what Swift cannot import (variadics and macros).
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

/// A new RSA key pair with exponent 65537, owned by the caller, or NULL.
static inline EVP_PKEY *gatehouse_rsa_generate(unsigned int bits) {
    return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits);
}
