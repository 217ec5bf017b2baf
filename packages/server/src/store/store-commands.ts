import { existsSync } from 'node:fs';
import { didYouMean, UsageError } from '@larr/core';
import { readCommand, wanted } from '../command-options.js';
import { dropData, dropEarlierData, storedData } from './feature-store.js';
import { openStore } from './open-store.js';

export const STORE_USAGE = `larr-server store list --store DIR|URL
larr-server store drop --store DIR|URL NAME
larr-server store drop --store URL --earlier

Lists and removes users' and POIs' features that an online store keeps. Each bundle's data have a name (GET /v1/admin/state shows it as "data");
those of bundles that are gone stay until they are dropped. Data that a server has used within the last minute are not dropped; a bundle that
only a rollback would load counts as unused: its users are then loaded again from the bundle, without what was changed since.

  --store DIR|URL   as the server has it
  --earlier         drop what earlier versions of LARR left in Redis under other keys, where no server of theirs runs any more
  --json            print a JSON document on stdout
`;

/**
 * Runs `store list|drop`.
 * @returns text or JSON for stdout, a note for stderr
 * @throws UsageError ACTION_MISSING, ACTION_UNKNOWN, OPTION_MISSING, OPTION_UNKNOWN, STORE_URL, STORE_NOT_THERE, DATA_UNKNOWN, DATA_IN_USE; StoreAway
 */
export async function runStoreCommand(args: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  const { values, positionals } = readCommand('store', args, {
    store: { type: 'string' },
    earlier: { type: 'boolean', default: false },
  });
  const [action, name, ...more] = positionals;
  if (values.help) return { stdout: '', stderr: STORE_USAGE };
  if (action === undefined)
    throw new UsageError('ACTION_MISSING', 'store: say what to do: list or drop; --help tells more');
  if (action !== 'list' && action !== 'drop')
    throw new UsageError('ACTION_UNKNOWN', `store ${action}: no such action.${didYouMean(action, ['list', 'drop'])}`);
  const place = wanted('store', values.store, '--store DIR|URL');
  if (values.earlier && action !== 'drop')
    throw new UsageError('OPTION_UNKNOWN', 'store list: --earlier is an option of "store drop"');
  if (more.length > 0 || (name !== undefined && (action === 'list' || values.earlier)))
    throw new UsageError('OPTION_UNKNOWN', `store ${action}: ${more[0] ?? name} is one word too many`);
  // An LMDB would be made where there is none.
  if (!place.includes('://') && !existsSync(place))
    throw new UsageError('STORE_NOT_THERE', `--store ${place}: there is no such directory`);
  const dropped =
    action === 'drop' && !values.earlier
      ? wanted('store drop', name, 'the name of the data ("store list" shows them)')
      : null;
  const store = await openStore(place);
  try {
    const document = (value: object): string => (values.json ? `${JSON.stringify(value)}\n` : '');
    if (dropped !== null) {
      const records = await dropData(store, dropped);
      return { stdout: document({ dropped, records }), stderr: `dropped ${dropped}: ${records} records\n` };
    }
    if (values.earlier) {
      const keys = await dropEarlierData(store);
      return { stdout: document({ dropped: 'earlier', keys }), stderr: `dropped ${keys} keys of earlier versions\n` };
    }
    const data = await storedData(store);
    const { keys: earlier } = await store.earlier();
    const lines = data.map(
      ({ name, users, used }) =>
        `${name}  ${users === null ? 'not loaded to the end' : `${users} users`}, ${used === null ? 'never said to be used' : `last used ${used.toISOString()}`}\n`,
    );
    const old =
      earlier === 0
        ? ''
        : `${earlier} keys of an earlier version of LARR, which no server of this one reads: "store drop --earlier" removes them\n`;
    const said = (lines.length === 0 ? 'no data\n' : lines.join('')) + old;
    return { stdout: document({ data, earlier }), stderr: values.json ? '' : said };
  } finally {
    await store.close();
  }
}
