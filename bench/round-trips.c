/*
 * What a round trip costs in CPU time alone (bench/packet-cost.ts): connections between pairs of network namespaces, both ends of all in this one thread, so that
 * no time passes in waking anybody, and the kernel's whole way from one socket to the other is the thread's own.
 *
 *   round-trips CLIENT SERVER ADDRESS PORT [CLIENT SERVER ADDRESS PORT]...      names of namespaces (ip netns)
 *
 * Says `open` when all are. Then each line `AT COUNT BYTES` of standard input lets COUNT round trips go over connection AT, of BYTES there and 64 bytes
 * back, and is answered with a line: nanoseconds of this thread for one of them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 64
#define BACK 64
#define LARGEST (1 << 20)

static struct {
	int client, server;
} open_ones[MOST];
static char bytes[LARGEST];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void enter(const char *name)
{
	char path[256];
	snprintf(path, sizeof path, "/run/netns/%s", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) die(path);
	close(fd);
}

static int new_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	if (fd < 0) die("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	return fd;
}

static void connect_pair(int at, char **name)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(name[3]))};
	if (inet_pton(AF_INET, name[2], &address.sin_addr) != 1) die(name[2]);
	enter(name[1]);
	int listener = new_socket();
	if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0) die("listen");
	enter(name[0]);
	open_ones[at].client = new_socket();
	if (connect(open_ones[at].client, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
	open_ones[at].server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (open_ones[at].server < 0) die("accept");
	close(listener);
}

static void carry(int from, int to, size_t count)
{
	for (size_t sent = 0, got = 0; got < count;) {
		if (sent < count) {
			ssize_t more = send(from, bytes, count - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (more > 0) sent += (size_t)more;
		}
		ssize_t more = recv(to, bytes, sizeof bytes, got < sent ? 0 : MSG_DONTWAIT);
		if (more == 0) die("closed");
		if (more > 0) got += (size_t)more;
	}
}

static double used(void)
{
	struct timespec at;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
	return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

int main(int count, char **words)
{
	int pairs = (count - 1) / 4;
	if (pairs < 1 || pairs > MOST || (count - 1) % 4 != 0) return fprintf(stderr, "usage: round-trips CLIENT SERVER ADDRESS PORT ...\n"), 2;
	for (int at = 0; at < pairs; at++) connect_pair(at, words + 1 + at * 4);
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("open");
	int at;
	long trips;
	size_t size;
	while (scanf("%d %ld %zu", &at, &trips, &size) == 3) {
		if (at < 0 || at >= pairs || size < 1 || size > LARGEST) die("bad order");
		double begin = used();
		for (long done = 0; done < trips; done++) {
			carry(open_ones[at].client, open_ones[at].server, size);
			carry(open_ones[at].server, open_ones[at].client, BACK);
		}
		printf("%.1f\n", (used() - begin) / (double)trips);
	}
	return 0;
}
