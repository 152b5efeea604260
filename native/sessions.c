/* Sessions by number. */
#include "sessions.h"

#include <stdlib.h>

enum { INDEX_BITS = 20 };

uint64_t session_open(struct sessions *sessions) {
  uint32_t index;
  struct session *session = calloc(1, sizeof *session);
  if (session == NULL) return 0;
  if (sessions->unused_count > 0) {
    index = sessions->unused[--sessions->unused_count];
  } else {
    if (sessions->count == sessions->capacity) {
      uint32_t grown = sessions->capacity == 0 ? 64 : sessions->capacity * 2;
      struct session_slot *slots =
          grown <= 1u << INDEX_BITS ? realloc(sessions->slots, grown * sizeof *slots) : NULL;
      if (slots != NULL) sessions->slots = slots;
      uint32_t *unused = slots == NULL ? NULL : realloc(sessions->unused, grown * sizeof *unused);
      if (unused == NULL) {
        free(session);
        return 0;
      }
      sessions->unused = unused;
      sessions->capacity = grown;
    }
    index = sessions->count++;
    sessions->slots[index].generation = 0;
  }
  session->references = 1;
  sessions->slots[index].session = session;
  return ++sessions->slots[index].generation << INDEX_BITS | index;
}

static struct session_slot *slot_of(const struct sessions *sessions, uint64_t number) {
  uint32_t index = (uint32_t)(number & ((1u << INDEX_BITS) - 1));
  if (index >= sessions->count) return NULL;
  struct session_slot *slot = &sessions->slots[index];
  return slot->session != NULL && slot->generation == number >> INDEX_BITS ? slot : NULL;
}

struct session *session_find(const struct sessions *sessions, uint64_t number) {
  struct session_slot *slot = slot_of(sessions, number);
  return slot == NULL ? NULL : slot->session;
}

void session_close(struct sessions *sessions, uint64_t number) {
  struct session_slot *slot = slot_of(sessions, number);
  if (slot == NULL) return;
  session_release(slot->session);
  slot->session = NULL;
  sessions->unused[sessions->unused_count++] = (uint32_t)(slot - sessions->slots);
}

void session_release(struct session *session) {
  if (--session->references > 0) return;
  window_clear(&session->window);
  free(session);
}

void sessions_clear(struct sessions *sessions) {
  for (uint32_t index = 0; index < sessions->count; index++) {
    if (sessions->slots[index].session != NULL) session_release(sessions->slots[index].session);
  }
  free(sessions->slots);
  free(sessions->unused);
}
