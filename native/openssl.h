/*
 * The few functions of OpenSSL's libcrypto that curves.c calls, as the running Node.js has them: it exports them for addons, and its version is no concern of the
 * addon's build. All of them are in OpenSSL 3.0 and documented in its manual pages of the same names.
 */
#ifndef COUNTERSIGN_OPENSSL_H
#define COUNTERSIGN_OPENSSL_H

#include <stddef.h>
#include <stdint.h>

/* Opaque, as in <openssl/types.h>. */
struct ec_key;
struct ec_group;
struct ec_point;
struct ecdsa_sig;
struct bignum;
struct bn_ctx;
struct pkey;
struct pkey_ctx;
struct engine;

/* result, name, arguments */
#define OPENSSL_FUNCTIONS(F) \
  F(unsigned long, OpenSSL_version_num, (void)) \
  F(void, ERR_clear_error, (void)) \
  F(struct ec_key *, EC_KEY_new_by_curve_name, (int)) \
  F(int, EC_KEY_oct2key, (struct ec_key *, const unsigned char *, size_t, struct bn_ctx *)) \
  F(void, EC_KEY_free, (struct ec_key *)) \
  F(int, ECDSA_do_verify, (const unsigned char *, int, const struct ecdsa_sig *, struct ec_key *)) \
  F(int, EC_KEY_oct2priv, (struct ec_key *, const unsigned char *, size_t)) \
  F(struct ecdsa_sig *, ECDSA_do_sign, (const unsigned char *, int, struct ec_key *)) \
  F(void, ECDSA_SIG_get0, (const struct ecdsa_sig *, const struct bignum **, const struct bignum **)) \
  F(struct ecdsa_sig *, ECDSA_SIG_new, (void)) \
  F(int, ECDSA_SIG_set0, (struct ecdsa_sig *, struct bignum *, struct bignum *)) \
  F(void, ECDSA_SIG_free, (struct ecdsa_sig *)) \
  F(struct bignum *, BN_bin2bn, (const unsigned char *, int, struct bignum *)) \
  F(int, BN_bn2binpad, (const struct bignum *, unsigned char *, int)) \
  F(void, BN_free, (struct bignum *)) \
  F(struct pkey_ctx *, EVP_PKEY_CTX_new_id, (int, struct engine *)) \
  F(struct pkey_ctx *, EVP_PKEY_CTX_new, (struct pkey *, struct engine *)) \
  F(void, EVP_PKEY_CTX_free, (struct pkey_ctx *)) \
  F(int, EVP_PKEY_keygen_init, (struct pkey_ctx *)) \
  F(int, EVP_PKEY_keygen, (struct pkey_ctx *, struct pkey **)) \
  F(struct pkey *, EVP_PKEY_new_raw_public_key, (int, struct engine *, const unsigned char *, size_t)) \
  F(int, EVP_PKEY_get_raw_public_key, (const struct pkey *, unsigned char *, size_t *)) \
  F(void, EVP_PKEY_free, (struct pkey *)) \
  F(int, EVP_PKEY_derive_init, (struct pkey_ctx *)) \
  F(int, EVP_PKEY_derive_set_peer_ex, (struct pkey_ctx *, struct pkey *, int)) \
  F(int, EVP_PKEY_derive, (struct pkey_ctx *, unsigned char *, size_t *))

struct openssl {
#define MEMBER(result, name, arguments) result(*name) arguments;
  OPENSSL_FUNCTIONS(MEMBER)
#undef MEMBER
};

/* NULL where this Node.js offers not all of them, or those of another library (BoringSSL, LibreSSL), or of an OpenSSL that nobody has tried. */
const struct openssl *openssl(void);

#endif
