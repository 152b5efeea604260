/* Node-API glue: JavaScript values to commands of the data thread, its events to JavaScript values. */
#define _GNU_SOURCE
#include "data_path.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAPI_VERSION 9
#include <node_api.h>

enum { TCP_FAST_OPEN_QUEUE = 256, BACKLOG = 4096 };

struct handle {
  struct data_path *path;
  napi_threadsafe_function deliver;
  uint64_t last_listener;
};

/* --- from JavaScript --- */

static napi_value throw_errno(napi_env env, int error) {
  const char *name = strerrorname_np(error);
  napi_throw_error(env, name == NULL ? "EUNKNOWN" : name, strerror(error));
  return NULL;
}

static bool arguments(napi_env env, napi_callback_info info, size_t wanted, napi_value *values) {
  size_t count = wanted;
  if (napi_get_cb_info(env, info, &count, values, NULL, NULL) == napi_ok && count == wanted) return true;
  napi_throw_type_error(env, NULL, "wrong number of arguments");
  return false;
}

static struct handle *handle_of(napi_env env, napi_value value) {
  void *data = NULL;
  if (napi_get_value_external(env, value, &data) != napi_ok || data == NULL) {
    napi_throw_type_error(env, NULL, "not a data path");
    return NULL;
  }
  struct handle *handle = data;
  if (handle->path == NULL) {
    napi_throw_error(env, "ECLOSED", "the data path is closed");
    return NULL;
  }
  return handle;
}

static uint64_t number(napi_env env, napi_value value) {
  double read = 0;
  napi_get_value_double(env, value, &read);
  return read > 0 ? (uint64_t)read : 0;
}

static bool truth(napi_env env, napi_value value) {
  bool read = false;
  napi_get_value_bool(env, value, &read);
  return read;
}

/* An address in its text form and a port. */
static bool endpoint(napi_env env, napi_value address, napi_value port, struct sockaddr_storage *out) {
  char text[INET6_ADDRSTRLEN + 1];
  size_t length = 0;
  memset(out, 0, sizeof *out);
  if (napi_get_value_string_utf8(env, address, text, sizeof text, &length) != napi_ok) return false;
  uint64_t read = number(env, port);
  if (read > 65535) return false;
  struct sockaddr_in *four = (struct sockaddr_in *)out;
  struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
  if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons((uint16_t)read);
    return true;
  }
  if (inet_pton(AF_INET6, text, &six->sin6_addr) != 1) return false;
  six->sin6_family = AF_INET6;
  six->sin6_port = htons((uint16_t)read);
  return true;
}

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

/* listen(handle, address, port, role) -> [listener, port] */
static napi_value do_listen(napi_env env, napi_callback_info info) {
  napi_value values[4];
  struct handle *handle;
  if (!arguments(env, info, 4, values) || (handle = handle_of(env, values[0])) == NULL) return NULL;
  struct sockaddr_storage address;
  if (!endpoint(env, values[1], values[2], &address)) return throw_errno(env, EINVAL);
  bool six = address.ss_family == AF_INET6;
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return throw_errno(env, errno);
  int on = 1, queue = TCP_FAST_OPEN_QUEUE;
  socklen_t length = six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_SAVE_SYN, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof queue); /* where the namespace allows it */
  if (six) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, BACKLOG) != 0 ||
      getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
    int error = errno;
    close(fd);
    return throw_errno(env, error);
  }
  struct command command = {
      .type = COMMAND_LISTEN, .id = ++handle->last_listener, .fd = fd, .role = (int)number(env, values[3])};
  if (!data_path_command(handle->path, &command)) {
    close(fd);
    return throw_errno(env, ENOMEM);
  }
  in_port_t port = six ? ((struct sockaddr_in6 *)&address)->sin6_port : ((struct sockaddr_in *)&address)->sin_port;
  napi_value pair, item;
  napi_create_array_with_length(env, 2, &pair);
  napi_create_double(env, (double)command.id, &item);
  napi_set_element(env, pair, 0, item);
  napi_create_uint32(env, ntohs(port), &item);
  napi_set_element(env, pair, 1, item);
  return pair;
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
  return send_command(env, handle, &command);
}

/* dial(handle, id, address, port, fastOpen, first) */
static napi_value do_dial(napi_env env, napi_callback_info info) {
  napi_value values[6];
  struct handle *handle;
  if (!arguments(env, info, 6, values) || (handle = handle_of(env, values[0])) == NULL) return NULL;
  struct command command = {
      .type = COMMAND_DIAL, .id = number(env, values[1]), .flag = truth(env, values[4])};
  if (!endpoint(env, values[2], values[3], &command.target)) return throw_errno(env, EINVAL);
  if (!copy_bytes(env, values[5], &command)) return throw_errno(env, ENOMEM);
  return send_command(env, handle, &command);
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

/* --- to JavaScript --- */

static napi_value js_number(napi_env env, double value) {
  napi_value number_value;
  napi_create_double(env, value, &number_value);
  return number_value;
}

static napi_value js_bytes(napi_env env, const uint8_t *bytes, size_t length) {
  void *data;
  napi_value buffer, view;
  napi_create_arraybuffer(env, length, &data, &buffer);
  if (length > 0) memcpy(data, bytes, length);
  napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &view);
  return view;
}

/* [address, port], or undefined */
static napi_value js_endpoint(napi_env env, const struct sockaddr_storage *address) {
  char text[INET6_ADDRSTRLEN];
  napi_value pair, item;
  in_port_t port;
  if (address->ss_family == AF_INET) {
    const struct sockaddr_in *four = (const struct sockaddr_in *)address;
    inet_ntop(AF_INET, &four->sin_addr, text, sizeof text);
    port = four->sin_port;
  } else if (address->ss_family == AF_INET6) {
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
    inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text);
    port = six->sin6_port;
  } else {
    napi_get_undefined(env, &item);
    return item;
  }
  napi_create_array_with_length(env, 2, &pair);
  napi_create_string_latin1(env, text, NAPI_AUTO_LENGTH, &item);
  napi_set_element(env, pair, 0, item);
  napi_set_element(env, pair, 1, js_number(env, ntohs(port)));
  return pair;
}

static napi_value js_error_name(napi_env env, int error) {
  napi_value value;
  const char *name = error == 0 ? NULL : strerrorname_np(error);
  if (error == 0) napi_get_undefined(env, &value);
  else napi_create_string_latin1(env, name == NULL ? "EUNKNOWN" : name, NAPI_AUTO_LENGTH, &value);
  return value;
}

/* [type, id, ...]: what follows depends on the type, see src/native.ts. */
static napi_value js_event(napi_env env, const struct event *event) {
  napi_value list;
  uint32_t at = 0;
  napi_create_array(env, &list);
#define PUSH(value) napi_set_element(env, list, at++, (value))
  PUSH(js_number(env, event->type));
  PUSH(js_number(env, (double)event->id));
  napi_value flag;
  napi_get_boolean(env, event->flag, &flag);
  switch (event->type) {
    case EVENT_ACCEPTED:
      PUSH(js_number(env, event->role));
      PUSH(js_endpoint(env, &event->peer));
      PUSH(js_endpoint(env, &event->local));
      PUSH(js_endpoint(env, &event->original));
      PUSH(js_bytes(env, event->bytes, event->length));
      break;
    case EVENT_FRAME:
    case EVENT_NOT_FRAME:
      PUSH(js_number(env, event->side));
      PUSH(js_bytes(env, event->bytes, event->length));
      PUSH(flag);
      break;
    case EVENT_TOO_LARGE:
      PUSH(js_number(env, event->side));
      PUSH(js_number(env, event->announced));
      break;
    case EVENT_DIALLED:
      PUSH(js_error_name(env, event->number));
      PUSH(js_endpoint(env, &event->local));
      break;
    case EVENT_PREAMBLE:
      PUSH(flag);
      break;
    case EVENT_CLOSED:
      PUSH(js_number(env, event->number));
      PUSH(js_number(env, (double)event->bytes_in));
      PUSH(js_number(env, (double)event->bytes_out));
      break;
    case EVENT_STOPPED:
      break;
  }
#undef PUSH
  return list;
}

/* On the main thread: hands over all events that there are, in one call. */
static void deliver(napi_env env, napi_value callback, void *context, void *unused) {
  (void)unused;
  struct handle *handle = context;
  if (env == NULL || handle->path == NULL) return;
  struct event *event = data_path_take_events(handle->path);
  if (event == NULL) return;
  napi_value batch, undefined;
  napi_create_array(env, &batch);
  bool stopped = false;
  for (uint32_t at = 0; event != NULL; at++) {
    struct event *next = event->next;
    napi_set_element(env, batch, at, js_event(env, event));
    stopped |= event->type == EVENT_STOPPED;
    data_path_free_event(event);
    event = next;
  }
  if (stopped) {
    data_path_join(handle->path);
    handle->path = NULL;
  }
  napi_get_undefined(env, &undefined);
  if (napi_call_function(env, undefined, callback, 1, &batch, NULL) == napi_pending_exception) {
    /* Node.js would only warn (DEP0168), and the rest of the batch would be connections that nobody judges. */
    napi_value error;
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  if (stopped) napi_release_threadsafe_function(handle->deliver, napi_tsfn_release);
}

static void wake(void *context) {
  struct handle *handle = context;
  napi_call_threadsafe_function(handle->deliver, NULL, napi_tsfn_nonblocking);
}

static void forget(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  struct handle *handle = data;
  /* The process ends without close(): the thread goes with it, and what it uses has to stay until then. */
  if (handle->path == NULL) free(handle);
}

/* start(callback) -> handle */
static napi_value do_start(napi_env env, napi_callback_info info) {
  napi_value callback, name, external;
  if (!arguments(env, info, 1, &callback)) return NULL;
  struct handle *handle = calloc(1, sizeof *handle);
  if (handle == NULL) return throw_errno(env, ENOMEM);
  napi_create_string_latin1(env, "countersign data path", NAPI_AUTO_LENGTH, &name);
  if (napi_create_threadsafe_function(env, callback, NULL, name, 0, 1, NULL, NULL, handle, deliver,
                                      &handle->deliver) != napi_ok) {
    free(handle);
    return throw_errno(env, ENOMEM);
  }
  handle->path = data_path_start(wake, handle);
  if (handle->path == NULL) {
    int error = errno;
    napi_release_threadsafe_function(handle->deliver, napi_tsfn_abort);
    free(handle);
    return throw_errno(env, error);
  }
  napi_create_external(env, handle, forget, NULL, &external);
  return external;
}

static napi_value init(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {
      {.utf8name = "start", .method = do_start, .attributes = napi_enumerable},
      {.utf8name = "listen", .method = do_listen, .attributes = napi_enumerable},
      {.utf8name = "dial", .method = do_dial, .attributes = napi_enumerable},
      {.utf8name = "command", .method = do_command, .attributes = napi_enumerable},
      {.utf8name = "progress", .method = do_progress, .attributes = napi_enumerable},
  };
  napi_define_properties(env, exports, sizeof functions / sizeof functions[0], functions);
  return exports;
}

NAPI_MODULE(countersign, init)
