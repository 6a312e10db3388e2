// What memcached makes of an expiry in a request.

/** Seconds: above 30 days memcached takes an expiry for an absolute Unix time. */
export const MAX_RELATIVE_SECONDS = 60 * 60 * 24 * 30;
