// How numbers and hostile text are written in every rendering of a report: at a terminal, in Markdown, in the HTML page.

const numbers = new Intl.NumberFormat('en-US');

/** Thousands set apart. */
export function figure(value: number): string {
  return numbers.format(value);
}

/** `1 key`, `2 keys`. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${figure(value)} ${value === 1 ? one : many}`;
}

export function share(part: number, whole: number): string {
  return whole === 0 ? '–' : `${((part / whole) * 100).toFixed(2)}%`;
}

/** Shares of a whole that is all of them together, to two digits, so that they add up to 100%: what rounding leaves goes to the largest. */
export function shares(parts: readonly number[]): string[] {
  const whole = parts.reduce((sum, part) => sum + part, 0);
  if (whole === 0) return parts.map(() => '–');
  const hundredths = parts.map((part) => Math.round((part / whole) * 10_000));
  const largest = parts.indexOf(Math.max(...parts));
  hundredths[largest]! += 10_000 - hundredths.reduce((sum, part) => sum + part, 0);
  return hundredths.map((part) => `${(part / 100).toFixed(2)}%`);
}

/** @param rate 0 to 1; null: nothing to measure it by */
export function percent(rate: number | null): string {
  return rate === null ? '–' : `${(rate * 100).toFixed(1)}%`;
}

/** Microseconds, in the unit that fits. */
export function micros(value: number | null | undefined): string {
  if (value === undefined || value === null) return '–';
  if (value < 1000) return `${Math.round(value)} µs`;
  return value < 1e6 ? `${(value / 1000).toFixed(1)} ms` : `${(value / 1e6).toFixed(2)} s`;
}

/** Keys and values are anybody's bytes: what a terminal or a page would obey is shown as its code. */
export function visible(text: string): string {
  return text.replace(
    /[^\x20-\x7e…]/g,
    (char) => `\\${char > '\xff' ? 'u' : 'x'}${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** There is something to say of one side of an example: of a recording that is judged by itself nothing was expected. */
export function isTold(side: Record<string, unknown>): boolean {
  return Object.keys(side).length > 0;
}

/** What one side of an example says, in one line: `0x00 ok, flags 0, bytes 3, value "abc"`. */
export function fields(side: Record<string, unknown>): string {
  const parts = Object.entries(side).map(([name, value]) => {
    const text = typeof value === 'string' ? visible(value) : String(value);
    if (name === 'status' || name === 'outcome') return text;
    return `${name} ${name === 'value' ? `"${text}"` : text}`;
  });
  return parts.length === 0 ? 'nothing' : parts.join(', ');
}
