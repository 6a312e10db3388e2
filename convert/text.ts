// Bytes as text, for formats whose strings are UTF-8.

/** As they are where they are UTF-8; else printable ASCII as it is, a backslash doubled, and the rest as `\xNN`. */
export function textOf(data: Buffer): string {
  const text = data.toString();
  // U+FFFD stands for what was not UTF-8.
  if (!text.includes('\ufffd') || Buffer.from(text).equals(data)) return text;
  return data
    .toString('latin1')
    .replaceAll(/[^ -[\]-~]/g, (byte) =>
      byte === '\\' ? '\\\\' : `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`,
    );
}
