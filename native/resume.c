/*
 * Resumed handshakes that go by a pass: their beginning and their end; resume_inbound.c and resume_outbound.c have what lies between. Whatever differs
 * from what the pass foresees is TypeScript's, as if these files were not there: a Hello that does not match is not even taken out of the socket.
 */
#define _GNU_SOURCE
#include "resume.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { MOST_AWAITED_HELLOS = 1024 };

bool resumption_draw(struct data_path *path, void *out, size_t length) {
  if (path->random_left < length) {
    ssize_t got = getrandom(path->random, sizeof path->random, 0);
    if (got != (ssize_t)sizeof path->random) return false;
    path->random_left = sizeof path->random;
  }
  path->random_left -= length;
  memcpy(out, path->random + path->random_left, length);
  return true;
}

void resumption_enter(struct data_path *path, struct connection *connection, struct resuming *resuming, int patience_ms) {
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

void resumption_retire(struct data_path *path, struct pass *pass) {
  pthread_mutex_lock(&path->passes.lock);
  pass_retire(&path->passes, pass);
  pthread_mutex_unlock(&path->passes.lock);
}

void resumption_hand_over(struct data_path *path, struct connection *connection, const uint8_t *reply, size_t length) {
  struct resuming *resuming = take_out(path, connection);
  if (resuming->pass != NULL && resuming->stage == STAGE_REPLY) {
    /* It did not go as foreseen: TypeScript finds out why, and gives another pass when all is well. */
    resumption_retire(path, resuming->pass);
  }
  if (reply == NULL) {
    close_end(path, &connection->end[UPSTREAM], true);
    init_end(connection, UPSTREAM, -1);
  }
  report_accepted(path, connection, resuming->role, &resuming->peer, resuming, reply, length);
  forget(path, resuming);
}

void give_up_resumption(struct data_path *path, struct connection *connection) {
  resumption_hand_over(path, connection, NULL, 0);
}

void resumption_establish(struct data_path *path, struct connection *connection) {
  struct resuming *resuming = take_out(path, connection);
  connection->pass = resuming->pass->number;
  connection->relaying = true;
  /* Most applications have spoken meanwhile, and epoll was not asked: run() reads, and asks from then on. */
  if (resuming->role == OUTBOUND) connection->end[CLIENT].readable = true;
  report_established(path, connection, &resuming->peer);
  forget(path, resuming);
}

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
    foreseen = resumption_call(path, connection, resuming);
  } else if (path->awaited_hellos < MOST_AWAITED_HELLOS) {
    inbound_place(peer, &resuming->original, place);
    pthread_mutex_lock(&path->passes.lock);
    foreseen = pass_at(&path->passes, place, NULL, now_ms()) != NULL;
    pthread_mutex_unlock(&path->passes.lock);
    if (foreseen) {
      resumption_enter(path, connection, resuming, HELLO_MS);
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
  else if (resuming->stage == STAGE_HELLO) resumption_receive_hello(path, connection);
  else if (resuming->stage == STAGE_REPLY) resumption_receive_reply(path, connection);
}

void resumption_dialled(struct data_path *path, struct connection *connection, int error, bool repeated) {
  struct resuming *resuming = connection->resuming;
  if (error != 0) {
    resumption_hand_over(path, connection, NULL, 0);
  } else if (resuming->stage == STAGE_APPLICATION) {
    resumption_answer(path, connection);
  } else if (repeated) {
    /* Perhaps the path eats such SYNs: the next connection is TypeScript's, which keeps account of that. */
    resumption_retire(path, resuming->pass);
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
    if (over) resumption_hand_over(path, resuming->connection, NULL, 0);
    else if (resuming->deadline < path->resuming_at) path->resuming_at = resuming->deadline;
  }
}
