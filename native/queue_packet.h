/* Packets that wait in a queue, as far as passes know them: SYN and SYN-ACK as Linux writes them, every field at its fixed place. Everything else is
   only told apart by its connection. src/nfqueue/packets*.ts and src/netlink/queue.ts read and write the same. */
#ifndef COUNTERSIGN_QUEUE_PACKET_H
#define COUNTERSIGN_QUEUE_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A connection: the own end, then the other one. Filled up with zeros, so that it can be compared whole. */
struct flow_key {
  uint8_t own[16], other[16];
  uint8_t own_port[2], other_port[2];
  uint32_t family; /* 4 or 6 */
};

struct queued_packet {
  /* Of the message. */
  uint16_t queue;
  uint32_t id, mark, in_device, out_device;
  bool outgoing;
  /* From the IP header on; NULL when it is not there whole. */
  const uint8_t *bytes;
  size_t length;
  /* Of IPv4 without options and IPv6 without extension headers, with TCP, and no fragment; else `tcp` is NULL. */
  const uint8_t *tcp;
  struct flow_key key;
  uint32_t sequence, acknowledgement;
  /* A SYN without ACK and RST, and what it carries, whatever else is in it. */
  bool opening;
  const uint8_t *data;
  size_t data_length;
  /* SYN or SYN-ACK, with no other flag and the options of Linux; then what is below holds. */
  enum { OTHER_PACKET, OPENING, SYN_ACK } kind;
  const uint8_t *payload;
  size_t payload_length;
  uint16_t window, maximum_segment;
  uint8_t window_shift;
};

/* Bytes that the options of such a packet take of its maximum segment. */
enum { SYN_OPTIONS_BYTES = 20 };

/* A datagram from a queue. False unless it is exactly one message about a packet. */
bool packet_read(const uint8_t *datagram, size_t length, struct queued_packet *packet);
/* Whether the TCP checksum is right. */
bool packet_checksum_right(const struct queued_packet *packet);

/* Whether what a SYN carries begins as a preamble does. */
bool packet_has_magic(const struct queued_packet *packet);

/* Messages for the kernel, one behind the other. */
struct orders {
  uint8_t *bytes;
  size_t length, room;
};

/* What one packet adds at most: a mark, and a verdict with the longest packet. */
enum { ORDER_BYTES = 8 * 1024 };

/* Lets a packet go on with this mark and this payload in place of its own, lengths and checksums done. Wants ORDER_BYTES of room. */
void order_accept(struct orders *orders, const struct queued_packet *packet, uint32_t mark, const uint8_t *payload,
                  size_t payload_length);
/* Wants ORDER_BYTES of room. */
void order_drop(struct orders *orders, const struct queued_packet *packet);
void order_bytes(struct orders *orders, const uint8_t *bytes, size_t length);

#endif
