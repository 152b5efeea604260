/* A netlink socket, and a thread that receives from it in batches. */
#define _GNU_SOURCE
#include "capabilities.h"
#include "netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
  BATCH = 32,
  DATAGRAM_BYTES = 68 * 1024,        /* the largest packet that a queue copies, and its attributes */
  UNTAKEN_BYTES = 8 * 1024 * 1024,   /* beyond that the thread rests: the kernel's own bounds take over */
  SEND_BUFFER_BYTES = 4 * 1024 * 1024,
};

struct netlink {
  int fd, wakeup;
  bool listening;
  pthread_t thread;
  wake_function wake;
  void *context;
  uint8_t *scratch;

  pthread_mutex_t lock; /* for everything below */
  struct received *first, **last;
  size_t untaken;
  uint64_t lost;
  int error;
  bool stopping;
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
  netlink->last = &netlink->first;
  netlink->wakeup = -1;
  pthread_mutex_init(&netlink->lock, NULL);
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

/* --- the thread --- */

static void deliver(struct netlink *netlink, struct received *received, uint64_t lost, int error) {
  pthread_mutex_lock(&netlink->lock);
  bool first = netlink->first == NULL && netlink->lost == 0 && netlink->error == 0;
  if (received != NULL) {
    *netlink->last = received;
    netlink->last = &received->next;
    netlink->untaken += received->length;
  }
  netlink->lost += lost;
  if (error != 0) netlink->error = error;
  pthread_mutex_unlock(&netlink->lock);
  if (first) netlink->wake(netlink->context);
}

/* Whatever is there, up to a batch, as one piece. */
static void receive_batch(struct netlink *netlink) {
  struct mmsghdr headers[BATCH];
  struct iovec parts[BATCH];
  struct sockaddr_nl from[BATCH];
  memset(headers, 0, sizeof headers);
  for (int i = 0; i < BATCH; i++) {
    parts[i] = (struct iovec){.iov_base = netlink->scratch + (size_t)i * DATAGRAM_BYTES, .iov_len = DATAGRAM_BYTES};
    headers[i].msg_hdr = (struct msghdr){
        .msg_iov = &parts[i], .msg_iovlen = 1, .msg_name = &from[i], .msg_namelen = sizeof from[i]};
  }
  int count = recvmmsg(netlink->fd, headers, BATCH, MSG_DONTWAIT, NULL);
  if (count < 0) {
    if (errno == ENOBUFS) { /* the kernel had to drop; what it queued before is still there */
      deliver(netlink, NULL, 1, 0);
    } else if (errno != EINTR && errno != EAGAIN && errno != ENOMEM) {
      deliver(netlink, NULL, 0, errno);
    }
    return;
  }
  size_t total = 0;
  for (int i = 0; i < count; i++) total += align4(headers[i].msg_len);
  struct received *received = malloc(sizeof *received + total);
  if (received == NULL) {
    deliver(netlink, NULL, (uint64_t)count, 0);
    return;
  }
  received->next = NULL;
  received->length = 0;
  uint64_t lost = 0;
  for (int i = 0; i < count; i++) {
    if (from[i].nl_pid != 0) continue;
    if (headers[i].msg_hdr.msg_flags & MSG_TRUNC) {
      lost++;
      continue;
    }
    size_t length = headers[i].msg_len;
    memcpy(received->bytes + received->length, parts[i].iov_base, length);
    memset(received->bytes + received->length + length, 0, align4(length) - length);
    received->length += align4(length);
  }
  deliver(netlink, received, lost, 0);
}

static void *thread_main(void *argument) {
  struct netlink *netlink = argument;
  capabilities_set(0, 0); /* receiving takes none */
  for (;;) {
    pthread_mutex_lock(&netlink->lock);
    bool stopping = netlink->stopping || netlink->error != 0, full = netlink->untaken > UNTAKEN_BYTES;
    pthread_mutex_unlock(&netlink->lock);
    if (stopping) return NULL;
    struct pollfd polled[2] = {
        {.fd = netlink->wakeup, .events = POLLIN},
        {.fd = full ? -1 : netlink->fd, .events = POLLIN},
    };
    if (poll(polled, 2, -1) < 0) continue;
    if (polled[0].revents != 0) {
      uint64_t count;
      while (read(netlink->wakeup, &count, sizeof count) < 0 && errno == EINTR) continue;
    }
    if (polled[1].revents != 0) receive_batch(netlink);
  }
}

static void poke(struct netlink *netlink) {
  uint64_t one = 1;
  while (write(netlink->wakeup, &one, sizeof one) < 0 && errno == EINTR) continue;
}

int netlink_listen(struct netlink *netlink, wake_function wake, void *context) {
  if (netlink->listening) return EALREADY;
  netlink->wake = wake;
  netlink->context = context;
  netlink->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (netlink->wakeup < 0) return errno;
  netlink->scratch = malloc((size_t)BATCH * DATAGRAM_BYTES); /* only the pages that packets reach are ever touched */
  if (netlink->scratch == NULL) return ENOMEM;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&netlink->thread, NULL, thread_main, netlink);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  netlink->listening = error == 0;
  return error;
}

struct received *netlink_take(struct netlink *netlink, uint64_t *lost, int *error) {
  pthread_mutex_lock(&netlink->lock);
  struct received *first = netlink->first;
  bool rested = netlink->untaken > UNTAKEN_BYTES;
  netlink->first = NULL;
  netlink->last = &netlink->first;
  netlink->untaken = 0;
  *lost = netlink->lost;
  netlink->lost = 0;
  *error = netlink->error;
  pthread_mutex_unlock(&netlink->lock);
  if (rested) poke(netlink);
  return first;
}

void netlink_close(struct netlink *netlink) {
  if (netlink->listening) {
    pthread_mutex_lock(&netlink->lock);
    netlink->stopping = true;
    pthread_mutex_unlock(&netlink->lock);
    poke(netlink);
    pthread_join(netlink->thread, NULL);
  }
  for (struct received *one = netlink->first; one != NULL;) {
    struct received *next = one->next;
    free(one);
    one = next;
  }
  if (netlink->fd >= 0) close(netlink->fd);
  if (netlink->wakeup >= 0) close(netlink->wakeup);
  free(netlink->scratch);
  pthread_mutex_destroy(&netlink->lock);
  free(netlink);
}
