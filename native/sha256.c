/* SHA-256, plain and with the processor's instructions, and what is made of it. */
#define _GNU_SOURCE
#include "sha256.h"

#include <string.h>

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static const uint32_t INITIAL[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static uint32_t rotate(uint32_t value, int by) { return value >> by | value << (32 - by); }

static uint32_t read_word(const uint8_t *bytes) {
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void write_word(uint8_t *bytes, uint32_t word) {
  bytes[0] = (uint8_t)(word >> 24);
  bytes[1] = (uint8_t)(word >> 16);
  bytes[2] = (uint8_t)(word >> 8);
  bytes[3] = (uint8_t)word;
}

static void compress_plain(uint32_t state[8], const uint8_t *bytes, size_t blocks) {
  for (; blocks > 0; blocks--, bytes += SHA256_BLOCK) {
    uint32_t w[64];
    for (int t = 0; t < 16; t++) w[t] = read_word(bytes + 4 * t);
    for (int t = 16; t < 64; t++) {
      uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
      uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;
      w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int t = 0; t < 64; t++) {
      uint32_t one = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + K[t] + w[t];
      uint32_t two = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g;
      g = f;
      f = e;
      e = d + one;
      d = c;
      c = b;
      b = a;
      a = one + two;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
  }
}

#if defined(__x86_64__)
#include <immintrin.h>

/* Intel SHA extensions: two words of state per register as the instructions want them, four rounds per step. */
__attribute__((target("sha,sse4.1,ssse3"))) static void compress_instructions(uint32_t state[8], const uint8_t *bytes,
                                                                              size_t blocks) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
  __m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
  __m128i abef = _mm_alignr_epi8(low, high, 8), cdgh = _mm_blend_epi16(high, low, 0xf0);
  for (; blocks > 0; blocks--, bytes += SHA256_BLOCK) {
    __m128i abef_before = abef, cdgh_before = cdgh, w[4];
    for (int i = 0; i < 4; i++) {
      w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(bytes + 16 * i)), swap);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
      __m128i now = w[i & 3];
      __m128i keyed = _mm_add_epi32(now, _mm_loadu_si128((const __m128i *)(K + 4 * i)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, keyed);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(keyed, 0x0e));
      if (i < 12) { /* the words of round 4 (i + 4) take the place of those that were used */
        __m128i third = w[(i + 2) & 3], fourth = w[(i + 3) & 3];
        __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(now, w[(i + 1) & 3]), _mm_alignr_epi8(fourth, third, 4));
        w[i & 3] = _mm_sha256msg2_epu32(sum, fourth);
      }
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  low = _mm_shuffle_epi32(abef, 0x1b);
  high = _mm_shuffle_epi32(cdgh, 0xb1);
  _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(low, high, 0xf0));
  _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(high, low, 8));
}

#include <cpuid.h>

static bool has_instructions(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & 1u << 29) == 0) return false; /* SHA */
  return __get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 19) != 0 && (c & 1u << 9) != 0; /* SSE4.1, SSSE3 */
}
#else
static void compress_instructions(uint32_t state[8], const uint8_t *bytes, size_t blocks) {
  compress_plain(state, bytes, blocks);
}
static bool has_instructions(void) { return false; }
#endif

static void (*compress)(uint32_t state[8], const uint8_t *bytes, size_t blocks) = compress_plain;

bool sha256_accelerate(bool wanted) {
  bool used = wanted && has_instructions();
  compress = used ? compress_instructions : compress_plain;
  return used;
}

/* When the addon is loaded: before any thread of its own. */
__attribute__((constructor)) static void choose(void) { sha256_accelerate(true); }

void sha256_init(struct sha256 *hash) {
  memcpy(hash->state, INITIAL, sizeof INITIAL);
  hash->length = 0;
}

void sha256_update(struct sha256 *hash, const void *data, size_t length) {
  if (length == 0) return;
  const uint8_t *bytes = data;
  size_t filled = hash->length % SHA256_BLOCK;
  hash->length += length;
  if (filled > 0) {
    size_t room = SHA256_BLOCK - filled, some = length < room ? length : room;
    memcpy(hash->block + filled, bytes, some);
    bytes += some;
    length -= some;
    if (filled + some < SHA256_BLOCK) return;
    compress(hash->state, hash->block, 1);
  }
  compress(hash->state, bytes, length / SHA256_BLOCK);
  memcpy(hash->block, bytes + length / SHA256_BLOCK * SHA256_BLOCK, length % SHA256_BLOCK);
}

void sha256_final(struct sha256 *hash, uint8_t digest[SHA256_BYTES]) {
  size_t filled = hash->length % SHA256_BLOCK;
  uint64_t bits = hash->length * 8;
  hash->block[filled++] = 0x80;
  if (filled > SHA256_BLOCK - 8) {
    memset(hash->block + filled, 0, SHA256_BLOCK - filled);
    compress(hash->state, hash->block, 1);
    filled = 0;
  }
  memset(hash->block + filled, 0, SHA256_BLOCK - 8 - filled);
  write_word(hash->block + SHA256_BLOCK - 8, (uint32_t)(bits >> 32));
  write_word(hash->block + SHA256_BLOCK - 4, (uint32_t)bits);
  compress(hash->state, hash->block, 1);
  for (int i = 0; i < 8; i++) write_word(digest + 4 * i, hash->state[i]);
}

void mac_key_init(struct mac_key *key, const uint8_t *bytes, size_t length) {
  uint8_t block[SHA256_BLOCK] = {0};
  if (length > 0) memcpy(block, bytes, length < SHA256_BLOCK ? length : SHA256_BLOCK); /* of no bytes there may be no place */
  for (int i = 0; i < SHA256_BLOCK; i++) block[i] ^= 0x36;
  memcpy(key->inner, INITIAL, sizeof INITIAL);
  compress(key->inner, block, 1);
  for (int i = 0; i < SHA256_BLOCK; i++) block[i] ^= 0x36 ^ 0x5c;
  memcpy(key->outer, INITIAL, sizeof INITIAL);
  compress(key->outer, block, 1);
  explicit_bzero(block, sizeof block);
}

static void begin(const struct mac_key *key, struct sha256 *hash) {
  memcpy(hash->state, key->inner, sizeof hash->state);
  hash->length = SHA256_BLOCK;
}

/* Ends the inner hash and makes the outer one of it. */
static void end(const struct mac_key *key, struct sha256 *hash, uint8_t digest[SHA256_BYTES]) {
  sha256_final(hash, digest);
  memcpy(hash->state, key->outer, sizeof hash->state);
  hash->length = SHA256_BLOCK;
  sha256_update(hash, digest, SHA256_BYTES);
  sha256_final(hash, digest);
  explicit_bzero(hash, sizeof *hash);
}

void hmac_sha256(const struct mac_key *key, const struct mac_part *parts, size_t count, uint8_t digest[SHA256_BYTES]) {
  struct sha256 hash;
  begin(key, &hash);
  for (size_t i = 0; i < count; i++) sha256_update(&hash, parts[i].bytes, parts[i].length);
  end(key, &hash, digest);
}

void mac(const struct mac_key *key, const char *context, const struct mac_part *parts, size_t count,
         uint8_t out[MAC_BYTES]) {
  struct sha256 hash;
  uint8_t digest[SHA256_BYTES];
  begin(key, &hash);
  sha256_update(&hash, context, strlen(context) + 1);
  for (size_t i = 0; i < count; i++) sha256_update(&hash, parts[i].bytes, parts[i].length);
  end(key, &hash, digest);
  memcpy(out, digest, MAC_BYTES);
  explicit_bzero(digest, sizeof digest);
}

bool mac_equals(const uint8_t one[MAC_BYTES], const uint8_t other[MAC_BYTES]) {
  volatile uint8_t differs = 0;
  for (int i = 0; i < MAC_BYTES; i++) differs |= one[i] ^ other[i];
  return differs == 0;
}
