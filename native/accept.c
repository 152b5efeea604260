/* Listeners and who comes in. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

/* linux/netfilter_ipv4.h and ip6_tables.h: they cannot be included beside the C library's. */
#define SO_ORIGINAL_DST 80
#ifndef IP6T_SO_ORIGINAL_DST
#define IP6T_SO_ORIGINAL_DST 80
#endif

enum {
  MOST_ACCEPTS = 64, /* before others get their turn */
  FULL_TURNS = 4,    /* until more are looked for */
  REST_MS = 20, /* when there is nothing to accept with */
  /* Behind so many events and reports who comes waits in the kernel's queue, which is bounded: a main thread that stands still for
   * seconds shall not cost memory by the second. */
  MOST_UNTOLD = 8192,
};

/* Level-triggered: who is left waiting after a full round is told again. */
static bool hear(struct data_path *path, struct listener *listener, int operation, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u64 = FIRST_LISTENER_TAG + (uint64_t)(listener - path->listeners)};
  return epoll_ctl(path->epoll, operation, listener->end.fd, &event) == 0;
}

void data_path_prepare_listener(const struct data_path *path, int fd) {
  set_socket_options(fd);
  begin_unpaced(path, fd);
}

void add_listener(struct data_path *path, const struct command *command) {
  for (int i = 0; i < LISTENERS; i++) {
    struct listener *listener = &path->listeners[i];
    if (listener->end.fd >= 0) continue;
    *listener = (struct listener){.end = {.fd = command->fd}, .id = command->id, .role = command->role, .batch = 1};
    /* Most who call from outside are sidecars, whose Hello is answered at once: the Reply acknowledges it, and saves a packet. A listener's choice
     * is inherited. Of others report_accepted takes it back: applications may wait for the acknowledgement of what they sent first (Nagle). */
    int off = 0;
    if (listener->role == INBOUND) setsockopt(command->fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off);
    listener->end.watched = hear(path, listener, EPOLL_CTL_ADD, EPOLLIN);
    if (!listener->end.watched) close_end(path, &listener->end, false);
    return;
  }
  close(command->fd);
}

void remove_listener(struct data_path *path, uint64_t id) {
  for (int i = 0; i < LISTENERS; i++) {
    if (path->listeners[i].end.fd >= 0 && path->listeners[i].id == id) close_end(path, &path->listeners[i].end, false);
  }
}

static void hear_all(struct data_path *path, uint32_t events) {
  for (int i = 0; i < LISTENERS; i++) {
    if (path->listeners[i].end.fd >= 0) hear(path, &path->listeners[i], EPOLL_CTL_MOD, events);
  }
}

/* Without it the thread would be told of who waits again and again. */
static void rest(struct data_path *path) {
  hear_all(path, 0);
  path->accept_again = now_ms() + REST_MS;
}

void accept_again(struct data_path *path) {
  if (path->accept_again == 0 || now_ms() < path->accept_again) return;
  path->accept_again = 0;
  hear_all(path, EPOLLIN);
}

bool original_destination(int fd, int family, struct sockaddr_storage *out) {
  bool six = family == AF_INET6;
  socklen_t length = sizeof *out;
  return getsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IP6T_SO_ORIGINAL_DST : SO_ORIGINAL_DST, out, &length) == 0;
}

void report_accepted(struct data_path *path, struct connection *connection, int role, const struct sockaddr_storage *peer,
                     const struct resuming *begun, const uint8_t *reply, size_t reply_length) {
  struct end *client = &connection->end[CLIENT];
  int fd = client->fd;
  int on = 1;
  bool watched = client->watched || watch(path, client);
  if (role == INBOUND) setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
  struct event *event = new_event(EVENT_ACCEPTED, connection);
  event->role = role;
  event->number = (int)connection->refusal;
  event->peer = *peer;
  socklen_t length = sizeof event->local;
  getsockname(fd, (struct sockaddr *)&event->local, &length);
  if (!original_destination(fd, event->local.ss_family, &event->original)) event->original.ss_family = 0;
  uint8_t syn[256];
  length = sizeof syn;
  if (getsockopt(fd, IPPROTO_TCP, TCP_SAVED_SYN, syn, &length) == 0) event->bytes = copy_of(syn, event->length = length);
  if (begun != NULL) event->picked = begun->picked;
  if (begun != NULL && begun->hello != NULL && (role != OUTBOUND || reply != NULL)) {
    event->pass = begun->pass->number;
    event->hello = copy_of(begun->hello, event->hello_length = begun->hello_length);
    event->reply = copy_of(reply, event->reply_length = reply_length);
  }
  emit(path, event);
  if (!watched) close_connection(path, connection, CAUSE_RESET);
}

/* Out of descriptors: refuses who waits with the reserve, instead of leaving him without an answer. @returns whether one was */
static bool refuse_one(struct data_path *path, struct listener *listener) {
  if (path->reserve >= 0) close(path->reserve);
  int fd = accept4(listener->end.fd, NULL, NULL, SOCK_CLOEXEC);
  bool starved = fd < 0 && errno != EAGAIN;
  if (fd >= 0) reset_fd(fd);
  path->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (starved) rest(path);
  return fd >= 0;
}

/*
 * To be told that nobody is left costs the kernel nearly as much as to accept somebody. So as many are asked for as came lately, and more when so many have
 * come several times in a row; whoever is left is told of again.
 */
static int next_batch(struct listener *listener) {
  if (++listener->full_turns > FULL_TURNS && listener->batch < MOST_ACCEPTS) {
    listener->batch *= 2;
    listener->full_turns = 0;
  }
  return listener->batch < MOST_ACCEPTS ? listener->batch : MOST_ACCEPTS;
}

void accept_some(struct data_path *path, struct listener *listener) {
  if (count_untold(path) >= MOST_UNTOLD) {
    rest(path);
    return;
  }
  int batch = next_batch(listener);
  for (int i = 0; i < batch && listener->end.fd >= 0; i++) {
    /* Of one that resets in a moment the kernel knows no peer any more, and who it was is recorded all the same. */
    struct sockaddr_storage peer = {0};
    socklen_t length = sizeof peer;
    int fd = accept4(listener->end.fd, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EAGAIN) {
        listener->batch = i > 0 ? i : 1;
        listener->full_turns = 0;
        return;
      }
      if (errno == EMFILE || errno == ENFILE) {
        if (!refuse_one(path, listener)) return;
      } else if (errno == ENOBUFS || errno == ENOMEM) {
        rest(path);
        return;
      }
      continue; /* what is left are errors of the connection that was to be accepted: accept(2) */
    }
    struct connection *connection = new_connection(path, fd);
    if (connection == NULL) {
      reset_fd(fd);
      continue;
    }
    connection->accepted_us = now_us();
    struct source_address from = source_of_peer(&peer);
    connection->source = limit_enter_accepted(path->limit, &from, &connection->refusal);
    if (listener->role == INBOUND) settle_accepted(path, fd); /* the other one is called by this host alone */
    bool fits = connection->source != NULL;
    if (!fits || !begin_resumption(path, connection, listener->role, &peer))
      report_accepted(path, connection, listener->role, &peer, NULL, NULL, 0);
  }
}
