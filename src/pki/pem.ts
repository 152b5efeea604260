/** One block of PEM (RFC 7468), whatever it holds. */
export interface PemBlock {
  /** `CERTIFICATE`, `PRIVATE KEY`. */
  readonly label: string;
  readonly der: Uint8Array;
  /** As it stood in the text. */
  readonly text: string;
}

/** The blocks of a text in their order; what stands between them is passed over, as RFC 7468 section 2 wants it. */
export function pemBlocks(text: string): PemBlock[] {
  return [...text.matchAll(/-----BEGIN ([A-Z0-9 ]{1,64})-----([A-Za-z0-9+/=\s]*)-----END \1-----/g)].map(
    ([whole, label = '', base64 = '']) => ({
      label,
      der: new Uint8Array(Buffer.from(base64, 'base64')),
      text: whole,
    }),
  );
}
