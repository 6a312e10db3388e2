// Handles: a row anywhere in the window of a replay is named by its page's slot and its number there, in one small integer.

/** Rows of a page, at most. A window has so few pages that handles stay small integers. */
const ROW_BITS = 11;
export const PAGE_ROWS = 2 ** ROW_BITS;

/** No handle. */
export const NONE = -1;

export function handleOf(slot: number, row: number): number {
  return (slot << ROW_BITS) | row;
}

/** The slot of the page that a handle names. */
export function slotOf(handle: number): number {
  return handle >> ROW_BITS;
}

/** The row's number in that page. */
export function rowOf(handle: number): number {
  return handle & (PAGE_ROWS - 1);
}
