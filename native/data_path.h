/* The data thread: moves bytes, decides nothing. What its calls mean is written in src/relay/data-path.ts. */
#ifndef COUNTERSIGN_DATA_PATH_H
#define COUNTERSIGN_DATA_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "connection_limit.h"

enum side { CLIENT = 0, UPSTREAM = 1 };

enum event_type {
  EVENT_ACCEPTED,
  EVENT_FRAME,
  EVENT_NOT_FRAME,
  EVENT_TOO_LARGE,
  EVENT_DIALLED,
  EVENT_PREAMBLE,
  EVENT_CLOSED,
  EVENT_STOPPED,
};

/* What became of data in the SYN. */
enum syn_data { SYN_DATA_NONE, SYN_DATA_REFUSED, SYN_DATA_TAKEN };

enum close_cause { CAUSE_END, CAUSE_RESET, CAUSE_CLIENT_RESET, CAUSE_UPSTREAM_RESET };

/* What the thread tells. `bytes` belongs to the event and is freed with it. */
struct event {
  struct event *next;
  enum event_type type;
  uint64_t id;
  int role;
  enum side side;
  bool flag; /* NOT_FRAME: end of file; PREAMBLE: the upstream side spoke; DIALLED: the source could not be taken */
  int number; /* ACCEPTED: enum limit_refusal; DIALLED: errno; CLOSED: cause */
  uint32_t announced;
  uint32_t syn_retransmits; /* DIALLED */
  enum syn_data syn_data; /* DIALLED */
  uint64_t bytes_in, bytes_out;
  struct sockaddr_storage peer, local, original; /* family 0: none */
  size_t length;
  uint8_t *bytes;
  /* ACCEPTED: who was picked of the servers behind `original`. */
  struct sockaddr_storage picked;
  /* ACCEPTED, of a connection that began by a pass: the Hello that is used up, and the Reply to it that TypeScript has to read. */
  uint64_t pass;
  size_t hello_length, reply_length;
  uint8_t *hello, *reply;
};

/* What became of a connection that went by a pass. Times in us, CLOCK_MONOTONIC. */
enum report_kind { REPORT_OPEN, REPORT_CLOSED, REPORT_WHOLE };
struct report {
  enum report_kind kind;
  uint64_t id, pass;
  struct sockaddr_storage peer;
  int64_t accepted_us, established_us, closed_us;
  enum syn_data syn_data; /* of an outbound dial, and how often its SYN was sent again */
  uint32_t syn_retransmits;
  enum close_cause cause;
  uint64_t bytes_in, bytes_out;
};

enum command_type {
  COMMAND_LISTEN,
  COMMAND_UNLISTEN,
  COMMAND_READ_FRAME,
  COMMAND_SEND,
  COMMAND_DIAL,
  COMMAND_RELAY,
  COMMAND_RELEASE,
  COMMAND_DROP_UPSTREAM,
  COMMAND_RESET,
  COMMAND_STOP,
  COMMAND_RECALL, /* passes were revoked: who is under way by one is TypeScript's */
};

/* What the thread is told. `bytes` belongs to the command and is freed with it. */
struct command {
  enum command_type type;
  uint64_t id;
  enum side side;
  bool flag; /* DIAL: fast open; RELAY: guard */
  bool syn_data; /* DIAL: bytes may go in the SYN */
  int fd; /* LISTEN */
  int role; /* LISTEN */
  uint32_t max_bytes; /* READ_FRAME; RELAY: 0, or the most that a verdict frame may have */
  struct sockaddr_storage target; /* DIAL */
  struct sockaddr_storage source; /* DIAL: the address to dial from, which need not be this host's; family 0: any own one */
  size_t length;
  uint8_t *bytes;
};

struct data_path;

/* Called on the data thread when there are events and none were before. */
typedef void (*wake_function)(void *context);

/* NULL with errno set when threads or descriptors cannot be had. @param limit is kept until data_path_join */
struct data_path *data_path_start(wake_function wake, void *context, struct connection_limit *limit);

/* Before listen(): who is accepted inherits what is set here, and the first may come at once. tcp(7), socket(7) */
void data_path_prepare_listener(const struct data_path *path, int fd);

/*
 * Takes over the command's bytes. False when there is no memory for it; nothing has happened then. The thread may obey at once, and does when it is
 * woken: by data_path_wake, by a socket, or because there are many.
 */
bool data_path_command(struct data_path *path, const struct command *command);

/* No more commands follow for now. */
void data_path_wake(struct data_path *path);

/* The oldest events, so many at most; the caller frees each with data_path_free_event. @param more whether others are left, of which nobody is told again */
struct event *data_path_take_events(struct data_path *path, size_t most, bool *more);
void data_path_free_event(struct event *event);

/* Reports, in memory that the caller frees; a connection's own in their order. @param all those of connections that are just open, too @returns how many */
size_t data_path_take_reports(struct data_path *path, bool all, struct report **reports);

struct passes;
struct passes *data_path_passes(struct data_path *path);

/* Bytes relayed by a connection; false when it is gone. */
bool data_path_progress(struct data_path *path, uint64_t id, uint64_t *bytes_in, uint64_t *bytes_out);

/* How often the system gave no pipe, or one too small to be of use: bulk is copied then. Asked for once a second at most. */
uint32_t data_path_pipes_refused(const struct data_path *path);

/* After EVENT_STOPPED: waits for the thread and frees everything. */
void data_path_join(struct data_path *path);

#endif
