/** The fixed header of every preamble frame: all that a data path knows of the protocol. `docs/protocol.md` section 2. */
export const FrameFormat = {
  /**
   * First bytes of every frame. The first is no start of text and no TLS record type; the last two notice a carrier that converts line
   * ends, as PNG's signature does.
   */
  magic: Uint8Array.of(0x9c, 0x43, 0x54, 0x53, 0x47, 0x4e, 0x0d, 0x0a),
  headerBytes: 12,
  /** Offset of the 16-bit big-endian length of the body. */
  lengthOffset: 10,
  /** Offset of the type, 1 for a Hello, and of the carrier that a Hello names, 1 for the stream. */
  typeOffset: 9,
  helloCarrierOffset: 13,
} as const;
