/* The thread: waits, hears, obeys. */
#define _GNU_SOURCE
#include "internal.h"
#include "capabilities.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS = 256 };

static void obey(struct data_path *path, struct command *command) {
  if (command->type == COMMAND_LISTEN) {
    add_listener(path, command);
    return;
  }
  if (command->type == COMMAND_UNLISTEN) {
    remove_listener(path, command->id);
    return;
  }
  if (command->type == COMMAND_RECALL) {
    path->resuming_at = 0;
    path->tell_all = true; /* who was established in the last moment is judged when it is told */
    return;
  }
  if (command->type == COMMAND_STOP) {
    path->stopping = true;
    return;
  }
  struct connection *connection = find(path, command->id);
  if (connection == NULL || connection->closed) return; /* its closed event is on the way */
  switch (command->type) {
    case COMMAND_READ_FRAME:
      connection->reading = true;
      connection->reading_side = command->side;
      connection->max_bytes = command->max_bytes;
      break;
    case COMMAND_SEND: {
      struct end *end = &connection->end[command->side];
      if (end->fd < 0) return;
      end->spoken = true;
      append(&end->out, command->bytes, command->length);
      break;
    }
    case COMMAND_DIAL:
      dial(path, connection, command);
      return;
    case COMMAND_RELAY:
      connection->relaying = true;
      connection->guard = command->flag;
      connection->reading = connection->held = command->max_bytes > 0;
      connection->reading_side = UPSTREAM;
      connection->max_bytes = command->max_bytes;
      connection->end[CLIENT].readable = connection->end[UPSTREAM].readable = true;
      break;
    case COMMAND_RELEASE:
      connection->held = false;
      connection->end[UPSTREAM].readable = true;
      break;
    case COMMAND_DROP_UPSTREAM:
      drop_upstream(path, connection);
      break;
    case COMMAND_RESET:
      close_connection(path, connection, CAUSE_RESET);
      return;
    default:
      return;
  }
  run_later(path, connection);
}

static void obey_all(struct data_path *path, bool told) {
  size_t count = take_commands(path, told);
  for (size_t i = 0; i < count; i++) {
    obey(path, &path->working[i]);
    free(path->working[i].bytes);
  }
}

struct passes *data_path_passes(struct data_path *path) { return &path->passes; }

bool data_path_progress(struct data_path *path, uint64_t id, uint64_t *bytes_in, uint64_t *bytes_out) {
  pthread_mutex_lock(&path->slots_lock);
  struct connection *connection = find(path, id);
  if (connection != NULL && __atomic_load_n(&connection->closed, __ATOMIC_RELAXED)) connection = NULL;
  if (connection != NULL) {
    *bytes_in = __atomic_load_n(&connection->direction[CLIENT].bytes, __ATOMIC_RELAXED);
    *bytes_out = __atomic_load_n(&connection->direction[UPSTREAM].bytes, __ATOMIC_RELAXED);
  }
  pthread_mutex_unlock(&path->slots_lock);
  return connection != NULL;
}

/* --- the thread --- */

static void on_socket(struct data_path *path, uint64_t tag, uint32_t events) {
  struct end *end = find_end(path, tag);
  if (end == NULL || end->fd < 0) return; /* closed earlier in this batch, or somebody else still holds the socket: a child before its exec */
  struct connection *connection = end->connection;
  if (connection->closed) {
    if (events & EPOLLERR) end->failed = true;
    if (events & EPOLLOUT) end->writable = true;
    flush_out(path, end);
    return;
  }
  if (end->connecting) {
    continue_dial(path, connection);
    if (end->fd < 0 || end->connecting) return;
  }
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) end->readable = true;
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) end->writable = true;
  if (events & (EPOLLRDHUP | EPOLLHUP)) end->peer_finished = true;
  if (events & EPOLLPRI) end->urgent = true;
  if (events & EPOLLERR) end->failed = true;
  run(path, connection);
}

static void stop_everything(struct data_path *path) {
  for (int i = 0; i < LISTENERS; i++) close_end(path, &path->listeners[i].end, false);
  for (uint32_t i = 0; i < path->slot_count; i++) {
    if (path->slots[i].connection != NULL) close_connection(path, path->slots[i].connection, CAUSE_RESET);
  }
  while (path->lingering != NULL) tend_lingering(path);
  run_queued(path);
  bury_dead(path);
  close_pooled_pipes(path);
  tell_reports(path);
}

/* How long nothing but sockets and commands can be of interest, in ms; -1: for ever. */
static int patience(const struct data_path *path) {
  if (path->run_queue != NULL) return 0;
  int64_t next = path->accept_again == 0 ? INT64_MAX : path->accept_again;
  if (path->lingering != NULL && path->tend_at < next) next = path->tend_at;
  if (path->resuming != NULL && path->resuming_at < next) next = path->resuming_at;
  if (path->report_at != 0 && path->report_at < next) next = path->report_at;
  if (next == INT64_MAX) return -1;
  int64_t left = next - now_ms();
  return left > 0 ? (int)left : 0;
}

static void *thread_main(void *argument) {
  struct data_path *path = argument;
  struct epoll_event events[EVENTS];
  capabilities_seal();
  while (!path->stopping) {
    int count = epoll_wait(path->epoll, events, EVENTS, patience(path));
    bool told = false;
    for (int i = 0; i < count; i++) {
      uint64_t tag = events[i].data.u64;
      if (tag == WAKEUP_TAG) told = true;
      else if (tag < FIRST_END_TAG) accept_some(path, &path->listeners[tag - FIRST_LISTENER_TAG]);
      else on_socket(path, tag, events[i].events);
    }
    obey_all(path, told);
    run_queued(path);
    if (path->resuming != NULL) tend_resumptions(path);
    if (path->lingering != NULL) tend_lingering(path);
    tell_reports(path);
    accept_again(path);
    bury_dead(path);
  }
  stop_everything(path);
  emit(path, new_event(EVENT_STOPPED, NULL));
  return NULL;
}

struct data_path *data_path_start(wake_function wake, void *context, struct connection_limit *limit) {
  struct data_path *path = calloc(1, sizeof *path);
  if (path == NULL) return NULL;
  path->wake = wake;
  path->context = context;
  path->last_event = &path->first_event;
  path->young_batch = 1;
  path->limit = limit_keep(limit);
  pthread_mutex_init(&path->commands_lock, NULL);
  pthread_mutex_init(&path->events_lock, NULL);
  pthread_mutex_init(&path->slots_lock, NULL);
  passes_init(&path->passes);
  learn_congestion_control(path);
  learn_descriptors(path);
  for (int i = 0; i < LISTENERS; i++) path->listeners[i].end.fd = -1;
  path->epoll = epoll_create1(EPOLL_CLOEXEC);
  path->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  path->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = WAKEUP_TAG};
  int error = 0;
  if (path->epoll < 0 || path->wakeup < 0 || epoll_ctl(path->epoll, EPOLL_CTL_ADD, path->wakeup, &event) != 0) {
    error = errno;
  } else {
    /* Signals are the main thread's business. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&path->thread, NULL, thread_main, path);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  if (error == 0) {
    pthread_setname_np(path->thread, "data-path"); /* for those who look at threads: top -H, perf */
    return path;
  }
  if (path->epoll >= 0) close(path->epoll);
  if (path->wakeup >= 0) close(path->wakeup);
  if (path->reserve >= 0) close(path->reserve);
  limit_drop(limit);
  free(path);
  errno = error;
  return NULL;
}

void data_path_join(struct data_path *path) {
  pthread_join(path->thread, NULL);
  close(path->epoll);
  close(path->wakeup);
  if (path->reserve >= 0) close(path->reserve);
  for (size_t i = 0; i < path->command_count; i++) {
    if (path->commands[i].type == COMMAND_LISTEN) close(path->commands[i].fd);
    free(path->commands[i].bytes);
  }
  bool more;
  for (struct event *event = data_path_take_events(path, SIZE_MAX, &more); event != NULL;) {
    struct event *next = event->next;
    data_path_free_event(event);
    event = next;
  }
  free(path->commands);
  free(path->working);
  free(path->reports);
  free(path->young);
  passes_destroy(&path->passes);
  free(path->slots);
  free(path->free_slots);
  pthread_mutex_destroy(&path->commands_lock);
  pthread_mutex_destroy(&path->events_lock);
  pthread_mutex_destroy(&path->slots_lock);
  limit_drop(path->limit);
  free(path);
}
