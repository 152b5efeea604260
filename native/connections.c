/* The names of connections, their beginning and their end. */
#define _GNU_SOURCE
#include "internal.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>

enum {
  SLOT_BITS = 20,
  /* How long bytes may take to arrive before the reset that follows them. */
  LINGER_MS = 1000,
  FIRST_LOOK_MS = 1,
  LONGEST_LOOK_MS = 64,
  /* Beyond so many nobody is waited for: who does not acknowledge shall not bind descriptors in numbers. */
  MOST_LINGERING = 4096,
};

void init_end(struct connection *connection, enum side side, int fd) {
  connection->end[side] = (struct end){.connection = connection, .fd = fd, .writable = true}; /* what there is to read epoll tells */
}

/* A connection with a name of its own; NULL when there are as many as can be named. */
struct connection *new_connection(struct data_path *path, int fd) {
  struct connection *connection = calloc(1, sizeof *connection);
  if (connection == NULL) return NULL;
  pthread_mutex_lock(&path->slots_lock);
  if (path->free_count == 0) {
    uint32_t grown = path->slot_count == 0 ? 256 : path->slot_count * 2;
    struct slot *slots = grown <= 1u << SLOT_BITS ? realloc(path->slots, grown * sizeof *slots) : NULL;
    if (slots != NULL) path->slots = slots;
    uint32_t *unused = slots == NULL ? NULL : realloc(path->free_slots, grown * sizeof *unused);
    if (unused == NULL) {
      pthread_mutex_unlock(&path->slots_lock);
      free(connection);
      return NULL;
    }
    path->free_slots = unused;
    for (uint32_t index = grown; index-- > path->slot_count;) {
      path->slots[index] = (struct slot){0};
      path->free_slots[path->free_count++] = index;
    }
    path->slot_count = grown;
  }
  uint32_t index = path->free_slots[--path->free_count];
  struct slot *slot = &path->slots[index];
  slot->connection = connection;
  /* 2^33 lives of a slot fit into the 53 bits that a JavaScript number counts exactly. */
  connection->id = ++slot->generation << SLOT_BITS | index;
  pthread_mutex_unlock(&path->slots_lock);
  init_end(connection, CLIENT, fd);
  init_end(connection, UPSTREAM, -1);
  for (int d = 0; d < 2; d++) connection->direction[d].pipe[0] = connection->direction[d].pipe[1] = -1;
  return connection;
}

struct connection *find(struct data_path *path, uint64_t id) {
  uint32_t index = (uint32_t)(id & ((1u << SLOT_BITS) - 1));
  if (index >= path->slot_count) return NULL;
  struct connection *connection = path->slots[index].connection;
  return connection != NULL && connection->id == id ? connection : NULL;
}

uint64_t tag_of(const struct end *end) {
  const struct connection *connection = end->connection;
  return connection->id << 1 | (end == &connection->end[UPSTREAM]);
}

struct end *find_end(struct data_path *path, uint64_t tag) {
  struct connection *connection = find(path, tag >> 1);
  return connection == NULL ? NULL : &connection->end[tag & 1];
}

void clear_directions(struct data_path *path, struct connection *connection) {
  for (int d = 0; d < 2; d++) {
    free_rest(path, &connection->direction[d]);
    give_pipe(path, &connection->direction[d]);
    connection->direction[d].full_reads = connection->direction[d].small_splices = 0;
  }
}

static void release_name(struct data_path *path, const struct connection *connection) {
  pthread_mutex_lock(&path->slots_lock);
  uint32_t index = (uint32_t)(connection->id & ((1u << SLOT_BITS) - 1));
  path->slots[index].connection = NULL;
  path->free_slots[path->free_count++] = index;
  pthread_mutex_unlock(&path->slots_lock);
}

static void bury(struct data_path *path, struct connection *connection) {
  release_name(path, connection); /* from here on epoll may tell of its sockets what it likes */
  connection->next_dead = path->dead; /* freed after the batch: events of it may still be in hand */
  path->dead = connection;
}

void bury_dead(struct data_path *path) {
  for (struct connection **link = &path->dead; *link != NULL;) {
    struct connection *connection = *link;
    if (connection->queued) {
      link = &connection->next_dead; /* still in the run queue: next time */
      continue;
    }
    *link = connection->next_dead;
    if (connection->source != NULL) limit_leave_accepted(path->limit, connection->source);
    free(connection);
  }
}

/* Whether bytes, or an end, are still on their way to this side's peer. */
static bool is_on_its_way(const struct end *end) {
  if (end->fd < 0 || !end->draining || end->failed) return false;
  int unacknowledged = 0;
  if (!is_empty(&end->out)) return true;
  if (ioctl(end->fd, SIOCOUTQ, &unacknowledged) != 0) return false;
  if (unacknowledged > 0) return true;
  /* Of a Fast Open connection whose handshake is not over the kernel says 0, whatever was sent. */
  struct tcp_info info;
  socklen_t length = sizeof info;
  return getsockopt(end->fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == TCP_SYN_RECV;
}

void linger(struct data_path *path, struct connection *connection) {
  if (connection->lingering) return;
  int64_t now = now_ms();
  connection->lingering = true;
  connection->patience = FIRST_LOOK_MS;
  connection->next_look = now + FIRST_LOOK_MS;
  connection->deadline = path->lingering_count < MOST_LINGERING ? now + LINGER_MS : now;
  connection->next_lingering = path->lingering;
  path->lingering = connection;
  path->lingering_count++;
  if (path->lingering_count == 1 || connection->next_look < path->tend_at) path->tend_at = connection->next_look;
}

/* What has still to arrive at a side before the reset does. A relayed byte that the brain cuts off has not. */
static bool shall_drain(const struct connection *connection, enum side side, enum close_cause cause) {
  const struct end *end = &connection->end[side];
  if (end->connecting || cause == CAUSE_END) return false;
  return cause == CAUSE_RESET ? end->spoken : cause == (side == CLIENT ? CAUSE_UPSTREAM_RESET : CAUSE_CLIENT_RESET);
}

void close_connection(struct data_path *path, struct connection *connection, enum close_cause cause) {
  if (connection->closed) return;
  if (connection->resuming != NULL) give_up_resumption(path, connection);
  if (connection->closed) return; /* nobody could have been told of it any more */
  __atomic_store_n(&connection->closed, true, __ATOMIC_RELAXED); /* before anybody hears of it: who then asks is told that it is gone */
  connection->relaying = connection->reading = false;
  clear_directions(path, connection);

  if (connection->pass != 0) {
    report_closed(path, connection, cause);
  } else {
    struct event *event = new_event(EVENT_CLOSED, connection);
    event->number = cause;
    event->bytes_in = connection->direction[CLIENT].bytes;
    event->bytes_out = connection->direction[UPSTREAM].bytes;
    emit(path, event);
  }

  bool waiting = false;
  for (int s = 0; s < 2; s++) {
    struct end *end = &connection->end[s];
    end->draining = shall_drain(connection, (enum side)s, cause);
    if (end->draining) flush_out(path, end);
    if (is_on_its_way(end)) waiting = true;
    else close_last(end, cause != CAUSE_END);
  }
  if (waiting) linger(path, connection);
  /* One that lingers already is buried by tend_lingering. */
  if (!connection->lingering) bury(path, connection);
}

/* Whether the connection lingers on. */
static bool tend(struct data_path *path, struct connection *connection, int64_t now) {
  bool over = path->stopping || now >= connection->deadline;
  if (!connection->closed) {
    bool client_failed = connection->end[CLIENT].failed;
    if (!client_failed && !connection->end[UPSTREAM].failed) return false; /* dialled again meanwhile */
    if (!over) return true;
    close_connection(path, connection, client_failed ? CAUSE_CLIENT_RESET : CAUSE_UPSTREAM_RESET);
  }
  bool waiting = false;
  for (int s = 0; s < 2; s++) {
    struct end *end = &connection->end[s];
    if (!over && is_on_its_way(end)) waiting = true;
    else close_last(end, true);
  }
  if (!waiting) bury(path, connection);
  return waiting;
}

void tend_lingering(struct data_path *path) {
  int64_t now = now_ms();
  if (now < path->tend_at && !path->stopping) return;
  path->tend_at = INT64_MAX;
  for (struct connection **link = &path->lingering; *link != NULL;) {
    struct connection *connection = *link;
    if (now >= connection->next_look || path->stopping) {
      /* Rarer from look to look: a peer that takes its time costs little. */
      if (connection->patience < LONGEST_LOOK_MS) connection->patience *= 2;
      connection->next_look = now + connection->patience;
      if (!tend(path, connection, now)) {
        *link = connection->next_lingering;
        connection->lingering = false;
        path->lingering_count--;
        continue;
      }
    }
    if (connection->next_look < path->tend_at) path->tend_at = connection->next_look;
    link = &connection->next_lingering;
  }
}
