/** What became of the content that a store was given; bytes are file sizes. Empty files have none and do not count. */
export interface SharingAccount {
  reflinked: Amount;
  hardlinked: Amount;
  copied: Amount;
  /** The store had an equal file already. */
  present: Amount;
}

export interface Amount {
  files: number;
  bytes: number;
}

export function emptyAccount(): SharingAccount {
  const none = (): Amount => ({ files: 0, bytes: 0 });
  return { reflinked: none(), hardlinked: none(), copied: none(), present: none() };
}

export function addTo(amount: Amount, bytes: number): void {
  amount.files++;
  amount.bytes += bytes;
}
