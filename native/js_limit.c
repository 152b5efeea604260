/* The bound of connections for JavaScript. */
#define _GNU_SOURCE
#include "js.h"

#include <netinet/in.h>
#include <string.h>

/* limitConnections(data path, most, most of one source, most by listeners) */
static napi_value do_limit(napi_env env, napi_callback_info info) {
  napi_value values[4];
  struct handle *handle;
  uint32_t most[3];
  if (!arguments(env, info, 4, values) || (handle = handle_of(env, values[0])) == NULL) return NULL;
  for (int i = 0; i < 3; i++) {
    uint64_t given = number(env, values[i + 1]);
    most[i] = given < UINT32_MAX ? (uint32_t)given : UINT32_MAX;
  }
  limit_set(handle->limit, most[0], most[1], most[2]);
  return NULL;
}

static struct sockaddr_storage peer_of_source(const struct source_address *address) {
  struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
  if (address->family == 4) {
    peer.ss_family = AF_INET;
    memcpy(&((struct sockaddr_in *)&peer)->sin_addr, address->bytes, 4);
  } else if (address->family == 6) {
    peer.ss_family = AF_INET6;
    memcpy(&((struct sockaddr_in6 *)&peer)->sin6_addr, address->bytes, 16);
  }
  return peer;
}

/* connectionsHeld(data path) -> [held, refused because of all: inbound, outbound, because of a source's share: the same, who has most, how many] */
static napi_value do_held(napi_env env, napi_callback_info info) {
  napi_value value, list;
  struct handle *handle;
  uint32_t at = 0;
  if (!arguments(env, info, 1, &value) || (handle = handle_of(env, value)) == NULL) return NULL;
  struct limit_counts counts = limit_counts(handle->limit);
  struct sockaddr_storage fullest = peer_of_source(&counts.fullest);
  napi_create_array(env, &list);
  napi_set_element(env, list, at++, js_number(env, counts.held));
  for (int share = 0; share < 2; share++) {
    napi_set_element(env, list, at++, js_number(env, (double)counts.refused[LIMIT_INBOUND][share]));
    napi_set_element(env, list, at++, js_number(env, (double)counts.refused[LIMIT_OUTBOUND][share]));
  }
  napi_set_element(env, list, at++, js_endpoint(env, &fullest));
  napi_set_element(env, list, at++, js_number(env, counts.fullest_held));
  return list;
}

static const napi_property_descriptor functions[] = {
    JS_FUNCTION("limitConnections", do_limit),
    JS_FUNCTION("connectionsHeld", do_held),
};
const struct js_exports js_limit_exports = JS_EXPORTS(functions);
