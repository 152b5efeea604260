/* Sockets that send IP packets whole, header included. */
#define _GNU_SOURCE
#include "netlink.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

static int open_one(int family, uint32_t mark) {
  /* IPPROTO_RAW: the header is in what is sent, and nothing is ever received. */
  int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
  if (fd < 0) return -1;
  if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int raw_open(struct raw_sockets *raw, uint32_t mark) {
  raw->six = -1;
  raw->four = open_one(AF_INET, mark);
  if (raw->four < 0) return errno;
  raw->six = open_one(AF_INET6, mark);
  if (raw->six >= 0 || errno == EAFNOSUPPORT) return 0; /* a kernel without IPv6 needs none */
  int error = errno;
  raw_close(raw);
  return error;
}

int raw_send(const struct raw_sockets *raw, const uint8_t *destination, size_t address_bytes, uint32_t interface,
             const uint8_t *bytes, size_t length) {
  struct sockaddr_in four = {.sin_family = AF_INET};
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_scope_id = interface};
  bool is_four = address_bytes == sizeof four.sin_addr;
  if (is_four) memcpy(&four.sin_addr, destination, address_bytes);
  else if (address_bytes == sizeof six.sin6_addr) memcpy(&six.sin6_addr, destination, address_bytes);
  else return EINVAL;
  int fd = is_four ? raw->four : raw->six;
  if (fd < 0) return EAFNOSUPPORT;
  const struct sockaddr *to = is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six;
  ssize_t sent = sendto(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL, to, is_four ? sizeof four : sizeof six);
  return sent < 0 ? errno : 0;
}

void raw_close(struct raw_sockets *raw) {
  if (raw->four >= 0) close(raw->four);
  if (raw->six >= 0) close(raw->six);
  raw->four = raw->six = -1;
}
