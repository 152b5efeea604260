/* The table of the queues' connections. */
#define _GNU_SOURCE
#include "queue_flows.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

_Static_assert(sizeof(struct pass_record) == 112, "src/nfqueue/pass-records.ts counts on it");
_Static_assert(sizeof(struct flow_key) == 40, "five words are hashed");

bool flows_init(struct queue_flows *flows, struct connection_limit *limit) {
  memset(flows, 0, sizeof *flows);
  if (getrandom(&flows->seed, sizeof flows->seed, 0) != (ssize_t)sizeof flows->seed) return false;
  flows->limit = limit_keep(limit);
  return true;
}

/* Who opens it. */
static struct source_address source_of_flow(const struct flow_key *key, bool outgoing) {
  struct source_address address = {.family = key->family};
  memcpy(address.bytes, outgoing ? key->own : key->other, sizeof address.bytes);
  return address;
}

bool flows_admit(struct queue_flows *flows, const struct flow_key *key, bool outgoing) {
  struct source_address from = source_of_flow(key, outgoing);
  return limit_admits(flows->limit, &from);
}

void flows_refused(struct queue_flows *flows, const struct flow_key *key, bool outgoing) {
  struct source_address from = source_of_flow(key, outgoing);
  limit_refused(flows->limit, &from, outgoing ? LIMIT_OUTBOUND : LIMIT_INBOUND);
}

/* Peers choose ports and addresses: without the seed they do not know what lies in one bucket. */
static struct queue_flow **bucket_of(const struct queue_flows *flows, const struct flow_key *key) {
  uint64_t words[5], hash = flows->seed;
  memcpy(words, key, sizeof words);
  for (int i = 0; i < 5; i++) {
    hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ull;
    hash ^= hash >> 29;
  }
  return (struct queue_flow **)&flows->buckets[(hash >> 32) % FLOW_BUCKETS];
}

struct queue_flow *flow_find(const struct queue_flows *flows, const struct flow_key *key) {
  struct queue_flow *flow = *bucket_of(flows, key);
  while (flow != NULL && memcmp(&flow->key, key, sizeof *key) != 0) flow = flow->next;
  return flow;
}

bool flows_may_begin(const struct queue_flows *flows) { return flows->begun_count < MOST_BEGUN; }

/* @param created set when there was none */
static struct queue_flow *flow_at(struct queue_flows *flows, const struct flow_key *key, bool outgoing, bool *created) {
  struct queue_flow *flow = flow_find(flows, key);
  *created = flow == NULL;
  if (flow != NULL) return flow;
  flow = calloc(1, sizeof *flow);
  if (flow == NULL) return NULL;
  struct source_address from = source_of_flow(key, outgoing);
  flow->source = limit_enter(flows->limit, &from);
  if (flow->source == NULL) {
    free(flow);
    return NULL;
  }
  flow->key = *key;
  struct queue_flow **bucket = bucket_of(flows, key);
  flow->next = *bucket;
  *bucket = flow;
  return flow;
}

void begun_free(struct begun *begun) {
  explicit_bzero(begun, sizeof *begun);
  free(begun);
}

static struct begun *take_begun(struct queue_flows *flows, struct queue_flow *flow) {
  if (flow->older != NULL) flow->older->newer = flow->newer;
  else flows->oldest = flow->newer;
  if (flow->newer != NULL) flow->newer->older = flow->older;
  else flows->newest = flow->older;
  flow->older = flow->newer = NULL;
  flows->begun_count--;
  struct begun *begun = flow->begun;
  flow->begun = NULL;
  return begun;
}

bool flow_begin(struct queue_flows *flows, const struct flow_key *key, uint32_t initial, struct begun *begun) {
  bool created;
  struct queue_flow *flow = flow_at(flows, key, begun->calling, &created);
  if (flow == NULL || flow->begun != NULL) return false;
  flow->initial = initial;
  flow->outgoing = begun->calling;
  flow->waiting = true;
  flow->alone = created || flow->untold != NULL;
  flow->begun = begun;
  flow->older = flows->newest;
  if (flows->newest != NULL) flows->newest->newer = flow;
  else flows->oldest = flow;
  flows->newest = flow;
  flows->begun_count++;
  return true;
}

static uint8_t *record_room(struct queue_flows *flows, size_t length) {
  if (flows->records_length + length > flows->records_room) {
    size_t room = flows->records_room == 0 ? 64 * 1024 : flows->records_room;
    while (room < flows->records_length + length) room *= 2;
    uint8_t *records = realloc(flows->records, room);
    if (records == NULL) abort(); /* a lost record would leave a connection that nobody judges */
    flows->records = records;
    flows->records_room = room;
  }
  uint8_t *at = flows->records + flows->records_length;
  flows->records_length += length;
  return memset(at, 0, length);
}

static void drop_untold(struct queue_flows *flows, struct queue_flow *flow) {
  struct untold *untold = flow->untold;
  if (untold->older != NULL) untold->older->newer = untold->newer;
  else flows->oldest_untold = untold->newer;
  if (untold->newer != NULL) untold->newer->older = untold->older;
  else flows->newest_untold = untold->older;
  flows->untold_count--;
  flows->untold_bytes -= untold->length;
  free(untold);
  flow->untold = NULL;
}

void flow_tell_kept_back(struct queue_flows *flows, struct queue_flow *flow) {
  memcpy(record_room(flows, flow->untold->length), flow->untold->record, flow->untold->length);
  drop_untold(flows, flow);
  flow->alone = false;
}

/* Our own kernel has another connection on its ports. */
static void tell_superseded(struct queue_flows *flows, struct queue_flow *flow) {
  size_t at = flows->records_length;
  bool alone = flow->alone;
  flow_tell_kept_back(flows, flow);
  flow->alone = alone;
  flows->records[at + offsetof(struct pass_record, ended)] = true;
}

/* Where to write a record of that length. Without room to keep it back it is told at once. */
static uint8_t *room_for(struct queue_flows *flows, struct queue_flow *flow, bool keep_back, size_t length, int64_t now) {
  struct untold *untold = keep_back ? malloc(sizeof *untold + length) : NULL;
  if (untold == NULL) return record_room(flows, length);
  untold->flow = flow;
  untold->since = now;
  untold->length = length;
  untold->newer = NULL;
  untold->older = flows->newest_untold;
  if (untold->older != NULL) untold->older->newer = untold;
  else flows->oldest_untold = untold;
  flows->newest_untold = flow->untold = untold;
  flows->untold_count++;
  flows->untold_bytes += length;
  return memset(untold->record, 0, length);
}

void flow_tell(struct queue_flows *flows, struct queue_flow *flow, bool established, uint32_t answer_initial, int64_t now) {
  if (flow->untold != NULL && established) tell_superseded(flows, flow);
  else if (flow->untold != NULL) flow_tell_kept_back(flows, flow);
  struct begun *begun = take_begun(flows, flow);
  size_t reply_length = begun->calling ? 0 : REPLY_BYTES;
  /* Of a call that was answered nobody asks for the Hello any more. */
  size_t hello_length = begun->calling && established ? 0 : begun->hello_length;
  size_t total = (sizeof(struct pass_record) + hello_length + reply_length + 7) & ~(size_t)7;
  struct pass_record record = {
      .total = (uint32_t)total,
      .family = (uint8_t)flow->key.family,
      .calling = begun->calling,
      .established = established,
      .window_shift = begun->window_shift,
      .pass = (double)begun->pass,
      .since_us = (double)begun->since,
      .took_us = (double)(now - begun->since),
      .own_port = (uint16_t)(flow->key.own_port[0] << 8 | flow->key.own_port[1]),
      .other_port = (uint16_t)(flow->key.other_port[0] << 8 | flow->key.other_port[1]),
      .initial = flow->initial,
      .answer_initial = answer_initial,
      .device = begun->device,
      .window = begun->window,
      .maximum_segment = begun->maximum_segment,
      .hello_length = (uint16_t)hello_length,
      .reply_length = (uint16_t)reply_length,
      .kept_back = established && flow->alone,
  };
  memcpy(record.own, flow->key.own, sizeof record.own);
  memcpy(record.other, flow->key.other, sizeof record.other);
  uint8_t *at = room_for(flows, flow, record.kept_back, total, now);
  memcpy(at, &record, sizeof record);
  if (hello_length > 0) memcpy(at + sizeof record, begun->hello, hello_length);
  if (reply_length > 0) memcpy(at + sizeof record + hello_length, begun->reply, reply_length);
  flow->waiting = begun->calling && !established;
  begun_free(begun);
}

void flows_tell_kept_back(struct queue_flows *flows, int64_t before) {
  while (flows->oldest_untold != NULL && flows->oldest_untold->since < before)
    flow_tell_kept_back(flows, flows->oldest_untold->flow);
}

void flows_hand_over(struct queue_flows *flows, int64_t before, int64_t now) {
  while (flows->oldest != NULL && flows->oldest->begun->since < before) flow_tell(flows, flows->oldest, false, 0, now);
}

void flow_claim(struct queue_flows *flows, const struct flow_key *key, uint32_t initial, bool outgoing,
                bool waiting) {
  bool created;
  struct queue_flow *flow = flow_at(flows, key, outgoing, &created);
  if (flow == NULL) abort(); /* its SYN, said again, would be taken for another connection's */
  if (flow->begun != NULL || flow->untold != NULL) return;
  flow->initial = initial;
  flow->outgoing = outgoing;
  flow->waiting = waiting;
}

void flow_release(struct queue_flows *flows, const struct flow_key *key, uint32_t initial) {
  for (struct queue_flow **link = bucket_of(flows, key); *link != NULL; link = &(*link)->next) {
    struct queue_flow *flow = *link;
    if (memcmp(&flow->key, key, sizeof *key) != 0) continue;
    if (flow->begun != NULL || flow->untold != NULL || flow->initial != initial) return;
    *link = flow->next;
    limit_leave(flows->limit, flow->source);
    free(flow);
    return;
  }
}

void flows_forget_ended(struct queue_flows *flows, const uint8_t *records, size_t length) {
  for (size_t at = 0; at + sizeof(struct pass_record) <= length;) {
    struct pass_record record;
    memcpy(&record, records + at, sizeof record);
    if (record.ended) {
      struct flow_key key = {.family = record.family,
                             .own_port = {(uint8_t)(record.own_port >> 8), (uint8_t)record.own_port},
                             .other_port = {(uint8_t)(record.other_port >> 8), (uint8_t)record.other_port}};
      memcpy(key.own, record.own, sizeof key.own);
      memcpy(key.other, record.other, sizeof key.other);
      flow_release(flows, &key, record.initial);
    }
    if (record.total < sizeof record) return;
    at += record.total;
  }
}

void flows_destroy(struct queue_flows *flows) {
  for (int i = 0; i < FLOW_BUCKETS; i++) {
    while (flows->buckets[i] != NULL) {
      struct queue_flow *flow = flows->buckets[i];
      flows->buckets[i] = flow->next;
      if (flow->begun != NULL) begun_free(flow->begun);
      free(flow->untold);
      limit_leave(flows->limit, flow->source);
      free(flow);
    }
  }
  free(flows->records);
  limit_drop(flows->limit);
  memset(flows, 0, sizeof *flows);
}
