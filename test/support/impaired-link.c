/*
 * A link between two network namespaces that delays, loses, doubles and reorders packets, for kernels without netem.
 *
 *   impaired-link DEVICE OTHER-NAMESPACE OTHER-DEVICE SEED DELAY-US JITTER-US LOSS DUPLICATE REORDER REORDER-US EAT QUEUE
 *
 * DEVICE is made in the namespace that the program is started in, OTHER-DEVICE in the other: TUN devices, so that packets come whole,
 * segmented and with their checksums. LOSS, DUPLICATE and REORDER are out of a million packets; a reordered packet is held REORDER-US
 * longer than its successors. EAT is none, syn-data or syn-option: a middlebox that drops SYNs with data, or with the Fast Open option. QUEUE is
 * the most packets under way per direction; what comes beyond is lost. Each direction draws from its own generator, so that the fate of
 * its nth packet depends on SEED alone. Says "ready" when the devices are there, and what it did, as JSON, on SIGTERM.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST_PACKET = 65536, MOST_QUEUED = 65536, READS = 64 };
enum eat { EAT_NOTHING, EAT_SYN_DATA, EAT_SYN_OPTION };

struct packet {
  int64_t due; /* monotonic ns */
  uint64_t order;
  int to;
  size_t length;
  uint8_t *bytes;
};

struct counts {
  uint64_t passed, lost, duplicated, reordered, eaten, overflowed;
};

struct direction {
  int from;
  uint64_t random;
  int64_t last_due;
  uint32_t queued;
  struct counts counts;
};

static struct {
  int64_t delay, jitter, reorder_by;
  uint32_t loss, duplicate, reorder, queue;
  enum eat eat;
} settings;

static struct packet heap[2 * MOST_QUEUED];
static size_t heap_size;
static uint64_t next_order;
static volatile sig_atomic_t stopping;

static void die(const char *what) {
  fprintf(stderr, "impaired-link: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014 */
static uint64_t draw(struct direction *direction) {
  uint64_t z = direction->random += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

static bool happens(struct direction *direction, uint32_t millionths) { return draw(direction) % 1000000 < millionths; }

/* --- packets under way, the earliest first --- */

static bool before(const struct packet *one, const struct packet *other) {
  return one->due != other->due ? one->due < other->due : one->order < other->order;
}

static void swap(size_t one, size_t other) {
  struct packet kept = heap[one];
  heap[one] = heap[other];
  heap[other] = kept;
}

static void push(struct packet packet) {
  size_t at = heap_size++;
  heap[at] = packet;
  for (; at > 0 && before(&heap[at], &heap[(at - 1) / 2]); at = (at - 1) / 2) swap(at, (at - 1) / 2);
}

static struct packet pop(void) {
  struct packet first = heap[0];
  heap[0] = heap[--heap_size];
  for (size_t at = 0;;) {
    size_t least = at;
    for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < heap_size; child++) {
      if (before(&heap[child], &heap[least])) least = child;
    }
    if (least == at) return first;
    swap(at, least);
    at = least;
  }
}

/* --- the middlebox --- */

/* Where the TCP header begins; 0 when there is none to be seen. */
static size_t tcp_header(const uint8_t *bytes, size_t length) {
  size_t start = 0;
  if (length >= 40 && bytes[0] >> 4 == 4 && bytes[9] == 6) start = (size_t)(bytes[0] & 15) * 4;
  else if (length >= 60 && bytes[0] >> 4 == 6 && bytes[6] == 6) start = 40;
  return start != 0 && start + 20 <= length ? start : 0;
}

/* Kind 34, and the experimental one that came before it: RFC 7413 */
static bool has_fast_open(const uint8_t *bytes, size_t at, size_t end) {
  while (at < end && bytes[at] != 0) {
    if (bytes[at] == 1) {
      at++;
      continue;
    }
    if (at + 1 >= end || bytes[at + 1] < 2) return false;
    if (bytes[at] == 34 || bytes[at] == 254) return true;
    at += bytes[at + 1];
  }
  return false;
}

static bool is_eaten(const uint8_t *bytes, size_t length) {
  size_t start = tcp_header(bytes, length);
  if (settings.eat == EAT_NOTHING || start == 0 || (bytes[start + 13] & 0x12) != 0x02) return false;
  size_t data = start + (size_t)(bytes[start + 12] >> 4) * 4;
  if (data > length) return false;
  return settings.eat == EAT_SYN_DATA ? length > data : has_fast_open(bytes, start + 20, data);
}

/* --- the link --- */

static void send_later(struct direction *direction, int to, const uint8_t *bytes, size_t length, int64_t due) {
  if (direction->queued >= settings.queue) {
    direction->counts.overflowed++;
    return;
  }
  struct packet packet = {.due = due, .order = next_order++, .to = to, .length = length, .bytes = malloc(length)};
  if (packet.bytes == NULL) die("memory");
  memcpy(packet.bytes, bytes, length);
  direction->queued++;
  push(packet);
}

static void pass(struct direction *direction, int to, const uint8_t *bytes, size_t length) {
  /* Every packet draws as often, whatever becomes of it. */
  bool lost = happens(direction, settings.loss), doubled = happens(direction, settings.duplicate);
  bool reordered = happens(direction, settings.reorder);
  int64_t jitter = settings.jitter == 0 ? 0 : (int64_t)(draw(direction) % (uint64_t)settings.jitter);
  if (is_eaten(bytes, length)) {
    direction->counts.eaten++;
    return;
  }
  if (lost) {
    direction->counts.lost++;
    return;
  }
  int64_t due = now_ns() + settings.delay + jitter;
  if (due < direction->last_due) due = direction->last_due; /* jitter alone reorders nothing */
  direction->last_due = due;
  if (reordered) {
    direction->counts.reordered++;
    due += settings.reorder_by;
  }
  send_later(direction, to, bytes, length, due);
  if (!doubled) return;
  direction->counts.duplicated++;
  send_later(direction, to, bytes, length, due);
}

static void read_packets(struct direction *directions, int from) {
  static uint8_t bytes[LONGEST_PACKET];
  for (int i = 0; i < READS; i++) {
    ssize_t length = read(directions[from].from, bytes, sizeof bytes);
    if (length < 0 && errno != EAGAIN && errno != EINTR && errno != EIO) die("read");
    if (length <= 0) return;
    pass(&directions[from], 1 - from, bytes, (size_t)length);
  }
}

static void deliver_due(struct direction *directions) {
  for (int64_t now = now_ns(); heap_size > 0 && heap[0].due <= now; now = now_ns()) {
    struct packet packet = pop();
    struct direction *direction = &directions[1 - packet.to];
    direction->queued--;
    if (write(directions[packet.to].from, packet.bytes, packet.length) >= 0) direction->counts.passed++;
    else direction->counts.overflowed++; /* a device that is down, or whose memory is used up */
    free(packet.bytes);
  }
}

static int open_device(const char *name) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) die("/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  if (ioctl(fd, TUNSETIFF, &request) != 0) die(name);
  return fd;
}

static void enter(const char *namespace) {
  char file[256];
  snprintf(file, sizeof file, "/run/netns/%s", namespace);
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) die(file);
  close(fd);
}

static void on_signal(int signal) {
  (void)signal;
  stopping = 1;
}

static uint64_t number(const char *text, const char *name, uint64_t most) {
  char *end;
  errno = 0;
  uint64_t value = strtoull(text, &end, 10);
  if (errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0' && value <= most) return value;
  fprintf(stderr, "impaired-link: %s: %s is no number up to %" PRIu64 "\n", name, text, most);
  exit(2);
}

static enum eat eat_of(const char *text) {
  const char *const names[] = {[EAT_NOTHING] = "none", [EAT_SYN_DATA] = "syn-data", [EAT_SYN_OPTION] = "syn-option"};
  for (int i = 0; i < 3; i++) {
    if (strcmp(text, names[i]) == 0) return (enum eat)i;
  }
  fprintf(stderr, "impaired-link: %s is neither none, syn-data nor syn-option\n", text);
  exit(2);
}

static void tell(const struct counts *counts) {
  printf("{\"passed\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"duplicated\":%" PRIu64 ",\"reordered\":%" PRIu64 ",\"eaten\":%" PRIu64
         ",\"overflowed\":%" PRIu64 "}",
         counts->passed, counts->lost, counts->duplicated, counts->reordered, counts->eaten, counts->overflowed);
}

int main(int count, char **arguments) {
  if (count != 13) {
    fprintf(stderr, "usage: impaired-link DEVICE OTHER-NAMESPACE OTHER-DEVICE SEED DELAY-US JITTER-US LOSS DUPLICATE REORDER "
                    "REORDER-US EAT QUEUE\n");
    return 2;
  }
  const uint64_t minute = 60000000, all = 1000000;
  uint64_t seed = number(arguments[4], "SEED", UINT32_MAX);
  settings.delay = (int64_t)number(arguments[5], "DELAY-US", minute) * 1000;
  settings.jitter = (int64_t)number(arguments[6], "JITTER-US", minute) * 1000;
  settings.loss = (uint32_t)number(arguments[7], "LOSS", all);
  settings.duplicate = (uint32_t)number(arguments[8], "DUPLICATE", all);
  settings.reorder = (uint32_t)number(arguments[9], "REORDER", all);
  settings.reorder_by = (int64_t)number(arguments[10], "REORDER-US", minute) * 1000;
  settings.eat = eat_of(arguments[11]);
  settings.queue = (uint32_t)number(arguments[12], "QUEUE", MOST_QUEUED);

  struct sigaction stop = {.sa_handler = on_signal};
  sigaction(SIGTERM, &stop, NULL);
  sigaction(SIGINT, &stop, NULL);
  prctl(PR_SET_TIMERSLACK, 1UL);
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* a link without its test is nobody's */

  struct direction directions[2] = {{.random = 2 * seed}, {.random = 2 * seed + 1}};
  directions[0].from = open_device(arguments[1]);
  enter(arguments[2]);
  directions[1].from = open_device(arguments[3]);
  printf("ready\n");
  fflush(stdout);

  while (!stopping) {
    struct pollfd polls[2] = {{.fd = directions[0].from, .events = POLLIN}, {.fd = directions[1].from, .events = POLLIN}};
    struct timespec wait = {0};
    if (heap_size > 0) {
      int64_t left = heap[0].due - now_ns();
      if (left > 0) wait = (struct timespec){.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    }
    if (ppoll(polls, 2, heap_size > 0 ? &wait : NULL, NULL) < 0 && errno != EINTR) die("poll");
    for (int i = 0; i < 2; i++) {
      if (polls[i].revents & POLLIN) read_packets(directions, i);
      else if (polls[i].revents & POLLERR) return 0; /* the namespace has gone */
    }
    deliver_due(directions);
  }
  printf("{\"there\":");
  tell(&directions[0].counts);
  printf(",\"back\":");
  tell(&directions[1].counts);
  printf("}\n");
  return 0;
}
