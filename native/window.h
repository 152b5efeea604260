/* The counters seen on one session: src/handshake/replay-window.ts in C, and held to it by tests. */
#ifndef COUNTERSIGN_WINDOW_H
#define COUNTERSIGN_WINDOW_H

#include <stdint.h>

enum { REPLAY_WINDOW = 65536 };

/* Out of memory counts as too old: a full handshake, and nothing passes twice. */
enum counter_state { COUNTER_FRESH, COUNTER_SEEN, COUNTER_TOO_OLD };

struct window_page;

/* All zero when new. Grows by pages as counters arrive, to about 9 KiB. */
struct window {
  struct window_page **pages;
  uint32_t slots;
  uint64_t next; /* the highest counter seen, and one; 0: none */
};

/* Marks a counter as used. FRESH exactly once per counter. */
enum counter_state window_use(struct window *window, uint64_t counter);
void window_clear(struct window *window);

#endif
