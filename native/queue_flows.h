/*
 * Connections of the queues, as far as passes have to know them: those that a pass has begun, and the ports on which TypeScript has one. What passes
 * did is written down here, and TypeScript takes it before it looks at anything else: for it everything has happened in that order.
 */
#ifndef COUNTERSIGN_QUEUE_FLOWS_H
#define COUNTERSIGN_QUEUE_FLOWS_H

#include "connection_limit.h"
#include "queue_packet.h"
#include "resumed_frames.h"

enum {
  /* A SYN that was answered by a pass and whose SYN-ACK has not come. */
  MOST_BEGUN = 4096,
  FLOW_BUCKETS = 16384,
};

/* A session that was offered: whoever answers by it is who this pass is about. */
struct answerer {
  uint64_t pass;
  uint8_t session_id[SESSION_ID_BYTES];
  struct mac_key server_key;
};

/* A connection between its SYN and its SYN-ACK. */
struct begun {
  uint64_t pass, revocations; /* by which pass; how often passes were taken back by then */
  int64_t since; /* us, CLOCK_MONOTONIC */
  bool calling;  /* this pod opened it, and waits for the Reply; else the Reply waits for the SYN-ACK */
  uint32_t device;
  uint16_t window, maximum_segment; /* of the SYN */
  uint8_t window_shift;
  struct answerer answerers[MOST_OFFERS]; /* of a caller */
  uint32_t answerer_count;
  uint8_t reply[REPLY_BYTES]; /* of who was called */
  size_t hello_length;
  uint8_t hello[];
};

/* What there is to tell of an established connection, kept back. */
struct untold {
  struct queue_flow *flow;
  struct untold *older, *newer;
  int64_t since; /* us: when it was established */
  size_t length;
  uint8_t record[];
};

struct queue_flow {
  struct flow_key key;
  struct limited_source *source;
  uint32_t initial;      /* sequence number of its SYN */
  bool outgoing;         /* this pod opened it */
  bool waiting;          /* TypeScript has its handshake: every SYN on these ports is its business */
  bool alone;            /* TypeScript knew nothing of these ports when a pass began it */
  struct begun *begun;   /* NULL, and the next one too: TypeScript has it */
  struct untold *untold; /* with `begun`: the connection before it on these ports */
  struct queue_flow *next, *older, *newer; /* in its bucket; among those that are begun */
};

/* What TypeScript is told, one record behind the other; src/nfqueue/pass-records.ts reads it. Numbers in the machine's byte order. */
struct pass_record {
  uint32_t total; /* with Hello and Reply and what fills up to eight bytes */
  uint8_t family, calling, established, window_shift;
  double pass, since_us, took_us;
  uint8_t own[16], other[16];
  uint16_t own_port, other_port;
  uint32_t initial, answer_initial, device; /* answer_initial: of the SYN-ACK */
  uint16_t window, maximum_segment, hello_length, reply_length;
  /* kept_back: nothing else is known of its ports; for connection_ends.h: whether it has ended, and whether its bytes are wanted if not */
  uint8_t kept_back, ended, counted, unused;
  double bytes_original, bytes_reply; /* as conntrack has counted them */
};

struct queue_flows {
  struct connection_limit *limit;
  struct queue_flow *buckets[FLOW_BUCKETS];
  uint64_t seed;
  struct queue_flow *oldest, *newest; /* begun */
  uint32_t begun_count;
  struct untold *oldest_untold, *newest_untold;
  uint32_t untold_count;
  size_t untold_bytes;
  uint8_t *records;
  size_t records_length, records_room;
};

/* @param limit is kept until flows_destroy */
bool flows_init(struct queue_flows *flows, struct connection_limit *limit);
void flows_destroy(struct queue_flows *flows);
struct queue_flow *flow_find(const struct queue_flows *flows, const struct flow_key *key);
/* Whether one more, whose ports nobody has, fits the bound of connections. */
bool flows_admit(struct queue_flows *flows, const struct flow_key *key, bool outgoing);
/* Counts one that was refused because of that. */
void flows_refused(struct queue_flows *flows, const struct flow_key *key, bool outgoing);
/* Its keys are gone, too. */
void begun_free(struct begun *begun);
/* Whether there is room for one more. */
bool flows_may_begin(const struct queue_flows *flows);
/* A pass has answered the SYN; takes `begun` over, and what was known of these ports goes. False without memory: nothing has changed. */
bool flow_begin(struct queue_flows *flows, const struct flow_key *key, uint32_t initial, struct begun *begun);
/*
 * Writes down what became of a connection that a pass has begun; it is TypeScript's from here on. One that is established and alone on its ports is
 * kept back: thousands a second end before anybody wants to know of them, and to tell of two moments of each costs more than all else. One that was kept
 * back on the same ports is over then, since our own kernel has taken the new one.
 */
void flow_tell(struct queue_flows *flows, struct queue_flow *flow, bool established, uint32_t answer_initial, int64_t now);
/* A connection that was kept back is TypeScript's from here on, and so is what a pass has begun on its ports. */
void flow_tell_kept_back(struct queue_flows *flows, struct queue_flow *flow);
/* The same for those that were established before that moment (us). */
void flows_tell_kept_back(struct queue_flows *flows, int64_t before);
/* Those that were begun before that moment (us) are TypeScript's from here on. */
void flows_hand_over(struct queue_flows *flows, int64_t before, int64_t now);
/* TypeScript has a connection on these ports. */
void flow_claim(struct queue_flows *flows, const struct flow_key *key, uint32_t initial, bool outgoing,
                bool waiting);
/* The connections of these records that have ended are forgotten. */
void flows_forget_ended(struct queue_flows *flows, const uint8_t *records, size_t length);
/* The connection with this SYN is over. Another one on the same ports stays. */
void flow_release(struct queue_flows *flows, const struct flow_key *key, uint32_t initial);

#endif
