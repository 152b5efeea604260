/*
 * The two queues between the main thread and the data thread. What is in them is taken at once, so a batch costs one wake-up; of very many events some at
 * a time. Of commands the main thread says itself when a batch is complete: waking somebody costs as much as what it is woken for.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* So many commands are told without being asked to: a main thread that has long to do shall not keep all of them back. */
enum { MANY_COMMANDS = 64 };

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
  size_t count = path->event_count + path->report_count + path->young_count;
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

struct event *data_path_take_events(struct data_path *path, size_t most, bool *more) {
  pthread_mutex_lock(&path->events_lock);
  struct event *first = path->first_event, **end = &path->first_event;
  size_t taken = 0;
  while (*end != NULL && taken < most) {
    end = &(*end)->next;
    taken++;
  }
  struct event *left = *end;
  *end = NULL;
  path->first_event = left;
  if (left == NULL) path->last_event = &path->first_event;
  path->event_count -= taken;
  pthread_mutex_unlock(&path->events_lock);
  *more = left != NULL;
  return taken == 0 ? NULL : first;
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
  path->commands[path->command_count++] = *command;
  bool many = path->command_count == MANY_COMMANDS;
  pthread_mutex_unlock(&path->commands_lock);
  if (many) data_path_wake(path);
  return true;
}

void data_path_wake(struct data_path *path) {
  pthread_mutex_lock(&path->commands_lock);
  bool needed = path->command_count > 0 && !path->commands_told;
  if (needed) path->commands_told = true;
  pthread_mutex_unlock(&path->commands_lock);
  const uint64_t one = 1;
  while (needed && write(path->wakeup, &one, sizeof one) < 0 && errno == EINTR) continue;
}

size_t take_commands(struct data_path *path, bool told) {
  uint64_t count;
  while (told && read(path->wakeup, &count, sizeof count) < 0 && errno == EINTR) continue;
  pthread_mutex_lock(&path->commands_lock);
  if (told) path->commands_told = false;
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
