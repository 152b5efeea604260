/* Decides SYN and SYN-ACK by passes. */
#define _GNU_SOURCE
#include "queue_passes.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* An answer that comes later is TypeScript's: a pass ends two seconds before its session. */
enum { ANSWER_US = 1900 * 1000 };

int64_t queue_passes_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

struct queue_passes *queue_passes_open(const struct packet_marks *marks, const struct mark_order mark_order[2],
                                       struct connection_limit *limit) {
  struct queue_passes *queues = calloc(1, sizeof *queues);
  if (queues == NULL) return NULL;
  queues->marks = *marks;
  memcpy(queues->mark_order, mark_order, sizeof queues->mark_order);
  if (gate_init(&queues->gate) && flows_init(&queues->flows, limit)) return queues;
  free(queues);
  return NULL;
}

void queue_passes_close(struct queue_passes *queues) {
  flows_destroy(&queues->flows);
  gate_destroy(&queues->gate);
  free(queues);
}

static bool draw(struct queue_passes *queues, void *out, size_t length) {
  if (queues->random_left < length) {
    if (getrandom(queues->random, sizeof queues->random, 0) != (ssize_t)sizeof queues->random) return false;
    queues->random_left = sizeof queues->random;
  }
  queues->random_left -= length;
  memcpy(out, queues->random + queues->random_left, length);
  return true;
}

/* A queue numbers its packets one by one; a number that is missing was dropped (docs/decisions/0053). */
static void count_missing(struct queue_passes *queues, uint16_t queue, uint32_t id) {
  uint32_t at = 0;
  while (at < queues->queue_count && queues->numbers[at].queue != queue) at++;
  if (at == queues->queue_count) {
    if (at == MOST_QUEUES) return;
    queues->queue_count++;
    queues->numbers[at].queue = queue;
    queues->numbers[at].last = 0;
  }
  int32_t missing = (int32_t)(id - queues->numbers[at].last - 1);
  if (missing < 0) return;
  queues->missing += (uint32_t)missing;
  queues->numbers[at].last = id;
}

/* --- places --- */

static void address_of(const struct flow_key *key, const uint8_t *address, const uint8_t port[2],
                       struct sockaddr_storage *out) {
  struct sockaddr_in *four = (struct sockaddr_in *)out;
  struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
  memset(out, 0, sizeof *out);
  if (key->family == 4) {
    four->sin_family = AF_INET;
    memcpy(&four->sin_addr, address, 4);
    memcpy(&four->sin_port, port, 2);
  } else {
    six->sin6_family = AF_INET6;
    memcpy(&six->sin6_addr, address, 16);
    memcpy(&six->sin6_port, port, 2);
  }
}

static void place_of(const struct flow_key *key, bool calling, uint8_t place[2 * PLACE_BYTES]) {
  struct sockaddr_storage own, other;
  address_of(key, key->own, key->own_port, &own);
  address_of(key, key->other, key->other_port, &other);
  if (calling) outbound_place(&other, place);
  else inbound_place(&other, &own, place);
  place_of_carrier(CARRIER_SYN, place);
}

/* --- orders --- */

static void accept_with(const struct queue_passes *queues, const struct queued_packet *packet, const uint8_t *payload,
                        size_t length, struct orders *orders) {
  uint32_t mark = (packet->mark & ~queues->marks.mask) | queues->marks.accepted;
  order_accept(orders, packet, mark, payload, length);
}

/* The mark goes before the packet that makes the other kernel speak; see the effects in src/nfqueue/flow-step.ts. */
static void mark_verified(const struct queue_passes *queues, const struct flow_key *key, bool calling,
                          struct orders *orders) {
  const struct mark_order *order = &queues->mark_order[key->family == 6];
  size_t length = key->family == 6 ? 16 : 4;
  uint8_t bytes[MARK_ORDER_BYTES];
  memcpy(bytes, order->bytes, order->length);
  memcpy(bytes + order->source_at, calling ? key->own : key->other, length);
  memcpy(bytes + order->destination_at, calling ? key->other : key->own, length);
  memcpy(bytes + order->source_port_at, calling ? key->own_port : key->other_port, 2);
  memcpy(bytes + order->destination_port_at, calling ? key->other_port : key->own_port, 2);
  order_bytes(orders, bytes, order->length);
}

/* --- SYN --- */

static struct begun *new_begun(const struct queued_packet *packet, size_t hello_length, bool calling) {
  struct begun *begun = calloc(1, sizeof *begun + hello_length);
  if (begun == NULL) return NULL;
  begun->calling = calling;
  begun->since = queue_passes_now();
  begun->device = packet->in_device == 0 ? packet->out_device : packet->in_device;
  begun->window = packet->window;
  begun->maximum_segment = packet->maximum_segment;
  begun->window_shift = packet->window_shift;
  begun->hello_length = hello_length;
  return begun;
}

static void offer_all(struct begun *begun, const struct pass *pass) {
  begun->answerers[0].pass = pass->number;
  begun->answerers[0].server_key = pass->server_key;
  memcpy(begun->answerers[0].session_id, pass->session_id, SESSION_ID_BYTES);
  for (uint32_t i = 0; i < pass->other_count; i++) {
    struct answerer *answerer = &begun->answerers[i + 1];
    answerer->pass = pass->others[i].number;
    answerer->server_key = pass->others[i].server_key;
    memcpy(answerer->session_id, pass->others[i].session_id, SESSION_ID_BYTES);
  }
  begun->answerer_count = 1 + pass->other_count;
}

/* The application's SYN leaves with a Hello. */
static bool call(struct queue_passes *queues, struct passes *passes, const struct queued_packet *packet,
                 struct orders *orders) {
  uint8_t place[2 * PLACE_BYTES], nonce[NONCE_BYTES];
  if (packet->payload_length != 0 || packet->acknowledgement != 0 || !draw(queues, nonce, sizeof nonce)) return false;
  place_of(&packet->key, true, place);
  struct begun *begun = NULL;
  pthread_mutex_lock(&passes->lock);
  struct pass *pass = pass_at(passes, place, NULL, queue_passes_now() / 1000);
  if (pass != NULL && pass->next_counter < pass->counter_end && !pass_asks_for_next(pass) &&
      pass->hello_length + SYN_OPTIONS_BYTES <= packet->maximum_segment)
    begun = new_begun(packet, pass->hello_length, true);
  if (begun != NULL) {
    begun->pass = pass->number;
    begun->revocations = passes->revocations;
    offer_all(begun, pass);
    memcpy(begun->hello, pass->hello, pass->hello_length);
    complete_hello(pass, begun->hello, nonce, pass->next_counter++);
  }
  pthread_mutex_unlock(&passes->lock);
  if (begun == NULL) return false;
  if (!flow_begin(&queues->flows, &packet->key, packet->sequence, begun)) {
    begun_free(begun);
    return false;
  }
  accept_with(queues, packet, begun->hello, begun->hello_length, orders);
  return true;
}

/* What the pass for exactly this Hello has begun, its counter spent; NULL when there is none. */
static struct begun *spend(struct passes *passes, const struct queued_packet *packet, const uint8_t nonce[NONCE_BYTES]) {
  uint8_t place[2 * PLACE_BYTES];
  const uint8_t *hello = packet->payload;
  size_t length = packet->payload_length;
  int64_t now = queue_passes_now() / 1000;
  uint64_t counter;
  place_of(&packet->key, false, place);
  struct pass *pass = pass_at(passes, place, NULL, now);
  if (pass == NULL || !packet_checksum_right(packet)) return NULL;
  while (pass != NULL && !hello_matches(pass, hello, length, &counter)) pass = pass_at(passes, place, pass, now);
  struct begun *begun = pass == NULL ? NULL : new_begun(packet, length, false);
  if (begun == NULL) return NULL;
  if (window_use(&pass->session->window, counter) != COUNTER_FRESH) { /* TypeScript says what it is */
    free(begun);
    return NULL;
  }
  begun->pass = pass->number;
  begun->revocations = passes->revocations;
  memcpy(begun->hello, hello, length);
  write_reply(pass, hello, length, nonce, begun->reply);
  return begun;
}

/* Somebody's SYN with a Hello: the kernel gets it without. */
static bool answer(struct queue_passes *queues, struct passes *passes, const struct queued_packet *packet,
                   struct orders *orders) {
  uint8_t nonce[NONCE_BYTES];
  size_t length = packet->payload_length;
  if (length < SHORTEST_HELLO || length > MOST_FRAME_BYTES || packet->acknowledgement != 0 ||
      packet->maximum_segment < SYN_OPTIONS_BYTES + REPLY_BYTES || !draw(queues, nonce, sizeof nonce))
    return false;
  pthread_mutex_lock(&passes->lock);
  struct begun *begun = spend(passes, packet, nonce);
  pthread_mutex_unlock(&passes->lock);
  if (begun == NULL) return false;
  if (!flow_begin(&queues->flows, &packet->key, packet->sequence, begun)) {
    free(begun);
    return false;
  }
  accept_with(queues, packet, NULL, 0, orders);
  return true;
}

/* --- SYN-ACK --- */

/* Whether a connection that was begun may go on as foreseen. */
static bool stands(const struct queue_flow *flow, struct passes *passes, const struct queued_packet *packet,
                   int64_t now) {
  const struct begun *begun = flow->begun;
  pthread_mutex_lock(&passes->lock);
  bool same = begun->revocations == passes->revocations;
  pthread_mutex_unlock(&passes->lock);
  return same && now - begun->since < ANSWER_US && packet->acknowledgement == flow->initial + 1;
}

/* Who has answered with the Reply that resumes; NULL: nobody who is foreseen. */
static const struct answerer *answerer_of(const struct begun *begun, const struct queued_packet *packet) {
  for (uint32_t i = 0; i < begun->answerer_count; i++) {
    const struct answerer *one = &begun->answerers[i];
    if (reply_matches(one->session_id, &one->server_key, begun->hello, begun->hello_length, packet->payload,
                      packet->payload_length))
      return one;
  }
  return NULL;
}

static bool finish(struct queue_passes *queues, struct passes *passes, struct queue_flow *flow,
                   const struct queued_packet *packet, struct orders *orders) {
  struct begun *begun = flow->begun;
  int64_t now = queue_passes_now();
  if (begun->calling == packet->outgoing || !stands(flow, passes, packet, now)) return false;
  if (begun->calling) {
    const struct answerer *answerer = packet_checksum_right(packet) ? answerer_of(begun, packet) : NULL;
    if (answerer == NULL) return false;
    begun->pass = answerer->pass;
    mark_verified(queues, &flow->key, true, orders);
    accept_with(queues, packet, NULL, 0, orders);
  } else {
    if (packet->payload_length != 0) return false;
    mark_verified(queues, &flow->key, false, orders);
    accept_with(queues, packet, begun->reply, REPLY_BYTES, orders);
  }
  if (!begun->calling) gate_know(&queues->gate, &flow->key, now);
  flow_tell(&queues->flows, flow, true, packet->sequence, now);
  return true;
}

/* --- every packet --- */

static bool decide(struct queue_passes *queues, struct passes *passes, const struct queued_packet *packet,
                   struct queue_flow *flow, struct orders *orders) {
  if (passes == NULL || packet->kind == OTHER_PACKET || orders->room - orders->length < ORDER_BYTES) return false;
  if (packet->length > ORDER_BYTES - 1024) return false;
  if ((packet->mark & queues->marks.stream_mask) == queues->marks.stream) return false;
  if (packet->kind == SYN_ACK) return flow != NULL && flow->begun != NULL && finish(queues, passes, flow, packet, orders);
  /* A SYN that was sent before is said again, or its handshake is TypeScript's. */
  if (flow != NULL && (flow->waiting || flow->begun != NULL || flow->initial == packet->sequence ||
                       flow->outgoing != packet->outgoing))
    return false;
  if (!flows_may_begin(&queues->flows)) return false;
  /* Of a call beyond the bound TypeScript says what it is: it may be one for the listener. */
  if (flow == NULL && packet->outgoing && !flows_admit(&queues->flows, &packet->key, true)) return false;
  return packet->outgoing ? call(queues, passes, packet, orders) : answer(queues, passes, packet, orders);
}

/* A call that does not go as foreseen is looked at by TypeScript, which gives another pass when all is well. */
static void retire(struct passes *passes, const struct queue_flow *flow) {
  uint8_t place[2 * PLACE_BYTES];
  place_of(&flow->key, true, place);
  pthread_mutex_lock(&passes->lock);
  struct pass *pass = pass_at(passes, place, NULL, queue_passes_now() / 1000);
  if (pass != NULL && pass->number == flow->begun->pass) pass_retire(passes, pass);
  pthread_mutex_unlock(&passes->lock);
}

static bool is_in_javascript(const struct queue_passes *queues, const struct flow_key *key) {
  for (uint32_t i = 0; i < queues->in_javascript_count; i++) {
    if (memcmp(&queues->in_javascript[i], key, sizeof *key) == 0) return true;
  }
  return queues->in_javascript_count == IN_JAVASCRIPT;
}

void queue_passes_batch(struct queue_passes *queues) { queues->in_javascript_count = 0; }

static bool gated(struct queue_passes *queues, const struct queued_packet *packet, struct orders *orders) {
  if (orders->room - orders->length < ORDER_BYTES || !gate_drops(&queues->gate, packet, queue_passes_now())) return false;
  order_drop(orders, packet);
  return true;
}

/* A Hello for one connection more than there may be: TCP repeats its SYN. */
static bool beyond_bound(struct queue_passes *queues, const struct queued_packet *packet, struct orders *orders) {
  if (packet->outgoing || !packet->opening || !packet_has_magic(packet) || orders->room - orders->length < ORDER_BYTES) return false;
  if (flows_admit(&queues->flows, &packet->key, false)) return false;
  flows_refused(&queues->flows, &packet->key, false);
  order_drop(orders, packet);
  return true;
}

bool queue_passes_take(struct queue_passes *queues, struct passes *passes, const uint8_t *datagram, size_t length,
                       struct orders *orders) {
  struct queued_packet packet;
  if (!packet_read(datagram, length, &packet)) return false;
  count_missing(queues, packet.queue, packet.id);
  if (packet.tcp == NULL) return gated(queues, &packet, orders);
  struct queue_flow *flow = flow_find(&queues->flows, &packet.key);
  bool in_javascript = is_in_javascript(queues, &packet.key);
  if (!in_javascript && flow == NULL && beyond_bound(queues, &packet, orders)) return true;
  if (!in_javascript && decide(queues, passes, &packet, flow, orders)) return true;
  /* Something more happens to what was kept back: it is TypeScript's, and what has happened to it before is told before this. */
  if (flow != NULL && flow->untold != NULL) flow_tell_kept_back(&queues->flows, flow);
  if (in_javascript) return false;
  if (flow == NULL && gated(queues, &packet, orders)) return true;
  if (flow != NULL && flow->begun != NULL) {
    if (flow->begun->calling && passes != NULL) retire(passes, flow);
    flow_tell(&queues->flows, flow, false, 0, queue_passes_now());
  }
  queues->in_javascript[queues->in_javascript_count++] = packet.key;
  return false;
}
