/*
 * Asks the kernel which connections are over, many at once: of a connection that has ended this pod has no socket that could still send or get bytes,
 * and conntrack has no entry of it, or a closing one. Neither is believed alone (src/nfqueue/ended-flows.ts).
 */
#ifndef COUNTERSIGN_CONNECTION_ENDS_H
#define COUNTERSIGN_CONNECTION_ENDS_H

#include "netlink.h"
#include "queue_flows.h"

/*
 * Looks at the established connections among these records that were kept back and are not known to be over, and writes into each whether it has ended, with the bytes that
 * conntrack counted; of one that lives, too, where the record wants them. One about which the kernel says nothing clear has not. @param sockets of NETLINK_SOCK_DIAG @param conntrack of NETLINK_NETFILTER;
 * both are there for questions alone
 */
void connection_ends(struct netlink *sockets, struct netlink *conntrack, uint8_t *records, size_t length);

#endif
