/* Capabilities of the main thread; threads that start later begin with them. */
#include "capabilities.h"
#include "js.h"

/* capabilities() -> [effective, permitted], bits by number; those above 2^53 do not exist */
static napi_value get(napi_env env, napi_callback_info info) {
  (void)info;
  uint64_t effective, permitted;
  int error = capabilities_get(&effective, &permitted);
  if (error != 0) return throw_errno(env, error);
  napi_value both;
  napi_create_array(env, &both);
  napi_set_element(env, both, 0, js_number(env, (double)effective));
  napi_set_element(env, both, 1, js_number(env, (double)permitted));
  return both;
}

/* setCapabilities(effective, permitted) */
static napi_value set(napi_env env, napi_callback_info info) {
  napi_value values[2];
  if (!arguments(env, info, 2, values)) return NULL;
  int error = capabilities_set(number(env, values[0]), number(env, values[1]));
  return error == 0 ? NULL : throw_errno(env, error);
}

/* hideMemory() */
static napi_value hide_memory(napi_env env, napi_callback_info info) {
  (void)info;
  int error = process_hide_memory();
  return error == 0 ? NULL : throw_errno(env, error);
}

static const napi_property_descriptor functions[] = {
    JS_FUNCTION("capabilities", get),
    JS_FUNCTION("setCapabilities", set),
    JS_FUNCTION("hideMemory", hide_memory),
};
const struct js_exports js_capabilities_exports = JS_EXPORTS(functions);
