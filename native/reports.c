/*
 * What became of connections that went by a pass. TypeScript decided about them before they came, so nothing waits for it to hear of them: it is
 * woken for many at once, and hears of a short one once. One that is open is told when it has been for a while, since most end soon, and to be told
 * twice costs three times as much; whoever wants to know all gets those, too.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { REPORT_MS = 100, YOUNG_US = 100 * 1000, MANY_REPORTS = 1024, FIRST_ROOM = 64 };

/* Of a connection that has been open for so short a time that it may be told with its end. */
struct young {
  struct report report;
  struct connection *connection; /* NULL once it is closed */
};

/* Room for one more. A lost report would leave a connection that nobody judges again. */
static void *with_room(void *items, size_t count, size_t *capacity, size_t size) {
  if (count < *capacity) return items;
  *capacity = *capacity == 0 ? FIRST_ROOM : *capacity * 2;
  void *grown = realloc(items, *capacity * size);
  if (grown == NULL) abort();
  return grown;
}

/* The lock is held. */
static void add_report(struct data_path *path, const struct report *report) {
  path->reports = with_room(path->reports, path->report_count, &path->report_capacity, sizeof *path->reports);
  path->reports[path->report_count++] = *report;
}

static void tell_soon(struct data_path *path, size_t count) {
  if (path->report_at == 0) path->report_at = now_ms() + REPORT_MS;
  if (count >= MANY_REPORTS) path->report_at = 1;
}

void report_established(struct data_path *path, struct connection *connection, const struct sockaddr_storage *peer) {
  struct young young = {
      .connection = connection,
      .report =
          {
              .kind = REPORT_OPEN,
              .id = connection->id,
              .pass = connection->pass,
              .peer = *peer,
              .accepted_us = connection->accepted_us,
              .established_us = now_us(),
              .syn_data = connection->syn_data,
              .syn_retransmits = connection->syn_retransmits,
          },
  };
  pthread_mutex_lock(&path->events_lock);
  path->young = with_room(path->young, path->young_count, &path->young_capacity, sizeof *path->young);
  connection->young_batch = path->young_batch;
  connection->young_index = path->young_count;
  path->young[path->young_count++] = young;
  size_t count = path->report_count + path->young_count;
  pthread_mutex_unlock(&path->events_lock);
  /* A path that eats SYNs would eat the next one's, too, until TypeScript knows. */
  tell_soon(path, connection->syn_retransmits > 0 ? MANY_REPORTS : count);
}

void report_closed(struct data_path *path, struct connection *connection, enum close_cause cause) {
  struct report closed = {.kind = REPORT_CLOSED, .id = connection->id, .pass = connection->pass};
  int64_t now = now_us();
  pthread_mutex_lock(&path->events_lock);
  bool untold = connection->young_batch == path->young_batch;
  struct young *young = untold ? &path->young[connection->young_index] : NULL;
  struct report *report = untold ? &young->report : &closed;
  report->closed_us = now;
  report->cause = cause;
  report->bytes_in = connection->direction[CLIENT].bytes;
  report->bytes_out = connection->direction[UPSTREAM].bytes;
  if (untold) {
    report->kind = REPORT_WHOLE;
    young->connection = NULL;
  } else {
    add_report(path, report);
  }
  size_t count = path->report_count + path->young_count;
  pthread_mutex_unlock(&path->events_lock);
  tell_soon(path, count);
}

/* Those that are over, and those that have been open for a while, or all, are to be told. The lock is held. */
static void gather(struct data_path *path, bool all) {
  int64_t grown = now_us() - YOUNG_US;
  size_t kept = 0;
  for (size_t i = 0; i < path->young_count; i++) {
    struct young *young = &path->young[i];
    bool open = young->connection != NULL;
    if (open && !all && young->report.established_us > grown) {
      young->connection->young_index = kept;
      path->young[kept++] = *young;
      continue;
    }
    if (open) young->connection->young_batch = 0;
    add_report(path, &young->report);
  }
  path->young_count = kept;
}

void tell_reports(struct data_path *path) {
  /* Of many at once all: to look through those that are just open again and again would cost more than to tell them twice. */
  bool all = path->tell_all || path->stopping || path->report_at == 1;
  if (!all && (path->report_at == 0 || now_ms() < path->report_at)) return;
  path->tell_all = false;
  pthread_mutex_lock(&path->events_lock);
  gather(path, all);
  path->report_at = path->young_count == 0 ? 0 : now_ms() + REPORT_MS;
  size_t count = path->report_count;
  pthread_mutex_unlock(&path->events_lock);
  if (count > 0) path->wake(path->context);
}

size_t data_path_take_reports(struct data_path *path, bool all, struct report **reports) {
  pthread_mutex_lock(&path->events_lock);
  if (all && path->young_count > 0) {
    /* Connections are the data thread's: it sees by the number of the batch that theirs are told. */
    for (size_t i = 0; i < path->young_count; i++) add_report(path, &path->young[i].report);
    path->young_count = 0;
    path->young_batch++;
  }
  size_t count = path->report_count;
  *reports = count == 0 ? NULL : path->reports;
  if (count > 0) {
    path->reports = NULL;
    path->report_count = path->report_capacity = 0;
  }
  pthread_mutex_unlock(&path->events_lock);
  return count;
}
