/* The server's part of resumed handshakes that go by a pass. */
#define _GNU_SOURCE
#include "resume.h"

#include <errno.h>
#include <string.h>

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

void resumption_receive_hello(struct data_path *path, struct connection *connection) {
  struct resuming *resuming = connection->resuming;
  struct end *client = &connection->end[CLIENT];
  size_t length = 0;
  enum look look = look_for_frame(path, client, &length);
  if (look == LOOK_WAIT && (client->watched || watch(path, client))) return;
  struct pass *pass = look == LOOK_FRAME ? spend(path, resuming, length) : NULL;
  if (pass == NULL) {
    resumption_hand_over(path, connection, NULL, 0);
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

void resumption_answer(struct data_path *path, struct connection *connection) {
  struct resuming *resuming = connection->resuming;
  uint8_t nonce[NONCE_BYTES], reply[REPLY_BYTES];
  bool drawn = resumption_draw(path, nonce, sizeof nonce);
  pthread_mutex_lock(&path->passes.lock);
  /* What was foreseen when the Hello came may have been taken back while the application was dialled. */
  bool stands = drawn && !resuming->pass->revoked;
  if (stands) write_reply(resuming->pass, resuming->hello, resuming->hello_length, nonce, reply);
  pthread_mutex_unlock(&path->passes.lock);
  if (!stands) {
    resumption_hand_over(path, connection, NULL, 0);
    return;
  }
  speak(path, &connection->end[CLIENT], reply, sizeof reply);
  resumption_establish(path, connection);
}
