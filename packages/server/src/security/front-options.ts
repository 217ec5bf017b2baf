import { UsageError } from '@larr/core';
import { LOG_LEVELS, type LogOptions } from '../observability/request-log.js';
import type { FrontOptions } from './front.js';
import { rateOf } from './key-commands.js';

/** The part of `--help` about who may ask, and what is logged. */
export const FRONT_USAGE = `  --keys FILE             ask for a key of this file ("larr-server keys --help"); without it, only this machine may ask
  --open                  let everybody who reaches the server do everything, without keys
  --admin-port PORT       answer all on this second port, and on the first one rank, events and probes alone
  --admin-host HOST       address of the second port (127.0.0.1)
  --rate-per-key N        requests a second of a key that has no rate of its own (no limit)
  --rate-per-address N    requests a second of an address, of those without a good key (50 with --keys, else no limit)
  --cors-origin ORIGIN    let pages of this origin ask from a browser; may be given again
  --trust-proxy ADDRESS   believe X-Forwarded-For, -Host and -Proto of this proxy or network; may be given again
  --tls-cert FILE         certificate in PEM, and
  --tls-key FILE          its key: HTTPS in place of HTTP; read again when they change
  --log-level LEVEL       ${LOG_LEVELS.join(', ')} (info)
  --log-requests SHARE    share of the requests that get a line at level info, 0 to 1 (0)
`;

/** For `parseArgs`. */
export const FRONT_OPTIONS = {
  keys: { type: 'string' },
  open: { type: 'boolean', default: false },
  'admin-port': { type: 'string' },
  'admin-host': { type: 'string' },
  'rate-per-key': { type: 'string' },
  'rate-per-address': { type: 'string' },
  'cors-origin': { type: 'string', multiple: true, default: [] as string[] },
  'trust-proxy': { type: 'string', multiple: true, default: [] as string[] },
  'tls-cert': { type: 'string' },
  'tls-key': { type: 'string' },
  'log-level': { type: 'string', default: 'info' },
  'log-requests': { type: 'string', default: '0' },
} as const;

interface FrontValues {
  keys?: string | undefined;
  open: boolean;
  'admin-port'?: string | undefined;
  'admin-host'?: string | undefined;
  'rate-per-key'?: string | undefined;
  'rate-per-address'?: string | undefined;
  'cors-origin': string[];
  'trust-proxy': string[];
  'tls-cert'?: string | undefined;
  'tls-key'?: string | undefined;
  'log-level': string;
  'log-requests': string;
}

/** @throws UsageError OPTION_INVALID */
export function readFrontOptions(values: FrontValues, port: (option: string, text: string) => number): FrontOptions {
  const { keys, open } = values;
  const [cert, key] = [values['tls-cert'], values['tls-key']];
  if ((cert === undefined) !== (key === undefined))
    throw new UsageError('OPTION_INVALID', '--tls-cert and --tls-key belong together: give both, or neither');
  if (values['admin-host'] !== undefined && values['admin-port'] === undefined)
    throw new UsageError('OPTION_INVALID', '--admin-host needs --admin-port: which port should be there?');
  const rate = (option: 'rate-per-key' | 'rate-per-address'): number | undefined =>
    values[option] === undefined ? undefined : rateOf(`--${option}`, values[option]);
  const [ratePerKey, ratePerAddress] = [rate('rate-per-key'), rate('rate-per-address')];
  return {
    open,
    corsOrigins: values['cors-origin'],
    trustProxy: values['trust-proxy'],
    log: { level: logLevel(values['log-level']), requests: share(values['log-requests']) },
    ...(keys === undefined ? {} : { keys }),
    ...(values['admin-port'] === undefined ? {} : { adminPort: port('--admin-port', values['admin-port']) }),
    ...(values['admin-host'] === undefined ? {} : { adminHost: values['admin-host'] }),
    ...(ratePerKey === undefined ? {} : { ratePerKey }),
    ...(ratePerAddress === undefined ? {} : { ratePerAddress }),
    ...(cert === undefined || key === undefined ? {} : { tls: { cert, key } }),
  };
}

function logLevel(text: string): LogOptions['level'] {
  const level = LOG_LEVELS.find((one) => one === text);
  if (level === undefined)
    throw new UsageError('OPTION_INVALID', `--log-level ${text}: one of ${LOG_LEVELS.join(', ')} is expected`);
  return level;
}

function share(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 1))
    throw new UsageError('OPTION_INVALID', `--log-requests ${text}: a share from 0 to 1 is expected`);
  return value;
}
