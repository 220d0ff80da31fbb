/**
 * Characters that a terminal obeys, or that hide or reorder the text around them: controls (C0, DEL, C1: U+009B begins a
 * command as ESC [ does), ends of lines and paragraphs, halves of surrogate pairs, and marks of text direction.
 */
const UNSEEN = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Bidi_Control}]/gu;
/** The same without tabs and line ends; a carriage return alone would let a line be overwritten. */
const UNSEEN_IN_LINES = /(?!\r\n)[[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Bidi_Control}]--[\n\t]]/gv;
/** The same without C0. */
const UNSEEN_BEYOND_C0 = /[\x7f-\x9f\p{Zl}\p{Zp}\p{Cs}\p{Bidi_Control}]/gu;

/** Foreign text as part of a line: unseen characters and line breaks are written as in JSON, e.g. `\u001b`. */
export function visible(text: string): string {
  return text.replaceAll(UNSEEN, escape);
}

/** The same for text that may have lines and tabs. JSON stays JSON with the same meaning. */
export function visibleLines(text: string): string {
  return text.replaceAll(UNSEEN_IN_LINES, escape);
}

/** The same for text whose C0 controls are our own, such as colours around escaped JSON. */
export function visibleBesideC0(text: string): string {
  return text.replaceAll(UNSEEN_BEYOND_C0, escape);
}

function escape(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
