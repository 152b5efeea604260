/* A netlink socket, from which is received in batches. */
#define _GNU_SOURCE
#include "netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
  BATCH = NETLINK_BATCH,
  DATAGRAM_BYTES = 68 * 1024,        /* the largest packet that a queue copies, and its attributes */
  SEND_BUFFER_BYTES = 4 * 1024 * 1024,
};

struct netlink {
  int fd;
  uint8_t *scratch;      /* a place for each datagram of a batch; only the pages that packets reach are ever touched */
  size_t lengths[BATCH]; /* of the batch that was gathered last; 0: to be left out */
};

static size_t align4(size_t length) { return (length + 3) & ~(size_t)3; }

static void buffer_size(int fd, int forced, int plain, int bytes) {
  /* Above the system's bound only with CAP_NET_ADMIN of the machine; what is granted instead still works. */
  if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof bytes) != 0) {
    setsockopt(fd, SOL_SOCKET, plain, &bytes, sizeof bytes);
  }
}

struct netlink *netlink_open(int protocol, uint32_t groups, int receive_bytes) {
  struct netlink *netlink = calloc(1, sizeof *netlink);
  if (netlink == NULL) return NULL;
  struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
  int on = 1;
  netlink->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
  if (netlink->fd >= 0) {
    buffer_size(netlink->fd, SO_RCVBUFFORCE, SO_RCVBUF, receive_bytes);
    buffer_size(netlink->fd, SO_SNDBUFFORCE, SO_SNDBUF, SEND_BUFFER_BYTES);
    /* An error does not carry the request back: after a batch that would be the whole batch. */
    setsockopt(netlink->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
    if (bind(netlink->fd, (struct sockaddr *)&address, sizeof address) == 0) return netlink;
  }
  int error = errno;
  netlink_close(netlink);
  errno = error;
  return NULL;
}

int netlink_send(struct netlink *netlink, const uint8_t *bytes, size_t length) {
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  for (;;) {
    ssize_t sent = sendto(netlink->fd, bytes, length, 0, (struct sockaddr *)&kernel, sizeof kernel);
    if (sent >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

ssize_t netlink_receive(struct netlink *netlink, uint8_t *bytes, size_t room) {
  for (;;) {
    struct sockaddr_nl from = {0};
    socklen_t length = sizeof from;
    ssize_t got = recvfrom(netlink->fd, bytes, room, MSG_TRUNC, (struct sockaddr *)&from, &length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    if (from.nl_pid != 0) continue; /* another process; the kernel is 0 */
    return (size_t)got > room ? -EMSGSIZE : got;
  }
}

int netlink_descriptor(const struct netlink *netlink) { return netlink->fd; }

/* An overrun: the kernel had to drop; what it queued before is still there. */
static void tell(int problem, uint64_t *lost, int *error) {
  if (problem == ENOBUFS) *lost = 1;
  else if (problem != EINTR && problem != EAGAIN && problem != ENOMEM) *error = problem;
}

size_t netlink_gather(struct netlink *netlink, unsigned most, unsigned *gathered, uint64_t *lost, int *error) {
  struct mmsghdr headers[BATCH];
  struct iovec parts[BATCH];
  struct sockaddr_nl from[BATCH];
  *gathered = 0;
  *lost = 0;
  *error = 0;
  memset(netlink->lengths, 0, sizeof netlink->lengths);
  if (netlink->scratch == NULL && (netlink->scratch = malloc((size_t)BATCH * DATAGRAM_BYTES)) == NULL) return 0;
  memset(headers, 0, sizeof headers);
  for (int i = 0; i < BATCH; i++) {
    parts[i] = (struct iovec){.iov_base = netlink->scratch + (size_t)i * DATAGRAM_BYTES, .iov_len = DATAGRAM_BYTES};
    headers[i].msg_hdr = (struct msghdr){
        .msg_iov = &parts[i], .msg_iovlen = 1, .msg_name = &from[i], .msg_namelen = sizeof from[i]};
  }
  int count = recvmmsg(netlink->fd, headers, most < BATCH ? most : BATCH, MSG_DONTWAIT, NULL);
  if (count < 0) {
    tell(errno, lost, error);
    return 0;
  }
  *gathered = (unsigned)count;
  size_t total = 0;
  for (int i = 0; i < count; i++) {
    if (from[i].nl_pid != 0) continue; /* another process; the kernel is 0 */
    if (headers[i].msg_hdr.msg_flags & MSG_TRUNC) {
      (*lost)++;
      continue;
    }
    netlink->lengths[i] = headers[i].msg_len;
    total += align4(headers[i].msg_len);
  }
  return total;
}

size_t netlink_sift(struct netlink *netlink, bool (*take)(void *context, const uint8_t *bytes, size_t length),
                    void *context) {
  size_t total = 0;
  for (int i = 0; i < BATCH; i++) {
    size_t length = netlink->lengths[i];
    if (length == 0) continue;
    if (take != NULL && take(context, netlink->scratch + (size_t)i * DATAGRAM_BYTES, length)) netlink->lengths[i] = 0;
    else total += align4(length);
  }
  return total;
}

void netlink_gathered(const struct netlink *netlink, uint8_t *into) {
  for (int i = 0; i < BATCH; i++) {
    size_t length = netlink->lengths[i];
    if (length == 0) continue; /* nothing at all: `into` may be no place then */
    memcpy(into, netlink->scratch + (size_t)i * DATAGRAM_BYTES, length);
    memset(into + length, 0, align4(length) - length);
    into += align4(length);
  }
}

void netlink_close(struct netlink *netlink) {
  if (netlink->fd >= 0) close(netlink->fd);
  free(netlink->scratch);
  free(netlink);
}
