/*
 * The load of the benchmark and the application at its other end: one program for every variant, so that its own cost is in all of them.
 *
 *   load serve PORT                               the application: the first byte of a connection says E (echo) or S (sink)
 *   load connect ADDRESS PORT SECONDS AT_MOST     one connection after the other: connect, send a byte, wait for it, close
 *   load rate ADDRESS PORT SECONDS CONCURRENCY    the same, so many at once
 *   load ping ADDRESS PORT SECONDS AT_MOST        64 bytes there and back on one connection
 *   load bulk ADDRESS PORT SECONDS STREAMS        bytes to the sink, until it has said that it read the last one, which is marked: an end
 *                                                 of file would not do, since nginx passes none on while the other way is open
 *   load eager ADDRESS PORT SECONDS CPU           one after the other, each sends its byte in the very moment in which it is established; `failed` are those
 *                                                 that were reset after that (bench/eager.ts)
 *   load hold ADDRESS PORT COUNT                  open connections that have exchanged a byte and then rest, until standard input ends
 *
 * Each but `serve` ends with a line of JSON: connections that got their answer, those that failed and why, bytes, seconds (wall),
 * cpu (seconds of this process), p50 and p99 (microseconds).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define MAX_STREAMS 64
#define MAX_CONCURRENCY 1024
#define PING_BYTES 64
#define PATIENCE 10 /* seconds that an answer may take */

static struct {
	long connections, failed;
	uint64_t bytes;
	char why[128];
	float *micros;
	size_t count, room;
} result;

static char chunk[CHUNK];

static double now(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void took(double seconds)
{
	if (result.count == result.room) {
		result.room = result.room == 0 ? 65536 : result.room * 2;
		result.micros = realloc(result.micros, result.room * sizeof *result.micros);
		if (result.micros == NULL) die("memory");
	}
	result.micros[result.count++] = (float)(seconds * 1e6);
}

static void failed(const char *at, int error)
{
	result.failed++;
	if (result.why[0] == 0) snprintf(result.why, sizeof result.why, "%s: %s", at, error == 0 ? "end of file" : strerror(error));
}

static struct sockaddr_storage target;
static socklen_t target_length;

static void set_target(const char *address, const char *port)
{
	struct sockaddr_in *four = (struct sockaddr_in *)&target;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&target;
	if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)atoi(port));
		target_length = sizeof *four;
	} else if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons((uint16_t)atoi(port));
		target_length = sizeof *six;
	} else {
		errno = EINVAL;
		die(address);
	}
}

static int new_socket(int flags)
{
	int on = 1, fd = socket(target.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	if (fd < 0) die("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return fd;
}

/* A blocking connection that says what it is for. -1 after a failure, which is counted. */
static int opened(char purpose)
{
	struct timeval patience = {.tv_sec = PATIENCE};
	int fd = new_socket(0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (connect(fd, (struct sockaddr *)&target, target_length) != 0) failed("connect", errno);
	else if (send(fd, &purpose, 1, MSG_NOSIGNAL) != 1) failed("send", errno);
	else return fd;
	close(fd);
	return -1;
}

/* Exactly so many bytes. */
static bool receive(int fd, size_t length)
{
	while (length > 0) {
		ssize_t got = recv(fd, chunk, length, 0);
		if (got <= 0) return failed("receive", got == 0 ? 0 : errno), false;
		length -= (size_t)got;
	}
	return true;
}

static void connect_one_by_one(double seconds, long at_most)
{
	double end = now() + seconds;
	for (long done = 0; done < at_most && now() < end && result.failed < 10; done++) {
		double begin = now();
		int fd = opened('E');
		if (fd < 0) continue;
		if (receive(fd, 1)) {
			took(now() - begin);
			result.connections++;
		}
		close(fd);
	}
}

static void ping(double seconds, long at_most)
{
	int fd = opened('E');
	if (fd < 0 || !receive(fd, 1)) return;
	result.connections = 1;
	double end = now() + seconds;
	for (long done = 0; done < at_most; done++) {
		double begin = now();
		if (begin >= end) break;
		if (send(fd, chunk, PING_BYTES, MSG_NOSIGNAL) != PING_BYTES) return failed("send", errno);
		if (!receive(fd, PING_BYTES)) return;
		took(now() - begin);
	}
	close(fd);
}

struct slot {
	int fd;
	double begin;
	bool sent;
};

static void start(int epoll, struct slot *slot)
{
	slot->fd = new_socket(SOCK_NONBLOCK);
	slot->begin = now();
	slot->sent = false;
	struct epoll_event event = {.events = EPOLLOUT, .data.ptr = slot};
	if (connect(slot->fd, (struct sockaddr *)&target, target_length) != 0 && errno != EINPROGRESS) event.events = EPOLLOUT | EPOLLERR;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, slot->fd, &event) != 0) die("epoll_ctl");
}

/* Moves a connection on. @returns whether it is over */
static bool proceed(int epoll, struct slot *slot)
{
	char byte = 'E';
	if (!slot->sent) {
		int error = 0;
		socklen_t length = sizeof error;
		getsockopt(slot->fd, SOL_SOCKET, SO_ERROR, &error, &length);
		if (error != 0) return failed("connect", error), true;
		if (send(slot->fd, &byte, 1, MSG_NOSIGNAL) != 1) return failed("send", errno), true;
		slot->sent = true;
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = slot};
		epoll_ctl(epoll, EPOLL_CTL_MOD, slot->fd, &event);
		return false;
	}
	ssize_t got = recv(slot->fd, &byte, 1, 0);
	if (got < 0 && errno == EAGAIN) return false;
	if (got <= 0) return failed("receive", got == 0 ? 0 : errno), true;
	took(now() - slot->begin);
	result.connections++;
	return true;
}

static void rate(double seconds, int concurrency)
{
	static struct slot slots[MAX_CONCURRENCY];
	struct epoll_event events[EVENTS];
	int epoll = epoll_create1(EPOLL_CLOEXEC), open = concurrency;
	double end = now() + seconds, last = end + PATIENCE;
	for (int at = 0; at < concurrency; at++) start(epoll, &slots[at]);
	while (open > 0) {
		int count = epoll_wait(epoll, events, EVENTS, 100);
		for (int at = 0; at < count; at++) {
			struct slot *slot = events[at].data.ptr;
			if (!proceed(epoll, slot)) continue;
			close(slot->fd);
			if (now() < end && result.failed < 100) start(epoll, slot);
			else open--;
		}
		if (now() > last) {
			for (int at = 0; at < open; at++) failed("answer", ETIMEDOUT);
			return;
		}
	}
}

static void bulk(double seconds, int streams)
{
	struct epoll_event events[EVENTS];
	int fds[MAX_STREAMS], epoll = epoll_create1(EPOLL_CLOEXEC);
	double end = now() + seconds;
	for (int at = 0; at < streams; at++) {
		fds[at] = opened('S');
		if (fds[at] < 0) return;
		fcntl(fds[at], F_SETFL, O_NONBLOCK);
		struct epoll_event event = {.events = EPOLLOUT, .data.fd = fds[at]};
		epoll_ctl(epoll, EPOLL_CTL_ADD, fds[at], &event);
	}
	while (now() < end) {
		int count = epoll_wait(epoll, events, EVENTS, 100);
		for (int at = 0; at < count; at++) {
			ssize_t sent = send(events[at].data.fd, chunk, CHUNK, MSG_NOSIGNAL);
			if (sent > 0) result.bytes += (uint64_t)sent;
			else if (errno != EAGAIN) return failed("send", errno);
		}
	}
	for (int at = 0; at < streams; at++) {
		char last = LAST;
		fcntl(fds[at], F_SETFL, 0);
		if (send(fds[at], &last, 1, MSG_NOSIGNAL) != 1) return failed("send", errno);
	}
	for (int at = 0; at < streams; at++) {
		if (!receive(fds[at], 1)) return;
		close(fds[at]);
		result.connections++;
	}
}

/* As `send` or `recv` would wait, without going to sleep. */
static bool spin(ssize_t (*once)(int fd), int fd)
{
	double last = now() + PATIENCE;
	ssize_t done;
	while ((done = once(fd)) < 0 && (errno == EAGAIN || errno == ENOTCONN) && now() < last) continue;
	return done == 1;
}

static ssize_t ask(int fd) { return send(fd, "E", 1, MSG_NOSIGNAL); }
static ssize_t hear(int fd) { return recv(fd, chunk, 1, 0); }

static void eager(double seconds, int cpu)
{
	cpu_set_t only;
	CPU_ZERO(&only);
	CPU_SET((size_t)cpu, &only);
	if (sched_setaffinity(0, sizeof only, &only) != 0) die("sched_setaffinity");
	for (double end = now() + seconds; now() < end;) {
		int fd = new_socket(SOCK_NONBLOCK);
		double begin = now();
		if (connect(fd, (struct sockaddr *)&target, target_length) != 0 && errno != EINPROGRESS) die("connect");
		if (!spin(ask, fd)) die("send");
		if (spin(hear, fd)) {
			took(now() - begin);
			result.connections++;
		} else {
			failed("receive", errno);
		}
		close(fd);
	}
}

static void hold(long count)
{
	int *fds = calloc((size_t)count, sizeof *fds);
	if (fds == NULL) die("memory");
	for (long at = 0; at < count && result.failed == 0; at++) {
		fds[at] = opened('E');
		if (fds[at] >= 0 && receive(fds[at], 1)) result.connections++;
	}
	printf("{\"held\":%ld,\"why\":\"%s\"}\n", result.connections, result.why);
	fflush(stdout);
	char byte;
	while (read(STDIN_FILENO, &byte, 1) > 0) continue;
	free(fds);
}

static int ascending(const void *a, const void *b)
{
	float left = *(const float *)a, right = *(const float *)b;
	return (left > right) - (left < right);
}

static double quantile(double share)
{
	return result.count == 0 ? 0 : (double)result.micros[(size_t)(share * (double)(result.count - 1))];
}

int main(int count, char **words)
{
	const char *kind = count > 1 ? words[1] : "";
	if (strcmp(kind, "serve") == 0 && count == 3) serve(words[2]);
	if (count < 5) {
		fprintf(stderr, "usage: load serve PORT | load connect|rate|ping|bulk|eager|hold ADDRESS PORT ...\n");
		return 2;
	}
	set_target(words[2], words[3]);
	double begin = now(), seconds = atof(words[4]);
	long number = count > 5 ? atol(words[5]) : 0;
	if (strcmp(kind, "connect") == 0) connect_one_by_one(seconds, number);
	else if (strcmp(kind, "rate") == 0) rate(seconds, number < MAX_CONCURRENCY ? (int)number : MAX_CONCURRENCY);
	else if (strcmp(kind, "ping") == 0) ping(seconds, number);
	else if (strcmp(kind, "bulk") == 0) bulk(seconds, number < MAX_STREAMS ? (int)number : MAX_STREAMS);
	else if (strcmp(kind, "eager") == 0) eager(seconds, (int)number);
	else if (strcmp(kind, "hold") == 0) return hold(atol(words[4])), 0;
	else return 2;
	double wall = now() - begin;
	struct rusage used;
	getrusage(RUSAGE_SELF, &used);
	qsort(result.micros, result.count, sizeof *result.micros, ascending);
	printf("{\"connections\":%ld,\"failed\":%ld,\"why\":\"%s\",\"bytes\":%llu,\"seconds\":%.6f,\"cpu\":%.6f,\"p50\":%.1f,\"p99\":%.1f}\n",
	       result.connections, result.failed, result.why, (unsigned long long)result.bytes, wall,
	       (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6, quantile(0.5),
	       quantile(0.99));
	return 0;
}
