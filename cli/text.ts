// Figures and bytes as people read them.

const counts = new Intl.NumberFormat('en-US');

/** `10,662` */
export function formatCount(value: number): string {
  return counts.format(value);
}

/** `1 exchange`, `3 exchanges` */
export function plural(count: number, noun: string, nouns = `${noun}s`): string {
  return `${formatCount(count)} ${count === 1 ? noun : nouns}`;
}

/** `512 B`, `3.4 MB`: powers of ten. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let value = bytes;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** `850 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min` */
export function formatDuration(seconds: number): string {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/**
 * What a CI system would take for its own commands in a line of output: `::error …` at its beginning, `##[error]` and
 * `##vso[…]` anywhere in it.
 */
function withoutCommands(text: string): string {
  return text.replace(/^(\s*):(?=:)/, '$1\\x3a').replaceAll(/#(?=#(\[|vso\[))/g, '\\x23');
}

/**
 * Text out of a trace (a name, an address, a source) as one line that is safe on a terminal and in a log: what they would
 * obey is shown as its code.
 */
export function safeLine(text: string): string {
  // Control characters, and those that turn the direction of text or end its lines.
  const shown = text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, (char) => {
    const code = char.codePointAt(0)!.toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u${code.padStart(4, '0')}`;
  });
  return withoutCommands(shown);
}

/** A document as JSON that is as safe: characters of such kinds are escaped, which JSON allows everywhere. */
export function safeJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent)
    .replaceAll(
      /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
      (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
    )
    .replaceAll(/#(?=#(\[|vso\[))/g, '\\u0023');
}

/**
 * A field of a CSV file. What a spreadsheet would take for a formula (= + - @ at its beginning) is shown as its code, and
 * so is what a terminal would obey.
 */
export function csvField(field: string | number): string {
  if (typeof field === 'number') return String(field);
  const text = safeLine(field).replace(/^[=+\-@]/, (char) => `\\x${char.charCodeAt(0).toString(16)}`);
  return /[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Bytes as one line of text that is safe on a terminal: printable ASCII as it is, the rest as `\xNN`. */
export function printable(data: Uint8Array, limit = Infinity): string {
  let text = '';
  const end = Math.min(data.length, limit);
  for (let at = 0; at < end; at++) {
    const byte = data[at]!;
    if (byte === 0x5c) text += '\\\\';
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  text = withoutCommands(text);
  return end < data.length ? `${text}… (${formatCount(data.length)} bytes)` : text;
}
