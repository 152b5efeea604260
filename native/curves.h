/* ES256 and X25519 over plain bytes, by the OpenSSL of the running Node.js (docs/decisions/0075). All of it needs openssl() to be there. One thread at a time. */
#ifndef COUNTERSIGN_CURVES_H
#define COUNTERSIGN_CURVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { P256_POINT = 64, P256_SCALAR = 32, ES256_SIGNATURE = 64, X25519_KEY = 32, MOST_DERIVED = 255 * 32 };

/* Whether x || y is a point of P-256 other than infinity. */
bool p256_is_point(const uint8_t point[P256_POINT]);

/* RFC 7518 section 3.4: whether the holder of the key that belongs to a point signed the bytes. False for what is no point, and for any doubt. */
bool es256_verify(const uint8_t point[P256_POINT], const uint8_t *bytes, size_t length,
                  const uint8_t signature[ES256_SIGNATURE]);

/* A private P-256 key that signs; OpenSSL wipes it when it is freed. */
struct es256_key;
/* The scalar is one of a key, between 1 and n - 1: nobody checks that here. NULL when there is no memory. */
struct es256_key *es256_key(const uint8_t scalar[P256_SCALAR]);
void es256_key_free(struct es256_key *own);
/* RFC 7518 section 3.4. False when OpenSSL has no memory or no random numbers: then there is no signature. */
bool es256_sign(struct es256_key *own, const uint8_t *bytes, size_t length, uint8_t signature[ES256_SIGNATURE]);

/* A private X25519 key (RFC 7748); OpenSSL wipes it when it is freed. */
struct x25519;
/* NULL when OpenSSL has no memory or no random numbers. */
struct x25519 *x25519_generate(uint8_t public_key[X25519_KEY]);
void x25519_free(struct x25519 *own);

/*
 * HKDF-SHA-256 (RFC 5869) of what both sides agree on. False for a peer's key that forces a secret of zeros (RFC 7748 section 6.1).
 * @param salt at most 64 bytes
 * @param length at most MOST_DERIVED
 */
bool x25519_derive(struct x25519 *own, const uint8_t peer[X25519_KEY], const uint8_t *salt, size_t salt_length,
                   const uint8_t *info, size_t info_length, uint8_t *out, size_t length);

#endif
