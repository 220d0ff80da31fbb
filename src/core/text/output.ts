/** Is given what a job writes, as it comes. Called often; it must not throw, and a piece is valid during the call only. */
export interface OutputListener {
  stdout(piece: Uint8Array): void;
  stderr(piece: Uint8Array): void;
}
