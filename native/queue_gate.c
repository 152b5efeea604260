/* Decides what is not worth a call of JavaScript. */
#define _GNU_SOURCE
#include "queue_gate.h"
#include "resumed_frames.h"

#include <string.h>
#include <sys/random.h>

enum { KEY_LENGTH = 32 };
/* Longer than a session may be resumed (src/handshake/sessions.ts, SESSION_LIFETIME_MS). */
static const int64_t KNOWN_US = (int64_t)660 * 1000000;

bool gate_init(struct queue_gate *gate) {
  return getrandom(&gate->seed, sizeof gate->seed, 0) == (ssize_t)sizeof gate->seed;
}

void gate_destroy(struct queue_gate *gate) { explicit_bzero(gate->keys, sizeof gate->keys); }

void gate_set(struct queue_gate *gate, const uint8_t *keys, size_t count, const struct gate_limits *limits) {
  gate->key_count = count < GATE_KEYS ? count : GATE_KEYS;
  for (size_t i = 0; i < gate->key_count; i++) mac_key_init(&gate->keys[i], keys + i * KEY_LENGTH, KEY_LENGTH);
  gate->limits = *limits;
  gate->closing = true;
}

static bool take(struct gate_bucket *bucket, double per_second, double burst, int64_t now) {
  bucket->left += (double)(now - bucket->at) * per_second / 1e6;
  if (bucket->left > burst) bucket->left = burst;
  bucket->at = now;
  if (bucket->left < 1) return false;
  bucket->left--;
  return true;
}

/* The place of an address, made where there is none; NULL when all places that it could have are of somebody known. An address that nobody knows gives way
   to any other, and whoever sends from many does not know which share a set. */
static struct gate_source *source_of(struct queue_gate *gate, const struct flow_key *key, bool known, int64_t now) {
  uint64_t words[2], hash = gate->seed ^ key->family;
  memcpy(words, key->other, sizeof words);
  for (int i = 0; i < 2; i++) {
    hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ull;
    hash ^= hash >> 29;
  }
  struct gate_source *set = gate->sources[(hash >> 32) % GATE_SETS], *oldest = NULL;
  for (int i = 0; i < GATE_WAYS; i++) {
    struct gate_source *source = &set[i];
    if (source->family == key->family && memcmp(source->address, key->other, sizeof source->address) == 0)
      return source;
    if (!known && source->family != 0 && source->known_until > now) continue;
    if (oldest == NULL || source->bucket.at < oldest->bucket.at) oldest = source;
  }
  if (oldest == NULL) return NULL;
  memset(oldest, 0, sizeof *oldest);
  memcpy(oldest->address, key->other, sizeof oldest->address);
  oldest->family = key->family;
  oldest->bucket = (struct gate_bucket){gate->limits.source_burst, now};
  return oldest;
}

void gate_know(struct queue_gate *gate, const struct flow_key *key, int64_t now) {
  struct gate_source *source = source_of(gate, key, true, now);
  source->known_until = now + KNOWN_US;
  source->bucket.at = now;
}

bool gate_drops(struct queue_gate *gate, const struct queued_packet *packet, int64_t now) {
  if (!gate->closing || packet->outgoing) return false;
  const struct gate_limits *limits = &gate->limits;
  bool heard;
  if (packet->tcp == NULL) {
    heard = take(&gate->strays, limits->strays_per_second, limits->strays_per_second, now);
  } else if (packet->opening && !packet_has_magic(packet)) {
    heard = true; /* the listener's, whose connections are TCP's to bound */
  } else {
    struct gate_source *source = source_of(gate, &packet->key, false, now);
    if (source != NULL && source->known_until > now) return false;
    if (!packet->opening) {
      heard = take(&gate->strays, limits->strays_per_second, limits->strays_per_second, now);
    } else if (!hello_is_admitted(gate->keys, gate->key_count, packet->data, packet->data_length)) {
      heard = take(&gate->unadmitted, limits->unadmitted_per_second, limits->unadmitted_per_second, now);
    } else {
      heard = gate->limits.strangers > 0 &&
              (source == NULL || take(&source->bucket, limits->source_per_second, limits->source_burst, now));
      if (heard) gate->limits.strangers--;
    }
  }
  if (!heard) gate->dropped++;
  return !heard;
}
