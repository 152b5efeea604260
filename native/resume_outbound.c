/* The client's part of resumed handshakes that go by a pass. */
#define _GNU_SOURCE
#include "resume.h"

#include <errno.h>
#include <string.h>

/* Of a dial and its answer: a SYN that was lost is sent again after a second, and shall count as one that was lost. */
enum { DIAL_MS = 2000 };

bool resumption_call(struct data_path *path, struct connection *connection, struct resuming *resuming) {
  uint8_t place[2 * PLACE_BYTES], nonce[NONCE_BYTES];
  uint32_t random;
  if (!resumption_draw(path, nonce, sizeof nonce) || !resumption_draw(path, &random, sizeof random)) return false;
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
  resumption_enter(path, connection, resuming, DIAL_MS);
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

void resumption_receive_reply(struct data_path *path, struct connection *connection) {
  struct resuming *resuming = connection->resuming;
  struct end *upstream = &connection->end[UPSTREAM];
  if (upstream->connecting || !upstream->readable) return; /* epoll tells when there is something to look at */
  size_t length = 0, got = 0;
  enum look look = take_reply(path, upstream, &resuming->reply, &length, &got);
  if (look == LOOK_WAIT) return;
  if (look == LOOK_NO_FRAME) {
    resumption_hand_over(path, connection, NULL, 0);
    return;
  }
  pthread_mutex_lock(&path->passes.lock);
  bool stands = !resuming->pass->revoked;
  bool matches = stands && reply_matches(resuming->pass->session_id, &resuming->pass->server_key, resuming->hello,
                                         resuming->hello_length, path->scratch, length);
  pthread_mutex_unlock(&path->passes.lock);
  /* Somebody who says more than another answer is called anew: it was taken, and TypeScript could not read it. */
  if (!stands || (!matches && got > length)) {
    resumption_hand_over(path, connection, NULL, 0);
  } else if (!matches) {
    resumption_hand_over(path, connection, path->scratch, length);
  } else {
    struct direction *back = &connection->direction[UPSTREAM];
    keep_rest(path, back, path->scratch + length, got - length);
    count_bytes(back, got - length);
    resumption_establish(path, connection);
  }
}
