/* The application at the other end of the load: the first byte of a connection says E (echo) or S (sink). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum purpose { LISTENER, UNTOLD, ECHO, SINK };

/* One thread, level-triggered. What a connection is for stands in the upper half of its event's data. */
void serve(const char *port)
{
	static char chunk[CHUNK];
	int on = 1, epoll = epoll_create1(EPOLL_CLOEXEC);
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener < 0) die("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(listener, (struct sockaddr *)&any, sizeof any) != 0 || listen(listener, 4096) != 0) die("listen");
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)LISTENER << 32 | (uint32_t)listener}, events[EVENTS];
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
	printf("up\n");
	fflush(stdout);
	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS, -1);
		for (int at = 0; at < count; at++) {
			int fd = (int)(uint32_t)events[at].data.u64;
			enum purpose purpose = (enum purpose)(events[at].data.u64 >> 32);
			if (purpose == LISTENER) {
				int peer;
				while ((peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
					setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
					event = (struct epoll_event){.events = EPOLLIN, .data.u64 = (uint64_t)UNTOLD << 32 | (uint32_t)peer};
					epoll_ctl(epoll, EPOLL_CTL_ADD, peer, &event);
				}
				continue;
			}
			ssize_t got = recv(fd, chunk, CHUNK, 0);
			if (got < 0 && errno == EAGAIN) continue;
			if (got > 0 && purpose == UNTOLD) {
				purpose = chunk[0] == 'S' ? SINK : ECHO;
				event = (struct epoll_event){.events = EPOLLIN, .data.u64 = (uint64_t)purpose << 32 | (uint32_t)fd};
				epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
			}
			if (got > 0 && purpose == SINK) {
				if (chunk[got - 1] == LAST) (void)!send(fd, ".", 1, MSG_NOSIGNAL);
				continue;
			}
			/* Echoes are small and answered before the next one: a send never falls short. */
			if (got > 0 && send(fd, chunk, (size_t)got, MSG_NOSIGNAL) == got) continue;
			close(fd);
		}
	}
}
