/* ES256 and X25519 for src/lib/native-curves.ts: bytes in, bytes or a yes out. */
#include "js.h"

#include <errno.h>

#include "curves.h"
#include "openssl.h"
#include "sha256.h"

/* Tell private keys from each other and from the handles of other files. */
static const napi_type_tag X25519_TAG = {0x7832353531392d6b, 0x636f756e74657273};

static const napi_type_tag ES256_TAG = {0x65733235362d6b65, 0x636f756e74657273};

static napi_value js_truth(napi_env env, bool value) {
  napi_value truth_value;
  napi_get_boolean(env, value, &truth_value);
  return truth_value;
}

/* The bytes of a Uint8Array of this length; NULL, and an exception is pending, when it is none. */
static uint8_t *exactly(napi_env env, napi_value value, size_t wanted) {
  size_t length;
  const uint8_t *bytes = view_bytes(env, value, &length);
  if (bytes != NULL && length == wanted) return (uint8_t *)bytes;
  napi_throw_type_error(env, NULL, "bytes of another length");
  return NULL;
}

/* Any number of bytes; false, and an exception is pending, when it is no Uint8Array. */
static bool some_bytes(napi_env env, napi_value value, const uint8_t **bytes, size_t *length) {
  napi_typedarray_type type;
  bool is_array = false;
  if (napi_is_typedarray(env, value, &is_array) == napi_ok && is_array &&
      napi_get_typedarray_info(env, value, &type, length, (void **)bytes, NULL, NULL) == napi_ok &&
      type == napi_uint8_array) {
    return true;
  }
  napi_throw_type_error(env, NULL, "no bytes");
  return false;
}

/* hasCurves() -> whether the other functions here may be called */
static napi_value has_curves(napi_env env, napi_callback_info info) {
  (void)info;
  return js_truth(env, openssl() != NULL);
}

/* False, and an exception is pending, unless so many arguments came and OpenSSL is there. */
static bool ready(napi_env env, napi_callback_info info, size_t wanted, napi_value *values) {
  if (!arguments(env, info, wanted, values)) return false;
  if (openssl() != NULL) return true;
  napi_throw_error(env, "ENOSYS", "this Node.js does not offer its OpenSSL");
  return false;
}

/* p256IsPoint(point) */
static napi_value is_point(napi_env env, napi_callback_info info) {
  napi_value value;
  uint8_t *point;
  if (!ready(env, info, 1, &value) || (point = exactly(env, value, P256_POINT)) == NULL) return NULL;
  return js_truth(env, p256_is_point(point));
}

/* es256Verify(point, bytes, signature) */
static napi_value verify(napi_env env, napi_callback_info info) {
  napi_value values[3];
  uint8_t *point, *signature;
  const uint8_t *bytes;
  size_t length;
  if (!ready(env, info, 3, values) || (point = exactly(env, values[0], P256_POINT)) == NULL ||
      (signature = exactly(env, values[2], ES256_SIGNATURE)) == NULL || !some_bytes(env, values[1], &bytes, &length)) {
    return NULL;
  }
  return js_truth(env, es256_verify(point, bytes, length, signature));
}

static void forget_signing_key(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  es256_key_free(data);
}

/* es256Key(scalar) -> private key */
static napi_value signing_key(napi_env env, napi_callback_info info) {
  napi_value value, external;
  uint8_t *scalar;
  if (!ready(env, info, 1, &value) || (scalar = exactly(env, value, P256_SCALAR)) == NULL) return NULL;
  struct es256_key *made = es256_key(scalar);
  if (made == NULL) return throw_errno(env, ENOMEM);
  if (napi_create_external(env, made, forget_signing_key, NULL, &external) != napi_ok) {
    es256_key_free(made);
    return throw_errno(env, ENOMEM);
  }
  napi_type_tag_object(env, external, &ES256_TAG);
  return external;
}

/* es256Sign(private key, bytes, signature) -> whether signature was written */
static napi_value sign(napi_env env, napi_callback_info info) {
  napi_value values[3];
  const uint8_t *bytes;
  uint8_t *signature;
  size_t length;
  struct es256_key *own;
  if (!ready(env, info, 3, values) || (own = tagged(env, values[0], &ES256_TAG)) == NULL ||
      !some_bytes(env, values[1], &bytes, &length) || (signature = exactly(env, values[2], ES256_SIGNATURE)) == NULL) {
    return NULL;
  }
  return js_truth(env, es256_sign(own, bytes, length, signature));
}

static void finalize(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  x25519_free(data);
}

/* x25519Generate(publicKey) -> private key; publicKey is written */
static napi_value generate(napi_env env, napi_callback_info info) {
  napi_value value, external;
  uint8_t *public_key;
  if (!ready(env, info, 1, &value) || (public_key = exactly(env, value, X25519_KEY)) == NULL) return NULL;
  struct x25519 *made = x25519_generate(public_key);
  if (made == NULL) return throw_errno(env, ENOMEM);
  if (napi_create_external(env, made, finalize, NULL, &external) != napi_ok) {
    x25519_free(made);
    return throw_errno(env, ENOMEM);
  }
  napi_type_tag_object(env, external, &X25519_TAG);
  return external;
}

/* x25519Derive(private key, peer's public key, salt, info, out) -> whether out was written */
static napi_value derive(napi_env env, napi_callback_info info) {
  napi_value values[5];
  uint8_t *peer;
  void *own = NULL;
  bool fits = false;
  const uint8_t *salt, *context, *out;
  size_t salt_length, context_length, length;
  if (!ready(env, info, 5, values) || (peer = exactly(env, values[1], X25519_KEY)) == NULL ||
      !some_bytes(env, values[2], &salt, &salt_length) || !some_bytes(env, values[3], &context, &context_length) ||
      !some_bytes(env, values[4], &out, &length)) {
    return NULL;
  }
  if (napi_check_object_type_tag(env, values[0], &X25519_TAG, &fits) != napi_ok || !fits ||
      napi_get_value_external(env, values[0], &own) != napi_ok || length > MOST_DERIVED || salt_length > SHA256_BLOCK) {
    napi_throw_type_error(env, NULL, "a private key, bytes, and room for at most 8160 of them");
    return NULL;
  }
  return js_truth(env, x25519_derive(own, peer, salt, salt_length, context, context_length, (uint8_t *)out, length));
}

static const napi_property_descriptor functions[] = {
    JS_FUNCTION("hasCurves", has_curves), JS_FUNCTION("p256IsPoint", is_point),
    JS_FUNCTION("es256Verify", verify),   JS_FUNCTION("es256Key", signing_key), JS_FUNCTION("es256Sign", sign),
    JS_FUNCTION("x25519Generate", generate),
    JS_FUNCTION("x25519Derive", derive),
};
const struct js_exports js_curves_exports = JS_EXPORTS(functions);
