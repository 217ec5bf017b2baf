import { didYouMean, UsageError } from '@larr/core';
import type { Scope } from '../api/operation.js';
import { readCommand, wanted } from '../command-options.js';
import { changeKeys, makeKey, readKeys, SCOPES, type StoredKey } from './key-file.js';

export const KEYS_USAGE = `larr-server keys add --keys FILE --name NAME --scopes LIST [--expires WHEN] [--rate N]
larr-server keys list --keys FILE
larr-server keys revoke --keys FILE ID

Makes, lists and revokes the keys of a key file; a server that was started with --keys FILE sees a change within two seconds.

  --name NAME       whose key it is, for lists and logs
  --scopes LIST     what it may: ${SCOPES.join(', ')}, with commas between. rank: rank, score, recall, catalogue; events: send
                    events; read: reports, runs, health, metrics; admin: experiments, bundles
  --expires WHEN    from then on it is refused: a date (2027-01-31), a time in ISO 8601, or days from now (90d); never by default
  --rate N          requests a second that it may send; the server's --rate-per-key by default
  --json            print a JSON document on stdout
`;

/** What a keys command gives: text or JSON for stdout, a note for stderr. */
export interface KeysOutput {
  stdout: string;
  stderr: string;
}

/**
 * Runs `keys add|list|revoke`. The new key of \`add\` is its standard output, so that it can go into a file or a variable; it is shown this once.
 * @throws UsageError ACTION_MISSING, ACTION_UNKNOWN, OPTION_MISSING, OPTION_INVALID, OPTION_UNKNOWN, KEY_NOT_THERE; ConfigError of the key file
 */
export async function runKeysCommand(args: readonly string[], now = new Date()): Promise<KeysOutput> {
  const { values, positionals } = readCommand('keys', args, {
    keys: { type: 'string' },
    name: { type: 'string' },
    scopes: { type: 'string' },
    expires: { type: 'string' },
    rate: { type: 'string' },
  });
  const [action, id, ...more] = positionals;
  if (values.help) return { stdout: '', stderr: KEYS_USAGE };
  if (action === undefined)
    throw new UsageError('ACTION_MISSING', 'keys: say what to do: add, list or revoke; --help tells more');
  if (!['add', 'list', 'revoke'].includes(action))
    throw new UsageError(
      'ACTION_UNKNOWN',
      `keys ${action}: no such action.${didYouMean(action, ['add', 'list', 'revoke'])}`,
    );
  const file = wanted('keys', values.keys, '--keys FILE');
  if (more.length > 0 || (id !== undefined && action !== 'revoke'))
    throw new UsageError(
      'OPTION_UNKNOWN',
      `keys ${action}: ${more[0] ?? id} is one word too many; --help lists the options`,
    );
  const document = (value: object): string => (values.json ? `${JSON.stringify(value)}\n` : '');

  if (action === 'list') {
    const keys = await readKeys(file);
    const shown = keys.map((key) => ({ ...described(key), expired: isExpired(key, now) }));
    return { stdout: document({ keys: shown }), stderr: values.json ? '' : table(keys, now) };
  }
  if (action === 'revoke') {
    const wantedId = wanted('keys', id, 'the id of the key');
    const gone = await changeKeys(file, (keys) => {
      const found = keys.find((key) => key.id === wantedId);
      if (found === undefined)
        throw new UsageError(
          'KEY_NOT_THERE',
          `${file} has no key ${wantedId}.${didYouMean(
            wantedId,
            keys.map((key) => key.id),
          )}`,
        );
      return { keys: keys.filter((key) => key !== found), result: found };
    });
    return { stdout: document({ revoked: described(gone) }), stderr: `revoked ${gone.id} (${gone.name})\n` };
  }
  const made = makeKey(
    {
      name: wanted('keys', values.name, '--name NAME'),
      scopes: scopesOf(wanted('keys', values.scopes, '--scopes LIST')),
      expires: values.expires === undefined ? null : expiryOf(values.expires, now),
      rate: values.rate === undefined ? null : rateOf('--rate', values.rate),
    },
    now,
  );
  await changeKeys(file, (keys) => ({ keys: [...keys, made.stored], result: null }));
  return {
    stdout: values.json ? document({ key: made.key, ...described(made.stored) }) : `${made.key}\n`,
    stderr: `made ${made.stored.id} (${made.stored.name}) in ${file}: ${made.stored.scopes.join(', ')}. The key is shown this once\n`,
  };
}

function scopesOf(list: string): Scope[] {
  return list.split(',').map((text) => {
    const name = text.trim();
    const scope = SCOPES.find((one) => one === name);
    if (scope === undefined)
      throw new UsageError('OPTION_INVALID', `--scopes: "${name}" is no scope.${didYouMean(name, SCOPES)}`);
    return scope;
  });
}

const DAY_MS = 86_400_000;

function expiryOf(text: string, now: Date): Date {
  const days = /^(\d{1,5})d$/.exec(text)?.[1];
  const at =
    days !== undefined
      ? new Date(now.getTime() + Number(days) * DAY_MS)
      : /^\d{4}-\d{2}-\d{2}(T.*)?$/.test(text)
        ? new Date(text)
        : new Date(Number.NaN);
  if (Number.isNaN(at.getTime()))
    throw new UsageError(
      'OPTION_INVALID',
      `--expires ${text}: a date (2027-01-31), a time in ISO 8601 or days from now (90d) is expected`,
    );
  if (at <= now) throw new UsageError('OPTION_INVALID', `--expires ${text}: that has passed`);
  return at;
}

/** Requests a second, above 0. @throws UsageError OPTION_INVALID */
export function rateOf(option: string, text: string): number {
  const rate = Number(text);
  if (text.trim() === '' || !Number.isFinite(rate) || rate <= 0 || rate > 1e6)
    throw new UsageError('OPTION_INVALID', `${option} ${text}: requests a second are expected, above 0`);
  return rate;
}

const described = ({ sha256: _, ...rest }: StoredKey): Omit<StoredKey, 'sha256'> => rest;

const isExpired = ({ expires }: StoredKey, now: Date): boolean => expires !== null && new Date(expires) <= now;

function table(keys: readonly StoredKey[], now: Date): string {
  if (keys.length === 0) return 'no keys\n';
  const lines = keys.map((key) => [
    key.id,
    key.name,
    key.scopes.join(','),
    key.created.slice(0, 10),
    key.expires === null ? 'never' : `${key.expires.slice(0, 10)}${isExpired(key, now) ? ' (expired)' : ''}`,
    key.rate === null ? '-' : String(key.rate),
  ]);
  const all = [['ID', 'NAME', 'SCOPES', 'CREATED', 'EXPIRES', 'RATE'], ...lines];
  const widths = all[0]!.map((_, column) => Math.max(...all.map((line) => line[column]!.length)));
  return `${all
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')}\n`;
}
