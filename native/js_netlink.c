/* Netlink and raw sockets for JavaScript. */
#define _GNU_SOURCE
#include "event_loop.h"
#include "js.h"
#include "js_netlink.h"
#include "js_queue_passes.h"
#include "netlink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
  DATAGRAM_BYTES = 68 * 1024,
  TURN_US = 10 * 1000, /* then others on the event loop have their turn */
};

/* Tells the two kinds of handle from each other and from a data path's. */
static const napi_type_tag NETLINK_TAG = {0x6e65746c696e6b31, 0x636f756e74657273};
static const napi_type_tag RAW_TAG = {0x7261772d736f636b, 0x636f756e74657273};

struct netlink_handle {
  struct netlink *netlink; /* NULL once it is closed */
  napi_env env;
  uv_poll_t *poll;         /* NULL before it listens, and when it is closed */
  napi_ref callback, self; /* NULL likewise; who listens is kept, whether or not JavaScript has the handle */
  unsigned most;           /* datagrams that are received at once */
  struct passing *passing; /* decides packets before JavaScript does; NULL: nobody */
  napi_ref passing_kept;
};

struct raw_handle {
  struct raw_sockets sockets;
};

static struct netlink_handle *netlink_handle_of(napi_env env, napi_value value) {
  struct netlink_handle *handle = tagged(env, value, &NETLINK_TAG);
  if (handle == NULL || handle->netlink != NULL) return handle;
  napi_throw_error(env, "ECLOSED", "the netlink socket is closed");
  return NULL;
}

struct netlink *netlink_of(napi_env env, napi_value value) {
  struct netlink_handle *handle = netlink_handle_of(env, value);
  if (handle == NULL) return NULL;
  if (handle->callback == NULL) return handle->netlink;
  throw_errno(env, EALREADY);
  return NULL;
}

static bool bytes_of(napi_env env, napi_value value, uint8_t **bytes, size_t *length) {
  napi_typedarray_type type;
  void *data = NULL;
  if (napi_get_typedarray_info(env, value, &type, length, &data, NULL, NULL) == napi_ok && type == napi_uint8_array) {
    *bytes = data;
    return true;
  }
  napi_throw_type_error(env, NULL, "not a Uint8Array");
  return false;
}

static void free_poll(uv_poll_t *poll) { free(poll); }

/* The watcher first: nothing looks at a descriptor that is closed. */
static void close_netlink(struct netlink_handle *handle) {
  if (handle->poll != NULL) {
    uv_poll_stop(handle->poll);
    uv_close(handle->poll, free_poll);
    handle->poll = NULL;
  }
  if (handle->netlink != NULL) netlink_close(handle->netlink);
  handle->netlink = NULL;
}

/* Of a socket that listens only when the process ends: its callback holds it. */
static void forget_netlink(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  close_netlink(data);
  free(data);
}

/* netlinkOpen(protocol, groups, receiveBytes) -> handle */
static napi_value do_open(napi_env env, napi_callback_info info) {
  napi_value values[3];
  if (!arguments(env, info, 3, values)) return NULL;
  struct netlink_handle *handle = calloc(1, sizeof *handle);
  if (handle == NULL) return throw_errno(env, ENOMEM);
  handle->env = env;
  handle->most = NETLINK_BATCH;
  uint64_t receive_bytes = number(env, values[2]);
  if (receive_bytes > 256 * 1024 * 1024) receive_bytes = 256 * 1024 * 1024;
  handle->netlink =
      netlink_open((int)number(env, values[0]), (uint32_t)number(env, values[1]), (int)receive_bytes);
  if (handle->netlink == NULL) {
    int error = errno;
    free(handle);
    return throw_errno(env, error);
  }
  return tagged_external(env, handle, forget_netlink, &NETLINK_TAG);
}

/* netlinkSend(handle, bytes) */
static napi_value do_send(napi_env env, napi_callback_info info) {
  napi_value values[2];
  struct netlink_handle *handle;
  uint8_t *bytes;
  size_t length;
  if (!arguments(env, info, 2, values) || (handle = netlink_handle_of(env, values[0])) == NULL ||
      !bytes_of(env, values[1], &bytes, &length)) {
    return NULL;
  }
  int error = netlink_send(handle->netlink, bytes, length);
  return error == 0 ? NULL : throw_errno(env, error);
}

/* netlinkReceive(handle) -> bytes | undefined */
static napi_value do_receive(napi_env env, napi_callback_info info) {
  napi_value value;
  struct netlink_handle *handle;
  if (!arguments(env, info, 1, &value) || (handle = netlink_handle_of(env, value)) == NULL) return NULL;
  if (handle->callback != NULL) return throw_errno(env, EALREADY);
  static uint8_t scratch[DATAGRAM_BYTES]; /* the main thread alone comes here, and copies before it leaves */
  ssize_t got = netlink_receive(handle->netlink, scratch, sizeof scratch);
  if (got == -EAGAIN) return NULL;
  return got < 0 ? throw_errno(env, (int)-got) : js_bytes(env, scratch, (size_t)got);
}

/* netlinkReceiveAll(handle) -> bytes | undefined: answers are small and many, and a call for each costs more than they do. As many as there is room for behind each other. */
static napi_value do_receive_all(napi_env env, napi_callback_info info) {
  napi_value value;
  struct netlink_handle *handle;
  if (!arguments(env, info, 1, &value) || (handle = netlink_handle_of(env, value)) == NULL) return NULL;
  if (handle->callback != NULL) return throw_errno(env, EALREADY);
  static uint8_t scratch[2 * DATAGRAM_BYTES]; /* as above; the largest fits behind whatever is there */
  size_t length = 0;
  while (length <= DATAGRAM_BYTES) {
    ssize_t got = netlink_receive(handle->netlink, scratch + length, DATAGRAM_BYTES - 4);
    if (got == -EAGAIN) break;
    if (got < 0) return throw_errno(env, (int)-got);
    size_t filled = ((size_t)got + 3) & ~(size_t)3;
    memset(scratch + length + got, 0, filled - (size_t)got);
    length += filled;
  }
  return length == 0 ? NULL : js_bytes(env, scratch, length);
}

/* callback(bytes, lost, error) */
static void deliver(struct netlink_handle *handle, size_t length, uint64_t lost, int error) {
  napi_env env = handle->env;
  napi_value values[3], callback, global, buffer;
  void *data;
  /* The thread ends, and its event loop turns once more: nobody is there to hear it. */
  if (napi_create_arraybuffer(env, length, &data, &buffer) != napi_ok) return;
  napi_get_reference_value(env, handle->callback, &callback);
  napi_get_global(env, &global);
  netlink_gathered(handle->netlink, data);
  napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &values[0]);
  values[1] = js_number(env, (double)lost);
  values[2] = js_error_name(env, error);
  if (napi_make_callback(env, NULL, global, callback, 3, values, NULL) == napi_pending_exception) {
    napi_value thrown;
    napi_get_and_clear_last_exception(env, &thrown);
    napi_fatal_exception(env, thrown);
  }
}

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* A packet may cost JavaScript a microsecond or milliseconds, and what was received has to be worked off. So the next batch is as many as would have
   taken a turn, by what the last ones took. */
static unsigned next_batch(unsigned count, int64_t took) {
  int64_t fits = took <= 0 ? NETLINK_BATCH : (int64_t)count * TURN_US / took;
  return fits < 1 ? 1 : fits > NETLINK_BATCH ? NETLINK_BATCH : (unsigned)fits;
}

/* On the event loop. An overrun is an error of the socket, for which libuv ends the watch: it goes on unless receiving says that it cannot. */
static void on_readable(uv_poll_t *poll, int status, int events) {
  (void)events;
  struct netlink_handle *handle = uv_handle_get_data(poll);
  int error = 0;
  for (int64_t begun = now_us(), at = begun; error == 0 && at - begun < TURN_US;) {
    uint64_t lost;
    unsigned count;
    size_t length = netlink_gather(handle->netlink, handle->most, &count, &lost, &error);
    if (length == 0 && lost == 0 && error == 0) break;
    bool all = count < handle->most;
    int failed = error;
    if (handle->passing != NULL) {
      bool news = false;
      length = passing_sift(handle->passing, handle->netlink, &news, &failed);
      if (length == 0 && lost == 0 && failed == 0 && !news) {
        if (all) break;
        at = now_us();
        continue;
      }
    }
    napi_handle_scope scope;
    napi_open_handle_scope(handle->env, &scope);
    deliver(handle, length, lost, failed);
    napi_close_handle_scope(handle->env, scope);
    if (handle->poll == NULL) return; /* the callback has closed it */
    int64_t before = at;
    at = now_us();
    if (count > 0) handle->most = next_batch(count, at - before);
    if (all) break; /* what comes now is told by the event loop */
  }
  if (error != 0) uv_poll_stop(poll);
  else if (status < 0) uv_poll_start(poll, UV_READABLE, on_readable);
}

/* netlinkListen(handle, callback, passes of the queues | undefined) */
static napi_value do_listen(napi_env env, napi_callback_info info) {
  napi_value values[3];
  struct netlink_handle *handle;
  struct uv_loop_s *loop;
  struct passing *passing = NULL;
  if (!arguments(env, info, 3, values) || (handle = netlink_handle_of(env, values[0])) == NULL) return NULL;
  if (handle->callback != NULL) return throw_errno(env, EALREADY);
  napi_valuetype type, of_passing;
  if (napi_typeof(env, values[1], &type) != napi_ok || type != napi_function) {
    napi_throw_type_error(env, NULL, "not a function");
    return NULL;
  }
  napi_typeof(env, values[2], &of_passing);
  if (of_passing != napi_undefined && (passing = passing_of(env, values[2])) == NULL) return NULL;
  uv_poll_t *poll = malloc(uv_handle_size(UV_POLL));
  if (poll == NULL || napi_get_uv_event_loop(env, &loop) != napi_ok) {
    free(poll);
    return throw_errno(env, ENOMEM);
  }
  int error = uv_poll_init(loop, poll, netlink_descriptor(handle->netlink));
  if (error != 0) { /* nothing was begun that had to be closed */
    free(poll);
    return throw_errno(env, -error);
  }
  handle->poll = poll;
  uv_handle_set_data(poll, handle);
  napi_create_reference(env, values[0], 1, &handle->self);
  napi_create_reference(env, values[1], 1, &handle->callback);
  if (passing != NULL) napi_create_reference(env, values[2], 1, &handle->passing_kept);
  handle->passing = passing;
  uv_poll_start(poll, UV_READABLE, on_readable);
  return NULL;
}

/* netlinkClose(handle): no call of the callback comes afterwards. */
static napi_value do_close(napi_env env, napi_callback_info info) {
  napi_value value;
  struct netlink_handle *handle;
  if (!arguments(env, info, 1, &value) || (handle = tagged(env, value, &NETLINK_TAG)) == NULL) return NULL;
  close_netlink(handle);
  if (handle->callback != NULL) napi_delete_reference(env, handle->callback);
  if (handle->self != NULL) napi_delete_reference(env, handle->self);
  if (handle->passing_kept != NULL) napi_delete_reference(env, handle->passing_kept);
  handle->callback = handle->self = handle->passing_kept = NULL;
  handle->passing = NULL;
  return NULL;
}

static void forget_raw(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  struct raw_handle *handle = data;
  raw_close(&handle->sockets);
  free(handle);
}

/* rawOpen(mark) -> handle */
static napi_value do_raw_open(napi_env env, napi_callback_info info) {
  napi_value value;
  if (!arguments(env, info, 1, &value)) return NULL;
  struct raw_handle *handle = calloc(1, sizeof *handle);
  if (handle == NULL) return throw_errno(env, ENOMEM);
  int error = raw_open(&handle->sockets, (uint32_t)number(env, value));
  if (error != 0) {
    free(handle);
    return throw_errno(env, error);
  }
  return tagged_external(env, handle, forget_raw, &RAW_TAG);
}

/* rawSend(handle, destination, interface, bytes) */
static napi_value do_raw_send(napi_env env, napi_callback_info info) {
  napi_value values[4];
  struct raw_handle *handle;
  uint8_t *destination, *bytes;
  size_t address_bytes, length;
  if (!arguments(env, info, 4, values) || (handle = tagged(env, values[0], &RAW_TAG)) == NULL ||
      !bytes_of(env, values[1], &destination, &address_bytes) || !bytes_of(env, values[3], &bytes, &length)) {
    return NULL;
  }
  int error = raw_send(&handle->sockets, destination, address_bytes, (uint32_t)number(env, values[2]), bytes, length);
  return error == 0 ? NULL : throw_errno(env, error);
}

/* rawClose(handle) */
static napi_value do_raw_close(napi_env env, napi_callback_info info) {
  napi_value value;
  struct raw_handle *handle;
  if (!arguments(env, info, 1, &value) || (handle = tagged(env, value, &RAW_TAG)) == NULL) return NULL;
  raw_close(&handle->sockets);
  return NULL;
}

static const napi_property_descriptor functions[] = {
    JS_FUNCTION("netlinkOpen", do_open),     JS_FUNCTION("netlinkSend", do_send),
    JS_FUNCTION("netlinkReceive", do_receive), JS_FUNCTION("netlinkReceiveAll", do_receive_all),
    JS_FUNCTION("netlinkListen", do_listen),
    JS_FUNCTION("netlinkClose", do_close),   JS_FUNCTION("rawOpen", do_raw_open),
    JS_FUNCTION("rawSend", do_raw_send),     JS_FUNCTION("rawClose", do_raw_close),
};
const struct js_exports js_netlink_exports = JS_EXPORTS(functions);
