/* The addon: what src/native.ts gets. Node-API glue is in the js_*.c files, one per concern. */
#include "js.h"

/* One line per file. */
static const struct js_exports *const FILES[] = {
    &js_start_exports,
    &js_listen_exports,
    &js_commands_exports,
    &js_resumption_exports,
    &js_netlink_exports,
    &js_queue_passes_exports,
    &js_limit_exports,
    &js_memory_exports,
    &js_capabilities_exports,
    &js_curves_exports,
};

static napi_value init(napi_env env, napi_value exports) {
  for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
    if (napi_define_properties(env, exports, FILES[i]->count, FILES[i]->functions) != napi_ok) return NULL;
  }
  return exports;
}

NAPI_MODULE(countersign, init)
