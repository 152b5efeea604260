/* The table of passes. */
#define _GNU_SOURCE
#include "passes.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

size_t write_place(const struct sockaddr_storage *address, uint8_t out[PLACE_BYTES]) {
  const struct sockaddr_in *four = (const struct sockaddr_in *)address;
  const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
  memset(out, 0, PLACE_BYTES);
  if (address->ss_family == AF_INET) {
    out[0] = 4;
    memcpy(out + 1, &four->sin_port, 2);
    memcpy(out + 3, &four->sin_addr, 4);
    return 7;
  }
  if (address->ss_family != AF_INET6) return 0;
  out[0] = 6;
  memcpy(out + 1, &six->sin6_port, 2);
  memcpy(out + 3, &six->sin6_addr, 16);
  return PLACE_BYTES;
}

void outbound_place(const struct sockaddr_storage *original, uint8_t out[2 * PLACE_BYTES]) {
  write_place(original, out);
  memset(out + PLACE_BYTES, 0xff, PLACE_BYTES); /* no family: never an inbound place */
}

void candidate_place(const struct sockaddr_storage *original, const struct sockaddr_storage *candidate,
                     uint8_t out[2 * PLACE_BYTES]) {
  write_place(original, out);
  write_place(candidate, out + PLACE_BYTES);
  out[PLACE_BYTES] |= 0x80; /* no family either */
}

void inbound_place(const struct sockaddr_storage *peer, const struct sockaddr_storage *reached,
                   uint8_t out[2 * PLACE_BYTES]) {
  write_place(peer, out);
  memset(out + 1, 0, 2); /* whatever port it comes from */
  write_place(reached, out + PLACE_BYTES);
}

void place_of_carrier(enum carrier carrier, uint8_t place[2 * PLACE_BYTES]) {
  if (carrier == CARRIER_SYN) place[0] |= 0x40; /* no family */
}

static struct pass **bucket_of(struct passes *passes, const uint8_t place[2 * PLACE_BYTES]) {
  /* FNV-1a. Peers choose their addresses: without the seed they do not know what lies in one bucket. */
  uint32_t hash = 0x811c9dc5 ^ passes->seed;
  for (int i = 0; i < 2 * PLACE_BYTES; i++) hash = (hash ^ place[i]) * 0x01000193;
  return &passes->buckets[(hash ^ hash >> 16) % PASS_BUCKETS];
}

static void wipe(struct pass *pass) {
  explicit_bzero(&pass->client_key, sizeof pass->client_key);
  explicit_bzero(&pass->server_key, sizeof pass->server_key);
  explicit_bzero(pass->admission_keys, sizeof pass->admission_keys);
  if (pass->others != NULL) explicit_bzero(pass->others, pass->other_count * sizeof *pass->others);
}

void pass_release(struct passes *passes, struct pass *pass) {
  if (--pass->references > 0) return;
  for (struct pass **link = &passes->leaving; *link != NULL; link = &(*link)->next) {
    if (*link != pass) continue;
    *link = pass->next;
    break;
  }
  wipe(pass);
  if (pass->session != NULL) session_release(pass->session);
  free(pass->hello);
  free(pass->token);
  free(pass->candidates);
  free(pass->others);
  free(pass->offered);
  free(pass);
}

/* Looked at without the lock, to see whether there is any. */
static void count(struct passes *passes, int change) {
  __atomic_store_n(&passes->count, passes->count + (uint32_t)change, __ATOMIC_RELAXED);
}

static void unlink_from(struct passes *passes, struct pass **link) {
  struct pass *pass = *link;
  *link = pass->next;
  pass->linked = false;
  count(passes, -1);
  /* Who uses it already goes on, and loses it all the same when everything is revoked. */
  pass->next = passes->leaving;
  passes->leaving = pass;
  pass_release(passes, pass);
}

void pass_retire(struct passes *passes, struct pass *pass) {
  if (!pass->linked) return;
  for (struct pass **link = bucket_of(passes, pass->place); *link != NULL; link = &(*link)->next) {
    if (*link != pass) continue;
    unlink_from(passes, link);
    return;
  }
}

void pass_set_counters(struct pass *pass, uint64_t first, uint64_t count) {
  pass->next_counter = first;
  pass->counter_end = first + count;
  /* Without it every connection that comes until the next pass is there would be TypeScript's: at thousands a second, a hundred of them. */
  uint64_t kept_back = count >= FEW_COUNTERS ? count / 4 : 0;
  pass->renew_at = pass->counter_end - kept_back;
  pass->renew_step = kept_back / 8;
}

bool pass_asks_for_next(struct pass *pass) {
  if (pass->renew_at == pass->counter_end || pass->next_counter < pass->renew_at) return false;
  pass->renew_at = pass->next_counter + pass->renew_step < pass->counter_end ? pass->next_counter + pass->renew_step : pass->counter_end;
  return true;
}

const struct sockaddr_storage *pick_candidate(const struct pass *choice, uint32_t random) {
  return &choice->candidates[(uint64_t)random * choice->candidate_count >> 32];
}

bool pass_is_over(const struct pass *pass, int64_t now) { return pass->revoked || now >= pass->expires; }

struct pass *pass_at(struct passes *passes, const uint8_t place[2 * PLACE_BYTES], struct pass *after, int64_t now) {
  struct pass **link = after == NULL ? bucket_of(passes, place) : &after->next;
  while (*link != NULL) {
    if (pass_is_over(*link, now)) unlink_from(passes, link);
    else if (memcmp((*link)->place, place, 2 * PLACE_BYTES) == 0) return *link;
    else link = &(*link)->next;
  }
  return NULL;
}

static bool say_the_same(const struct pass *one, const struct pass *other) {
  if (memcmp(one->place, other->place, sizeof one->place) != 0) return false;
  if (!one->inbound) return true; /* one way for each destination that the application dials, or to each server behind it */
  return memcmp(one->session_id, other->session_id, SESSION_ID_BYTES) == 0 &&
         memcmp(one->meant, other->meant, PLACE_BYTES) == 0;
}

static void sweep(struct passes *passes, int64_t now) {
  for (int i = 0; i < PASS_BUCKETS; i++) {
    for (struct pass **link = &passes->buckets[i]; *link != NULL;) {
      if (pass_is_over(*link, now)) unlink_from(passes, link);
      else link = &(*link)->next;
    }
  }
}

void passes_init(struct passes *passes) {
  pthread_mutex_init(&passes->lock, NULL);
  if (getrandom(&passes->seed, sizeof passes->seed, 0) < 0) passes->seed = 0; /* slower for some, and nothing else */
}

bool passes_give(struct passes *passes, struct pass *pass, int64_t now) {
  pthread_mutex_lock(&passes->lock);
  struct pass **bucket = bucket_of(passes, pass->place);
  int others = 0; /* at the same place, the newest first */
  for (struct pass **link = bucket; *link != NULL;) {
    bool same_place = memcmp((*link)->place, pass->place, sizeof pass->place) == 0;
    if (pass_is_over(*link, now) || say_the_same(*link, pass) || (same_place && ++others >= MOST_OF_PLACE))
      unlink_from(passes, link);
    else link = &(*link)->next;
  }
  if (passes->count >= MOST_PASSES) sweep(passes, now);
  pass->references = 1;
  bool taken = passes->count < MOST_PASSES;
  if (taken) {
    pass->linked = true;
    pass->next = *bucket;
    *bucket = pass;
    count(passes, 1);
  } else {
    pass_release(passes, pass);
  }
  pthread_mutex_unlock(&passes->lock);
  return taken;
}

void passes_revoke(struct passes *passes) {
  pthread_mutex_lock(&passes->lock);
  passes->revocations++;
  for (int i = 0; i < PASS_BUCKETS; i++) {
    for (struct pass *pass = passes->buckets[i]; pass != NULL; pass = pass->next) {
      pass->revoked = true;
      wipe(pass);
    }
    while (passes->buckets[i] != NULL) unlink_from(passes, &passes->buckets[i]);
  }
  for (struct pass *pass = passes->leaving; pass != NULL; pass = pass->next) {
    pass->revoked = true;
    wipe(pass);
  }
  pthread_mutex_unlock(&passes->lock);
}

void passes_destroy(struct passes *passes) {
  passes_revoke(passes);
  sessions_clear(&passes->sessions);
  pthread_mutex_destroy(&passes->lock);
}
