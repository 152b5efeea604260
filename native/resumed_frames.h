/* The two frames of a resumed handshake, as far as a pass foresees every byte of them (docs/protocol.md section 3). */
#ifndef COUNTERSIGN_RESUMED_FRAMES_H
#define COUNTERSIGN_RESUMED_FRAMES_H

#include "passes.h"

enum { NONCE_BYTES = 32, REPLY_BYTES = 78, SHORTEST_HELLO = 128, MOST_FRAME_BYTES = 5120 };

enum look { LOOK_WAIT, LOOK_FRAME, LOOK_NO_FRAME };

/* Whether this begins with a whole frame, and how long that is. */
enum look measure_frame(const uint8_t *bytes, size_t got, size_t *length);

/* Fills the blanks of an outbound pass's Hello: nonce, admission, and of each session counter and binder. @param counter of the first one */
void complete_hello(const struct pass *pass, uint8_t *hello, const uint8_t nonce[NONCE_BYTES], uint64_t counter);

/* Whether a whole frame is the Hello that an inbound pass is for, with its own binder and the admission MAC. @param counter gets what it offers of the
 * pass's session */
bool hello_matches(const struct pass *pass, const uint8_t *hello, size_t length, uint64_t *counter);

/* Whether this has the header of a Hello, and its last bytes are the admission MAC under one of these keys. */
bool hello_is_admitted(const struct mac_key *keys, size_t count, const uint8_t *hello, size_t length);

/* The Reply that resumes. */
void write_reply(const struct pass *pass, const uint8_t *hello, size_t hello_length, const uint8_t nonce[NONCE_BYTES],
                 uint8_t reply[REPLY_BYTES]);

/* Whether a whole frame is the Reply that resumes this session after this Hello. */
bool reply_matches(const uint8_t session_id[SESSION_ID_BYTES], const struct mac_key *server_key, const uint8_t *hello,
                   size_t hello_length, const uint8_t *reply, size_t length);

#endif
