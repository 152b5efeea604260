#define _GNU_SOURCE
#include "data_path.h"

#include <errno.h>
#include <fcntl.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <time.h>
#include <unistd.h>

/* linux/netfilter_ipv4.h and ip6_tables.h: they cannot be included beside the C library's. */
#define SO_ORIGINAL_DST 80
#ifndef IP6T_SO_ORIGINAL_DST
#define IP6T_SO_ORIGINAL_DST 80
#endif

/* The fixed header of a preamble frame: src/handshake/format.ts. Nothing behind it is looked at here. */
static const uint8_t MAGIC[8] = {0x9c, 0x43, 0x54, 0x53, 0x47, 0x4e, 0x0d, 0x0a};
enum { HEADER_BYTES = 12, LENGTH_OFFSET = 10 };

enum {
  SCRATCH_BYTES = 64 * 1024,
  PIPE_BYTES = 256 * 1024,
  POOLED_PIPES = 64,
  /* Reads that filled the scratch before a direction changes to splice, which pays for bulk alone. */
  FULL_READS_BEFORE_SPLICE = 2,
  /* What one direction may do before others get their turn. */
  TURNS = 16,
  ACCEPTS = 64,
  EVENTS = 256,
  LISTENERS = 16,
  /* How long the last words of the brain may take to arrive before the reset. */
  LAST_WORDS_MS = 1000,
  LAST_WORDS_POLL_MS = 2,
};

struct connection;

struct buffer {
  uint8_t *bytes;
  uint32_t start, end;
};

struct end {
  struct connection *connection;
  int fd;
  bool connecting, readable, writable, peer_finished, failed;
  bool eof;      /* the peer's end was read */
  bool finished; /* we have sent our end */
  bool spoken;   /* the brain has sent bytes of its own here */
  struct buffer out; /* the brain's bytes that did not fit yet; before anything relayed */
};

/* One direction of the relay: what was read from end[d] and is not yet written to the other. */
struct direction {
  struct buffer rest;
  int pipe[2]; /* -1: none; held only while bytes are in it, or bulk flows */
  uint32_t piped;
  uint8_t full_reads;
  uint64_t bytes;
};

struct connection {
  uint64_t id;
  struct end end[2];
  struct direction direction[2];
  bool relaying, guard, held;
  bool reading;
  enum side reading_side;
  uint32_t max_bytes;
  bool closed;
  bool queued; /* in the run queue */
  int64_t last_words_until; /* not 0: reset as soon as the bytes on the way have arrived, or then */
  struct connection *next_queued, *next_dead, *next_dying;
};

struct listener {
  struct end end; /* connection NULL: tells it from a connection's end */
  uint64_t id;
  int role;
};

struct slot {
  struct connection *connection;
  uint64_t generation;
};

enum { SLOT_BITS = 20 };

struct data_path {
  pthread_t thread;
  int epoll, wakeup, reserve;
  wake_function wake;
  void *context;

  pthread_mutex_t commands_lock;
  struct command *commands, *working;
  size_t command_count, command_capacity, working_capacity;

  pthread_mutex_t events_lock;
  struct event *first_event, **last_event;

  /* Held by the thread when it adds and removes, by others when they look. */
  pthread_mutex_t slots_lock;
  struct slot *slots;
  uint32_t slot_count;
  uint32_t *free_slots;
  uint32_t free_count;

  struct listener listeners[LISTENERS];
  struct connection *run_queue, *dead, *dying;
  int pipes[POOLED_PIPES][2];
  int pipe_count;
  bool stopping;
  uint8_t scratch[SCRATCH_BYTES];
};

static int64_t now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* --- events --- */

static void emit(struct data_path *path, struct event *event) {
  event->next = NULL;
  pthread_mutex_lock(&path->events_lock);
  bool first = path->first_event == NULL;
  *path->last_event = event;
  path->last_event = &event->next;
  pthread_mutex_unlock(&path->events_lock);
  if (first) path->wake(path->context);
}

static struct event *new_event(enum event_type type, const struct connection *connection) {
  struct event *event = calloc(1, sizeof *event);
  if (event == NULL) abort(); /* a lost event would leave a connection that nobody judges */
  event->type = type;
  event->id = connection == NULL ? 0 : connection->id;
  return event;
}

static void set_bytes(struct event *event, const uint8_t *bytes, size_t length) {
  if (length == 0) return;
  event->bytes = malloc(length);
  if (event->bytes == NULL) abort();
  memcpy(event->bytes, bytes, length);
  event->length = length;
}

struct event *data_path_take_events(struct data_path *path) {
  pthread_mutex_lock(&path->events_lock);
  struct event *first = path->first_event;
  path->first_event = NULL;
  path->last_event = &path->first_event;
  pthread_mutex_unlock(&path->events_lock);
  return first;
}

void data_path_free_event(struct event *event) {
  free(event->bytes);
  free(event);
}

/* --- small things --- */

static void free_buffer(struct buffer *buffer) {
  free(buffer->bytes);
  memset(buffer, 0, sizeof *buffer);
}

static bool is_empty(const struct buffer *buffer) { return buffer->start == buffer->end; }

static void append(struct buffer *buffer, const uint8_t *bytes, size_t length) {
  if (length == 0) return;
  size_t kept = buffer->end - buffer->start;
  uint8_t *joined = malloc(kept + length);
  if (joined == NULL) abort();
  if (kept > 0) memcpy(joined, buffer->bytes + buffer->start, kept);
  memcpy(joined + kept, bytes, length);
  free(buffer->bytes);
  *buffer = (struct buffer){.bytes = joined, .start = 0, .end = (uint32_t)(kept + length)};
}

static void run_later(struct data_path *path, struct connection *connection) {
  if (connection->queued || connection->closed) return;
  connection->queued = true;
  connection->next_queued = path->run_queue;
  path->run_queue = connection;
}

static bool take_pipe(struct data_path *path, int pipe_out[2]) {
  if (path->pipe_count > 0) {
    path->pipe_count--;
    pipe_out[0] = path->pipes[path->pipe_count][0];
    pipe_out[1] = path->pipes[path->pipe_count][1];
    return true;
  }
  if (pipe2(pipe_out, O_NONBLOCK | O_CLOEXEC) != 0) {
    pipe_out[0] = pipe_out[1] = -1;
    return false;
  }
  fcntl(pipe_out[1], F_SETPIPE_SZ, PIPE_BYTES); /* as large as the user's limit allows; smaller works, too */
  return true;
}

static void give_pipe(struct data_path *path, struct direction *direction) {
  if (direction->pipe[0] < 0) return;
  if (direction->piped == 0 && path->pipe_count < POOLED_PIPES) {
    path->pipes[path->pipe_count][0] = direction->pipe[0];
    path->pipes[path->pipe_count][1] = direction->pipe[1];
    path->pipe_count++;
  } else {
    close(direction->pipe[0]);
    close(direction->pipe[1]);
  }
  direction->pipe[0] = direction->pipe[1] = -1;
  direction->piped = 0;
}

static void close_end(struct end *end, bool reset) {
  if (end->fd < 0) return;
  if (reset) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  }
  close(end->fd); /* not shared with anybody: epoll forgets it */
  end->fd = -1;
  free_buffer(&end->out);
}

static void clear_directions(struct data_path *path, struct connection *connection) {
  for (int d = 0; d < 2; d++) {
    free_buffer(&connection->direction[d].rest);
    give_pipe(path, &connection->direction[d]);
    connection->direction[d].full_reads = 0;
  }
}

/* --- the end of a connection --- */

static void bury(struct data_path *path, struct connection *connection) {
  connection->next_dead = path->dead; /* freed after the batch: events of it may still be in hand */
  path->dead = connection;
}

/* Whether the brain's bytes on this end are still on their way. */
static bool has_last_words(const struct end *end) {
  if (end->fd < 0 || !end->spoken || end->connecting || end->failed) return false;
  int unsent = 0;
  return !is_empty(&end->out) || (ioctl(end->fd, SIOCOUTQ, &unsent) == 0 && unsent > 0);
}

static void flush_out(struct end *end);

static void finish_dying(struct data_path *path, struct connection *connection) {
  close_end(&connection->end[CLIENT], true);
  close_end(&connection->end[UPSTREAM], true);
  bury(path, connection);
}

static void close_connection(struct data_path *path, struct connection *connection, enum close_cause cause) {
  if (connection->closed) return;
  connection->closed = true;
  connection->relaying = connection->reading = false;
  clear_directions(path, connection);

  pthread_mutex_lock(&path->slots_lock);
  uint32_t index = (uint32_t)(connection->id & ((1u << SLOT_BITS) - 1));
  path->slots[index].connection = NULL;
  path->free_slots[path->free_count++] = index;
  pthread_mutex_unlock(&path->slots_lock);

  struct event *event = new_event(EVENT_CLOSED, connection);
  event->number = cause;
  event->bytes_in = connection->direction[CLIENT].bytes;
  event->bytes_out = connection->direction[UPSTREAM].bytes;
  emit(path, event);

  bool dying = false;
  for (int s = 0; s < 2; s++) {
    struct end *end = &connection->end[s];
    if (cause == CAUSE_RESET && has_last_words(end)) {
      flush_out(end);
      dying = true;
    } else {
      close_end(end, cause != CAUSE_END);
    }
  }
  if (dying) {
    connection->last_words_until = now_ms() + LAST_WORDS_MS;
    connection->next_dying = path->dying;
    path->dying = connection;
  } else {
    bury(path, connection);
  }
}

static void tend_dying(struct data_path *path) {
  int64_t now = now_ms();
  for (struct connection **link = &path->dying; *link != NULL;) {
    struct connection *connection = *link;
    bool waiting = false;
    for (int s = 0; s < 2; s++) {
      struct end *end = &connection->end[s];
      if (!has_last_words(end)) close_end(end, true);
      else waiting = true;
    }
    if (waiting && now < connection->last_words_until && !path->stopping) {
      link = &connection->next_dying;
    } else {
      *link = connection->next_dying;
      finish_dying(path, connection);
    }
  }
}

/* --- writing and reading --- */

static void flush_out(struct end *end) {
  while (!is_empty(&end->out) && end->writable) {
    ssize_t sent = send(end->fd, end->out.bytes + end->out.start, end->out.end - end->out.start, MSG_NOSIGNAL);
    if (sent >= 0) {
      end->out.start += (uint32_t)sent;
    } else if (errno == EAGAIN || errno == EINPROGRESS || errno == ENOTCONN) {
      end->writable = false;
    } else if (errno != EINTR) {
      end->failed = true;
      break;
    }
  }
  if (is_empty(&end->out)) free_buffer(&end->out);
}

/* Looks at what a side has sent without taking it, until it is a whole frame or cannot become one. */
static void try_read_frame(struct data_path *path, struct connection *connection) {
  enum side side = connection->reading_side;
  struct end *end = &connection->end[side];
  if (!connection->reading || (end->fd < 0 && !end->failed) || end->connecting) return;
  ssize_t got = 0;
  bool over = end->fd < 0;
  if (end->fd >= 0) {
    size_t want = connection->max_bytes < HEADER_BYTES ? HEADER_BYTES : connection->max_bytes;
    if (want > sizeof path->scratch) want = sizeof path->scratch;
    got = recv(end->fd, path->scratch, want, MSG_PEEK);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
      got = 0;
    } else if (got <= 0) {
      over = true;
      if (got < 0) end->failed = true;
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
      ssize_t taken = recv(end->fd, path->scratch, total, 0);
      if (taken != (ssize_t)total) abort(); /* it was there a moment ago, and nobody else reads */
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

/* Whether the client's first bytes may be forwarded. */
static bool pass_guard(struct data_path *path, struct connection *connection) {
  struct end *client = &connection->end[CLIENT];
  uint8_t first[sizeof MAGIC];
  ssize_t got = recv(client->fd, first, sizeof first, MSG_PEEK);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    client->readable = false;
    return false;
  }
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

enum moved { MOVED_ALL, MOVED_MORE, MOVED_RESET_FROM, MOVED_RESET_TO };

/* Brings out what the direction holds already. */
static enum moved push_held(struct direction *direction, struct end *to) {
  while (!is_empty(&direction->rest)) {
    if (!to->writable) return MOVED_ALL;
    ssize_t sent = send(to->fd, direction->rest.bytes + direction->rest.start,
                        direction->rest.end - direction->rest.start, MSG_NOSIGNAL);
    if (sent >= 0) {
      direction->rest.start += (uint32_t)sent;
    } else if (errno == EAGAIN) {
      to->writable = false;
      return MOVED_ALL;
    } else if (errno != EINTR) {
      return MOVED_RESET_TO;
    }
  }
  free_buffer(&direction->rest);
  while (direction->piped > 0) {
    if (!to->writable) return MOVED_ALL;
    /* No SPLICE_F_MORE: it would cork the tail. */
    ssize_t sent =
        splice(direction->pipe[0], NULL, to->fd, NULL, direction->piped, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (sent > 0) {
      direction->piped -= (uint32_t)sent;
    } else if (sent < 0 && errno == EAGAIN) {
      to->writable = false;
      return MOVED_ALL;
    } else if (sent < 0 && errno != EINTR) {
      return MOVED_RESET_TO;
    }
  }
  return MOVED_MORE;
}

static void count(struct direction *direction, ssize_t bytes) {
  __atomic_store_n(&direction->bytes, direction->bytes + (uint64_t)bytes, __ATOMIC_RELAXED);
}

static enum moved move(struct data_path *path, struct connection *connection, enum side from_side) {
  struct direction *direction = &connection->direction[from_side];
  struct end *from = &connection->end[from_side], *to = &connection->end[1 - from_side];
  if (to->finished || !is_empty(&to->out)) return MOVED_ALL;
  for (int turn = 0; turn < TURNS; turn++) {
    enum moved held = push_held(direction, to);
    if (held != MOVED_MORE) return held;
    if (from->eof) {
      give_pipe(path, direction);
      shutdown(to->fd, SHUT_WR);
      to->finished = true;
      return MOVED_ALL;
    }
    if (!from->readable) {
      give_pipe(path, direction);
      return MOVED_ALL;
    }
    if (from_side == CLIENT && connection->guard && !pass_guard(path, connection)) return MOVED_ALL;

    ssize_t got;
    if (direction->full_reads >= FULL_READS_BEFORE_SPLICE &&
        (direction->pipe[0] >= 0 || take_pipe(path, direction->pipe))) {
      /* The pipe is empty here: EAGAIN can only mean that the socket is. */
      got = splice(from->fd, NULL, direction->pipe[1], NULL, PIPE_BYTES, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
      if (got > 0) {
        direction->piped = (uint32_t)got;
        count(direction, got);
        if (got < SCRATCH_BYTES / 4) direction->full_reads = 0; /* no bulk any more */
        continue;
      }
    } else {
      got = recv(from->fd, path->scratch, sizeof path->scratch, 0);
      if (got > 0) {
        count(direction, got);
        if (got == (ssize_t)sizeof path->scratch) {
          if (direction->full_reads < FULL_READS_BEFORE_SPLICE) direction->full_reads++;
        } else {
          direction->full_reads = 0;
          /* A short read emptied the socket; its end, if it came, is read in the next turn. */
          if (!from->peer_finished && !from->failed) from->readable = false;
        }
        ssize_t sent = to->writable ? send(to->fd, path->scratch, (size_t)got, MSG_NOSIGNAL) : 0;
        if (sent < 0 && errno != EAGAIN && errno != EINTR) return MOVED_RESET_TO;
        if (sent < 0) {
          if (errno == EAGAIN) to->writable = false;
          sent = 0;
        }
        if (sent < got) append(&direction->rest, path->scratch + sent, (size_t)(got - sent));
        continue;
      }
    }
    if (got == 0) {
      from->eof = true;
    } else if (errno == EAGAIN) {
      from->readable = false;
    } else if (errno != EINTR) {
      return MOVED_RESET_FROM;
    }
  }
  return MOVED_MORE;
}

/* Does everything that can be done for a connection now. */
static void run(struct data_path *path, struct connection *connection) {
  if (connection->closed) return;
  for (int s = 0; s < 2; s++) {
    struct end *end = &connection->end[s];
    if (end->fd >= 0 && !end->connecting) flush_out(end);
  }
  if (connection->reading) try_read_frame(path, connection);

  struct end *client = &connection->end[CLIENT], *upstream = &connection->end[UPSTREAM];
  if (!connection->relaying) {
    if (client->failed) close_connection(path, connection, CAUSE_CLIENT_RESET);
    return;
  }
  if (upstream->fd < 0) {
    if (upstream->failed) close_connection(path, connection, CAUSE_UPSTREAM_RESET);
    return;
  }
  if (upstream->connecting) {
    if (client->failed) close_connection(path, connection, CAUSE_CLIENT_RESET);
    return;
  }
  for (int d = 0; d < 2; d++) {
    if (d == UPSTREAM && connection->held) continue;
    enum moved moved = move(path, connection, (enum side)d);
    if (!connection->relaying) return;
    bool from_client = (d == CLIENT) == (moved == MOVED_RESET_FROM);
    if (moved == MOVED_RESET_FROM || moved == MOVED_RESET_TO) {
      close_connection(path, connection, from_client ? CAUSE_CLIENT_RESET : CAUSE_UPSTREAM_RESET);
      return;
    }
    if (moved == MOVED_MORE) run_later(path, connection);
  }
  /* A reset behind an end that was read already meets no read any more. */
  for (int e = 0; e < 2; e++) {
    if (connection->end[e].failed && connection->end[e].eof) {
      close_connection(path, connection, e == CLIENT ? CAUSE_CLIENT_RESET : CAUSE_UPSTREAM_RESET);
      return;
    }
  }
  if (client->finished && upstream->finished) close_connection(path, connection, CAUSE_END);
}

/* --- accepting and dialling --- */

static bool watch(struct data_path *path, struct end *end) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = end};
  return epoll_ctl(path->epoll, EPOLL_CTL_ADD, end->fd, &event) == 0;
}

static void set_socket_options(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on); /* a peer that vanished ends some day */
}

static void init_end(struct connection *connection, enum side side, int fd) {
  connection->end[side] = (struct end){.connection = connection, .fd = fd, .readable = true, .writable = true};
}

/* A connection with a name of its own; NULL when there are as many as can be named. */
static struct connection *new_connection(struct data_path *path, int fd) {
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

static struct connection *find(struct data_path *path, uint64_t id) {
  uint32_t index = (uint32_t)(id & ((1u << SLOT_BITS) - 1));
  if (index >= path->slot_count) return NULL;
  struct connection *connection = path->slots[index].connection;
  return connection != NULL && connection->id == id ? connection : NULL;
}

static void refuse(int fd) {
  struct linger linger = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  close(fd);
}

static void report_accepted(struct data_path *path, struct connection *connection, int role) {
  int fd = connection->end[CLIENT].fd;
  struct event *event = new_event(EVENT_ACCEPTED, connection);
  event->role = role;
  socklen_t length = sizeof event->peer;
  if (getpeername(fd, (struct sockaddr *)&event->peer, &length) != 0) event->peer.ss_family = 0;
  length = sizeof event->local;
  getsockname(fd, (struct sockaddr *)&event->local, &length);
  length = sizeof event->original;
  bool six = event->local.ss_family == AF_INET6;
  if (getsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IP6T_SO_ORIGINAL_DST : SO_ORIGINAL_DST,
                 &event->original, &length) != 0) {
    event->original.ss_family = 0;
  }
  uint8_t syn[256];
  length = sizeof syn;
  if (getsockopt(fd, IPPROTO_TCP, TCP_SAVED_SYN, syn, &length) == 0) set_bytes(event, syn, length);
  emit(path, event);
}

static void accept_some(struct data_path *path, struct listener *listener) {
  for (int i = 0; i < ACCEPTS && listener->end.fd >= 0; i++) {
    int fd = accept4(listener->end.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if ((errno == EMFILE || errno == ENFILE) && path->reserve >= 0) {
        /* Out of descriptors: refuse who waits, instead of being told about him for ever. */
        close(path->reserve);
        fd = accept4(listener->end.fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) refuse(fd);
        path->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
        continue;
      }
      if (errno == ECONNABORTED || errno == EINTR) continue;
      return;
    }
    set_socket_options(fd);
    struct connection *connection = new_connection(path, fd);
    if (connection == NULL) {
      refuse(fd);
      continue;
    }
    report_accepted(path, connection, listener->role);
    if (!watch(path, &connection->end[CLIENT])) close_connection(path, connection, CAUSE_RESET);
  }
}

static void report_dialled(struct data_path *path, struct connection *connection, int error) {
  struct end *upstream = &connection->end[UPSTREAM];
  struct event *event = new_event(EVENT_DIALLED, connection);
  event->number = error;
  upstream->connecting = false;
  if (error == 0) {
    socklen_t length = sizeof event->local;
    getsockname(upstream->fd, (struct sockaddr *)&event->local, &length);
  } else {
    close_end(upstream, true);
  }
  emit(path, event);
}

static void dial(struct data_path *path, struct connection *connection, const struct command *command) {
  struct end *upstream = &connection->end[UPSTREAM];
  close_end(upstream, true);
  init_end(connection, UPSTREAM, -1);
  if (connection->reading && connection->reading_side == UPSTREAM) connection->reading = false;
  upstream->connecting = true;
  upstream->writable = false;
  int family = command->target.ss_family;
  upstream->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (upstream->fd < 0) {
    report_dialled(path, connection, errno);
    return;
  }
  set_socket_options(upstream->fd);
  int on = 1;
  /* Deferred until the first bytes, which then travel in the SYN if there is a cookie; the option is in the SYN in any case. */
  bool deferred = command->flag && command->length > 0 &&
                  setsockopt(upstream->fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on) == 0;
  socklen_t length = family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
  int connected;
  do connected = connect(upstream->fd, (const struct sockaddr *)&command->target, length);
  while (connected != 0 && errno == EINTR);
  if (connected != 0 && errno != EINPROGRESS) {
    report_dialled(path, connection, errno);
    return;
  }
  if (command->length > 0) {
    upstream->spoken = true;
    ssize_t sent = 0;
    if (deferred && connected == 0) {
      sent = send(upstream->fd, command->bytes, command->length, MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN && errno != EINPROGRESS) {
        report_dialled(path, connection, errno);
        return;
      }
      if (sent < 0) sent = 0;
    }
    append(&upstream->out, command->bytes + sent, command->length - (size_t)sent);
  }
  if (!watch(path, upstream)) report_dialled(path, connection, errno);
}

/* An event on an upstream side that is still connecting. */
static void continue_dial(struct data_path *path, struct connection *connection) {
  struct end *upstream = &connection->end[UPSTREAM];
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(upstream->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
  if (error == 0) {
    /* A deferred Fast Open connect is writable before it has begun. */
    struct tcp_info info;
    length = sizeof info;
    if (getsockopt(upstream->fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) error = errno;
    else if (info.tcpi_state == TCP_SYN_SENT) return;
    else if (info.tcpi_state == TCP_CLOSE) error = ECONNRESET;
  }
  report_dialled(path, connection, error);
}

/* --- commands --- */

bool data_path_command(struct data_path *path, const struct command *command) {
  pthread_mutex_lock(&path->commands_lock);
  if (path->command_count == path->command_capacity) {
    size_t grown = path->command_capacity == 0 ? 64 : path->command_capacity * 2;
    struct command *commands = realloc(path->commands, grown * sizeof *commands);
    if (commands == NULL) {
      pthread_mutex_unlock(&path->commands_lock);
      return false;
    }
    path->commands = commands;
    path->command_capacity = grown;
  }
  bool first = path->command_count == 0;
  path->commands[path->command_count++] = *command;
  pthread_mutex_unlock(&path->commands_lock);
  if (first) {
    uint64_t one = 1;
    while (write(path->wakeup, &one, sizeof one) < 0 && errno == EINTR) continue;
  }
  return true;
}

static void add_listener(struct data_path *path, const struct command *command) {
  for (int i = 0; i < LISTENERS; i++) {
    struct listener *listener = &path->listeners[i];
    if (listener->end.fd >= 0) continue;
    *listener = (struct listener){.end = {.fd = command->fd}, .id = command->id, .role = command->role};
    /* Level-triggered: who is left waiting after a full round is told again. */
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener->end};
    if (epoll_ctl(path->epoll, EPOLL_CTL_ADD, command->fd, &event) != 0) close_end(&listener->end, false);
    return;
  }
  close(command->fd);
}

static void remove_listener(struct data_path *path, uint64_t id) {
  for (int i = 0; i < LISTENERS; i++) {
    if (path->listeners[i].end.fd >= 0 && path->listeners[i].id == id) close_end(&path->listeners[i].end, false);
  }
}

static void drop_upstream(struct data_path *path, struct connection *connection) {
  close_end(&connection->end[UPSTREAM], true);
  init_end(connection, UPSTREAM, -1);
  clear_directions(path, connection);
  connection->relaying = connection->held = connection->guard = false;
  connection->end[CLIENT].eof = connection->end[CLIENT].finished = false;
  connection->end[CLIENT].readable = true;
}

static void obey(struct data_path *path, struct command *command) {
  if (command->type == COMMAND_LISTEN) {
    add_listener(path, command);
    return;
  }
  if (command->type == COMMAND_UNLISTEN) {
    remove_listener(path, command->id);
    return;
  }
  if (command->type == COMMAND_STOP) {
    path->stopping = true;
    return;
  }
  struct connection *connection = find(path, command->id);
  if (connection == NULL) return; /* its closed event is on the way */
  switch (command->type) {
    case COMMAND_READ_FRAME:
      connection->reading = true;
      connection->reading_side = command->side;
      connection->max_bytes = command->max_bytes;
      break;
    case COMMAND_SEND: {
      struct end *end = &connection->end[command->side];
      if (end->fd < 0) return;
      end->spoken = true;
      append(&end->out, command->bytes, command->length);
      break;
    }
    case COMMAND_DIAL:
      dial(path, connection, command);
      return;
    case COMMAND_RELAY:
      connection->relaying = true;
      connection->guard = command->flag;
      connection->reading = connection->held = command->max_bytes > 0;
      connection->reading_side = UPSTREAM;
      connection->max_bytes = command->max_bytes;
      connection->end[CLIENT].readable = connection->end[UPSTREAM].readable = true;
      break;
    case COMMAND_RELEASE:
      connection->held = false;
      connection->end[UPSTREAM].readable = true;
      break;
    case COMMAND_DROP_UPSTREAM:
      drop_upstream(path, connection);
      break;
    case COMMAND_RESET:
      close_connection(path, connection, CAUSE_RESET);
      return;
    default:
      return;
  }
  run_later(path, connection);
}

static void obey_all(struct data_path *path) {
  uint64_t count;
  while (read(path->wakeup, &count, sizeof count) < 0 && errno == EINTR) continue;
  pthread_mutex_lock(&path->commands_lock);
  struct command *commands = path->commands;
  size_t command_count = path->command_count, capacity = path->command_capacity;
  path->commands = path->working;
  path->command_capacity = path->working_capacity;
  path->command_count = 0;
  path->working = commands;
  path->working_capacity = capacity;
  pthread_mutex_unlock(&path->commands_lock);
  for (size_t i = 0; i < command_count; i++) {
    obey(path, &commands[i]);
    free(commands[i].bytes);
  }
}

bool data_path_progress(struct data_path *path, uint64_t id, uint64_t *bytes_in, uint64_t *bytes_out) {
  pthread_mutex_lock(&path->slots_lock);
  struct connection *connection = find(path, id);
  if (connection != NULL) {
    *bytes_in = __atomic_load_n(&connection->direction[CLIENT].bytes, __ATOMIC_RELAXED);
    *bytes_out = __atomic_load_n(&connection->direction[UPSTREAM].bytes, __ATOMIC_RELAXED);
  }
  pthread_mutex_unlock(&path->slots_lock);
  return connection != NULL;
}

/* --- the thread --- */

static void on_socket(struct data_path *path, struct end *end, uint32_t events) {
  struct connection *connection = end->connection;
  if (end->fd < 0) return; /* closed earlier in this batch */
  if (connection->closed) {
    if (events & EPOLLOUT) end->writable = true;
    if (events & EPOLLERR) end->failed = true;
    flush_out(end);
    return;
  }
  if (end->connecting) {
    continue_dial(path, connection);
    if (end->fd < 0 || end->connecting) return;
  }
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) end->readable = true;
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) end->writable = true;
  if (events & (EPOLLRDHUP | EPOLLHUP)) end->peer_finished = true;
  if (events & EPOLLERR) end->failed = true;
  run(path, connection);
}

static void run_queued(struct data_path *path) {
  struct connection *queue = path->run_queue;
  path->run_queue = NULL;
  while (queue != NULL) {
    struct connection *connection = queue;
    queue = connection->next_queued;
    connection->queued = false;
    run(path, connection);
  }
}

static void bury_dead(struct data_path *path) {
  for (struct connection **link = &path->dead; *link != NULL;) {
    struct connection *connection = *link;
    if (connection->queued) {
      link = &connection->next_dead; /* still in the run queue: next time */
      continue;
    }
    *link = connection->next_dead;
    free(connection);
  }
}

static void stop_everything(struct data_path *path) {
  for (int i = 0; i < LISTENERS; i++) close_end(&path->listeners[i].end, false);
  for (uint32_t i = 0; i < path->slot_count; i++) {
    if (path->slots[i].connection != NULL) close_connection(path, path->slots[i].connection, CAUSE_RESET);
  }
  while (path->dying != NULL) tend_dying(path);
  run_queued(path);
  bury_dead(path);
  while (path->pipe_count > 0) {
    path->pipe_count--;
    close(path->pipes[path->pipe_count][0]);
    close(path->pipes[path->pipe_count][1]);
  }
}

static void *thread_main(void *argument) {
  struct data_path *path = argument;
  struct epoll_event events[EVENTS];
  while (!path->stopping) {
    int timeout = path->run_queue != NULL ? 0 : path->dying != NULL ? LAST_WORDS_POLL_MS : -1;
    int count = epoll_wait(path->epoll, events, EVENTS, timeout);
    bool told = false;
    for (int i = 0; i < count; i++) {
      struct end *end = events[i].data.ptr;
      if (end == NULL) told = true;
      else if (end->connection == NULL) accept_some(path, (struct listener *)end);
      else on_socket(path, end, events[i].events);
    }
    if (told) obey_all(path);
    run_queued(path);
    if (path->dying != NULL) tend_dying(path);
    bury_dead(path);
  }
  stop_everything(path);
  emit(path, new_event(EVENT_STOPPED, NULL));
  return NULL;
}

struct data_path *data_path_start(wake_function wake, void *context) {
  struct data_path *path = calloc(1, sizeof *path);
  if (path == NULL) return NULL;
  path->wake = wake;
  path->context = context;
  path->last_event = &path->first_event;
  pthread_mutex_init(&path->commands_lock, NULL);
  pthread_mutex_init(&path->events_lock, NULL);
  pthread_mutex_init(&path->slots_lock, NULL);
  for (int i = 0; i < LISTENERS; i++) path->listeners[i].end.fd = -1;
  path->epoll = epoll_create1(EPOLL_CLOEXEC);
  path->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  path->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  int error = 0;
  if (path->epoll < 0 || path->wakeup < 0 || epoll_ctl(path->epoll, EPOLL_CTL_ADD, path->wakeup, &event) != 0) {
    error = errno;
  } else {
    /* Signals are the main thread's business. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&path->thread, NULL, thread_main, path);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  if (error == 0) return path;
  if (path->epoll >= 0) close(path->epoll);
  if (path->wakeup >= 0) close(path->wakeup);
  if (path->reserve >= 0) close(path->reserve);
  free(path);
  errno = error;
  return NULL;
}

void data_path_join(struct data_path *path) {
  pthread_join(path->thread, NULL);
  close(path->epoll);
  close(path->wakeup);
  if (path->reserve >= 0) close(path->reserve);
  for (size_t i = 0; i < path->command_count; i++) {
    if (path->commands[i].type == COMMAND_LISTEN) close(path->commands[i].fd);
    free(path->commands[i].bytes);
  }
  for (struct event *event = data_path_take_events(path); event != NULL;) {
    struct event *next = event->next;
    data_path_free_event(event);
    event = next;
  }
  free(path->commands);
  free(path->working);
  free(path->slots);
  free(path->free_slots);
  pthread_mutex_destroy(&path->commands_lock);
  pthread_mutex_destroy(&path->events_lock);
  pthread_mutex_destroy(&path->slots_lock);
  free(path);
}
