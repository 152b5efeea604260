/* Events of the data thread as JavaScript values. */
#define _GNU_SOURCE
#include "js.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum { REPORT_FIELDS = 17 };

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
      PUSH(js_endpoint(env, &event->picked));
      PUSH(js_number(env, event->number));
      if (event->hello == NULL) break;
      PUSH(js_number(env, (double)event->pass));
      PUSH(js_bytes(env, event->hello, event->hello_length));
      PUSH(js_bytes(env, event->reply, event->reply_length));
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
      PUSH(flag);
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

napi_value js_reports(napi_env env, const struct report *reports, size_t count) {
  void *data = NULL;
  napi_value buffer, view = NULL;
  size_t length = count * REPORT_FIELDS * sizeof(double);
  /* The thread of JavaScript ends, and its connections with it. */
  if (napi_create_arraybuffer(env, length, &data, &buffer) != napi_ok) return NULL;
  double *fields = data;
  for (size_t i = 0; i < count; i++, fields += REPORT_FIELDS) {
    const struct report *report = &reports[i];
    const struct sockaddr_in *four = (const struct sockaddr_in *)&report->peer;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&report->peer;
    uint32_t words[4] = {0};
    if (report->peer.ss_family == AF_INET) memcpy(&words[3], &four->sin_addr, 4);
    if (report->peer.ss_family == AF_INET6) memcpy(words, &six->sin6_addr, 16);
    const double values[REPORT_FIELDS] = {
        (double)report->kind,
        (double)report->id,
        (double)report->pass,
        report->peer.ss_family == AF_INET ? 4 : report->peer.ss_family == AF_INET6 ? 6 : 0,
        ntohl(words[0]),
        ntohl(words[1]),
        ntohl(words[2]),
        ntohl(words[3]),
        report->peer.ss_family == AF_INET6 ? ntohs(six->sin6_port) : ntohs(four->sin_port),
        (double)report->accepted_us,
        (double)report->established_us,
        (double)report->closed_us,
        (double)report->cause,
        (double)report->bytes_in,
        (double)report->bytes_out,
        (double)report->syn_data,
        (double)report->syn_retransmits,
    };
    memcpy(fields, values, sizeof values);
  }
  napi_create_typedarray(env, napi_float64_array, count * REPORT_FIELDS, buffer, 0, &view);
  return view;
}
