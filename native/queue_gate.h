/*
 * Cheap before dear (docs/decisions/0089): packets to the pod of connections that nobody here knows, beyond what JavaScript wants to hear of them. Nothing of
 * an identity is read here; a Hello's admission MAC is compared. All limits are JavaScript's (src/nfqueue/gate.ts); before it has said any, nothing is dropped.
 */
#ifndef COUNTERSIGN_QUEUE_GATE_H
#define COUNTERSIGN_QUEUE_GATE_H

#include "queue_packet.h"
#include "sha256.h"

enum { GATE_KEYS = 8, GATE_SETS = 2048, GATE_WAYS = 4 };

struct gate_limits {
  uint32_t strangers; /* Hellos with a right admission MAC, until the limits are said again */
  uint32_t source_per_second, source_burst; /* of these, from one address */
  uint32_t unadmitted_per_second; /* Hellos with a wrong one */
  uint32_t strays_per_second; /* packets in the middle of nothing, and what is no TCP that this mode reads */
};

struct gate_bucket {
  double left;
  int64_t at; /* us, CLOCK_MONOTONIC */
};

struct gate_source {
  uint8_t address[16];
  uint32_t family; /* 0: nobody */
  int64_t known_until; /* somebody there has proven itself: it is always heard */
  struct gate_bucket bucket;
};

struct queue_gate {
  bool closing; /* limits were said */
  struct gate_limits limits;
  struct mac_key keys[GATE_KEYS];
  size_t key_count;
  struct gate_bucket unadmitted, strays;
  uint64_t seed;
  uint64_t dropped;
  struct gate_source sources[GATE_SETS][GATE_WAYS];
};

bool gate_init(struct queue_gate *gate);
void gate_destroy(struct queue_gate *gate);
/* @param keys `count` admission keys of 32 bytes, one behind the other; at most GATE_KEYS */
void gate_set(struct queue_gate *gate, const uint8_t *keys, size_t count, const struct gate_limits *limits);
/* Whoever has this address has proven itself on a connection of the pod. */
void gate_know(struct queue_gate *gate, const struct flow_key *key, int64_t now);
/* Whether a packet to the pod, of no connection that is known, is dropped. */
bool gate_drops(struct queue_gate *gate, const struct queued_packet *packet, int64_t now);

#endif
