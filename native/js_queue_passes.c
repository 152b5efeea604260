/* Passes of the queues for JavaScript. All of it runs on the main thread. */
#define _GNU_SOURCE
#include "js_queue_passes.h"
#include "connection_ends.h"
#include "js_netlink.h"
#include "queue_passes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
  ORDERS_BYTES = NETLINK_BATCH * ORDER_BYTES,
  /* JavaScript takes them soon; of so many it is told again. */
  MANY_RECORD_BYTES = 512 * 1024,
  MANY_KEPT_BACK_BYTES = 8 * 1024 * 1024,
  ADDRESSES_AND_PORTS4 = 12,
  ADDRESSES_AND_PORTS6 = 36,
};

static const napi_type_tag PASSING_TAG = {0x71756575652d7061, 0x7373657363747367};

struct passing {
  struct queue_passes *queues; /* NULL once it is closed */
  struct handle *path;         /* whose passes they are */
  napi_ref path_kept;
  struct orders orders;
  enum { NOT_TOLD, TOLD, TOLD_AGAIN } told;
};

struct passing *passing_of(napi_env env, napi_value value) {
  struct passing *passing = tagged(env, value, &PASSING_TAG);
  if (passing == NULL || passing->queues != NULL) return passing;
  napi_throw_error(env, "ECLOSED", "the passes of the queues are closed");
  return NULL;
}

/* NULL once the data path is closed: nothing is decided by a pass any more. */
static struct passes *passes_of(const struct passing *passing) {
  return passing->path->path == NULL ? NULL : data_path_passes(passing->path->path);
}

static bool take(void *context, const uint8_t *datagram, size_t length) {
  struct passing *passing = context;
  return queue_passes_take(passing->queues, passes_of(passing), datagram, length, &passing->orders);
}

size_t passing_sift(struct passing *passing, struct netlink *netlink, bool *news, int *error) {
  if (passing->queues == NULL) return netlink_sift(netlink, NULL, NULL);
  passing->orders.length = 0;
  queue_passes_batch(passing->queues);
  size_t left = netlink_sift(netlink, take, passing);
  if (passing->orders.length > 0) {
    int failed = netlink_send(netlink, passing->orders.bytes, passing->orders.length);
    if (failed != 0) *error = failed;
  }
  const struct queue_flows *flows = &passing->queues->flows;
  bool many = flows->records_length > MANY_RECORD_BYTES || flows->untold_bytes > MANY_KEPT_BACK_BYTES;
  if ((flows->records_length > 0 || flows->untold_count > 0) && passing->told == NOT_TOLD) {
    passing->told = TOLD;
    *news = true;
  } else if (many && passing->told == TOLD) {
    passing->told = TOLD_AGAIN;
    *news = true;
  }
  return left;
}

static void close_passing(struct passing *passing) {
  if (passing->queues != NULL) queue_passes_close(passing->queues);
  passing->queues = NULL;
  free(passing->orders.bytes);
  passing->orders.bytes = NULL;
}

static void forget(napi_env env, void *data, void *hint) {
  (void)hint;
  struct passing *passing = data;
  close_passing(passing);
  if (passing->path_kept != NULL) napi_delete_reference(env, passing->path_kept);
  free(passing);
}

/* bytes, and where in them source, destination and their ports stand */
static bool read_mark_order(napi_env env, const napi_value *values, size_t address_bytes, struct mark_order *order) {
  size_t length;
  const uint8_t *bytes = view_bytes(env, values[0], &length);
  if (length < address_bytes || length > sizeof order->bytes) return false;
  memcpy(order->bytes, bytes, length);
  order->length = length;
  order->source_at = number(env, values[1]);
  order->destination_at = number(env, values[2]);
  order->source_port_at = number(env, values[3]);
  order->destination_port_at = number(env, values[4]);
  return order->source_at <= length - address_bytes && order->destination_at <= length - address_bytes &&
         order->source_port_at <= length - 2 && order->destination_port_at <= length - 2;
}

/* queuePassesOpen(data path, mask, accepted, stream, stream's mask, [order for IPv4, four places], [for IPv6, four places]) -> handle */
static napi_value do_open(napi_env env, napi_callback_info info) {
  napi_value values[15];
  struct handle *path;
  if (!arguments(env, info, 15, values) || (path = handle_of(env, values[0])) == NULL) return NULL;
  struct packet_marks marks = {(uint32_t)number(env, values[1]), (uint32_t)number(env, values[2]),
                               (uint32_t)number(env, values[3]), (uint32_t)number(env, values[4])};
  struct mark_order orders[2];
  if (!read_mark_order(env, values + 5, 4, &orders[0]) || !read_mark_order(env, values + 10, 16, &orders[1])) {
    napi_throw_range_error(env, NULL, "the order for a mark has no such places");
    return NULL;
  }
  struct passing *passing = calloc(1, sizeof *passing);
  if (passing == NULL) return throw_errno(env, ENOMEM);
  passing->path = path;
  passing->orders.room = ORDERS_BYTES;
  passing->orders.bytes = malloc(ORDERS_BYTES);
  if (passing->orders.bytes != NULL) passing->queues = queue_passes_open(&marks, orders, path->limit);
  if (passing->queues == NULL) {
    free(passing->orders.bytes);
    free(passing);
    return throw_errno(env, ENOMEM);
  }
  napi_create_reference(env, values[0], 1, &passing->path_kept);
  return tagged_external(env, passing, forget, &PASSING_TAG);
}

/* queuePassesTry(handle, datagram) -> orders for the kernel, or undefined: it is JavaScript's */
static napi_value do_try(napi_env env, napi_callback_info info) {
  napi_value values[2];
  struct passing *passing;
  size_t length;
  if (!arguments(env, info, 2, values) || (passing = passing_of(env, values[0])) == NULL) return NULL;
  const uint8_t *bytes = view_bytes(env, values[1], &length);
  passing->orders.length = 0;
  queue_passes_batch(passing->queues);
  if (!take(passing, bytes, length)) return NULL;
  return js_bytes(env, passing->orders.bytes, passing->orders.length);
}

/* queuePassesTake(handle, hand over what was begun so many ms ago, tell what was kept back for so many ms) -> records, or undefined */
static napi_value do_take(napi_env env, napi_callback_info info) {
  napi_value values[3];
  struct passing *passing;
  if (!arguments(env, info, 3, values) || (passing = passing_of(env, values[0])) == NULL) return NULL;
  struct queue_flows *flows = &passing->queues->flows;
  int64_t now = queue_passes_now(), age = (int64_t)number(env, values[1]), kept = (int64_t)number(env, values[2]);
  if (kept < now / 1000) flows_tell_kept_back(flows, now + 1 - kept * 1000);
  if (age < now / 1000) flows_hand_over(flows, now + 1 - age * 1000, now);
  passing->told = NOT_TOLD;
  if (flows->records_length == 0) return NULL;
  napi_value records = js_bytes(env, flows->records, flows->records_length);
  flows->records_length = 0;
  return records;
}

/* queuePassesKeptBack(handle) -> how many connections are kept back */
static napi_value do_kept_back(napi_env env, napi_callback_info info) {
  napi_value value;
  struct passing *passing;
  if (!arguments(env, info, 1, &value) || (passing = passing_of(env, value)) == NULL) return NULL;
  return js_number(env, passing->queues->flows.untold_count);
}

/* queuePassesEnded(socket of sock_diag, socket of conntrack, records): marks those that have ended */
static napi_value do_ended(napi_env env, napi_callback_info info) {
  napi_value values[3];
  struct netlink *sockets, *conntrack;
  size_t length;
  if (!arguments(env, info, 3, values) || (sockets = netlink_of(env, values[0])) == NULL ||
      (conntrack = netlink_of(env, values[1])) == NULL)
    return NULL;
  uint8_t *records = (uint8_t *)view_bytes(env, values[2], &length);
  connection_ends(sockets, conntrack, records, length);
  return NULL;
}

/* queuePassesForget(handle, records): those that are marked as ended are no connections any more */
static napi_value do_forget(napi_env env, napi_callback_info info) {
  napi_value values[2];
  struct passing *passing;
  size_t length;
  if (!arguments(env, info, 2, values) || (passing = passing_of(env, values[0])) == NULL) return NULL;
  const uint8_t *records = view_bytes(env, values[1], &length);
  flows_forget_ended(&passing->queues->flows, records, length);
  return NULL;
}

/* queuePassesMissing(handle) -> packets that the kernel dropped since the last time */
static napi_value do_missing(napi_env env, napi_callback_info info) {
  napi_value value;
  struct passing *passing;
  if (!arguments(env, info, 1, &value) || (passing = passing_of(env, value)) == NULL) return NULL;
  uint64_t missing = passing->queues->missing;
  passing->queues->missing = 0;
  return js_number(env, (double)missing);
}

/* queueGate(handle, admission keys, strangers, a second and at once from one address, wrong ones a second, strays a second) -> packets dropped since the
   last time */
static napi_value do_gate(napi_env env, napi_callback_info info) {
  enum { KEY_BYTES = 32 };
  napi_value values[7];
  struct passing *passing;
  size_t length;
  if (!arguments(env, info, 7, values) || (passing = passing_of(env, values[0])) == NULL) return NULL;
  const uint8_t *keys = view_bytes(env, values[1], &length);
  struct gate_limits limits = {(uint32_t)number(env, values[2]), (uint32_t)number(env, values[3]),
                               (uint32_t)number(env, values[4]), (uint32_t)number(env, values[5]),
                               (uint32_t)number(env, values[6])};
  struct queue_gate *gate = &passing->queues->gate;
  gate_set(gate, keys, length / KEY_BYTES, &limits);
  uint64_t dropped = gate->dropped;
  gate->dropped = 0;
  return js_number(env, (double)dropped);
}

/* A connection as src/nfqueue/flow-key.ts writes it: own address, other address, own port, other port. */
static bool read_key(napi_env env, napi_value value, struct flow_key *key) {
  char text[ADDRESSES_AND_PORTS6 + 2];
  size_t length = 0;
  memset(key, 0, sizeof *key);
  if (napi_get_value_string_latin1(env, value, text, sizeof text, &length) == napi_ok &&
      (length == ADDRESSES_AND_PORTS4 || length == ADDRESSES_AND_PORTS6)) {
    size_t address = (length - 4) / 2;
    key->family = address == 4 ? 4 : 6;
    memcpy(key->own, text, address);
    memcpy(key->other, text + address, address);
    memcpy(key->own_port, text + 2 * address, 2);
    memcpy(key->other_port, text + 2 * address + 2, 2);
    return true;
  }
  napi_throw_type_error(env, NULL, "not the key of a connection");
  return false;
}

/* queueClaim(handle, key, initial, outgoing, waiting) */
static napi_value do_claim(napi_env env, napi_callback_info info) {
  napi_value values[5];
  struct passing *passing;
  struct flow_key key;
  if (!arguments(env, info, 5, values) || (passing = passing_of(env, values[0])) == NULL ||
      !read_key(env, values[1], &key))
    return NULL;
  bool outgoing = truth(env, values[3]), waiting = truth(env, values[4]);
  flow_claim(&passing->queues->flows, &key, (uint32_t)number(env, values[2]), outgoing, waiting);
  if (!outgoing && !waiting) gate_know(&passing->queues->gate, &key, queue_passes_now());
  return NULL;
}

/* queueAdmits(handle, key, outgoing) -> whether one connection more fits the bound; if not it is counted as refused */
static napi_value do_admits(napi_env env, napi_callback_info info) {
  napi_value values[3], admitted;
  struct passing *passing;
  struct flow_key key;
  if (!arguments(env, info, 3, values) || (passing = passing_of(env, values[0])) == NULL ||
      !read_key(env, values[1], &key))
    return NULL;
  bool outgoing = truth(env, values[2]), admits = flows_admit(&passing->queues->flows, &key, outgoing);
  if (!admits) flows_refused(&passing->queues->flows, &key, outgoing);
  napi_get_boolean(env, admits, &admitted);
  return admitted;
}

/* queueReveal(handle, key) -> whether it was kept back; it is among the records now */
static napi_value do_reveal(napi_env env, napi_callback_info info) {
  napi_value values[2], found;
  struct passing *passing;
  struct flow_key key;
  if (!arguments(env, info, 2, values) || (passing = passing_of(env, values[0])) == NULL ||
      !read_key(env, values[1], &key))
    return NULL;
  struct queue_flow *flow = flow_find(&passing->queues->flows, &key);
  bool kept_back = flow != NULL && flow->untold != NULL;
  if (kept_back) flow_tell_kept_back(&passing->queues->flows, flow);
  napi_get_boolean(env, kept_back, &found);
  return found;
}

/* queueRelease(handle, key, initial) */
static napi_value do_release(napi_env env, napi_callback_info info) {
  napi_value values[3];
  struct passing *passing;
  struct flow_key key;
  if (!arguments(env, info, 3, values) || (passing = passing_of(env, values[0])) == NULL ||
      !read_key(env, values[1], &key))
    return NULL;
  flow_release(&passing->queues->flows, &key, (uint32_t)number(env, values[2]));
  return NULL;
}

/* queuePassesClose(handle): nothing is decided by a pass any more */
static napi_value do_close(napi_env env, napi_callback_info info) {
  napi_value value;
  struct passing *passing;
  if (!arguments(env, info, 1, &value) || (passing = tagged(env, value, &PASSING_TAG)) == NULL) return NULL;
  close_passing(passing);
  return NULL;
}

static const napi_property_descriptor functions[] = {
    JS_FUNCTION("queuePassesOpen", do_open),       JS_FUNCTION("queuePassesTry", do_try),
    JS_FUNCTION("queuePassesTake", do_take),       JS_FUNCTION("queuePassesMissing", do_missing),
    JS_FUNCTION("queueClaim", do_claim),           JS_FUNCTION("queueRelease", do_release),
    JS_FUNCTION("queuePassesClose", do_close),     JS_FUNCTION("queuePassesKeptBack", do_kept_back),
    JS_FUNCTION("queuePassesEnded", do_ended),     JS_FUNCTION("queueReveal", do_reveal),
    JS_FUNCTION("queuePassesForget", do_forget),   JS_FUNCTION("queueGate", do_gate),
    JS_FUNCTION("queueAdmits", do_admits),
};
const struct js_exports js_queue_passes_exports = JS_EXPORTS(functions);
