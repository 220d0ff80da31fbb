/**
 * What a terminal obeys, or what hides or reorders the text around it: controls (C0, DEL, C1: U+009B begins a command as ESC [
 * does), ends of lines and paragraphs, halves of surrogate pairs, and what changes the direction of text.
 */
const UNSEEN = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Bidi_Control}]/gu;
/** The same, but for what makes lines and columns; a carriage return alone would let a line be overwritten. */
const UNSEEN_IN_LINES = /(?!\r\n)[[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Bidi_Control}]--[\n\t]]/gv;
/** The same, but for C0. */
const UNSEEN_BEYOND_C0 = /[\x7f-\x9f\p{Zl}\p{Zp}\p{Cs}\p{Bidi_Control}]/gu;

/** A text of others as a part of a line: what nobody can see, and line breaks, are written as JSON does, e.g. `\u001b`. */
export function visible(text: string): string {
  return text.replaceAll(UNSEEN, escape);
}

/** The same of a text that may have lines and tabs. Of JSON it is JSON with the same meaning. */
export function visibleLines(text: string): string {
  return text.replaceAll(UNSEEN_IN_LINES, escape);
}

/** The same of a text whose C0 controls are our own, such as colours around what JSON has escaped already. */
export function visibleBesideC0(text: string): string {
  return text.replaceAll(UNSEEN_BEYOND_C0, escape);
}

function escape(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
