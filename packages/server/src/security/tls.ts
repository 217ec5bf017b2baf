import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { ConfigError } from '@larr/core';

/** PEM files of a certificate (with those between it and the authority) and its key. */
export interface TlsFiles {
  cert: string;
  key: string;
}

export interface TlsMaterial {
  cert: Buffer;
  key: Buffer;
}

/**
 * Reads a certificate and its key, and tries them out.
 * @throws ConfigError TLS_UNREADABLE, TLS_INVALID (no PEM, or a key of another certificate)
 */
export async function readTls({ cert, key }: TlsFiles): Promise<TlsMaterial> {
  const [certificate, secret] = await Promise.all([read(cert), read(key)]);
  try {
    createSecureContext({ cert: certificate, key: secret });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new ConfigError(
      'TLS_INVALID',
      code === 'ERR_OSSL_X509_KEY_VALUES_MISMATCH'
        ? `${key} is not the key of the certificate ${cert}`
        : `${cert} and ${key} are no certificate and key in PEM that can be used (${code ?? 'unknown reason'})`,
      { file: cert, cause },
    );
  }
  return { cert: certificate, key: secret };
}

async function read(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new ConfigError(
      'TLS_UNREADABLE',
      `${file} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown reason'})`,
      { file, cause },
    );
  }
}
