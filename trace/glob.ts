// Globs over keys, as people type them.

/** `*` stands for any bytes, `?` for one; it matches keys as latin1. */
export function globPattern(glob: string): RegExp {
  const escaped = Buffer.from(glob)
    .toString('latin1')
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('*', '[^]*').replaceAll('?', '[^]')}$`);
}
