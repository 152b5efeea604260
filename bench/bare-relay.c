/*
 * The least that a relay can be: accept, connect, splice both ways, one thread. No identity, no policy, no counters, no resets passed on. What it
 * costs is the limit of the machine for whatever relays in user space; no product.
 *
 *   bare-relay ADDRESS PORT TO-ADDRESS TO-PORT      IPv4
 *
 * Its own sockets go by Reno where the system has it: a congestion control that sends by a timer would measure the timer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, PIPE_BYTES = 1024 * 1024, POOL = 64 };

struct connection;

struct end {
	struct connection *connection;
	int fd;
	bool readable, writable, eof, finished;
};

struct pipe {
	int in, out;
	size_t bytes;
};

struct connection {
	struct end end[2];
	struct pipe pipe[2]; /* what was read from end[d] */
	bool over;
	struct connection *next;
};

static struct pipe pool[POOL];
static int pooled;
static struct connection *dead;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static struct pipe new_pipe(void)
{
	int fds[2];
	if (pooled > 0) return pool[--pooled];
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) die("pipe");
	(void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* or as it is, where a user may not have so much */
	return (struct pipe){.in = fds[1], .out = fds[0]};
}

static void end_connection(struct connection *connection)
{
	if (connection->over) return;
	connection->over = true;
	for (int d = 0; d < 2; d++) {
		struct pipe pipe = connection->pipe[d];
		close(connection->end[d].fd);
		if (pipe.bytes == 0 && pooled < POOL) {
			pool[pooled++] = pipe;
		} else {
			close(pipe.in);
			close(pipe.out);
		}
	}
	connection->next = dead;
	dead = connection;
}

static void move(struct connection *connection, int d)
{
	struct end *from = &connection->end[d], *to = &connection->end[1 - d];
	struct pipe *pipe = &connection->pipe[d];
	for (;;) {
		while (pipe->bytes > 0) {
			if (!to->writable) return;
			ssize_t sent = splice(pipe->out, NULL, to->fd, NULL, pipe->bytes, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
			if (sent > 0) pipe->bytes -= (size_t)sent;
			else if (errno == EAGAIN) to->writable = false;
			else if (errno != EINTR) return end_connection(connection);
		}
		if (from->eof && !to->finished) {
			shutdown(to->fd, SHUT_WR);
			to->finished = true;
			if (from->finished) end_connection(connection);
		}
		if (!from->readable || from->eof) return;
		ssize_t got = splice(from->fd, NULL, pipe->in, NULL, PIPE_BYTES, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
		if (got > 0) pipe->bytes = (size_t)got;
		else if (got == 0) from->eof = true;
		else if (errno == EAGAIN) from->readable = false;
		else if (errno != EINTR) return end_connection(connection);
	}
}

static void set_options(int fd)
{
	int on = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
	struct sockaddr_in out = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	if (inet_pton(AF_INET, address, &out.sin_addr) != 1) die(address);
	return out;
}

static void begin(int epoll, int client, const struct sockaddr_in *to)
{
	struct connection *connection = calloc(1, sizeof *connection);
	int upstream = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection == NULL || upstream < 0) die("connection");
	set_options(upstream);
	if (connect(upstream, (const struct sockaddr *)to, sizeof *to) != 0 && errno != EINPROGRESS) die("connect");
	for (int d = 0; d < 2; d++) {
		connection->end[d] = (struct end){.connection = connection, .fd = d == 0 ? client : upstream, .writable = d == 0};
		connection->pipe[d] = new_pipe();
		struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = &connection->end[d]};
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->end[d].fd, &event) != 0) die("epoll_ctl");
	}
}

static void on_event(const struct epoll_event *event)
{
	struct end *end = event->data.ptr;
	struct connection *connection = end->connection;
	if (connection->over) return;
	if (event->events & EPOLLERR) return end_connection(connection);
	if (event->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) end->readable = true;
	if (event->events & EPOLLOUT) end->writable = true;
	for (int d = 0; d < 2 && !connection->over; d++) move(connection, d);
}

int main(int count, char **words)
{
	if (count != 5) {
		fprintf(stderr, "usage: bare-relay ADDRESS PORT TO-ADDRESS TO-PORT\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	struct sockaddr_in own = address_of(words[1], words[2]), to = address_of(words[3], words[4]);
	int on = 1, epoll = epoll_create1(EPOLL_CLOEXEC), listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (epoll < 0 || listener < 0) die("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	set_options(listener); /* who is accepted inherits them */
	if (bind(listener, (struct sockaddr *)&own, sizeof own) != 0 || listen(listener, 4096) != 0) die("listen");
	struct epoll_event event = {.events = EPOLLIN}, events[EVENTS];
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
	for (;;) {
		int ready = epoll_wait(epoll, events, EVENTS, -1);
		for (int at = 0; at < ready; at++) {
			if (events[at].data.ptr != NULL) {
				on_event(&events[at]);
				continue;
			}
			int client;
			while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) begin(epoll, client, &to);
		}
		while (dead != NULL) {
			struct connection *connection = dead;
			dead = connection->next;
			free(connection);
		}
	}
}
