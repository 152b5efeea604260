/* What the files of resumed handshakes that go by a pass share. */
#ifndef COUNTERSIGN_RESUME_H
#define COUNTERSIGN_RESUME_H

#include "internal.h"
#include "resumed_frames.h"

enum {
  /* A client that has spoken before sends its Hello right behind the connect; who does not is TypeScript's, with its caps and patience. */
  HELLO_MS = 50,
  /* Reply, or application. */
  ANSWER_MS = 1000,
};

/* --- resume.c --- */
/* Random bytes. False when the system has none. */
bool resumption_draw(struct data_path *path, void *out, size_t length);
/* From here on the handshake is under way, and so long at most. */
void resumption_enter(struct data_path *path, struct connection *connection, struct resuming *resuming, int patience_ms);
/* No new connection goes by the pass. */
void resumption_retire(struct data_path *path, struct pass *pass);
/* Gives the connection to TypeScript. @param reply what TypeScript has to read of the server, which is kept then; NULL: what was dialled is dropped */
void resumption_hand_over(struct data_path *path, struct connection *connection, const uint8_t *reply, size_t length);
/* The handshake has gone as its pass foresaw. */
void resumption_establish(struct data_path *path, struct connection *connection);

/* --- resume_inbound.c --- */
/* Looks for the Hello, and dials the application when it is the one that a pass foresees. */
void resumption_receive_hello(struct data_path *path, struct connection *connection);
/* The application is there. */
void resumption_answer(struct data_path *path, struct connection *connection);

/* --- resume_outbound.c --- */
/* Sends the Hello of the pass to this destination. False when there is none, and nothing has happened. */
bool resumption_call(struct data_path *path, struct connection *connection, struct resuming *resuming);
/* Looks for the Reply. */
void resumption_receive_reply(struct data_path *path, struct connection *connection);

#endif
