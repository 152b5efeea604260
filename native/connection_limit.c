/* Counts connections, by the address that they come from. */
#define _GNU_SOURCE
#include "connection_limit.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { SOURCE_BUCKETS = 4096 };

struct limited_source {
  struct source_address address;
  uint32_t held;
  struct limited_source *next;
};

struct connection_limit {
  pthread_mutex_t lock;
  uint32_t users;
  uint32_t most, most_of_source, most_accepted;
  uint32_t held, accepted;
  uint64_t refused[2][2];
  uint64_t seed;
  struct limited_source *buckets[SOURCE_BUCKETS];
};

_Static_assert(sizeof(struct source_address) == 20, "five words are hashed and compared");

struct connection_limit *limit_create(void) {
  struct connection_limit *limit = calloc(1, sizeof *limit);
  if (limit == NULL || getrandom(&limit->seed, sizeof limit->seed, 0) != (ssize_t)sizeof limit->seed) {
    free(limit);
    return NULL;
  }
  pthread_mutex_init(&limit->lock, NULL);
  limit->users = 1;
  limit->most = limit->most_of_source = limit->most_accepted = UINT32_MAX;
  return limit;
}

struct connection_limit *limit_keep(struct connection_limit *limit) {
  pthread_mutex_lock(&limit->lock);
  limit->users++;
  pthread_mutex_unlock(&limit->lock);
  return limit;
}

void limit_drop(struct connection_limit *limit) {
  pthread_mutex_lock(&limit->lock);
  bool last = --limit->users == 0;
  pthread_mutex_unlock(&limit->lock);
  if (!last) return;
  for (int i = 0; i < SOURCE_BUCKETS; i++) {
    while (limit->buckets[i] != NULL) {
      struct limited_source *source = limit->buckets[i];
      limit->buckets[i] = source->next;
      free(source);
    }
  }
  pthread_mutex_destroy(&limit->lock);
  free(limit);
}

void limit_set(struct connection_limit *limit, uint32_t most, uint32_t most_of_source, uint32_t most_accepted) {
  pthread_mutex_lock(&limit->lock);
  limit->most = most;
  limit->most_of_source = most_of_source;
  limit->most_accepted = most_accepted;
  pthread_mutex_unlock(&limit->lock);
}

struct source_address source_of_peer(const struct sockaddr_storage *peer) {
  struct source_address address = {.family = 0};
  if (peer->ss_family == AF_INET) {
    address.family = 4;
    memcpy(address.bytes, &((const struct sockaddr_in *)peer)->sin_addr, 4);
  } else if (peer->ss_family == AF_INET6) {
    address.family = 6;
    memcpy(address.bytes, &((const struct sockaddr_in6 *)peer)->sin6_addr, 16);
  }
  return address;
}

/* Strangers choose addresses: without the seed they do not know what lies in one bucket. */
static struct limited_source **bucket_of(struct connection_limit *limit, const struct source_address *address) {
  uint32_t words[5];
  uint64_t hash = limit->seed;
  memcpy(words, address, sizeof words);
  for (int i = 0; i < 5; i++) {
    hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ull;
    hash ^= hash >> 29;
  }
  return &limit->buckets[(hash >> 32) % SOURCE_BUCKETS];
}

static struct limited_source *find(struct connection_limit *limit, const struct source_address *address) {
  struct limited_source *source = *bucket_of(limit, address);
  while (source != NULL && memcmp(&source->address, address, sizeof *address) != 0) source = source->next;
  return source;
}

static bool is_full(const struct connection_limit *limit) { return limit->held >= limit->most; }

static bool has_share(struct connection_limit *limit, const struct source_address *address) {
  const struct limited_source *source = find(limit, address);
  return source == NULL || source->held < limit->most_of_source;
}

static struct limited_source *enter(struct connection_limit *limit, const struct source_address *address) {
  struct limited_source *source = find(limit, address);
  if (source == NULL && (source = calloc(1, sizeof *source)) != NULL) {
    struct limited_source **bucket = bucket_of(limit, address);
    source->address = *address;
    source->next = *bucket;
    *bucket = source;
  }
  if (source == NULL) return NULL;
  source->held++;
  limit->held++;
  return source;
}

static void leave(struct connection_limit *limit, struct limited_source *source) {
  limit->held--;
  if (--source->held > 0) return;
  struct limited_source **link = bucket_of(limit, &source->address);
  while (*link != source) link = &(*link)->next;
  *link = source->next;
  free(source);
}

bool limit_admits(struct connection_limit *limit, const struct source_address *address) {
  pthread_mutex_lock(&limit->lock);
  bool admits = !is_full(limit) && has_share(limit, address);
  pthread_mutex_unlock(&limit->lock);
  return admits;
}

void limit_refused(struct connection_limit *limit, const struct source_address *address, enum limit_direction direction) {
  pthread_mutex_lock(&limit->lock);
  limit->refused[direction][!is_full(limit) && !has_share(limit, address)]++;
  pthread_mutex_unlock(&limit->lock);
}

struct limited_source *limit_enter(struct connection_limit *limit, const struct source_address *address) {
  pthread_mutex_lock(&limit->lock);
  struct limited_source *source = enter(limit, address);
  pthread_mutex_unlock(&limit->lock);
  return source;
}

struct limited_source *limit_enter_accepted(struct connection_limit *limit, const struct source_address *address,
                                            enum limit_refusal *refusal) {
  pthread_mutex_lock(&limit->lock);
  bool full = is_full(limit) || limit->accepted >= limit->most_accepted;
  bool share = !full && !has_share(limit, address);
  struct limited_source *source = full || share ? NULL : enter(limit, address);
  if (source != NULL) limit->accepted++;
  *refusal = source != NULL ? LIMIT_NONE : share ? LIMIT_SOURCE : LIMIT_ALL;
  pthread_mutex_unlock(&limit->lock);
  return source;
}

void limit_leave(struct connection_limit *limit, struct limited_source *source) {
  pthread_mutex_lock(&limit->lock);
  leave(limit, source);
  pthread_mutex_unlock(&limit->lock);
}

void limit_leave_accepted(struct connection_limit *limit, struct limited_source *source) {
  pthread_mutex_lock(&limit->lock);
  limit->accepted--;
  leave(limit, source);
  pthread_mutex_unlock(&limit->lock);
}

struct limit_counts limit_counts(struct connection_limit *limit) {
  pthread_mutex_lock(&limit->lock);
  struct limit_counts counts = {.held = limit->held};
  memcpy(counts.refused, limit->refused, sizeof counts.refused);
  for (int i = 0; i < SOURCE_BUCKETS; i++) {
    for (const struct limited_source *source = limit->buckets[i]; source != NULL; source = source->next) {
      if (source->held <= counts.fullest_held) continue;
      counts.fullest = source->address;
      counts.fullest_held = source->held;
    }
  }
  pthread_mutex_unlock(&limit->lock);
  return counts;
}
