/*
 * Passes: what TypeScript has decided in advance about resumed handshakes, and takes back with every change. A pass is about exactly one
 * place, one session and one verdict; whatever differs from it in any byte is not decided here.
 */
#ifndef COUNTERSIGN_PASSES_H
#define COUNTERSIGN_PASSES_H

#include "sessions.h"
#include "sha256.h"

#include <pthread.h>
#include <sys/socket.h>

enum {
  SESSION_ID_BYTES = 16,
  MOST_OFFERS = 8, /* in one Hello */
  PLACE_BYTES = 19, /* family, port, and an address of 16 bytes */
  ADMISSION_KEYS = 8,
  PASS_BUCKETS = 1024,
  MOST_PASSES = 16384,
  /* Of one place, which is looked through one by one. A client has a session for each name that it calls a pod by; what it does not use any more,
   * because it was started anew, say, lies there until its end. */
  MOST_OF_PLACE = 16,
  /* Resumptions under way at once by one pass: the number of TypeScript's gate. */
  MOST_AT_ONCE = 64,
  MOST_CANDIDATES = 1024,
  FEW_COUNTERS = 64, /* of these none are kept back */
};

/* As a Hello names them (docs/protocol.md section 1). */
enum carrier { CARRIER_STREAM = 1, CARRIER_SYN = 2 };

/* A session that an outbound pass offers behind its first one: of another pod that may answer at the same address. */
struct other_offer {
  uint64_t number;        /* TypeScript's name for what it means that this one answers */
  uint64_t counter_ahead; /* of the counter that the first one offers in the same Hello, modulo 2^64 */
  uint8_t session_id[SESSION_ID_BYTES];
  struct mac_key client_key, server_key;
};

struct pass {
  uint64_t number; /* TypeScript's name for it */
  bool inbound;
  uint8_t carrier; /* of enum carrier */
  bool linked;  /* in the table; else no new connection goes by it */
  bool revoked; /* its keys are gone */
  uint32_t under_way, references;
  int64_t expires; /* ms, CLOCK_MONOTONIC: no connection begins by it from then on */
  uint8_t session_id[SESSION_ID_BYTES];
  struct mac_key client_key, server_key, admission_keys[ADMISSION_KEYS];
  size_t admission_count;
  /* Where it lies in the table. Outbound: the destination that the application dials. Inbound: peer's address and destination reached. */
  uint8_t place[2 * PLACE_BYTES];
  struct sockaddr_storage target; /* who is dialled */
  /* Outbound: the Hello with blanks, and the counters that it may offer. */
  uint8_t *hello;
  size_t hello_length;
  uint64_t next_counter, counter_end;
  struct other_offer *others;
  uint32_t other_count;
  uint64_t renew_at, renew_step; /* the counter from which on TypeScript is asked for the next pass, by one connection in so many */
  bool fast_open, syn_data; /* the SYN is marked; the Hello may go in it */
  /* Outbound, of a Service: it has no session, and only says between whom is picked. The pass of each lies at its candidate_place. */
  struct sockaddr_storage *candidates;
  uint32_t candidate_count;
  /* Inbound: the destination that the client means, its token, and the session with the counters seen. */
  uint8_t meant[PLACE_BYTES];
  size_t meant_length;
  bool keep_source; /* the application is dialled from the client's address */
  uint8_t *token;
  size_t token_length;
  struct session *session;
  /* The ids of all sessions in its Hellos, one behind the other, and the place of its own among them. */
  uint8_t *offered;
  uint32_t offer_count, own_offer;
  struct pass *next;
};

struct passes {
  pthread_mutex_t lock; /* held for every look at what is below, and at the passes */
  struct pass *buckets[PASS_BUCKETS];
  struct pass *leaving; /* no longer in the table, and still in use */
  uint32_t count;
  uint64_t revocations; /* how often all were taken back */
  uint32_t seed;        /* of the hash */
  struct sessions sessions;
};

/* A destination as frames write it (docs/protocol.md, Hello): family, port, address. @returns its length */
size_t write_place(const struct sockaddr_storage *address, uint8_t out[PLACE_BYTES]);
void outbound_place(const struct sockaddr_storage *original, uint8_t out[2 * PLACE_BYTES]);
/* Of the pass to one of the servers behind a destination. */
void candidate_place(const struct sockaddr_storage *original, const struct sockaddr_storage *candidate,
                     uint8_t out[2 * PLACE_BYTES]);
void inbound_place(const struct sockaddr_storage *peer, const struct sockaddr_storage *reached,
                   uint8_t out[2 * PLACE_BYTES]);

/* Where passes of a carrier lie: none of them is found as one of the other carrier. */
void place_of_carrier(enum carrier carrier, uint8_t place[2 * PLACE_BYTES]);

void passes_init(struct passes *passes);
/* Takes the pass over; one that says the same thing is replaced, and so is the oldest of many at one place. False, and it is freed, when there are too many. */
bool passes_give(struct passes *passes, struct pass *pass, int64_t now);
/* From here on no pass decides anything, and no key of one is left. */
void passes_revoke(struct passes *passes);
void passes_destroy(struct passes *passes);

/* What follows wants the lock held. */

/* The next pass of a place after `after`, or the first one; those that are over are taken out on the way. */
struct pass *pass_at(struct passes *passes, const uint8_t place[2 * PLACE_BYTES], struct pass *after, int64_t now);
/* It is given to nobody any more; who uses it already goes on. */
void pass_retire(struct passes *passes, struct pass *pass);
/* The counters of an outbound pass: [first, first + count). */
void pass_set_counters(struct pass *pass, uint64_t first, uint64_t count);
/* Whether the next connection is to be TypeScript's, so that it gives another pass while this one lasts. Says so once for some of the last counters. */
bool pass_asks_for_next(struct pass *pass);
void pass_release(struct passes *passes, struct pass *pass);
/* One of the candidates, evenly: as src/peers/endpoint-choice.ts picks. @param random any number, evenly */
const struct sockaddr_storage *pick_candidate(const struct pass *choice, uint32_t random);
bool pass_is_over(const struct pass *pass, int64_t now);

#endif
