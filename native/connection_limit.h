/*
 * How many connections there may be at once, in all and from one source address: one count for those that the listeners accept (the data thread) and those
 * of the queues (the main thread), since they fill one memory.
 */
#ifndef COUNTERSIGN_CONNECTION_LIMIT_H
#define COUNTERSIGN_CONNECTION_LIMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct connection_limit;
/* An address that has connections here; lives as long as it has one. */
struct limited_source;

struct source_address {
  uint8_t bytes[16]; /* IPv4: four of them, then zeros */
  uint32_t family;   /* 4 or 6 */
};

enum limit_direction { LIMIT_INBOUND, LIMIT_OUTBOUND };
/* Why there is no room. */
enum limit_refusal { LIMIT_NONE, LIMIT_ALL, LIMIT_SOURCE };

struct limit_counts {
  uint32_t held;
  uint64_t refused[2][2]; /* by direction; [0] because of all, [1] because of the source's share */
  struct source_address fullest; /* who has most; family 0: nobody */
  uint32_t fullest_held;
};

/* Without a bound until one is set. NULL without memory. */
struct connection_limit *limit_create(void);
/* One more, or one less, who uses it; the last one frees it. */
struct connection_limit *limit_keep(struct connection_limit *limit);
void limit_drop(struct connection_limit *limit);

/* What is there already stays. @param most_accepted by listeners, each of which takes descriptors */
void limit_set(struct connection_limit *limit, uint32_t most, uint32_t most_of_source, uint32_t most_accepted);

struct source_address source_of_peer(const struct sockaddr_storage *peer);

/* Whether one more may come from there. Nothing is entered. */
bool limit_admits(struct connection_limit *limit, const struct source_address *address);
/* Counts one that was refused because of that. */
void limit_refused(struct connection_limit *limit, const struct source_address *address, enum limit_direction direction);
/* Enters one that is there, whatever the bound says. NULL without memory. */
struct limited_source *limit_enter(struct connection_limit *limit, const struct source_address *address);
/* One that a listener has accepted: NULL, and why, when there is no room for it. TypeScript counts it: it may be a probe. */
struct limited_source *limit_enter_accepted(struct connection_limit *limit, const struct source_address *address,
                                            enum limit_refusal *refusal);
void limit_leave(struct connection_limit *limit, struct limited_source *source);
void limit_leave_accepted(struct connection_limit *limit, struct limited_source *source);

struct limit_counts limit_counts(struct connection_limit *limit);

#endif
