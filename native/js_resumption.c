/* Sessions and passes: what TypeScript gives in advance, and takes back. */
#define _GNU_SOURCE
#include "js.h"
#include "resumed_frames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What an offer takes of a Hello: session id, counter and binder. */
enum { KEY_BYTES = 32, OFFER_BYTES = SESSION_ID_BYTES + 8 + MAC_BYTES };

static int64_t monotonic_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* openSession(handle) -> session */
static napi_value do_open_session(napi_env env, napi_callback_info info) {
  napi_value value;
  struct handle *handle;
  if (!arguments(env, info, 1, &value) || (handle = handle_of(env, value)) == NULL) return NULL;
  struct passes *passes = data_path_passes(handle->path);
  pthread_mutex_lock(&passes->lock);
  uint64_t session = session_open(&passes->sessions);
  pthread_mutex_unlock(&passes->lock);
  return session == 0 ? throw_errno(env, ENOMEM) : js_number(env, (double)session);
}

/* closeSession(handle, session) */
static napi_value do_close_session(napi_env env, napi_callback_info info) {
  napi_value values[2];
  struct handle *handle;
  if (!arguments(env, info, 2, values) || (handle = handle_of(env, values[0])) == NULL) return NULL;
  struct passes *passes = data_path_passes(handle->path);
  pthread_mutex_lock(&passes->lock);
  session_close(&passes->sessions, number(env, values[1]));
  pthread_mutex_unlock(&passes->lock);
  return NULL;
}

/* useCounter(handle, session, counter) -> 0 fresh, 1 seen, 2 too old; a session that is closed knows nothing, so 2 */
static napi_value do_use_counter(napi_env env, napi_callback_info info) {
  napi_value values[3];
  struct handle *handle;
  if (!arguments(env, info, 3, values) || (handle = handle_of(env, values[0])) == NULL) return NULL;
  uint64_t counter = 0;
  bool exact = false;
  if (napi_get_value_bigint_uint64(env, values[2], &counter, &exact) != napi_ok || !exact) {
    napi_throw_type_error(env, NULL, "a counter is a BigInt of 64 bits");
    return NULL;
  }
  struct passes *passes = data_path_passes(handle->path);
  pthread_mutex_lock(&passes->lock);
  struct session *session = session_find(&passes->sessions, number(env, values[1]));
  enum counter_state state = session == NULL ? COUNTER_TOO_OLD : window_use(&session->window, counter);
  pthread_mutex_unlock(&passes->lock);
  return js_number(env, state);
}

static bool read_key(napi_env env, napi_value value, struct mac_key *key) {
  size_t length;
  const uint8_t *bytes = view_bytes(env, value, &length);
  if (length != KEY_BYTES) return false;
  mac_key_init(key, bytes, length);
  return true;
}

/* What both kinds have: number, lifetime in ms, session id, client key, server key, and the admission keys one behind the other. */
static bool read_common(napi_env env, const napi_value *values, struct pass *pass) {
  size_t length;
  pass->number = number(env, values[0]);
  pass->expires = monotonic_ms() + (int64_t)number(env, values[1]);
  const uint8_t *id = view_bytes(env, values[2], &length);
  if (pass->number == 0 || length != SESSION_ID_BYTES) return false;
  memcpy(pass->session_id, id, length);
  if (!read_key(env, values[3], &pass->client_key) || !read_key(env, values[4], &pass->server_key)) return false;
  const uint8_t *keys = view_bytes(env, values[5], &length);
  if (length == 0 || length % KEY_BYTES != 0 || length > ADMISSION_KEYS * KEY_BYTES) return false;
  pass->admission_count = length / KEY_BYTES;
  for (size_t i = 0; i < pass->admission_count; i++) {
    mac_key_init(&pass->admission_keys[i], keys + i * KEY_BYTES, KEY_BYTES);
  }
  return true;
}

static bool copy_bytes(napi_env env, napi_value value, size_t shortest, size_t longest, uint8_t **out, size_t *length) {
  const uint8_t *bytes = view_bytes(env, value, length);
  if (*length < shortest || *length > longest) return false;
  *out = malloc(*length);
  if (*out != NULL) memcpy(*out, bytes, *length);
  return *out != NULL;
}

static napi_value refuse(napi_env env, struct pass *pass) {
  if (pass->others != NULL) explicit_bzero(pass->others, pass->other_count * sizeof *pass->others);
  free(pass->others);
  free(pass->offered);
  free(pass->hello);
  free(pass->token);
  free(pass->candidates);
  explicit_bzero(pass, sizeof *pass);
  free(pass);
  napi_throw_type_error(env, NULL, "a pass with a field that is no such thing");
  return NULL;
}

static napi_value give(napi_env env, struct passes *passes, struct pass *pass) {
  napi_value given;
  napi_get_boolean(env, passes_give(passes, pass, monotonic_ms()), &given);
  return given;
}

/* Behind the place. */
static void set_carrier(napi_env env, napi_value value, struct pass *pass) {
  pass->carrier = number(env, value) == CARRIER_SYN ? CARRIER_SYN : CARRIER_STREAM;
  place_of_carrier(pass->carrier, pass->place);
}

/* [number, session id, client key, server key, first counter, number, ...]: the sessions that the Hello offers behind the first one. */
static bool read_others(napi_env env, napi_value value, uint64_t first_counter, struct pass *pass) {
  enum { FIELDS = 5 };
  uint32_t items = 0;
  if (napi_get_array_length(env, value, &items) != napi_ok || items % FIELDS != 0 || items / FIELDS >= MOST_OFFERS)
    return false;
  uint32_t count = items / FIELDS;
  /* From the end of the Hello back to its first offer, whose place TypeScript has filled. */
  if (pass->hello_length < SHORTEST_HELLO + count * OFFER_BYTES) return false;
  if (count == 0) return true;
  pass->others = calloc(count, sizeof *pass->others);
  if (pass->others == NULL) return false;
  pass->other_count = count;
  for (uint32_t i = 0; i < count; i++) {
    struct other_offer *other = &pass->others[i];
    napi_value field[FIELDS];
    for (uint32_t at = 0; at < FIELDS; at++) {
      if (napi_get_element(env, value, i * FIELDS + at, &field[at]) != napi_ok) return false;
    }
    size_t length;
    const uint8_t *id = view_bytes(env, field[1], &length);
    other->number = number(env, field[0]);
    if (other->number == 0 || length != SESSION_ID_BYTES) return false;
    memcpy(other->session_id, id, length);
    if (!read_key(env, field[2], &other->client_key) || !read_key(env, field[3], &other->server_key)) return false;
    other->counter_ahead = (uint64_t)number(env, field[4]) - first_counter;
  }
  return true;
}

/* passOutbound(handle, number, lifetime, session id, client key, server key, admission key,
 *   dialled address, port, target address, port, hello, first counter, counters, fast open, syn data, of several, carrier, others) -> whether there was room */
static napi_value do_pass_outbound(napi_env env, napi_callback_info info) {
  napi_value values[19];
  struct handle *handle;
  if (!arguments(env, info, 19, values) || (handle = handle_of(env, values[0])) == NULL) return NULL;
  struct pass *pass = calloc(1, sizeof *pass);
  if (pass == NULL) return throw_errno(env, ENOMEM);
  struct sockaddr_storage dialled;
  if (!read_common(env, values + 1, pass) || pass->admission_count != 1 ||
      !endpoint(env, values[7], values[8], &dialled) || !endpoint(env, values[9], values[10], &pass->target) ||
      !copy_bytes(env, values[11], SHORTEST_HELLO, MOST_FRAME_BYTES, &pass->hello, &pass->hello_length) ||
      !read_others(env, values[18], number(env, values[12]), pass))
    return refuse(env, pass);
  if (truth(env, values[16])) candidate_place(&dialled, &pass->target, pass->place);
  else outbound_place(&dialled, pass->place);
  set_carrier(env, values[17], pass);
  pass_set_counters(pass, number(env, values[12]), number(env, values[13]));
  pass->fast_open = truth(env, values[14]);
  pass->syn_data = truth(env, values[15]);
  return give(env, data_path_passes(handle->path), pass);
}

/* choiceOutbound(handle, lifetime, dialled address, port, [address, port, address, port, ...]) -> whether there was room */
static napi_value do_choice_outbound(napi_env env, napi_callback_info info) {
  napi_value values[5], item[2];
  struct handle *handle;
  if (!arguments(env, info, 5, values) || (handle = handle_of(env, values[0])) == NULL) return NULL;
  struct pass *choice = calloc(1, sizeof *choice);
  if (choice == NULL) return throw_errno(env, ENOMEM);
  uint32_t items = 0;
  struct sockaddr_storage dialled;
  choice->expires = monotonic_ms() + (int64_t)number(env, values[1]);
  if (!endpoint(env, values[2], values[3], &dialled) || napi_get_array_length(env, values[4], &items) != napi_ok ||
      items < 2 || items % 2 != 0 || items / 2 > MOST_CANDIDATES)
    return refuse(env, choice);
  choice->candidate_count = items / 2;
  choice->candidates = calloc(choice->candidate_count, sizeof *choice->candidates);
  bool read = choice->candidates != NULL;
  for (uint32_t i = 0; read && i < items; i += 2) {
    read = napi_get_element(env, values[4], i, &item[0]) == napi_ok &&
           napi_get_element(env, values[4], i + 1, &item[1]) == napi_ok &&
           endpoint(env, item[0], item[1], &choice->candidates[i / 2]);
  }
  if (!read) return refuse(env, choice);
  outbound_place(&dialled, choice->place);
  return give(env, data_path_passes(handle->path), choice);
}

static bool read_offered(napi_env env, napi_value ids, napi_value own, struct pass *pass) {
  size_t length;
  if (!copy_bytes(env, ids, SESSION_ID_BYTES, MOST_OFFERS * SESSION_ID_BYTES, &pass->offered, &length)) return false;
  uint64_t place = number(env, own);
  pass->offer_count = (uint32_t)(length / SESSION_ID_BYTES);
  if (length % SESSION_ID_BYTES != 0 || place >= pass->offer_count) return false;
  pass->own_offer = (uint32_t)place;
  return memcmp(pass->offered + pass->own_offer * SESSION_ID_BYTES, pass->session_id, SESSION_ID_BYTES) == 0;
}

/* passInbound(handle, number, lifetime, session id, client key, server key, admission keys,
 *   session, peer address, reached address, port, target address, port, meant address, port, token, keep source, carrier, ids of all sessions in the Hello, which is its own) -> whether there was room */
static napi_value do_pass_inbound(napi_env env, napi_callback_info info) {
  napi_value values[20];
  struct handle *handle;
  if (!arguments(env, info, 20, values) || (handle = handle_of(env, values[0])) == NULL) return NULL;
  struct pass *pass = calloc(1, sizeof *pass);
  if (pass == NULL) return throw_errno(env, ENOMEM);
  struct sockaddr_storage peer, reached, meant;
  napi_value no_port = js_number(env, 0);
  pass->inbound = true;
  if (!read_common(env, values + 1, pass) || !endpoint(env, values[8], no_port, &peer) ||
      !endpoint(env, values[9], values[10], &reached) || !endpoint(env, values[11], values[12], &pass->target) ||
      !endpoint(env, values[13], values[14], &meant) ||
      !copy_bytes(env, values[15], 1, 4096, &pass->token, &pass->token_length) ||
      !read_offered(env, values[18], values[19], pass))
    return refuse(env, pass);
  inbound_place(&peer, &reached, pass->place);
  set_carrier(env, values[17], pass);
  pass->keep_source = truth(env, values[16]);
  pass->meant_length = write_place(&meant, pass->meant);
  struct passes *passes = data_path_passes(handle->path);
  pthread_mutex_lock(&passes->lock);
  struct session *session = session_find(&passes->sessions, number(env, values[7]));
  if (session != NULL) session->references++;
  pthread_mutex_unlock(&passes->lock);
  if (session == NULL) return refuse(env, pass);
  pass->session = session;
  return give(env, passes, pass);
}

/* revokePasses(handle): when it returns no pass decides anything any more */
static napi_value do_revoke(napi_env env, napi_callback_info info) {
  napi_value value;
  struct handle *handle;
  if (!arguments(env, info, 1, &value) || (handle = handle_of(env, value)) == NULL) return NULL;
  passes_revoke(data_path_passes(handle->path));
  const struct command recall = {.type = COMMAND_RECALL};
  if (!data_path_command(handle->path, &recall)) return throw_errno(env, ENOMEM);
  data_path_wake(handle->path);
  return NULL;
}

/* takeReports(handle) -> what would be delivered soon, or undefined */
static napi_value do_take_reports(napi_env env, napi_callback_info info) {
  napi_value value;
  struct handle *handle;
  if (!arguments(env, info, 1, &value) || (handle = handle_of(env, value)) == NULL) return NULL;
  struct report *reports = NULL;
  size_t count = data_path_take_reports(handle->path, true, &reports);
  napi_value taken = count == 0 ? NULL : js_reports(env, reports, count);
  free(reports);
  return taken;
}

/* mac(key, context, bytes, accelerated) -> 16 bytes; for tests, which hold it to node:crypto */
static napi_value do_mac(napi_env env, napi_callback_info info) {
  napi_value values[4];
  char context[64];
  size_t context_length, length;
  struct mac_key key;
  uint8_t out[MAC_BYTES];
  if (!arguments(env, info, 4, values)) return NULL;
  const uint8_t *bytes = view_bytes(env, values[2], &length);
  if (!read_key(env, values[0], &key) ||
      napi_get_value_string_utf8(env, values[1], context, sizeof context, &context_length) != napi_ok) {
    napi_throw_type_error(env, NULL, "a key of 32 bytes and a context");
    return NULL;
  }
  sha256_accelerate(truth(env, values[3]));
  struct mac_part parts[2] = {{bytes, length / 3}, {bytes + length / 3, length - length / 3}};
  mac(&key, context, parts, 2, out);
  sha256_accelerate(true);
  return js_bytes(env, out, sizeof out);
}

static const napi_property_descriptor functions[] = {
    JS_FUNCTION("openSession", do_open_session),   JS_FUNCTION("closeSession", do_close_session),
    JS_FUNCTION("useCounter", do_use_counter),     JS_FUNCTION("passOutbound", do_pass_outbound),
    JS_FUNCTION("passInbound", do_pass_inbound),   JS_FUNCTION("revokePasses", do_revoke),
    JS_FUNCTION("choiceOutbound", do_choice_outbound), JS_FUNCTION("takeReports", do_take_reports),
    JS_FUNCTION("mac", do_mac),
};
const struct js_exports js_resumption_exports = JS_EXPORTS(functions);
