/* Commands about connections. */
#define _GNU_SOURCE
#include "js.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool copy_bytes(napi_env env, napi_value value, struct command *command) {
  napi_typedarray_type type;
  void *data = NULL;
  size_t length = 0;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, NULL, NULL) != napi_ok) return true;
  if (length == 0) return true;
  command->bytes = malloc(length);
  if (command->bytes == NULL) return false;
  memcpy(command->bytes, data, length);
  command->length = length;
  return true;
}

static napi_value send_command(napi_env env, struct handle *handle, struct command *command) {
  if (!data_path_command(handle->path, command)) {
    free(command->bytes);
    return throw_errno(env, ENOMEM);
  }
  return NULL;
}

/* command(handle, type, id, side, flag, maxBytes, bytes) */
static napi_value do_command(napi_env env, napi_callback_info info) {
  napi_value values[7];
  struct handle *handle;
  if (!arguments(env, info, 7, values) || (handle = handle_of(env, values[0])) == NULL) return NULL;
  struct command command = {
      .type = (enum command_type)number(env, values[1]),
      .id = number(env, values[2]),
      .side = number(env, values[3]) == 0 ? CLIENT : UPSTREAM,
      .flag = truth(env, values[4]),
      .max_bytes = (uint32_t)number(env, values[5]),
  };
  if (command.type == COMMAND_LISTEN || command.type == COMMAND_DIAL) return throw_errno(env, EINVAL);
  if (!copy_bytes(env, values[6], &command)) return throw_errno(env, ENOMEM);
  napi_value result = send_command(env, handle, &command);
  if (command.type == COMMAND_STOP) data_path_wake(handle->path); /* nothing follows it */
  return result;
}

/* dial(handle, id, address, port, fastOpen, first, synData, source address or undefined, port) */
static napi_value do_dial(napi_env env, napi_callback_info info) {
  napi_value values[9];
  napi_valuetype source = napi_undefined;
  struct handle *handle;
  if (!arguments(env, info, 9, values) || (handle = handle_of(env, values[0])) == NULL) return NULL;
  struct command command = {
      .type = COMMAND_DIAL,
      .id = number(env, values[1]),
      .flag = truth(env, values[4]),
      .syn_data = truth(env, values[6]),
  };
  if (!endpoint(env, values[2], values[3], &command.target)) return throw_errno(env, EINVAL);
  napi_typeof(env, values[7], &source);
  if (source != napi_undefined && (!endpoint(env, values[7], values[8], &command.source) ||
                                   command.source.ss_family != command.target.ss_family))
    return throw_errno(env, EINVAL);
  if (!copy_bytes(env, values[5], &command)) return throw_errno(env, ENOMEM);
  return send_command(env, handle, &command);
}

/* wake(handle): no more commands follow for now */
static napi_value do_wake(napi_env env, napi_callback_info info) {
  napi_value value;
  struct handle *handle;
  if (!arguments(env, info, 1, &value) || (handle = handle_of(env, value)) == NULL) return NULL;
  data_path_wake(handle->path);
  return NULL;
}

/* progress(handle, id) -> [bytesIn, bytesOut] | undefined */
static napi_value do_progress(napi_env env, napi_callback_info info) {
  napi_value values[2];
  struct handle *handle;
  if (!arguments(env, info, 2, values) || (handle = handle_of(env, values[0])) == NULL) return NULL;
  uint64_t bytes_in = 0, bytes_out = 0;
  if (!data_path_progress(handle->path, number(env, values[1]), &bytes_in, &bytes_out)) return NULL;
  napi_value pair, item;
  napi_create_array_with_length(env, 2, &pair);
  napi_create_double(env, (double)bytes_in, &item);
  napi_set_element(env, pair, 0, item);
  napi_create_double(env, (double)bytes_out, &item);
  napi_set_element(env, pair, 1, item);
  return pair;
}

/* pipesRefused(handle) -> number */
static napi_value do_pipes_refused(napi_env env, napi_callback_info info) {
  napi_value value;
  struct handle *handle;
  if (!arguments(env, info, 1, &value) || (handle = handle_of(env, value)) == NULL) return NULL;
  return js_number(env, data_path_pipes_refused(handle->path));
}

static const napi_property_descriptor functions[] = {
    JS_FUNCTION("dial", do_dial),
    JS_FUNCTION("command", do_command),
    JS_FUNCTION("wake", do_wake),
    JS_FUNCTION("progress", do_progress),
    JS_FUNCTION("pipesRefused", do_pipes_refused),
};
const struct js_exports js_commands_exports = JS_EXPORTS(functions);
