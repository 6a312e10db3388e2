// Options that were given: a field that is undefined is no field, as the types of options have it.

/** The fields of T that are defined. */
export type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** A copy without the fields that are undefined: `{ ...defaults, ...given({ rate, seed }) }`. */
export function given<T extends object>(options: T): Given<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Given<T>;
}
