/* Memory of the process that belongs to nobody in particular. */
#include "js.h"

#include <malloc.h>

static napi_value trim_memory(napi_env env, napi_callback_info info) {
  (void)env, (void)info;
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  return NULL;
}

static const napi_property_descriptor functions[] = {
    JS_FUNCTION("trimMemory", trim_memory),
};
const struct js_exports js_memory_exports = JS_EXPORTS(functions);
