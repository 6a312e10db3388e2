// Errors of what people write: models, drills, gates.

export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}
