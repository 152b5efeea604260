/* The relay: bytes from one side to the other, ends and resets included. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
  SPLICE_BYTES = 256 * 1024,
  /* Reads that filled their room before a direction changes to splice, which pays for bulk alone. */
  FULL_READS_BEFORE_SPLICE = 2,
  /* Bulk, too, has a short piece now and then; of these in a row it has ended. */
  SMALL_SPLICES_BEFORE_COPY = 4,
  /* What one direction may do before others get their turn. */
  TURNS = 16,
  /*
   * Beyond so many bytes in all that were read and cannot be written, directions read few at once: who has thousands of connections and reads nothing of
   * what he asked for shall not fill the memory. Bulk goes on through pipes, of which the system bounds what a user has.
   */
  MOST_RESTS = 8 * 1024 * 1024,
  FEW_BYTES = 2 * 1024,
};

enum moved { MOVED_ALL, MOVED_MORE, MOVED_RESET_FROM, MOVED_RESET_TO };

void keep_rest(struct data_path *path, struct direction *direction, const uint8_t *bytes, size_t length) {
  path->rests -= direction->rest.end;
  append(&direction->rest, bytes, length);
  path->rests += direction->rest.end;
}

void free_rest(struct data_path *path, struct direction *direction) {
  path->rests -= direction->rest.end;
  free_buffer(&direction->rest);
}

/* Brings out what the direction holds already. */
static enum moved push_held(struct data_path *path, struct direction *direction, struct end *to) {
  while (!is_empty(&direction->rest)) {
    if (!to->writable) return MOVED_ALL;
    ssize_t sent = send(to->fd, direction->rest.bytes + direction->rest.start,
                        direction->rest.end - direction->rest.start, MSG_NOSIGNAL);
    if (sent >= 0) {
      direction->rest.start += (size_t)sent;
    } else if (errno == EAGAIN) {
      await_room(path, to);
      return MOVED_ALL;
    } else if (errno != EINTR) {
      note_failure(to, errno);
      return MOVED_RESET_TO;
    }
  }
  free_rest(path, direction);
  while (direction->piped > 0) {
    if (!to->writable) return MOVED_ALL;
    /* No SPLICE_F_MORE: it would cork the tail. */
    ssize_t sent =
        splice(direction->pipe[0], NULL, to->fd, NULL, direction->piped, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (sent > 0) {
      direction->piped -= (uint32_t)sent;
    } else if (sent < 0 && errno == EAGAIN) {
      await_room(path, to);
      return MOVED_ALL;
    } else if (sent < 0 && errno != EINTR) {
      note_failure(to, errno);
      return MOVED_RESET_TO;
    }
  }
  return MOVED_MORE;
}

void count_bytes(struct direction *direction, size_t bytes) {
  __atomic_store_n(&direction->bytes, direction->bytes + bytes, __ATOMIC_RELAXED);
}

static enum moved move(struct data_path *path, struct connection *connection, enum side from_side) {
  struct direction *direction = &connection->direction[from_side];
  struct end *from = &connection->end[from_side], *to = &connection->end[1 - from_side];
  if (to->finished || !is_empty(&to->out)) return MOVED_ALL;
  for (int turn = 0; turn < TURNS; turn++) {
    enum moved held = push_held(path, direction, to);
    if (held != MOVED_MORE) return held;
    if (from->eof) {
      give_pipe(path, direction);
      /* Of one that both sides have ended settle() closes both sockets at once, which says the same. */
      if (!from->finished || from->failed || to->failed) shutdown(to->fd, SHUT_WR);
      to->finished = true;
      return MOVED_ALL;
    }
    if (!from->readable) {
      give_pipe(path, direction);
      return MOVED_ALL;
    }
    if (from_side == CLIENT && connection->guard && !pass_guard(path, connection)) return MOVED_ALL;

    ssize_t got;
    if (direction->full_reads >= FULL_READS_BEFORE_SPLICE && !from->urgent &&
        (direction->pipe[0] >= 0 || take_pipe(path, direction->pipe))) {
      /* The pipe is empty here: EAGAIN can only mean that the socket is. */
      got = splice(from->fd, NULL, direction->pipe[1], NULL, SPLICE_BYTES, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
      if (got > 0) {
        direction->piped = (uint32_t)got;
        count_bytes(direction, (size_t)got);
        to->spoken = false;
        if (got >= SCRATCH_BYTES / 4) direction->small_splices = 0;
        else if (++direction->small_splices >= SMALL_SPLICES_BEFORE_COPY) direction->full_reads = direction->small_splices = 0;
        continue;
      }
      /* In front of an urgent byte splice tells an end where none is, and the byte may be newer than the last event. */
      int at_urgent = 0;
      if (got == 0 && ioctl(from->fd, SIOCATMARK, &at_urgent) == 0 && at_urgent) {
        from->urgent = true;
        continue;
      }
    } else {
      ssize_t room = path->rests < MOST_RESTS ? SCRATCH_BYTES : FEW_BYTES;
      got = recv(from->fd, path->scratch, (size_t)room, 0);
      if (got > 0) {
        count_bytes(direction, (size_t)got);
        to->spoken = false;
        if (got == room) {
          if (direction->full_reads < FULL_READS_BEFORE_SPLICE) direction->full_reads++;
        } else {
          direction->full_reads = 0;
          /* A short read emptied the socket, or stopped at urgent data; an end that came is read in the next turn. */
          if (!from->peer_finished && !from->failed && !from->urgent) from->readable = false;
        }
        ssize_t sent = to->writable ? send(to->fd, path->scratch, (size_t)got, MSG_NOSIGNAL) : 0;
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
          note_failure(to, errno);
          return MOVED_RESET_TO;
        }
        if (sent < 0) {
          if (errno == EAGAIN) await_room(path, to);
          sent = 0;
        }
        if (sent < got) keep_rest(path, direction, path->scratch + sent, (size_t)(got - sent));
        continue;
      }
    }
    if (got == 0) {
      if (from->broken) return MOVED_RESET_FROM;
      from->eof = true;
    } else if (errno == EAGAIN) {
      from->readable = false;
    } else if (errno != EINTR) {
      note_failure(from, errno);
      return MOVED_RESET_FROM;
    }
  }
  return MOVED_MORE;
}

/* After a side has failed: what it sent before is passed on, then its failure is. */
static void settle(struct data_path *path, struct connection *connection) {
  for (int s = 0; s < 2; s++) {
    if (!connection->end[s].failed) continue;
    if (connection->end[1 - s].finished || connection->end[1 - s].failed) {
      close_connection(path, connection, s == CLIENT ? CAUSE_CLIENT_RESET : CAUSE_UPSTREAM_RESET);
    } else if (s == CLIENT || !connection->held) {
      linger(path, connection);
    }
    return;
  }
  if (connection->end[CLIENT].finished && connection->end[UPSTREAM].finished) {
    close_connection(path, connection, CAUSE_END);
  }
}

/* Does everything that can be done for a connection now. */
void run(struct data_path *path, struct connection *connection) {
  if (connection->closed) return;
  struct end *client = &connection->end[CLIENT], *upstream = &connection->end[UPSTREAM];
  if (client->fd >= 0) flush_out(path, client);
  if (upstream->fd >= 0 && !upstream->connecting) flush_out(path, upstream);
  if (connection->resuming != NULL) {
    continue_resumption(path, connection);
    if (connection->resuming != NULL) return;
  }
  if (connection->reading) try_read_frame(path, connection);
  if (connection->closed) return;

  if (!connection->relaying || upstream->fd < 0 || upstream->connecting) {
    if (client->failed) close_connection(path, connection, CAUSE_CLIENT_RESET);
    return;
  }
  for (int d = 0; d < 2; d++) {
    struct end *to = &connection->end[1 - d];
    if (to->failed || (d == UPSTREAM && connection->held)) continue;
    enum moved moved = move(path, connection, (enum side)d);
    if (!connection->relaying) return;
    if (moved == MOVED_RESET_FROM) {
      close_connection(path, connection, d == CLIENT ? CAUSE_CLIENT_RESET : CAUSE_UPSTREAM_RESET);
      return;
    }
    /* Who takes no more may have sent an answer first: the other direction brings it. */
    if (moved == MOVED_RESET_TO || moved == MOVED_MORE) run_later(path, connection);
  }
  /* Of a client whose handshake went by a pass nothing was to be heard before. */
  if (!client->watched && !watch(path, client)) {
    close_connection(path, connection, CAUSE_RESET);
    return;
  }
  settle(path, connection);
}

void run_later(struct data_path *path, struct connection *connection) {
  if (connection->queued || connection->closed) return;
  connection->queued = true;
  connection->next_queued = path->run_queue;
  path->run_queue = connection;
}

void run_queued(struct data_path *path) {
  struct connection *queue = path->run_queue;
  path->run_queue = NULL;
  while (queue != NULL) {
    struct connection *connection = queue;
    queue = connection->next_queued;
    connection->queued = false;
    run(path, connection);
  }
}
