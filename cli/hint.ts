// What to do about errors of the system and of TLS: the option, or the command, that may mend what the error says.

import { isStarved, starvedHint } from './descriptors.ts';

const unknownSigner = 'say who signed the certificate with --tls-ca FILE (in a gate file: tls: {ca: FILE})';

const withoutTls = 'leave out --tls and the other --tls options';

/** By the codes of Node and OpenSSL. */
const byCode: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: unknownSigner,
  SELF_SIGNED_CERT_IN_CHAIN: unknownSigner,
  UNABLE_TO_GET_ISSUER_CERT: unknownSigner,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: unknownSigner,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: unknownSigner,
  ERR_TLS_CERT_ALTNAME_INVALID: 'say the name in the certificate with --tls-server-name NAME',
  CERT_HAS_EXPIRED: 'the target needs a new one, or --tls-insecure takes this one',
  ERR_SSL_WRONG_VERSION_NUMBER: `what answered is not TLS: ${withoutTls}`,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: `what answered is not TLS: ${withoutTls}`,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    'the target asks for a certificate of ours: --tls-cert FILE and --tls-key FILE',
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE:
    'the target may ask for a certificate of ours: --tls-cert FILE and --tls-key FILE',
};

/** The message of an error, and what to do about it. */
export function withHint(error: Error): string {
  const hint = hintOf(error);
  return hint === undefined ? error.message : `${error.message}; ${hint}`;
}

function hintOf(error: Error): string | undefined {
  if (isStarved(error)) return starvedHint;
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const { code } = at as NodeJS.ErrnoException;
    if (code !== undefined && Object.hasOwn(byCode, code)) return byCode[code];
    if (at.message.includes('before secure TLS connection')) return `if it does not speak TLS, ${withoutTls}`;
    if (at.message.endsWith('it closed the connection'))
      return 'it may speak TLS (--tls), or take known users only (--auth-file)';
    // A TLS server answers with an alert where it expected a handshake.
    if (at.name === 'ProtocolError' && /0x15\b/.test(at.message))
      return 'the target may speak TLS: try --tls';
  }
  return undefined;
}
