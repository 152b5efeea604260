/* SHA-256 (FIPS 180-4), HMAC (RFC 2104), and the MAC of handshake v1 (docs/protocol.md). */
#ifndef COUNTERSIGN_SHA256_H
#define COUNTERSIGN_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32, SHA256_BLOCK = 64, MAC_BYTES = 16 };

struct sha256 {
  uint32_t state[8];
  uint64_t length;
  uint8_t block[SHA256_BLOCK];
};

void sha256_init(struct sha256 *hash);
void sha256_update(struct sha256 *hash, const void *bytes, size_t length);
void sha256_final(struct sha256 *hash, uint8_t digest[SHA256_BYTES]);

/* A key for HMAC-SHA-256 after its first blocks: what every MAC under it starts from. As secret as the key. */
struct mac_key {
  uint32_t inner[8], outer[8];
};

/* Of a key of at most 64 bytes. */
void mac_key_init(struct mac_key *key, const uint8_t *bytes, size_t length);

struct mac_part {
  const uint8_t *bytes;
  size_t length;
};
/* HMAC-SHA-256 over the parts. `digest` may be one of them. */
void hmac_sha256(const struct mac_key *key, const struct mac_part *parts, size_t count, uint8_t digest[SHA256_BYTES]);
/* The same over context, a zero byte, and the parts; cut to 16 bytes. */
void mac(const struct mac_key *key, const char *context, const struct mac_part *parts, size_t count,
         uint8_t out[MAC_BYTES]);

/* In a time that does not depend on the bytes. */
bool mac_equals(const uint8_t one[MAC_BYTES], const uint8_t other[MAC_BYTES]);

/* For tests: whether the processor's own instructions are used, as far as it has them. @returns whether they are now */
bool sha256_accelerate(bool wanted);

#endif
