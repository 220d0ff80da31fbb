/**
 * A parameter, or a column of a row. A whole number comes as a number where JavaScript has it exactly, else as a bigint; a
 * binary column comes as bytes.
 */
export type SqlValue = string | number | bigint | null | Uint8Array;
