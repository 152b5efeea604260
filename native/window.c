/* The exact set of the counters seen, as far back as the window: a ring of pages of bits. */
#include "window.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE_COUNTERS = 1024, PAGES = REPLAY_WINDOW / PAGE_COUNTERS + 1 };
static const uint64_t LARGEST = (1ull << 53) - 1; /* what a JavaScript number counts exactly */

struct window_page {
  uint64_t number; /* it holds the counters [number * 1024, (number + 1) * 1024) */
  uint32_t bits[PAGE_COUNTERS / 32];
};

static struct window_page *page_of(struct window *window, uint64_t number) {
  uint32_t slot = (uint32_t)(number % PAGES);
  if (slot >= window->slots) {
    struct window_page **pages = realloc(window->pages, (slot + 1) * sizeof *pages);
    if (pages == NULL) return NULL;
    memset(pages + window->slots, 0, (slot + 1 - window->slots) * sizeof *pages);
    window->pages = pages;
    window->slots = slot + 1;
  }
  struct window_page *page = window->pages[slot];
  if (page == NULL) {
    page = window->pages[slot] = calloc(1, sizeof *page);
    if (page == NULL) return NULL;
    page->number = number;
  } else if (page->number != number) {
    /* What stood here lies a whole ring back, so behind the window. */
    memset(page->bits, 0, sizeof page->bits);
    page->number = number;
  }
  return page;
}

enum counter_state window_use(struct window *window, uint64_t counter) {
  if (counter > LARGEST || counter + REPLAY_WINDOW < window->next) return COUNTER_TOO_OLD;
  struct window_page *page = page_of(window, counter / PAGE_COUNTERS);
  if (page == NULL) return COUNTER_TOO_OLD;
  uint32_t bit = (uint32_t)(counter % PAGE_COUNTERS), mask = 1u << (bit & 31);
  if ((page->bits[bit >> 5] & mask) != 0) return COUNTER_SEEN;
  page->bits[bit >> 5] |= mask;
  if (counter >= window->next) window->next = counter + 1;
  return COUNTER_FRESH;
}

void window_clear(struct window *window) {
  for (uint32_t slot = 0; slot < window->slots; slot++) free(window->pages[slot]);
  free(window->pages);
  memset(window, 0, sizeof *window);
}
