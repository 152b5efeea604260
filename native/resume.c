/*
 * Resumed handshakes that go by a pass. Whatever differs from what the pass foresees is TypeScript's, as if this file were not there:
 * a Hello that does not match is not even taken out of the socket.
 */
#define _GNU_SOURCE
#include "internal.h"
#include "resumed_frames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
  /* A client that has spoken before sends its Hello right behind the connect; who does not is TypeScript's, with its caps and patience. */
  HELLO_MS = 50,
  MOST_AWAITED_HELLOS = 1024,
  /* Reply, or application. */
  ANSWER_MS = 1000,
  /* Of a dial and its answer: a SYN that was lost is sent again after a second, and shall count as one that was lost. */
  DIAL_MS = 2000,
};

static bool draw(struct data_path *path, void *out, size_t length) {
  if (path->random_left < length) {
    ssize_t got = getrandom(path->random, sizeof path->random, 0);
    if (got != (ssize_t)sizeof path->random) return false;
    path->random_left = sizeof path->random;
  }
  path->random_left -= length;
  memcpy(out, path->random + path->random_left, length);
  return true;
}

static void enter(struct data_path *path, struct connection *connection, struct resuming *resuming, int patience_ms) {
  resuming->connection = connection;
  resuming->deadline = now_ms() + patience_ms;
  resuming->next = path->resuming;
  if (path->resuming != NULL) path->resuming->previous = resuming;
  if (path->resuming == NULL || resuming->deadline < path->resuming_at) path->resuming_at = resuming->deadline;
  path->resuming = connection->resuming = resuming;
  if (resuming->stage == STAGE_HELLO) path->awaited_hellos++;
}

/* The connection is nobody's after this: the caller says whose. */
static struct resuming *take_out(struct data_path *path, struct connection *connection) {
  struct resuming *resuming = connection->resuming;
  if (resuming->previous != NULL) resuming->previous->next = resuming->next;
  else path->resuming = resuming->next;
  if (resuming->next != NULL) resuming->next->previous = resuming->previous;
  if (resuming->stage == STAGE_HELLO) path->awaited_hellos--;
  connection->resuming = NULL;
  return resuming;
}

static void forget(struct data_path *path, struct resuming *resuming) {
  if (resuming->pass != NULL) {
    pthread_mutex_lock(&path->passes.lock);
    resuming->pass->under_way--;
    pass_release(&path->passes, resuming->pass);
    pthread_mutex_unlock(&path->passes.lock);
  }
  free(resuming->hello);
  free_buffer(&resuming->reply);
  free(resuming);
}

static void retire(struct data_path *path, struct pass *pass) {
  pthread_mutex_lock(&path->passes.lock);
  pass_retire(&path->passes, pass);
  pthread_mutex_unlock(&path->passes.lock);
}

static void hand_over(struct data_path *path, struct connection *connection, const uint8_t *reply, size_t length) {
  struct resuming *resuming = take_out(path, connection);
  if (resuming->pass != NULL && resuming->stage == STAGE_REPLY) {
    /* It did not go as foreseen: TypeScript finds out why, and gives another pass when all is well. */
    retire(path, resuming->pass);
  }
  if (reply == NULL) {
    close_end(path, &connection->end[UPSTREAM], true);
    init_end(connection, UPSTREAM, -1);
  }
  report_accepted(path, connection, resuming->role, &resuming->peer, resuming, reply, length);
  forget(path, resuming);
}

void give_up_resumption(struct data_path *path, struct connection *connection) {
  hand_over(path, connection, NULL, 0);
}

static void establish(struct data_path *path, struct connection *connection) {
  struct resuming *resuming = take_out(path, connection);
  connection->pass = resuming->pass->number;
  connection->relaying = true;
  report_established(path, connection, &resuming->peer);
  forget(path, resuming);
}

/* --- frames --- */

enum look { LOOK_WAIT, LOOK_FRAME, LOOK_NO_FRAME };

/* Whether this begins with a whole frame, and how long that is. */
static enum look measure_frame(const uint8_t *bytes, size_t got, size_t *length) {
  static const uint8_t MAGIC[8] = {0x9c, 0x43, 0x54, 0x53, 0x47, 0x4e, 0x0d, 0x0a};
  if (memcmp(bytes, MAGIC, got < sizeof MAGIC ? got : sizeof MAGIC) != 0) return LOOK_NO_FRAME;
  if (got < HEADER_BYTES) return LOOK_WAIT;
  *length = HEADER_BYTES + ((size_t)bytes[10] << 8 | bytes[11]);
  if (*length > MOST_FRAME_BYTES) return LOOK_NO_FRAME;
  return got >= *length ? LOOK_FRAME : LOOK_WAIT;
}

/* Looks for a whole frame at the beginning of what a side has sent, and takes nothing. */
static enum look look_for_frame(struct data_path *path, struct end *end, size_t *length) {
  ssize_t got = recv(end->fd, path->scratch, MOST_FRAME_BYTES, MSG_PEEK);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return end->failed ? LOOK_NO_FRAME : LOOK_WAIT;
  if (got < 0) note_failure(end, errno);
  if (got <= 0) return LOOK_NO_FRAME;
  enum look look = measure_frame(path->scratch, (size_t)got, length);
  /* Once it is taken nothing is left, and of what comes then epoll tells. */
  if (look == LOOK_FRAME && (size_t)got == *length && !end->peer_finished && !end->failed) end->readable = false;
  return look == LOOK_WAIT && (end->peer_finished || end->failed) ? LOOK_NO_FRAME : look;
}

static bool take(struct data_path *path, struct end *end, size_t length) {
  ssize_t taken;
  do taken = recv(end->fd, path->scratch, length, 0);
  while (taken < 0 && errno == EINTR);
  return taken == (ssize_t)length;
}

/* --- inbound --- */

/* The pass for the Hello in the scratch, its counter spent; NULL when there is none for exactly this. */
static struct pass *spend(struct data_path *path, const struct resuming *resuming, size_t length) {
  uint8_t place[2 * PLACE_BYTES];
  int64_t now = now_ms();
  inbound_place(&resuming->peer, &resuming->original, place);
  pthread_mutex_lock(&path->passes.lock);
  struct pass *pass = NULL;
  while ((pass = pass_at(&path->passes, place, pass, now)) != NULL) {
    uint64_t counter;
    if (!hello_matches(pass, path->scratch, length, &counter)) continue;
    if (window_use(&pass->session->window, counter) == COUNTER_FRESH) {
      pass->references++;
      pass->under_way++;
    } else {
      pass = NULL; /* a replay, or too old to tell: TypeScript says which */
    }
    break;
  }
  pthread_mutex_unlock(&path->passes.lock);
  return pass;
}

static void receive_hello(struct data_path *path, struct connection *connection) {
  struct resuming *resuming = connection->resuming;
  struct end *client = &connection->end[CLIENT];
  size_t length = 0;
  enum look look = look_for_frame(path, client, &length);
  if (look == LOOK_WAIT) return;
  struct pass *pass = look == LOOK_FRAME ? spend(path, resuming, length) : NULL;
  if (pass == NULL) {
    hand_over(path, connection, NULL, 0);
    return;
  }
  path->awaited_hellos--;
  resuming->stage = STAGE_APPLICATION;
  resuming->pass = pass;
  resuming->deadline = now_ms() + ANSWER_MS;
  resuming->hello = copy_of(path->scratch, length);
  resuming->hello_length = length;
  if (!take(path, client, length)) { /* cannot be: it was there a moment ago */
    close_connection(path, connection, CAUSE_CLIENT_RESET);
    return;
  }
  struct command command = {.type = COMMAND_DIAL, .target = pass->target};
  if (pass->keep_source) command.source = resuming->peer;
  dial(path, connection, &command);
}

static void answer(struct data_path *path, struct connection *connection) {
  struct resuming *resuming = connection->resuming;
  uint8_t nonce[NONCE_BYTES], reply[REPLY_BYTES];
  bool drawn = draw(path, nonce, sizeof nonce);
  pthread_mutex_lock(&path->passes.lock);
  /* What was foreseen when the Hello came may have been taken back while the application was dialled. */
  bool stands = drawn && !resuming->pass->revoked;
  if (stands) write_reply(resuming->pass, resuming->hello, resuming->hello_length, nonce, reply);
  pthread_mutex_unlock(&path->passes.lock);
  if (!stands) {
    hand_over(path, connection, NULL, 0);
    return;
  }
  speak(path, &connection->end[CLIENT], reply, sizeof reply);
  establish(path, connection);
}

/* --- outbound --- */

static bool call(struct data_path *path, struct connection *connection, struct resuming *resuming) {
  uint8_t place[2 * PLACE_BYTES], nonce[NONCE_BYTES];
  uint32_t random;
  if (!draw(path, nonce, sizeof nonce) || !draw(path, &random, sizeof random)) return false;
  outbound_place(&resuming->original, place);
  struct command command = {.type = COMMAND_DIAL};
  pthread_mutex_lock(&path->passes.lock);
  int64_t now = now_ms();
  struct pass *pass = pass_at(&path->passes, place, NULL, now);
  if (pass != NULL && pass->candidate_count > 0) {
    resuming->picked = *pick_candidate(pass, random);
    candidate_place(&resuming->original, &resuming->picked, place);
    pass = pass_at(&path->passes, place, NULL, now);
  }
  if (pass != NULL && (pass->under_way >= MOST_AT_ONCE || pass->next_counter >= pass->counter_end || pass_asks_for_next(pass)))
    pass = NULL;
  if (pass != NULL) {
    pass->references++;
    pass->under_way++;
    resuming->hello = copy_of(pass->hello, pass->hello_length);
    resuming->hello_length = pass->hello_length;
    complete_hello(pass, resuming->hello, nonce, pass->next_counter++);
    command.target = pass->target;
    command.flag = pass->fast_open;
    command.syn_data = pass->syn_data;
  }
  pthread_mutex_unlock(&path->passes.lock);
  if (pass == NULL) return false;
  resuming->pass = pass;
  command.bytes = resuming->hello;
  command.length = resuming->hello_length;
  enter(path, connection, resuming, DIAL_MS);
  dial(path, connection, &command);
  return true;
}

/*
 * Takes what has come into the scratch, behind what had come before. Nothing has to be left in the socket: where it is not the Reply, what comes behind it
 * belongs to a connection that is given up. @returns as look_for_frame does; of a frame *got counts what follows it, too
 */
static enum look take_reply(struct data_path *path, struct end *upstream, struct buffer *begun, size_t *length, size_t *got) {
  size_t had = begun->end - begun->start;
  if (had > 0) memcpy(path->scratch, begun->bytes, had);
  ssize_t taken = recv(upstream->fd, path->scratch + had, SCRATCH_BYTES - had, 0);
  if (taken < 0 && (errno == EAGAIN || errno == EINTR)) return upstream->failed ? LOOK_NO_FRAME : LOOK_WAIT;
  if (taken < 0) note_failure(upstream, errno);
  if (taken <= 0) return LOOK_NO_FRAME;
  *got = had + (size_t)taken;
  /* It emptied the socket, and of what comes then epoll tells; an end that came is read in the next turn. */
  if (*got < SCRATCH_BYTES && !upstream->peer_finished && !upstream->failed && !upstream->urgent) upstream->readable = false;
  enum look look = measure_frame(path->scratch, *got, length);
  if (look != LOOK_WAIT) return look;
  append(begun, path->scratch + had, (size_t)taken);
  return upstream->peer_finished || upstream->failed ? LOOK_NO_FRAME : LOOK_WAIT;
}

static void receive_reply(struct data_path *path, struct connection *connection) {
  struct resuming *resuming = connection->resuming;
  struct end *upstream = &connection->end[UPSTREAM];
  if (upstream->connecting || !upstream->readable) return; /* epoll tells when there is something to look at */
  size_t length = 0, got = 0;
  enum look look = take_reply(path, upstream, &resuming->reply, &length, &got);
  if (look == LOOK_WAIT) return;
  if (look == LOOK_NO_FRAME) {
    hand_over(path, connection, NULL, 0);
    return;
  }
  pthread_mutex_lock(&path->passes.lock);
  bool stands = !resuming->pass->revoked;
  bool matches = stands && reply_matches(resuming->pass->session_id, &resuming->pass->server_key, resuming->hello,
                                         resuming->hello_length, path->scratch, length);
  pthread_mutex_unlock(&path->passes.lock);
  /* Somebody who says more than another answer is called anew: it was taken, and TypeScript could not read it. */
  if (!stands || (!matches && got > length)) {
    hand_over(path, connection, NULL, 0);
  } else if (!matches) {
    hand_over(path, connection, path->scratch, length);
  } else {
    struct direction *back = &connection->direction[UPSTREAM];
    append(&back->rest, path->scratch + length, got - length);
    count_bytes(back, got - length);
    establish(path, connection);
  }
}

/* --- both --- */

bool begin_resumption(struct data_path *path, struct connection *connection, int role, const struct sockaddr_storage *peer) {
  if (__atomic_load_n(&path->passes.count, __ATOMIC_RELAXED) == 0 || peer->ss_family == 0) return false;
  struct end *client = &connection->end[CLIENT];
  uint8_t place[2 * PLACE_BYTES];
  struct resuming *resuming = calloc(1, sizeof *resuming);
  if (resuming == NULL) return false;
  resuming->role = role;
  resuming->peer = *peer;
  /* Without an entry in conntrack it came straight to this address; TypeScript gives no pass for that in a pod. */
  socklen_t length = sizeof resuming->original;
  if (!original_destination(client->fd, peer->ss_family, &resuming->original) &&
      getsockname(client->fd, (struct sockaddr *)&resuming->original, &length) != 0) {
    free(resuming);
    return false;
  }
  bool foreseen = false;
  if (role == OUTBOUND) {
    resuming->stage = STAGE_REPLY;
    foreseen = call(path, connection, resuming);
  } else if (path->awaited_hellos < MOST_AWAITED_HELLOS) {
    inbound_place(peer, &resuming->original, place);
    pthread_mutex_lock(&path->passes.lock);
    foreseen = pass_at(&path->passes, place, NULL, now_ms()) != NULL;
    pthread_mutex_unlock(&path->passes.lock);
    if (foreseen) {
      enter(path, connection, resuming, HELLO_MS);
      run_later(path, connection);
    }
  }
  /* Whom no pass leads to is called by TypeScript: another pick would shift what each of them gets. */
  bool told = !foreseen && resuming->picked.ss_family != 0;
  if (told) report_accepted(path, connection, role, peer, resuming, NULL, 0);
  if (!foreseen) free(resuming);
  return foreseen || told;
}

void continue_resumption(struct data_path *path, struct connection *connection) {
  struct resuming *resuming = connection->resuming;
  if (connection->end[CLIENT].failed) close_connection(path, connection, CAUSE_CLIENT_RESET);
  else if (resuming->stage == STAGE_HELLO) receive_hello(path, connection);
  else if (resuming->stage == STAGE_REPLY) receive_reply(path, connection);
}

void resumption_dialled(struct data_path *path, struct connection *connection, int error, bool repeated) {
  struct resuming *resuming = connection->resuming;
  if (error != 0) {
    hand_over(path, connection, NULL, 0);
  } else if (resuming->stage == STAGE_APPLICATION) {
    answer(path, connection);
  } else if (repeated) {
    /* Perhaps the path eats such SYNs: the next connection is TypeScript's, which keeps account of that. */
    retire(path, resuming->pass);
  }
}

void tend_resumptions(struct data_path *path) {
  int64_t now = now_ms();
  if (now < path->resuming_at) return;
  path->resuming_at = INT64_MAX;
  for (struct resuming *resuming = path->resuming, *next; resuming != NULL; resuming = next) {
    next = resuming->next;
    bool over = now >= resuming->deadline;
    if (resuming->pass != NULL && !over) {
      pthread_mutex_lock(&path->passes.lock);
      over = resuming->pass->revoked;
      pthread_mutex_unlock(&path->passes.lock);
    }
    if (over) hand_over(path, resuming->connection, NULL, 0);
    else if (resuming->deadline < path->resuming_at) path->resuming_at = resuming->deadline;
  }
}
