/* A data path's beginning and end, and the delivery of its events. */
#define _GNU_SOURCE
#include "js.h"

#include <errno.h>
#include <stdlib.h>

/* Of one call of JavaScript, which does all that they lead to in one turn of the event loop: a crowd of strangers shall not hold it for seconds. */
enum { MOST_EVENTS = 128 };

static void end_with_env(void *data);

/* On the main thread: hands over the events that there are, in one call, and whether there are more. */
static void deliver(napi_env env, napi_value callback, void *context, void *unused) {
  (void)unused;
  struct handle *handle = context;
  if (env == NULL || handle->path == NULL) return;
  bool more;
  struct event *event = data_path_take_events(handle->path, MOST_EVENTS, &more);
  struct report *reports = NULL;
  size_t report_count = data_path_take_reports(handle->path, false, &reports);
  if (event == NULL && report_count == 0) return;
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
    napi_remove_env_cleanup_hook(env, end_with_env, handle);
    data_path_join(handle->path);
    handle->path = NULL;
  }
  napi_get_undefined(env, &undefined);
  napi_value arguments_of_batch[3] = {batch, undefined, undefined};
  if (report_count > 0) arguments_of_batch[1] = js_reports(env, reports, report_count);
  napi_get_boolean(env, more, &arguments_of_batch[2]);
  free(reports);
  if (napi_call_function(env, undefined, callback, 3, arguments_of_batch, NULL) == napi_pending_exception) {
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

/* deliver(handle): of the events that were left more are handed over in another turn of the event loop */
static napi_value do_deliver(napi_env env, napi_callback_info info) {
  napi_value value;
  struct handle *handle;
  if (arguments(env, info, 1, &value) && (handle = handle_of(env, value)) != NULL) wake(handle);
  return NULL;
}

/*
 * The thread of JavaScript ends without close(), as a worker does: what it would be told of is taken from the data thread before that can tell nobody any
 * more. Node.js calls this before it lets go of `deliver`, which was made earlier.
 */
static void end_with_env(void *data) {
  struct handle *handle = data;
  struct command stop = {.type = COMMAND_STOP};
  if (!data_path_command(handle->path, &stop)) abort(); /* no memory for so little; it would go on with what is freed */
  data_path_wake(handle->path);
  data_path_join(handle->path);
  handle->path = NULL;
  napi_release_threadsafe_function(handle->deliver, napi_tsfn_release);
}

static void forget(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  struct handle *handle = data;
  /* The process ends without that hook, by exit(): the thread goes with it, and what it uses has to stay until then. */
  if (handle->path != NULL) return;
  limit_drop(handle->limit);
  free(handle);
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
  handle->limit = limit_create();
  errno = ENOMEM;
  handle->path = handle->limit == NULL ? NULL : data_path_start(wake, handle, handle->limit);
  if (handle->path == NULL) {
    int error = errno;
    napi_release_threadsafe_function(handle->deliver, napi_tsfn_abort);
    if (handle->limit != NULL) limit_drop(handle->limit);
    free(handle);
    return throw_errno(env, error);
  }
  napi_add_env_cleanup_hook(env, end_with_env, handle);
  napi_create_external(env, handle, forget, NULL, &external);
  napi_type_tag_object(env, external, &DATA_PATH_TAG);
  return external;
}

static const napi_property_descriptor functions[] = {JS_FUNCTION("start", do_start), JS_FUNCTION("deliver", do_deliver)};
const struct js_exports js_start_exports = JS_EXPORTS(functions);
