/* Passes of the queues for js_netlink.c, which receives their packets. */
#ifndef COUNTERSIGN_JS_QUEUE_PASSES_H
#define COUNTERSIGN_JS_QUEUE_PASSES_H

#include "js.h"
#include "netlink.h"

struct passing;

/* NULL, and an exception is pending, when it is no such thing. */
struct passing *passing_of(napi_env env, napi_value value);
/* Decides what was gathered, as far as passes foresee it. @returns what is left, as netlink_gather() does.
   @param news set when there is something for JavaScript to take @param error set when verdicts could not be handed to the kernel */
size_t passing_sift(struct passing *passing, struct netlink *netlink, bool *news, int *error);

#endif
