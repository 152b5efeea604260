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

/* memoryInUse() -> bytes that malloc has given out and not got back: mallinfo(3) */
static napi_value memory_in_use(napi_env env, napi_callback_info info) {
  (void)info;
  struct mallinfo2 all = mallinfo2();
  return js_number(env, (double)(all.uordblks + all.hblkhd));
}

static const napi_property_descriptor functions[] = {
    JS_FUNCTION("trimMemory", trim_memory),
    JS_FUNCTION("memoryInUse", memory_in_use),
};
const struct js_exports js_memory_exports = JS_EXPORTS(functions);
