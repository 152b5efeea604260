/* JavaScript values to C ones, and back. */
#define _GNU_SOURCE
#include "js.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

/* Beyond it a double is no exact integer, and far beyond it none that a uint64_t holds. */
static const double MOST_EXACT = 9007199254740991.0;

napi_value throw_errno(napi_env env, int error) {
  const char *name = strerrorname_np(error);
  napi_throw_error(env, name == NULL ? "EUNKNOWN" : name, strerror(error));
  return NULL;
}

bool arguments(napi_env env, napi_callback_info info, size_t wanted, napi_value *values) {
  size_t count = wanted;
  if (napi_get_cb_info(env, info, &count, values, NULL, NULL) == napi_ok && count == wanted) return true;
  napi_throw_type_error(env, NULL, "wrong number of arguments");
  return false;
}

const napi_type_tag DATA_PATH_TAG = {0x646174612d706174, 0x636f756e74657273};

struct handle *handle_of(napi_env env, napi_value value) {
  void *data = NULL;
  bool fits = false;
  if (napi_check_object_type_tag(env, value, &DATA_PATH_TAG, &fits) != napi_ok || !fits ||
      napi_get_value_external(env, value, &data) != napi_ok || data == NULL) {
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

void *tagged(napi_env env, napi_value value, const napi_type_tag *tag) {
  bool fits = false;
  void *data = NULL;
  if (napi_check_object_type_tag(env, value, tag, &fits) == napi_ok && fits &&
      napi_get_value_external(env, value, &data) == napi_ok && data != NULL) {
    return data;
  }
  napi_throw_type_error(env, NULL, "not a handle of this kind");
  return NULL;
}

napi_value tagged_external(napi_env env, void *data, napi_finalize finalize, const napi_type_tag *tag) {
  napi_value external;
  if (napi_create_external(env, data, finalize, NULL, &external) == napi_ok &&
      napi_type_tag_object(env, external, tag) == napi_ok) {
    return external;
  }
  return throw_errno(env, ENOMEM);
}

uint64_t number(napi_env env, napi_value value) {
  double read = 0;
  napi_get_value_double(env, value, &read);
  if (!(read > 0)) return 0; /* not a number is neither */
  return read < MOST_EXACT ? (uint64_t)read : (uint64_t)MOST_EXACT;
}

bool truth(napi_env env, napi_value value) {
  bool read = false;
  napi_get_value_bool(env, value, &read);
  return read;
}

const uint8_t *view_bytes(napi_env env, napi_value value, size_t *length) {
  napi_typedarray_type type;
  void *data = NULL;
  *length = 0;
  if (napi_get_typedarray_info(env, value, &type, length, &data, NULL, NULL) != napi_ok || type != napi_uint8_array) {
    *length = 0;
    return NULL;
  }
  return data;
}

bool endpoint(napi_env env, napi_value address, napi_value port, struct sockaddr_storage *out) {
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

napi_value js_number(napi_env env, double value) {
  napi_value number_value;
  napi_create_double(env, value, &number_value);
  return number_value;
}

napi_value js_bytes(napi_env env, const uint8_t *bytes, size_t length) {
  void *data;
  napi_value buffer, view = NULL;
  /* The thread of JavaScript ends; somebody else may have said so at any moment. */
  if (napi_create_arraybuffer(env, length, &data, &buffer) != napi_ok) return NULL;
  if (length > 0) memcpy(data, bytes, length);
  napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &view);
  return view;
}

napi_value js_endpoint(napi_env env, const struct sockaddr_storage *address) {
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

napi_value js_error_name(napi_env env, int error) {
  napi_value value;
  const char *name = error == 0 ? NULL : strerrorname_np(error);
  if (error == 0) napi_get_undefined(env, &value);
  else napi_create_string_latin1(env, name == NULL ? "EUNKNOWN" : name, NAPI_AUTO_LENGTH, &value);
  return value;
}
