/*
 * The congestion control of a connection's legs. Of what the system names, BBR sends by a timer (pacing), which at the speed of a loopback device
 * or of a switch costs more CPU than all else that the relay does. Where an answer comes within NEAR_US there is nothing for it to find out:
 * such legs go by Reno, which is part of every kernel, and as which CUBIC behaves there, too (RFC 9438, section 4.3). All others keep the
 * system's. Any other choice of the system, CUBIC and DCTCP say, stands on every leg. docs/decisions/0047
 */
#define _GNU_SOURCE
#include "internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char PACED[] = "bbr", UNPACED[] = "reno";

static bool choose(int fd, const char *name) {
  return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) == 0;
}

void learn_congestion_control(struct data_path *path) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  char name[sizeof path->paced] = "";
  socklen_t length = sizeof name - 1;
  bool paced = getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0 && strncmp(name, PACED, strlen(PACED)) == 0;
  /* An administrator may have taken Reno from who has no capabilities; and there has to be a way back. */
  if (paced && choose(fd, UNPACED) && choose(fd, name)) memcpy(path->paced, name, sizeof name);
  close(fd);
}

void begin_unpaced(const struct data_path *path, int fd) {
  if (path->paced[0] != 0) choose(fd, UNPACED);
}

void settle_pacing(const struct data_path *path, int fd, const struct tcp_info *info) {
  /* 0: unknown, as when the SYN was sent again. */
  if (path->paced[0] != 0 && (info->tcpi_rtt == 0 || info->tcpi_rtt >= NEAR_US)) choose(fd, path->paced);
}

void settle_accepted(const struct data_path *path, int fd) {
  struct tcp_info info = {0};
  socklen_t length = sizeof info;
  if (path->paced[0] == 0) return;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return;
  settle_pacing(path, fd, &info);
}
