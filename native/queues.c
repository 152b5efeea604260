/* The two queues between the main thread and the data thread. Both are taken whole, so a batch costs one wake-up. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void emit(struct data_path *path, struct event *event) {
  event->next = NULL;
  pthread_mutex_lock(&path->events_lock);
  bool first = path->first_event == NULL;
  *path->last_event = event;
  path->last_event = &event->next;
  path->event_count++;
  pthread_mutex_unlock(&path->events_lock);
  if (first) path->wake(path->context);
}

size_t count_untold(struct data_path *path) {
  pthread_mutex_lock(&path->events_lock);
  size_t count = path->event_count + path->report_count;
  pthread_mutex_unlock(&path->events_lock);
  return count;
}

struct event *new_event(enum event_type type, const struct connection *connection) {
  struct event *event = calloc(1, sizeof *event);
  if (event == NULL) abort(); /* a lost event would leave a connection that nobody judges */
  event->type = type;
  event->id = connection == NULL ? 0 : connection->id;
  return event;
}

uint8_t *copy_of(const uint8_t *bytes, size_t length) {
  if (length == 0) return NULL;
  uint8_t *copy = malloc(length);
  if (copy == NULL) abort();
  return memcpy(copy, bytes, length);
}

void set_bytes(struct event *event, const uint8_t *bytes, size_t length) {
  event->bytes = copy_of(bytes, length);
  event->length = length;
}

struct event *data_path_take_events(struct data_path *path) {
  pthread_mutex_lock(&path->events_lock);
  struct event *first = path->first_event;
  path->first_event = NULL;
  path->last_event = &path->first_event;
  path->event_count = 0;
  pthread_mutex_unlock(&path->events_lock);
  return first;
}

void data_path_free_event(struct event *event) {
  free(event->bytes);
  free(event->hello);
  free(event->reply);
  free(event);
}

bool data_path_command(struct data_path *path, const struct command *command) {
  pthread_mutex_lock(&path->commands_lock);
  if (path->command_count == path->command_capacity) {
    size_t grown = path->command_capacity == 0 ? 64 : path->command_capacity * 2;
    struct command *commands = realloc(path->commands, grown * sizeof *commands);
    if (commands == NULL) {
      pthread_mutex_unlock(&path->commands_lock);
      return false;
    }
    path->commands = commands;
    path->command_capacity = grown;
  }
  bool first = path->command_count == 0;
  path->commands[path->command_count++] = *command;
  pthread_mutex_unlock(&path->commands_lock);
  if (first) {
    uint64_t one = 1;
    while (write(path->wakeup, &one, sizeof one) < 0 && errno == EINTR) continue;
  }
  return true;
}

size_t take_commands(struct data_path *path) {
  uint64_t count;
  while (read(path->wakeup, &count, sizeof count) < 0 && errno == EINTR) continue;
  pthread_mutex_lock(&path->commands_lock);
  struct command *commands = path->commands;
  size_t command_count = path->command_count, capacity = path->command_capacity;
  path->commands = path->working;
  path->command_capacity = path->working_capacity;
  path->command_count = 0;
  path->working = commands;
  path->working_capacity = capacity;
  pthread_mutex_unlock(&path->commands_lock);
  return command_count;
}
