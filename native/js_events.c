/* Events of the data thread as JavaScript values. */
#define _GNU_SOURCE
#include "js.h"

napi_value js_event(napi_env env, const struct event *event) {
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
      PUSH(js_number(env, event->syn_retransmits));
      PUSH(js_number(env, event->syn_data));
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
