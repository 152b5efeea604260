/* The part of libuv by which a descriptor is watched on Node.js' own event loop. Its ABI is stable within version 1, which every Node.js has, and
   exported by it; its header is not always installed, so what is used of it stands here (https://docs.libuv.org/en/v1.x/poll.html). */
#ifndef COUNTERSIGN_EVENT_LOOP_H
#define COUNTERSIGN_EVENT_LOOP_H

#include <stddef.h>

struct uv_loop_s;
/* Memory of uv_handle_size(UV_POLL) bytes. */
typedef struct uv_poll_s uv_poll_t;
typedef void (*uv_poll_cb)(uv_poll_t *poll, int status, int events);
typedef void (*uv_close_cb)(uv_poll_t *poll);

enum { UV_POLL = 8, UV_READABLE = 1 };

size_t uv_handle_size(int type);
int uv_poll_init(struct uv_loop_s *loop, uv_poll_t *poll, int descriptor);
int uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb callback);
int uv_poll_stop(uv_poll_t *poll);
void uv_close(uv_poll_t *poll, uv_close_cb closed);
void uv_handle_set_data(uv_poll_t *poll, void *data);
void *uv_handle_get_data(const uv_poll_t *poll);

#endif
