/* Preamble frames: all that is known of the protocol here, and nothing behind the fixed header is looked at. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <string.h>

/* src/handshake/format.ts; the compliance suite holds the two together. */
static const uint8_t MAGIC[8] = {0x9c, 0x43, 0x54, 0x53, 0x47, 0x4e, 0x0d, 0x0a};
enum { LENGTH_OFFSET = 10 };

/* Looks at what a side has sent without taking it, until it is a whole frame or cannot become one. */
void try_read_frame(struct data_path *path, struct connection *connection) {
  enum side side = connection->reading_side;
  struct end *end = &connection->end[side];
  if (!connection->reading || (end->fd < 0 && !end->failed) || end->connecting) return;
  ssize_t got = 0;
  bool over = end->fd < 0;
  if (end->fd >= 0) {
    size_t want = connection->max_bytes < HEADER_BYTES ? HEADER_BYTES : connection->max_bytes;
    if (want > sizeof path->scratch) want = sizeof path->scratch; /* no frame is longer */
    got = recv(end->fd, path->scratch, want, MSG_PEEK);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
      got = 0;
    } else if (got <= 0) {
      over = true;
      if (got < 0) note_failure(end, errno);
      got = 0;
    }
  }
  size_t compared = (size_t)got < sizeof MAGIC ? (size_t)got : sizeof MAGIC;
  bool differs = memcmp(path->scratch, MAGIC, compared) != 0;
  size_t total = HEADER_BYTES;
  if (!differs && got >= HEADER_BYTES) {
    total += (size_t)path->scratch[LENGTH_OFFSET] << 8 | path->scratch[LENGTH_OFFSET + 1];
    if (total > connection->max_bytes) {
      connection->reading = false;
      struct event *event = new_event(EVENT_TOO_LARGE, connection);
      event->side = side;
      event->announced = (uint32_t)total;
      emit(path, event);
      return;
    }
    if ((size_t)got >= total) {
      ssize_t taken;
      do taken = recv(end->fd, path->scratch, total, 0);
      while (taken < 0 && errno == EINTR);
      if (taken != (ssize_t)total) { /* cannot be: it was there a moment ago, and nobody else reads */
        close_connection(path, connection, side == CLIENT ? CAUSE_CLIENT_RESET : CAUSE_UPSTREAM_RESET);
        return;
      }
      connection->reading = false;
      struct event *event = new_event(EVENT_FRAME, connection);
      event->side = side;
      set_bytes(event, path->scratch, total);
      emit(path, event);
      return;
    }
  }
  if (!differs && !over && !end->peer_finished && !end->failed) return; /* more may come */
  connection->reading = false;
  struct event *event = new_event(EVENT_NOT_FRAME, connection);
  event->side = side;
  event->flag = !differs;
  set_bytes(event, path->scratch, (size_t)got < HEADER_BYTES ? (size_t)got : HEADER_BYTES);
  emit(path, event);
}

bool pass_guard(struct data_path *path, struct connection *connection) {
  struct end *client = &connection->end[CLIENT];
  uint8_t first[sizeof MAGIC];
  ssize_t got = recv(client->fd, first, sizeof first, MSG_PEEK);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    client->readable = false;
    return false;
  }
  if (got < 0) note_failure(client, errno); /* told to this call alone, and not to the read that follows */
  if (got <= 0 || memcmp(first, MAGIC, (size_t)got) != 0) {
    connection->guard = false;
    return true;
  }
  if (got < (ssize_t)sizeof first) {
    if (client->peer_finished || client->failed) {
      connection->guard = false;
      return true;
    }
    client->readable = false;
    return false;
  }
  connection->relaying = false;
  struct event *event = new_event(EVENT_PREAMBLE, connection);
  event->flag = connection->direction[UPSTREAM].bytes > 0;
  emit(path, event);
  return false;
}
