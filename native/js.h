/* What the js_*.c files share: JavaScript values to C ones and back, and how a file offers its functions. */
#ifndef COUNTERSIGN_JS_H
#define COUNTERSIGN_JS_H

#include "data_path.h"

#define NAPI_VERSION 9
#include <node_api.h>

/* The functions that one file offers to src/native.ts; addon.c lists the files. */
struct js_exports {
  const napi_property_descriptor *functions;
  size_t count;
};

#define JS_FUNCTION(name, function) \
  { .utf8name = (name), .method = (function), .attributes = napi_enumerable }
#define JS_EXPORTS(list) \
  { .functions = (list), .count = sizeof(list) / sizeof(list)[0] }

extern const struct js_exports js_start_exports, js_listen_exports, js_commands_exports, js_resumption_exports,
    js_limit_exports, js_memory_exports, js_netlink_exports, js_queue_passes_exports, js_capabilities_exports, js_curves_exports;

/* A data path as JavaScript holds it. */
struct handle {
  struct data_path *path; /* NULL once it is closed */
  struct connection_limit *limit;
  napi_threadsafe_function deliver;
  uint64_t last_listener;
};

/* --- js_values.c: from JavaScript --- */

/* Tells a data path from the handles of other files. */
extern const napi_type_tag DATA_PATH_TAG;

/* Throws an Error whose code is the system's name of this errno. @returns NULL */
napi_value throw_errno(napi_env env, int error);
/* Throws a TypeError and is false unless exactly so many arguments came. */
bool arguments(napi_env env, napi_callback_info info, size_t wanted, napi_value *values);
/* NULL, and an exception is pending, unless the value is a data path that is open. */
struct handle *handle_of(napi_env env, napi_value value);
/* What an external with this tag holds; NULL, and an exception is pending, when it is no such thing. */
void *tagged(napi_env env, napi_value value, const napi_type_tag *tag);
/* 0 for what is no number, or less than 0; at most 2^53 - 1. */
uint64_t number(napi_env env, napi_value value);
bool truth(napi_env env, napi_value value);
/* The bytes of a Uint8Array, valid while it is; none when it is no Uint8Array. */
const uint8_t *view_bytes(napi_env env, napi_value value, size_t *length);
/* An address in its text form and a port. False when they are none. */
bool endpoint(napi_env env, napi_value address, napi_value port, struct sockaddr_storage *out);

/* --- js_values.c: to JavaScript --- */

/* An external of that kind; an exception is pending when it is NULL. */
napi_value tagged_external(napi_env env, void *data, napi_finalize finalize, const napi_type_tag *tag);
napi_value js_number(napi_env env, double value);
/* A Uint8Array with a copy of the bytes; NULL when the thread of JavaScript ends. */
napi_value js_bytes(napi_env env, const uint8_t *bytes, size_t length);
/* [address, port], or undefined for family 0. */
napi_value js_endpoint(napi_env env, const struct sockaddr_storage *address);
/* The system's name of an errno, or undefined for 0. */
napi_value js_error_name(napi_env env, int error);

/* --- js_events.c --- */

/* [type, id, ...]: what follows depends on the type, see src/native.ts. */
napi_value js_event(napi_env env, const struct event *event);
/* A Float64Array with REPORT_FIELDS numbers for each, see src/native.ts; NULL when the thread of JavaScript ends. */
napi_value js_reports(napi_env env, const struct report *reports, size_t count);

#endif
