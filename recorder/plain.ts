// SASL PLAIN: the one thing that a recording keeps of it is the user's name, as the label of a tenant.

const MAX_NAME_BYTES = 250;

/**
 * The user of `[authzid] NUL authcid NUL password` where data[keyAt, valueAt) is the mechanism `PLAIN`.
 * @returns undefined where the mechanism is another, or the message has no such shape
 */
export function parsePlain(data: Buffer, keyAt: number, valueAt: number, end: number): string | undefined {
  if (data.toString('latin1', keyAt, valueAt) !== 'PLAIN') return undefined;
  const first = data.indexOf(0, valueAt);
  if (first < 0 || first >= end) return undefined;
  const second = data.indexOf(0, first + 1);
  if (second < 0 || second >= end || second - first - 1 > MAX_NAME_BYTES) return undefined;
  return data.toString('utf8', first + 1, second);
}
