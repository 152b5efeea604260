/* ES256 and X25519 by OpenSSL, without the objects that node:crypto makes for every key, job and result. */
#define _GNU_SOURCE
#include "curves.h"

#include <string.h>

#include "openssl.h"
#include "sha256.h"

/* Of <openssl/obj_mac.h>. */
enum { NID_P256 = 415, NID_X25519 = 1034 };
/* Of the peer's key: every 32 bytes are an X25519 key (RFC 7748 section 5), and what the check would do takes a context and a look-up more. */
enum { UNCHECKED = 0 };
/* SEC 1 section 2.3.3: an uncompressed point follows. */
enum { UNCOMPRESSED = 4 };

/* One of each for every thread that runs JavaScript. */
static _Thread_local struct ec_key *p256_key;
static _Thread_local struct pkey_ctx *generator;

/* The key object with this point; NULL if it is none. The same one each time: its curve costs more than its point. */
static struct ec_key *key_of(const struct openssl *ssl, const uint8_t point[P256_POINT]) {
  uint8_t encoded[1 + P256_POINT] = {UNCOMPRESSED};
  memcpy(encoded + 1, point, P256_POINT);
  if (p256_key == NULL) p256_key = ssl->EC_KEY_new_by_curve_name(NID_P256);
  if (p256_key == NULL) return NULL;
  /* Checks that it lies on the curve. */
  if (ssl->EC_KEY_oct2key(p256_key, encoded, sizeof encoded, NULL) == 1) return p256_key;
  ssl->ERR_clear_error();
  return NULL;
}

static void sha256_of(const uint8_t *bytes, size_t length, uint8_t digest[SHA256_BYTES]) {
  struct sha256 hash;
  sha256_init(&hash);
  sha256_update(&hash, bytes, length);
  sha256_final(&hash, digest);
}

bool p256_is_point(const uint8_t point[P256_POINT]) { return key_of(openssl(), point) != NULL; }

bool es256_verify(const uint8_t point[P256_POINT], const uint8_t *bytes, size_t length,
                  const uint8_t signature[ES256_SIGNATURE]) {
  const struct openssl *ssl = openssl();
  struct ec_key *key = key_of(ssl, point);
  if (key == NULL) return false;
  uint8_t digest[SHA256_BYTES];
  sha256_of(bytes, length, digest);
  struct ecdsa_sig *sig = ssl->ECDSA_SIG_new();
  struct bignum *r = ssl->BN_bin2bn(signature, ES256_SIGNATURE / 2, NULL);
  struct bignum *s = ssl->BN_bin2bn(signature + ES256_SIGNATURE / 2, ES256_SIGNATURE / 2, NULL);
  bool right = false;
  if (sig != NULL && r != NULL && s != NULL && ssl->ECDSA_SIG_set0(sig, r, s) == 1) {
    r = s = NULL; /* they are the signature's now */
    right = ssl->ECDSA_do_verify(digest, sizeof digest, sig, key) == 1;
  }
  ssl->BN_free(r);
  ssl->BN_free(s);
  ssl->ECDSA_SIG_free(sig);
  if (!right) ssl->ERR_clear_error();
  return right;
}

struct es256_key *es256_key(const uint8_t scalar[P256_SCALAR]) {
  const struct openssl *ssl = openssl();
  struct ec_key *key = ssl->EC_KEY_new_by_curve_name(NID_P256);
  if (key != NULL && ssl->EC_KEY_oct2priv(key, scalar, P256_SCALAR) == 1) return (struct es256_key *)key;
  ssl->EC_KEY_free(key);
  ssl->ERR_clear_error();
  return NULL;
}

void es256_key_free(struct es256_key *own) { openssl()->EC_KEY_free((struct ec_key *)own); }

bool es256_sign(struct es256_key *own, const uint8_t *bytes, size_t length, uint8_t signature[ES256_SIGNATURE]) {
  const struct openssl *ssl = openssl();
  const struct bignum *r = NULL, *s = NULL;
  uint8_t digest[SHA256_BYTES];
  sha256_of(bytes, length, digest);
  struct ecdsa_sig *sig = ssl->ECDSA_do_sign(digest, sizeof digest, (struct ec_key *)own);
  if (sig != NULL) ssl->ECDSA_SIG_get0(sig, &r, &s);
  bool made = sig != NULL && ssl->BN_bn2binpad(r, signature, ES256_SIGNATURE / 2) == ES256_SIGNATURE / 2 &&
              ssl->BN_bn2binpad(s, signature + ES256_SIGNATURE / 2, ES256_SIGNATURE / 2) == ES256_SIGNATURE / 2;
  ssl->ECDSA_SIG_free(sig);
  if (!made) ssl->ERR_clear_error();
  return made;
}

struct x25519 *x25519_generate(uint8_t public_key[X25519_KEY]) {
  const struct openssl *ssl = openssl();
  if (generator == NULL) {
    generator = ssl->EVP_PKEY_CTX_new_id(NID_X25519, NULL);
    if (generator != NULL && ssl->EVP_PKEY_keygen_init(generator) != 1) {
      ssl->EVP_PKEY_CTX_free(generator);
      generator = NULL;
    }
  }
  struct pkey *made = NULL;
  size_t length = X25519_KEY;
  if (generator != NULL && ssl->EVP_PKEY_keygen(generator, &made) == 1 &&
      ssl->EVP_PKEY_get_raw_public_key(made, public_key, &length) == 1 && length == X25519_KEY) {
    return (struct x25519 *)made;
  }
  ssl->EVP_PKEY_free(made);
  ssl->ERR_clear_error();
  return NULL;
}

void x25519_free(struct x25519 *own) { openssl()->EVP_PKEY_free((struct pkey *)own); }

/* False also for the points of small order: OpenSSL refuses a secret of zeros. */
static bool agree(struct x25519 *own, const uint8_t peer[X25519_KEY], uint8_t secret[X25519_KEY]) {
  const struct openssl *ssl = openssl();
  size_t length = X25519_KEY;
  struct pkey *theirs = ssl->EVP_PKEY_new_raw_public_key(NID_X25519, NULL, peer, X25519_KEY);
  struct pkey_ctx *context = theirs == NULL ? NULL : ssl->EVP_PKEY_CTX_new((struct pkey *)own, NULL);
  bool agreed = context != NULL && ssl->EVP_PKEY_derive_init(context) == 1 &&
                ssl->EVP_PKEY_derive_set_peer_ex(context, theirs, UNCHECKED) == 1 &&
                ssl->EVP_PKEY_derive(context, secret, &length) == 1 && length == X25519_KEY;
  ssl->EVP_PKEY_CTX_free(context);
  ssl->EVP_PKEY_free(theirs);
  if (!agreed) ssl->ERR_clear_error();
  uint8_t any = 0;
  for (size_t i = 0; i < X25519_KEY; i++) any |= secret[i];
  return agreed && any != 0;
}

bool x25519_derive(struct x25519 *own, const uint8_t peer[X25519_KEY], const uint8_t *salt, size_t salt_length,
                   const uint8_t *info, size_t info_length, uint8_t *out, size_t length) {
  uint8_t secret[X25519_KEY] = {0}, block[SHA256_BYTES];
  struct mac_key key;
  bool agreed = length <= MOST_DERIVED && agree(own, peer, secret);
  if (agreed) {
    mac_key_init(&key, salt, salt_length);
    hmac_sha256(&key, &(struct mac_part){secret, sizeof secret}, 1, block);
    mac_key_init(&key, block, sizeof block);
    uint8_t number = 0;
    for (size_t done = 0; done < length; done += sizeof block) {
      number++;
      struct mac_part parts[3] = {{block, done == 0 ? 0 : sizeof block}, {info, info_length}, {&number, 1}};
      hmac_sha256(&key, parts, 3, block);
      memcpy(out + done, block, length - done < sizeof block ? length - done : sizeof block);
    }
    explicit_bzero(&key, sizeof key);
    explicit_bzero(block, sizeof block);
  }
  explicit_bzero(secret, sizeof secret);
  return agreed;
}
