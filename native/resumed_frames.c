/* Fixed places in fixed frames: nothing here follows a length that a peer has sent. */
#include "resumed_frames.h"

#include <string.h>

enum {
  HEADER = 12,
  WISHES_AT = HEADER,
  CARRIER_AT = HEADER + 1,
  HELLO_NONCE_AT = HEADER + 2,
  DESTINATION_AT = HELLO_NONCE_AT + NONCE_BYTES + 32,
  OFFER = SESSION_ID_BYTES + 8,
  /* From the end of a Hello. */
  ADMISSION_FROM_END = MAC_BYTES,
  REPLY_ID_AT = HEADER + 2 + NONCE_BYTES,
  REPLY_MAC_AT = REPLY_ID_AT + SESSION_ID_BYTES,
};

/* Magic and version. */
static const uint8_t START[9] = {0x9c, 0x43, 0x54, 0x53, 0x47, 0x4e, 0x0d, 0x0a, 1};
enum { MAGIC_BYTES = 8 };

enum look measure_frame(const uint8_t *bytes, size_t got, size_t *length) {
  if (memcmp(bytes, START, got < MAGIC_BYTES ? got : MAGIC_BYTES) != 0) return LOOK_NO_FRAME;
  if (got < HEADER) return LOOK_WAIT;
  *length = HEADER + ((size_t)bytes[10] << 8 | bytes[11]);
  if (*length > MOST_FRAME_BYTES) return LOOK_NO_FRAME;
  return got >= *length ? LOOK_FRAME : LOOK_WAIT;
}

/* Magic, version, type, and the length of the body. */
static void write_header(uint8_t *out, uint8_t type, size_t total) {
  memcpy(out, START, sizeof START);
  out[9] = type;
  out[10] = (uint8_t)((total - HEADER) >> 8);
  out[11] = (uint8_t)(total - HEADER);
}

static bool has_header(const uint8_t *frame, uint8_t type, size_t total) {
  uint8_t expected[HEADER];
  write_header(expected, type, total);
  return memcmp(frame, expected, HEADER) == 0;
}

static void mac_of(const struct mac_key *key, const char *context, const uint8_t *bytes, size_t length,
                   uint8_t out[MAC_BYTES]) {
  struct mac_part part = {bytes, length};
  mac(key, context, &part, 1, out);
}

static void write_counter(uint8_t *out, uint64_t counter) {
  for (int i = 0; i < 8; i++) out[i] = (uint8_t)(counter >> (56 - 8 * i));
}

static uint64_t read_counter(const uint8_t *bytes) {
  uint64_t counter = 0;
  for (int i = 0; i < 8; i++) counter = counter << 8 | bytes[i];
  return counter;
}

void complete_hello(const struct pass *pass, uint8_t *hello, const uint8_t nonce[NONCE_BYTES], uint64_t counter) {
  size_t length = pass->hello_length, offers = 1 + pass->other_count;
  size_t binders_at = length - (offers + 1) * MAC_BYTES, offers_at = binders_at - offers * OFFER;
  memcpy(hello + HELLO_NONCE_AT, nonce, NONCE_BYTES);
  write_counter(hello + offers_at + SESSION_ID_BYTES, counter);
  for (size_t i = 1; i < offers; i++)
    write_counter(hello + offers_at + i * OFFER + SESSION_ID_BYTES, counter + pass->others[i - 1].counter_ahead);
  for (size_t i = 0; i < offers; i++)
    mac_of(i == 0 ? &pass->client_key : &pass->others[i - 1].client_key, "countersign/1 resumption binder", hello,
           binders_at, hello + binders_at + i * MAC_BYTES);
  mac_of(&pass->admission_keys[0], "countersign/1 admission", hello, length - ADMISSION_FROM_END,
         hello + length - ADMISSION_FROM_END);
}

bool hello_is_admitted(const struct mac_key *keys, size_t count, const uint8_t *hello, size_t length) {
  if (length < SHORTEST_HELLO || length > MOST_FRAME_BYTES || !has_header(hello, 1, length)) return false;
  for (size_t i = 0; i < count; i++) {
    uint8_t expected[MAC_BYTES];
    mac_of(&keys[i], "countersign/1 admission", hello, length - ADMISSION_FROM_END, expected);
    if (mac_equals(expected, hello + length - ADMISSION_FROM_END)) return true;
  }
  return false;
}

bool hello_matches(const struct pass *pass, const uint8_t *hello, size_t length, uint64_t *counter) {
  size_t cookie_at = DESTINATION_AT + pass->meant_length, token_at = cookie_at + 3;
  size_t count_at = token_at + pass->token_length, offers_at = count_at + 1;
  size_t binders_at = offers_at + pass->offer_count * OFFER, own_at = offers_at + pass->own_offer * OFFER;
  if (length != binders_at + (pass->offer_count + 1) * MAC_BYTES || !has_header(hello, 1, length)) return false;
  /* All of them: which of several offers counts is for TypeScript to say, and it has said so of exactly these in this order. */
  for (size_t i = 0; i < pass->offer_count; i++) {
    if (memcmp(hello + offers_at + i * OFFER, pass->offered + i * SESSION_ID_BYTES, SESSION_ID_BYTES) != 0) return false;
  }
  if (hello[WISHES_AT] != 0 || hello[CARRIER_AT] != (uint8_t)pass->carrier) return false;
  if (memcmp(hello + DESTINATION_AT, pass->meant, pass->meant_length) != 0) return false;
  if (hello[cookie_at] != 0 || hello[cookie_at + 1] != (uint8_t)(pass->token_length >> 8) ||
      hello[cookie_at + 2] != (uint8_t)pass->token_length)
    return false;
  if (memcmp(hello + token_at, pass->token, pass->token_length) != 0 || hello[count_at] != pass->offer_count)
    return false;

  uint8_t expected[MAC_BYTES];
  mac_of(&pass->client_key, "countersign/1 resumption binder", hello, binders_at, expected);
  if (!mac_equals(expected, hello + binders_at + pass->own_offer * MAC_BYTES)) return false;
  *counter = read_counter(hello + own_at + SESSION_ID_BYTES);
  return hello_is_admitted(pass->admission_keys, pass->admission_count, hello, length);
}

static void mac_of_reply(const struct mac_key *server_key, const uint8_t *hello, size_t hello_length,
                         const uint8_t *reply, uint8_t out[MAC_BYTES]) {
  struct mac_part parts[2] = {{hello, hello_length}, {reply, REPLY_MAC_AT}};
  mac(server_key, "countersign/1 resumed reply", parts, 2, out);
}

void write_reply(const struct pass *pass, const uint8_t *hello, size_t hello_length, const uint8_t nonce[NONCE_BYTES],
                 uint8_t reply[REPLY_BYTES]) {
  write_header(reply, 2, REPLY_BYTES);
  reply[HEADER] = 2; /* mode: resumed */
  reply[HEADER + 1] = 0; /* wishes: no encryption */
  memcpy(reply + HEADER + 2, nonce, NONCE_BYTES);
  memcpy(reply + REPLY_ID_AT, pass->session_id, SESSION_ID_BYTES);
  mac_of_reply(&pass->server_key, hello, hello_length, reply, reply + REPLY_MAC_AT);
}

bool reply_matches(const uint8_t session_id[SESSION_ID_BYTES], const struct mac_key *server_key, const uint8_t *hello,
                   size_t hello_length, const uint8_t *reply, size_t length) {
  uint8_t expected[MAC_BYTES];
  if (length != REPLY_BYTES || !has_header(reply, 2, REPLY_BYTES)) return false;
  if (reply[HEADER] != 2 || reply[HEADER + 1] != 0) return false;
  if (memcmp(reply + REPLY_ID_AT, session_id, SESSION_ID_BYTES) != 0) return false;
  mac_of_reply(server_key, hello, hello_length, reply, expected);
  return mac_equals(expected, reply + REPLY_MAC_AT);
}
