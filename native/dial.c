/* The upstream side: dialled, dialled again, dropped. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

/* What the kernel says about the SYN of a connection that is there. */
static void note_syn(struct connection *connection, const struct tcp_info *info) {
  if (!connection->end[UPSTREAM].syn_data) connection->syn_data = SYN_DATA_NONE;
  else connection->syn_data = info->tcpi_options & TCPI_OPT_SYN_DATA ? SYN_DATA_TAKEN : SYN_DATA_REFUSED;
  /* Nothing but the SYN has been sent long enough to be sent again, and data that was refused, which the kernel repeats at once. */
  uint32_t repeated = connection->syn_data == SYN_DATA_REFUSED && info->tcpi_total_retrans > 0 ? 1 : 0;
  connection->syn_retransmits = info->tcpi_total_retrans - repeated;
}

static void report(struct data_path *path, struct connection *connection, int error, bool unbound,
                   const struct tcp_info *info) {
  struct end *upstream = &connection->end[UPSTREAM];
  connection->syn_data = SYN_DATA_NONE;
  connection->syn_retransmits = 0;
  if (error == 0 && info != NULL) {
    note_syn(connection, info);
    settle_pacing(path, upstream->fd, info);
  }
  if (connection->resuming != NULL) {
    upstream->connecting = false;
    resumption_dialled(path, connection, error, error == 0 && connection->syn_retransmits > 0);
    return;
  }
  struct event *event = new_event(EVENT_DIALLED, connection);
  event->number = error;
  event->flag = unbound;
  upstream->connecting = false;
  if (error == 0) {
    socklen_t length = sizeof event->local;
    getsockname(upstream->fd, (struct sockaddr *)&event->local, &length);
    event->syn_data = connection->syn_data;
    event->syn_retransmits = connection->syn_retransmits;
  } else {
    close_end(path, upstream, true);
  }
  emit(path, event);
}

static void report_dialled(struct data_path *path, struct connection *connection, int error, const struct tcp_info *info) {
  report(path, connection, error, false, info);
}

static socklen_t length_of(const struct sockaddr_storage *address) {
  return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

/*
 * Binds to an address that may be another host's: ip(7), IP_TRANSPARENT. Its port too, or, without, whichever connect() finds free.
 * Takes NET_ADMIN or NET_RAW. @returns 0 or errno
 */
static int take_source(int fd, const struct sockaddr_storage *source, bool with_port) {
  bool six = source->ss_family == AF_INET6;
  struct sockaddr_storage address = *source;
  int on = 1;
  if (!with_port) {
    if (six) ((struct sockaddr_in6 *)&address)->sin6_port = 0;
    else ((struct sockaddr_in *)&address)->sin_port = 0;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  }
  /* The same port may be in use towards another destination; connect() tells if it is towards this one. */
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      setsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_TRANSPARENT : IP_TRANSPARENT, &on, sizeof on) != 0 ||
      bind(fd, (const struct sockaddr *)&address, length_of(&address)) != 0)
    return errno;
  return 0;
}

static int connect_to(int fd, const struct sockaddr_storage *target) {
  int connected;
  do connected = connect(fd, (const struct sockaddr *)target, length_of(target));
  while (connected != 0 && errno == EINTR);
  return connected == 0 ? 0 : errno;
}

/* Without waiting: a peer on this host has answered before connect() returns, and one on this node often has. */
static bool is_connected(int fd) {
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  return getpeername(fd, (struct sockaddr *)&peer, &length) == 0;
}

/* Opens the upstream side's socket and begins to connect it. @returns 0 when it is connected, else errno */
static int begin(const struct data_path *path, struct end *upstream, const struct command *command, bool with_port, bool *fast,
                 bool *unbound) {
  int on = 1;
  *unbound = false;
  upstream->fd = socket(command->target.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (upstream->fd < 0) return errno;
  set_socket_options(upstream->fd);
  begin_unpaced(path, upstream->fd);
  if (command->source.ss_family != 0) {
    int error = take_source(upstream->fd, &command->source, with_port);
    *unbound = error != 0;
    if (error != 0) return error;
  }
  /* The option is in the SYN in any case; with a cookie the SYN waits for the first bytes, to take them along. */
  /* The last part of the handshake waits for these bytes, which follow at once, and goes with them: a packet less, and the server hears of the
   * connection when it can read. Where nothing follows it would wait for 200 ms. TCP_QUICKACK in tcp(7); net/ipv4/tcp_input.c, tcp_rcv_synsent_state_process */
  int off = 0;
  if (command->length > 0) setsockopt(upstream->fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off);
  *fast = command->flag && setsockopt(upstream->fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on) == 0;
  return connect_to(upstream->fd, &command->target);
}

void dial(struct data_path *path, struct connection *connection, const struct command *command) {
  struct end *upstream = &connection->end[UPSTREAM];
  bool by_pass = connection->resuming != NULL;
  close_end(path, upstream, true);
  init_end(connection, UPSTREAM, -1);
  if (connection->reading && connection->reading_side == UPSTREAM) connection->reading = false;
  upstream->connecting = true;
  upstream->writable = false;
  bool fast = false, unbound = false;
  int64_t begun = now_us();
  int error = begin(path, upstream, command, true, &fast, &unbound);
  if (command->source.ss_family != 0 && (error == EADDRINUSE || error == EADDRNOTAVAIL || error == EACCES)) {
    /* A listener has the client's port, an earlier connection of it is not forgotten yet, or it takes a privilege. */
    if (upstream->fd >= 0) close(upstream->fd);
    error = begin(path, upstream, command, false, &fast, &unbound);
  }
  if (error != 0 && error != EINPROGRESS) {
    report(path, connection, error, unbound, NULL);
    return;
  }
  ssize_t sent = 0;
  upstream->writable = error != 0 && is_connected(upstream->fd);
  if (fast && error == 0) {
    /* With the bytes in the SYN nothing follows that could take the last part of the handshake along. */
    const int on = 1;
    if (command->syn_data && command->length > 0) setsockopt(upstream->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
    /* Of nothing, too: it lets the SYN go. */
    sent = send(upstream->fd, command->bytes, command->syn_data ? command->length : 0, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINPROGRESS) {
      report_dialled(path, connection, errno, NULL);
      return;
    }
    if (sent < 0) sent = 0;
    upstream->syn_data = sent > 0;
  }
  if (!watch(path, upstream)) {
    report_dialled(path, connection, errno, NULL);
    return;
  }
  if (command->length > 0) speak(path, upstream, command->bytes + sent, command->length - (size_t)sent);
  if (!upstream->writable) return;
  /* Who has answered so soon is near, and to its first SYN; else the kernel is asked. */
  if (now_us() - begun >= NEAR_US) continue_dial(path, connection);
  else report_dialled(path, connection, 0, NULL);
  /* A handshake by a pass goes on with whoever asked for this. */
  if (!by_pass) run_later(path, connection);
}

/* An event on an upstream side that is still connecting. */
void continue_dial(struct data_path *path, struct connection *connection) {
  struct end *upstream = &connection->end[UPSTREAM];
  int error = 0;
  struct tcp_info info = {0};
  socklen_t length = sizeof info;
  if (getsockopt(upstream->fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) error = errno;
  if (error == 0 && info.tcpi_state != TCP_ESTABLISHED) {
    length = sizeof error;
    if (getsockopt(upstream->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
    /* A deferred Fast Open connect is writable before it has begun. */
    else if (error == 0 && info.tcpi_state == TCP_SYN_SENT) return;
    else if (error == 0 && info.tcpi_state == TCP_CLOSE) error = ECONNRESET;
  }
  uint8_t first;
  if (error != 0 && recv(upstream->fd, &first, 1, MSG_PEEK) > 0) {
    /* It was connected, answered and reset before this thread looked: a refusal, say. The answer is to be read. */
    note_failure(upstream, error);
    upstream->peer_finished = upstream->broken = true;
    error = 0;
  }
  report_dialled(path, connection, error, &info);
}

void drop_upstream(struct data_path *path, struct connection *connection) {
  close_end(path, &connection->end[UPSTREAM], true);
  init_end(connection, UPSTREAM, -1);
  clear_directions(path, connection);
  connection->relaying = connection->held = connection->guard = false;
  connection->end[CLIENT].eof = connection->end[CLIENT].finished = false;
  connection->end[CLIENT].readable = true;
}
