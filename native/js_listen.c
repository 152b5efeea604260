/* Listeners: made on the main thread, so that errors have a caller to go to, and handed to the data thread. */
#define _GNU_SOURCE
#include "js.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

enum { TCP_FAST_OPEN_QUEUE = 256, BACKLOG = 4096 };

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
  data_path_prepare_listener(handle->path, fd);
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
  data_path_wake(handle->path);
  in_port_t port = six ? ((struct sockaddr_in6 *)&address)->sin6_port : ((struct sockaddr_in *)&address)->sin_port;
  napi_value pair, item;
  napi_create_array_with_length(env, 2, &pair);
  napi_create_double(env, (double)command.id, &item);
  napi_set_element(env, pair, 0, item);
  napi_create_uint32(env, ntohs(port), &item);
  napi_set_element(env, pair, 1, item);
  return pair;
}

/* tryTransparent(): throws the error with which this process may not dial from the addresses of others */
static napi_value do_try_transparent(napi_env env, napi_callback_info info) {
  if (!arguments(env, info, 0, NULL)) return NULL;
  int on = 1, error = 0;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof on) != 0) error = errno;
  if (fd >= 0) close(fd);
  return error == 0 ? NULL : throw_errno(env, error);
}

static const napi_property_descriptor functions[] = {
    JS_FUNCTION("listen", do_listen),
    JS_FUNCTION("tryTransparent", do_try_transparent),
};
const struct js_exports js_listen_exports = JS_EXPORTS(functions);
