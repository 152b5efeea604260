/*
 * Resumed connections of NFQUEUE mode that go by a pass: SYN and SYN-ACK that are in every byte what a pass foresees get their verdict here, on the
 * event loop of the main thread and before JavaScript is called. Whatever differs is TypeScript's, with what a pass had begun of that connection.
 */
#ifndef COUNTERSIGN_QUEUE_PASSES_H
#define COUNTERSIGN_QUEUE_PASSES_H

#include "queue_flows.h"
#include "queue_gate.h"

enum { MOST_QUEUES = 64, MARK_ORDER_BYTES = 256, IN_JAVASCRIPT = 64 };

/* The order that marks a connection as verified, as src/netlink/conntrack.ts writes it, and where in it the connection stands. */
struct mark_order {
  uint8_t bytes[MARK_ORDER_BYTES];
  size_t length, source_at, destination_at, source_port_at, destination_port_at;
};

/* Bits of packets' marks (src/nfqueue/marks.ts). */
struct packet_marks {
  uint32_t mask, accepted, stream, stream_mask;
};

struct queue_passes {
  struct packet_marks marks;
  struct mark_order mark_order[2]; /* IPv4, IPv6 */
  struct queue_flows flows;
  struct queue_gate gate;
  /* Connections of which JavaScript gets a packet of this batch: those behind it are not decided before it. */
  struct flow_key in_javascript[IN_JAVASCRIPT];
  uint32_t in_javascript_count;
  struct {
    uint16_t queue;
    uint32_t last;
  } numbers[MOST_QUEUES];
  uint32_t queue_count;
  uint64_t missing; /* packets that the kernel numbered and did not hand over */
  uint8_t random[1024];
  size_t random_left;
};

struct queue_passes *queue_passes_open(const struct packet_marks *marks, const struct mark_order mark_order[2],
                                       struct connection_limit *limit);
void queue_passes_close(struct queue_passes *queues);
/* What was handed to JavaScript before has been decided by it. */
void queue_passes_batch(struct queue_passes *queues);
/* Decides the packet of a datagram by a pass, or drops it at the gate. False: it is JavaScript's. @param passes NULL: there are none */
bool queue_passes_take(struct queue_passes *queues, struct passes *passes, const uint8_t *datagram, size_t length,
                       struct orders *orders);
int64_t queue_passes_now(void);

#endif
