/* The sessions that this side accepts, as far as C has to know them: the window of each, owned here alone, so that the data thread and
 * TypeScript can never spend one counter twice. Every call wants the lock of the passes held. */
#ifndef COUNTERSIGN_SESSIONS_H
#define COUNTERSIGN_SESSIONS_H

#include "window.h"

#include <stdbool.h>
#include <stddef.h>

struct session {
  struct window window;
  uint32_t references; /* the table's, and one per pass */
};

struct session_slot {
  struct session *session;
  uint64_t generation;
};

struct sessions {
  struct session_slot *slots;
  uint32_t count, capacity;
  uint32_t *unused;
  uint32_t unused_count;
};

/* @returns the session's number, never used again; 0 when there is no memory, or too many are open */
uint64_t session_open(struct sessions *sessions);
struct session *session_find(const struct sessions *sessions, uint64_t number);
void session_close(struct sessions *sessions, uint64_t number);
void session_release(struct session *session);
void sessions_clear(struct sessions *sessions);

#endif
