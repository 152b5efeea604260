/* Netlink sockets for other files that talk to the kernel for JavaScript. */
#ifndef COUNTERSIGN_JS_NETLINK_H
#define COUNTERSIGN_JS_NETLINK_H

#include "js.h"
#include "netlink.h"

/* NULL, and an exception is pending, when it is no such thing, is closed, or is listened to. */
struct netlink *netlink_of(napi_env env, napi_value value);

#endif
