/* Buffers, pipes and the ends of connections. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { PIPE_BYTES = 256 * 1024, REST_MS = 1000 };

int64_t now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

int64_t now_ms(void) { return now_us() / 1000; }

void free_buffer(struct buffer *buffer) {
  free(buffer->bytes);
  memset(buffer, 0, sizeof *buffer);
}

bool is_empty(const struct buffer *buffer) { return buffer->start == buffer->end; }

void append(struct buffer *buffer, const uint8_t *bytes, size_t length) {
  if (length == 0) return;
  size_t kept = buffer->end - buffer->start;
  uint8_t *joined = malloc(kept + length);
  if (joined == NULL) abort();
  if (kept > 0) memcpy(joined, buffer->bytes + buffer->start, kept);
  memcpy(joined + kept, bytes, length);
  free(buffer->bytes);
  *buffer = (struct buffer){.bytes = joined, .start = 0, .end = kept + length};
}

/*
 * As large as the user's limits allow. A user whose pipes take more than /proc/sys/fs/pipe-user-pages-soft gets pipes of two pages (pipe(7)),
 * which move less at a time than a copy through the scratch does.
 */
static bool is_large(int fd) {
  int bytes = fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES);
  if (bytes < 0) bytes = fcntl(fd, F_GETPIPE_SZ);
  return bytes >= SCRATCH_BYTES;
}

void learn_descriptors(struct data_path *path) {
  struct rlimit limit;
  bool known = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < INT_MAX;
  path->pipe_descriptors = known ? (int)limit.rlim_cur - SPARE_DESCRIPTORS : INT_MAX;
}

bool take_pipe(struct data_path *path, int pipe_out[2]) {
  if (path->pipe_count > 0) {
    path->pipe_count--;
    pipe_out[0] = path->pipes[path->pipe_count][0];
    pipe_out[1] = path->pipes[path->pipe_count][1];
    return true;
  }
  pipe_out[0] = pipe_out[1] = -1;
  int made[2];
  if (path->pipes_again != 0 && now_ms() < path->pipes_again) return false;
  path->pipes_again = now_ms() + REST_MS;
  bool given = pipe2(made, O_NONBLOCK | O_CLOEXEC) == 0;
  /* The kernel gives the lowest number that is free: a high one says that few are left, and the sidecar's own files need those more than bulk does. */
  if (given && (made[1] >= path->pipe_descriptors || !is_large(made[1]))) {
    close(made[0]);
    close(made[1]);
    given = false;
  }
  if (!given) {
    __atomic_fetch_add(&path->pipes_refused, 1, __ATOMIC_RELAXED);
    return false;
  }
  path->pipes_again = 0;
  pipe_out[0] = made[0];
  pipe_out[1] = made[1];
  return true;
}

uint32_t data_path_pipes_refused(const struct data_path *path) { return __atomic_load_n(&path->pipes_refused, __ATOMIC_RELAXED); }

void give_pipe(struct data_path *path, struct direction *direction) {
  if (direction->pipe[0] < 0) return;
  if (direction->piped == 0 && path->pipe_count < POOLED_PIPES) {
    path->pipes[path->pipe_count][0] = direction->pipe[0];
    path->pipes[path->pipe_count][1] = direction->pipe[1];
    path->pipe_count++;
  } else {
    close(direction->pipe[0]);
    close(direction->pipe[1]);
  }
  direction->pipe[0] = direction->pipe[1] = -1;
  direction->piped = 0;
}

void close_pooled_pipes(struct data_path *path) {
  while (path->pipe_count > 0) {
    path->pipe_count--;
    close(path->pipes[path->pipe_count][0]);
    close(path->pipes[path->pipe_count][1]);
  }
}

void set_socket_options(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on); /* a peer that vanished ends some day */
  /* An urgent byte stays in the stream where it was sent; without this it would be lost. */
  setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
}

/* Of room to write those alone who have lacked it: most never do, and would be told of it once for nothing. */
static bool tell(const struct data_path *path, struct end *end, int operation) {
  uint32_t room = end->told_writable ? EPOLLOUT : 0;
  struct epoll_event event = {.events = EPOLLIN | room | EPOLLPRI | EPOLLRDHUP | EPOLLET, .data.u64 = tag_of(end)};
  return epoll_ctl(path->epoll, operation, end->fd, &event) == 0;
}

bool watch(struct data_path *path, struct end *end) {
  end->told_writable = !end->writable;
  return end->watched = tell(path, end, EPOLL_CTL_ADD);
}

void await_room(struct data_path *path, struct end *end) {
  end->writable = false;
  if (end->told_writable) return;
  end->told_writable = true;
  if (end->watched && !tell(path, end, EPOLL_CTL_MOD)) note_failure(end, errno);
}

void note_failure(struct end *end, int error) {
  end->failed = true;
  end->readable = true; /* what came before is still there */
  /* EPIPE is how the kernel names a reset behind an end that the peer had sent: reading meets that end first. */
  if (error != EPIPE) end->broken = true;
}

static void write_some(struct data_path *path, struct end *end, struct buffer *buffer) {
  while (!is_empty(buffer) && end->writable) {
    ssize_t sent = send(end->fd, buffer->bytes + buffer->start, buffer->end - buffer->start, MSG_NOSIGNAL);
    if (sent >= 0) {
      buffer->start += (size_t)sent;
    } else if (errno == EAGAIN || errno == EINPROGRESS || errno == ENOTCONN) {
      await_room(path, end);
    } else if (errno != EINTR) {
      note_failure(end, errno);
      break;
    }
  }
}

void flush_out(struct data_path *path, struct end *end) {
  write_some(path, end, &end->out);
  if (is_empty(&end->out)) free_buffer(&end->out);
}

void speak(struct data_path *path, struct end *end, uint8_t *bytes, size_t length) {
  struct buffer left = {.bytes = bytes, .start = 0, .end = length};
  end->spoken = true;
  if (is_empty(&end->out)) write_some(path, end, &left);
  append(&end->out, left.bytes + left.start, left.end - left.start);
}

void reset_fd(int fd) {
  struct linger at_once = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(fd);
}

void close_end(struct data_path *path, struct end *end, bool reset) {
  if (end->fd < 0) return;
  /* Closing alone is not enough while the main thread forks: until the child's exec its copy keeps epoll reporting. */
  if (end->watched) epoll_ctl(path->epoll, EPOLL_CTL_DEL, end->fd, NULL);
  close_last(end, reset);
}

void close_last(struct end *end, bool reset) {
  if (end->fd < 0) return;
  if (reset) reset_fd(end->fd);
  else close(end->fd);
  end->fd = -1;
  free_buffer(&end->out);
}
