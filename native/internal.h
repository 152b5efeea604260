/* What the files of the data thread share. Everything here belongs to that thread, but for what a lock guards. */
#ifndef COUNTERSIGN_INTERNAL_H
#define COUNTERSIGN_INTERNAL_H

#include "data_path.h"
#include "passes.h"

#include <pthread.h>

enum role { INBOUND, OUTBOUND };

enum {
  HEADER_BYTES = 12,
  SCRATCH_BYTES = 64 * 1024,
  POOLED_PIPES = 64,
  LISTENERS = 16,
  SPARE_DESCRIPTORS = 64,
  NEAR_US = 1000, /* a peer whose answer takes less is near: congestion.c */
};

/*
 * What epoll tells who it is about by. No address: while a child of this process has not come to its exec it holds the sockets, too, and epoll goes
 * on telling of them after they were closed here. Listeners follow by their place in the list; ends have the name of their connection, which is never
 * given again, twice, and their side (connections.c).
 */
enum { WAKEUP_TAG, FIRST_LISTENER_TAG, FIRST_END_TAG = FIRST_LISTENER_TAG + LISTENERS };

struct connection;

struct buffer {
  uint8_t *bytes;
  size_t start, end;
};

struct end {
  struct connection *connection;
  int fd;
  bool connecting, readable, writable, peer_finished;
  bool watched;       /* epoll tells of it */
  bool told_writable; /* of room to write, too: from the first time on that there was none */
  bool failed;   /* the peer has reset, or cannot be reached any more */
  bool broken;   /* a call has told so already: the kernel says it once, and calls the rest of the stream ended */
  bool urgent;   /* the peer uses urgent data, at which reads stop short and splice stops for good */
  bool eof;      /* the peer's end was read */
  bool finished; /* we have sent our end */
  bool spoken;   /* the brain's bytes were the last ones that were sent here */
  bool syn_data; /* while connecting: bytes went in the SYN */
  bool draining; /* closed, but what was sent is still to arrive */
  struct buffer out; /* the brain's bytes that did not fit yet; before anything relayed */
};

/* One direction of the relay: what was read from end[d] and is not yet written to the other. */
struct direction {
  struct buffer rest;
  int pipe[2]; /* -1: none; held only while bytes are in it, or bulk flows */
  uint32_t piped;
  uint8_t full_reads;
  uint8_t small_splices; /* in a row */
  uint64_t bytes;
};

/* A handshake that goes by a pass; until it is established TypeScript knows nothing of the connection. */
enum stage { STAGE_HELLO, STAGE_APPLICATION, STAGE_REPLY }; /* what is waited for */

struct resuming {
  struct connection *connection;
  enum stage stage;
  int role;
  struct pass *pass; /* NULL while the Hello is waited for */
  struct sockaddr_storage peer, original;
  struct sockaddr_storage picked; /* of the servers behind it; family 0: nothing is picked there */
  uint8_t *hello; /* sent, or received and its counter used */
  size_t hello_length;
  struct buffer reply; /* the beginning of one that has not come whole */
  int64_t deadline;
  struct resuming *previous, *next;
};

struct connection {
  uint64_t id;
  struct limited_source *source; /* NULL: beyond the bound, TypeScript refuses it */
  enum limit_refusal refusal;
  struct resuming *resuming;
  uint64_t pass; /* not 0: established by this pass, and told by reports */
  enum syn_data syn_data;
  uint32_t syn_retransmits;
  int64_t accepted_us;
  uint64_t young_batch; /* that of the data path: its report waits at young_index */
  size_t young_index;
  struct end end[2];
  struct direction direction[2];
  bool relaying, guard, held;
  bool reading;
  enum side reading_side;
  uint32_t max_bytes;
  bool closed; /* read by the main thread, too */
  bool queued;    /* in the run queue */
  bool lingering; /* in the list of those that wait for bytes to arrive, until the deadline */
  int64_t deadline, next_look;
  uint32_t patience; /* ms until the look after the next one */
  struct connection *next_queued, *next_dead, *next_lingering;
};

struct listener {
  struct end end;
  uint64_t id;
  int role;
  int batch;      /* how many are accepted in a turn, from 1 on */
  int full_turns; /* in a row, in which so many had come */
};

struct slot {
  struct connection *connection;
  uint64_t generation;
};

struct data_path {
  pthread_t thread;
  int epoll, wakeup;
  char paced[16]; /* the system's congestion control if it is one that paces; else "" */
  int reserve; /* a descriptor kept back, to refuse connections with when there is no other */
  wake_function wake;
  void *context;

  pthread_mutex_t commands_lock;
  struct command *commands, *working;
  size_t command_count, command_capacity, working_capacity;
  bool commands_told; /* the thread was woken for them, or is about to be */

  pthread_mutex_t events_lock;
  struct event *first_event, **last_event;
  size_t event_count;

  struct report *reports; /* under events_lock, too */
  size_t report_count, report_capacity;
  struct young *young; /* what is reported of connections that are just open, or were; under events_lock, too */
  size_t young_count, young_capacity;
  uint64_t young_batch; /* counts from 1 how often they were taken */
  int64_t report_at;    /* not 0: the main thread is woken for reports then */
  bool tell_all;        /* the young ones, too, and now */

  struct connection_limit *limit;
  struct passes passes;
  struct resuming *resuming; /* all that are under way */
  uint32_t awaited_hellos;
  int64_t resuming_at; /* the earliest deadline among them */
  uint8_t random[1024];
  size_t random_left;

  /* Held by the thread when it adds and removes, by others when they look. */
  pthread_mutex_t slots_lock;
  struct slot *slots;
  uint32_t slot_count;
  uint32_t *free_slots;
  uint32_t free_count;

  struct listener listeners[LISTENERS];
  int64_t accept_again; /* not 0: accepting rests until then */
  struct connection *run_queue, *dead, *lingering;
  uint32_t lingering_count;
  int64_t tend_at; /* the earliest next_look of the lingering */
  int pipes[POOLED_PIPES][2];
  int pipe_count;
  int64_t pipes_again; /* the system gave one that is too small; until then it is not asked */
  int pipe_descriptors;  /* pipes have numbers below this one */
  uint32_t pipes_refused; /* read by the main thread, too */
  size_t rests;           /* bytes in the rests of all directions */
  bool stopping;
  uint8_t scratch[SCRATCH_BYTES + HEADER_BYTES]; /* the longest frame that a header can announce fits */
};

/* --- queues.c: events to the main thread, commands from it --- */
struct event *new_event(enum event_type type, const struct connection *connection);
/* In memory of its own; NULL for nothing. */
uint8_t *copy_of(const uint8_t *bytes, size_t length);
void set_bytes(struct event *event, const uint8_t *bytes, size_t length);
void emit(struct data_path *path, struct event *event);
/* How many events and reports the main thread has not taken yet. */
size_t count_untold(struct data_path *path);
/* All commands so far, in path->working. @param told the thread was woken for them @returns how many */
size_t take_commands(struct data_path *path, bool told);

/* --- reports.c: what became of connections that went by a pass, told in batches --- */
void report_established(struct data_path *path, struct connection *connection, const struct sockaddr_storage *peer);
void report_closed(struct data_path *path, struct connection *connection, enum close_cause cause);
/* Wakes the main thread for reports that have waited long enough; in the end, for all. */
void tell_reports(struct data_path *path);

/* --- sockets.c: buffers, pipes, ends --- */
int64_t now_ms(void);
int64_t now_us(void);
bool is_empty(const struct buffer *buffer);
void append(struct buffer *buffer, const uint8_t *bytes, size_t length);
/* Sends the brain's bytes; what does not fit is kept and goes later. */
void speak(struct data_path *path, struct end *end, uint8_t *bytes, size_t length);
void free_buffer(struct buffer *buffer);
/* Pipes leave some to the sidecar's own files. */
void learn_descriptors(struct data_path *path);
bool take_pipe(struct data_path *path, int pipe_out[2]);
void give_pipe(struct data_path *path, struct direction *direction);
void close_pooled_pipes(struct data_path *path);
void set_socket_options(int fd);
bool watch(struct data_path *path, struct end *end);
/* After a call that had no room to write. */
void await_room(struct data_path *path, struct end *end);
/* After a call on the end that failed with this errno for good. */
void note_failure(struct end *end, int error);
/* Writes what the brain has sent, as far as it goes. */
void flush_out(struct data_path *path, struct end *end);
void reset_fd(int fd);
/* Of a connection that goes on: epoll tells nothing of this socket any more, whoever else holds it. */
void close_end(struct data_path *path, struct end *end, bool reset);
/* Of one that is over, whose name stands for nobody soon: spares the call. */
void close_last(struct end *end, bool reset);

/* --- connections.c: their names, their beginning and their end --- */
struct connection *new_connection(struct data_path *path, int fd);
void init_end(struct connection *connection, enum side side, int fd);
struct connection *find(struct data_path *path, uint64_t id);
uint64_t tag_of(const struct end *end);
/* NULL when the connection is no more. */
struct end *find_end(struct data_path *path, uint64_t tag);
void clear_directions(struct data_path *path, struct connection *connection);
void close_connection(struct data_path *path, struct connection *connection, enum close_cause cause);
/* A side is gone and what it sent before has not all been passed on: waits for that, but not for ever. */
void linger(struct data_path *path, struct connection *connection);
void tend_lingering(struct data_path *path);
void bury_dead(struct data_path *path);

/* --- accept.c --- */
void add_listener(struct data_path *path, const struct command *command);
void remove_listener(struct data_path *path, uint64_t id);
void accept_some(struct data_path *path, struct listener *listener);
void accept_again(struct data_path *path);
/* SO_ORIGINAL_DST. False when conntrack has no entry. */
bool original_destination(int fd, int family, struct sockaddr_storage *out);
/* Hands a connection to TypeScript, with what a handshake by a pass has already used up, if there was one. */
void report_accepted(struct data_path *path, struct connection *connection, int role, const struct sockaddr_storage *peer,
                     const struct resuming *begun, const uint8_t *reply, size_t reply_length);

/* --- congestion.c: which congestion control a leg has --- */
struct tcp_info;
/* Which one the system has. At the start. */
void learn_congestion_control(struct data_path *path);
/* Of a listener, whose connections inherit it, and of a socket before it is connected: as if its peer were near. */
void begin_unpaced(const struct data_path *path, int fd);
/* After the handshake, which tells whether the peer is near. */
void settle_pacing(const struct data_path *path, int fd, const struct tcp_info *info);
/* The same of one that was accepted. */
void settle_accepted(const struct data_path *path, int fd);

/* --- dial.c --- */
void dial(struct data_path *path, struct connection *connection, const struct command *command);
/* An event on an upstream side that is still connecting. */
void continue_dial(struct data_path *path, struct connection *connection);
void drop_upstream(struct data_path *path, struct connection *connection);

/* --- frame.c: all that is known of the protocol here --- */
void try_read_frame(struct data_path *path, struct connection *connection);
/* Whether the client's first bytes may be forwarded. */
bool pass_guard(struct data_path *path, struct connection *connection);

/* --- resume.c: handshakes that go by a pass; resume_inbound.c, resume_outbound.c --- */
/* @returns whether the new connection is taken care of: it may go by a pass, or TypeScript was told of it. Else that is the caller's. */
bool begin_resumption(struct data_path *path, struct connection *connection, int role, const struct sockaddr_storage *peer);
/* Does what can be done for it now. Afterwards it is established, TypeScript's, closed, or still under way. */
void continue_resumption(struct data_path *path, struct connection *connection);
/* @param repeated the SYN, or what went with it, had to be sent again */
void resumption_dialled(struct data_path *path, struct connection *connection, int error, bool repeated);
/* Gives it to TypeScript; what was dialled for it is dropped. */
void give_up_resumption(struct data_path *path, struct connection *connection);
/* Those whose time is over, or whose passes were revoked. */
void tend_resumptions(struct data_path *path);

/* --- relay.c --- */
/* Read by the main thread, too. */
void count_bytes(struct direction *direction, size_t bytes);
/* What was read for the other side and has no room there yet. */
void keep_rest(struct data_path *path, struct direction *direction, const uint8_t *bytes, size_t length);
void free_rest(struct data_path *path, struct direction *direction);
void run(struct data_path *path, struct connection *connection);
void run_later(struct data_path *path, struct connection *connection);
void run_queued(struct data_path *path);

#endif
