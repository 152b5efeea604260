/** Version of the interface: in every path, and in the first message of both sides (docs/authority-api.md). */
export const API_VERSION = 1;

export const PATHS = { identity: '/v1/identity', stream: '/v1/stream', jwks: '/v1/jwks' } as const;

/** Audience of the service-account token that a sidecar sends. A token for any other is worth nothing here. */
export const TOKEN_AUDIENCE = 'countersign-authority';

/** Header with the proof of possession. */
export const PROOF_HEADER = 'countersign-proof';

/** How far the clocks of a sidecar and an authority may differ in a proof, seconds. */
export const PROOF_SKEW = 60;

export const LIMITS = {
  /** A service-account token, bytes. */
  token: 16 << 10,
  /** A proof, bytes. */
  proof: 4 << 10,
  /** The body of a request for an identity, bytes. */
  body: 8 << 10,
  /** One line from a sidecar, bytes. */
  lineUp: 256 << 10,
  /** One line to a sidecar, bytes. */
  lineDown: 4 << 20,
  /** Addresses, and pods, that one stream may ask about. */
  interests: 4_096,
  /** Objects that a sidecar keeps. */
  objects: 100_000,
} as const;
