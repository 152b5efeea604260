/* Netlink and raw sockets: moves bytes, knows nothing of what is in them. src/netlink/ writes and reads the messages. */
#ifndef COUNTERSIGN_NETLINK_H
#define COUNTERSIGN_NETLINK_H

#include "data_path.h"

struct netlink;

/* A socket of a netlink protocol; `groups` are the multicast groups to join as bits. NULL with errno set. */
struct netlink *netlink_open(int protocol, uint32_t groups, int receive_bytes);
/* Hands messages to the kernel, which has worked them all off on return. 0 or an errno. */
int netlink_send(struct netlink *netlink, const uint8_t *bytes, size_t length);
/* One datagram that is there already. @returns its length, or -errno; EAGAIN: there is none. */
ssize_t netlink_receive(struct netlink *netlink, uint8_t *bytes, size_t room);
/* For watching it: readable when something is there. */
int netlink_descriptor(const struct netlink *netlink);
enum { NETLINK_BATCH = 32 };
/* Receives what is there, `most` datagrams and no more than a batch. @returns how much room it takes: datagrams one behind the other, each filled up
   to four bytes; 0 when there is nothing. *gathered: how many. *lost: overruns and cut datagrams. *error: why nothing will ever come again, or 0. */
size_t netlink_gather(struct netlink *netlink, unsigned most, unsigned *count, uint64_t *lost, int *error);
/* Leaves out of what was gathered last every datagram that `take` has dealt with. @returns as netlink_gather() */
size_t netlink_sift(struct netlink *netlink, bool (*take)(void *context, const uint8_t *bytes, size_t length),
                    void *context);
/* Copies what the last netlink_gather() has received. */
void netlink_gathered(const struct netlink *netlink, uint8_t *into);
void netlink_close(struct netlink *netlink);

/* Sockets that send whole IP packets, with this mark on each. 0 or an errno. */
struct raw_sockets {
  int four, six;
};
int raw_open(struct raw_sockets *raw, uint32_t mark);
int raw_send(const struct raw_sockets *raw, const uint8_t *destination, size_t address_bytes, uint32_t interface,
             const uint8_t *bytes, size_t length);
void raw_close(struct raw_sockets *raw);

#endif
