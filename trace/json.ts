// JSON that stands in files, which anybody may have made: bounded before it is parsed, since a few bytes of it can become
// objects of hundreds of megabytes, and texts nested a million deep end whoever walks them.

/** Bytes of one text. 65,536 connections in one block take about 12 MB. */
export const MAX_JSON_BYTES = 16 * 1024 * 1024;
/** Lists and objects within each other; what memtape writes has four levels. */
const MAX_DEPTH = 32;
/** Values, counted by what separates and opens them. A connection has eight. */
const MAX_VALUES = 2_000_000;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPENING = new Set([0x5b, 0x7b]);
const CLOSING = new Set([0x5d, 0x7d]);

/** The value of a text in UTF-8. @throws RangeError, SyntaxError with a sentence that says what was expected */
export function parseJson(text: Buffer): unknown {
  if (text.length > MAX_JSON_BYTES)
    throw new RangeError(`expected JSON of at most ${MAX_JSON_BYTES} bytes, got ${text.length}`);
  checkShape(text);
  try {
    return JSON.parse(text.toString());
  } catch (cause) {
    throw new SyntaxError(`expected JSON, got ${JSON.stringify(text.toString('latin1', 0, 40))}`, { cause });
  }
}

function checkShape(text: Buffer): void {
  let depth = 0;
  let values = 0;
  for (let at = 0; at < text.length; at++) {
    const byte = text[at]!;
    if (byte === QUOTE) at = endOfString(text, at);
    else if (byte === COMMA) values++;
    else if (OPENING.has(byte)) {
      values++;
      if (++depth > MAX_DEPTH)
        throw new RangeError(`expected JSON of at most ${MAX_DEPTH} levels, got more at its byte ${at}`);
    } else if (CLOSING.has(byte)) depth--;
  }
  if (values > MAX_VALUES)
    throw new RangeError(`expected JSON of at most ${MAX_VALUES} values, got ${values}`);
}

function endOfString(text: Buffer, start: number): number {
  for (let at = text.indexOf(QUOTE, start + 1); at >= 0; at = text.indexOf(QUOTE, at + 1)) {
    let escapes = 0;
    while (text[at - 1 - escapes] === BACKSLASH) escapes++;
    if (escapes % 2 === 0) return at;
  }
  return text.length;
}
