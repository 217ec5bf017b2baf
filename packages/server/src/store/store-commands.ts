import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { didYouMean, UsageError } from '@larr/core';
import { dropData, storedData } from './feature-store.js';
import { openStore } from './open-store.js';

export const STORE_USAGE = `larr-server store list --store DIR|URL
larr-server store drop --store DIR|URL NAME

Lists and removes users' and POIs' features that an online store keeps. Each bundle's data have a name (GET /v1/admin/state shows it as "data");
those of bundles that are gone stay until they are dropped. Data that a server has used within the last minute are not dropped; a bundle that
only a rollback would load counts as unused: its users are then loaded again from the bundle, without what was changed since.

  --store DIR|URL   as the server has it
  --json            print a JSON document on stdout
`;

/**
 * Runs `store list|drop`.
 * @returns text or JSON for stdout, a note for stderr
 * @throws UsageError ACTION_UNKNOWN, OPTION_MISSING, OPTION_UNKNOWN, STORE_URL, STORE_NOT_THERE, DATA_UNKNOWN, DATA_IN_USE; StoreAway
 */
export async function runStoreCommand(args: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  const { values, positionals } = parse(args);
  const [action, name, ...more] = positionals;
  if (values.help || action === undefined) return { stdout: '', stderr: STORE_USAGE };
  if (action !== 'list' && action !== 'drop')
    throw new UsageError('ACTION_UNKNOWN', `store ${action}: no such action.${didYouMean(action, ['list', 'drop'])}`);
  const place = values.store;
  if (place === undefined || place === '') throw new UsageError('OPTION_MISSING', 'store: --store DIR|URL is missing');
  if (more.length > 0 || (name !== undefined && action === 'list'))
    throw new UsageError('OPTION_UNKNOWN', `store ${action}: ${more[0] ?? name} is one word too many`);
  // An LMDB would be made where there is none.
  if (!place.includes('://') && !existsSync(place))
    throw new UsageError('STORE_NOT_THERE', `--store ${place}: there is no such directory`);
  if (action === 'drop' && name === undefined)
    throw new UsageError('OPTION_MISSING', 'store drop: the name of the data is missing; "store list" shows them');
  const store = await openStore(place);
  try {
    const document = (value: object): string => (values.json ? `${JSON.stringify(value)}\n` : '');
    if (action === 'drop') {
      const records = await dropData(store, name!);
      return { stdout: document({ dropped: name, records }), stderr: `dropped ${name}: ${records} records\n` };
    }
    const data = await storedData(store);
    const lines = data.map(
      ({ name, users, used }) =>
        `${name}  ${users === null ? 'not loaded to the end' : `${users} users`}, ${used === null ? 'never said to be used' : `last used ${used.toISOString()}`}\n`,
    );
    const said = lines.length === 0 ? 'no data\n' : lines.join('');
    return { stdout: document({ data }), stderr: values.json ? '' : said };
  } finally {
    await store.close();
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        store: { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    throw new UsageError(
      'OPTION_UNKNOWN',
      `store: ${(error as Error).message.split('. ', 1)[0]}; --help lists the options`,
    );
  }
}
