/*
 * What became of connections that went by a pass. TypeScript decided about them before they came, so nothing waits for it to hear of them: it is
 * woken for many at once, and hears of a short one once.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { REPORT_MS = 20, MANY_REPORTS = 256 };

/* @returns a blank report at the end; the lock is held */
static struct report *add_report(struct data_path *path, const struct connection *connection) {
  if (path->report_count == path->report_capacity) {
    size_t grown = path->report_capacity == 0 ? MANY_REPORTS : path->report_capacity * 2;
    struct report *reports = realloc(path->reports, grown * sizeof *reports);
    if (reports == NULL) abort(); /* a lost report would leave a connection that nobody judges again */
    path->reports = reports;
    path->report_capacity = grown;
  }
  struct report *report = &path->reports[path->report_count++];
  memset(report, 0, sizeof *report);
  report->id = connection->id;
  report->pass = connection->pass;
  return report;
}

static void tell_soon(struct data_path *path, size_t count) {
  if (path->report_at == 0) path->report_at = now_ms() + REPORT_MS;
  if (count >= MANY_REPORTS) path->report_at = 1;
}

void report_established(struct data_path *path, struct connection *connection, const struct sockaddr_storage *peer) {
  int64_t now = now_us();
  pthread_mutex_lock(&path->events_lock);
  struct report *report = add_report(path, connection);
  report->kind = REPORT_OPEN;
  report->peer = *peer;
  report->accepted_us = connection->accepted_us;
  report->established_us = now;
  report->syn_data = connection->syn_data;
  report->syn_retransmits = connection->syn_retransmits;
  connection->report_batch = path->report_batch;
  connection->report_index = path->report_count - 1;
  size_t count = path->report_count;
  pthread_mutex_unlock(&path->events_lock);
  tell_soon(path, count);
}

void report_closed(struct data_path *path, struct connection *connection, enum close_cause cause) {
  int64_t now = now_us();
  pthread_mutex_lock(&path->events_lock);
  bool untold = connection->report_batch == path->report_batch;
  struct report *report = untold ? &path->reports[connection->report_index] : add_report(path, connection);
  report->kind = untold ? REPORT_WHOLE : REPORT_CLOSED;
  report->closed_us = now;
  report->cause = cause;
  report->bytes_in = connection->direction[CLIENT].bytes;
  report->bytes_out = connection->direction[UPSTREAM].bytes;
  size_t count = path->report_count;
  pthread_mutex_unlock(&path->events_lock);
  tell_soon(path, count);
}

void tell_reports(struct data_path *path) {
  if (path->report_at == 0 || (path->report_at > 1 && now_ms() < path->report_at)) return;
  path->report_at = 0;
  pthread_mutex_lock(&path->events_lock);
  size_t count = path->report_count;
  pthread_mutex_unlock(&path->events_lock);
  if (count > 0) path->wake(path->context);
}

size_t data_path_take_reports(struct data_path *path, struct report **reports) {
  pthread_mutex_lock(&path->events_lock);
  size_t count = path->report_count;
  *reports = count == 0 ? NULL : path->reports;
  if (count > 0) {
    path->reports = NULL;
    path->report_count = path->report_capacity = 0;
    path->report_batch++;
  }
  pthread_mutex_unlock(&path->events_lock);
  return count;
}
