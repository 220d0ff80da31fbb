/** Called with each piece of a job's output. It must not throw, and a piece is valid only during the call. */
export interface OutputListener {
  stdout(piece: Uint8Array): void;
  stderr(piece: Uint8Array): void;
}
