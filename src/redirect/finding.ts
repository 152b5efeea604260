/** Something that NFQUEUE mode depends on beside its own rules. `problem`: it does not work so; `note`: to be known. */
export interface Finding {
  readonly level: 'ok' | 'note' | 'problem';
  readonly what: string;
}
