/* Memory of the process that belongs to nobody in particular. */
#include "js.h"

#include <malloc.h>

enum { LARGE_BYTES = 128 * 1024 };

/*
 * boundMallocSlack(): large blocks are the kernel's again as soon as they are free, for good. malloc(3) begins like that, and raises its limit with every
 * large block that is freed (M_MMAP_THRESHOLD in mallopt(3)): what a start reads and compiles then lies in the heap among small blocks, and megabytes of free
 * memory stay with the process. Setting a limit ends the raising.
 */
static napi_value bound_malloc_slack(napi_env env, napi_callback_info info) {
  (void)env, (void)info;
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
  mallopt(M_TRIM_THRESHOLD, LARGE_BYTES);
#endif
  return NULL;
}

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
    JS_FUNCTION("boundMallocSlack", bound_malloc_slack),
    JS_FUNCTION("trimMemory", trim_memory),
    JS_FUNCTION("memoryInUse", memory_in_use),
};
const struct js_exports js_memory_exports = JS_EXPORTS(functions);
