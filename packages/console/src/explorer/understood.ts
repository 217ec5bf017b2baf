import { spoken } from './view';

/** What a recall understood of a text, as the server says it. */
export interface Understood {
  matched: readonly { field: string; text: string }[];
  /** terms that so many POIs have that they tell little: looked for, and then in `matched` too, only where nothing else is known */
  common: readonly string[];
  unmatched: readonly string[];
}

/** What recall looked for, what it left out because most POIs have it, and what it knows nothing of; empty where nothing was recalled. */
export function understoodLine(understood: Understood | null): string {
  if (understood === null) return '';
  const { matched, common, unmatched } = understood;
  const looked = matched.slice(0, 8).map(({ field, text }) => `${text} (${spoken(field).toLowerCase()})`);
  const leftOut = common.filter((term) => !matched.some(({ text }) => text === term));
  return [
    looked.length === 0 ? '' : ` · looked for ${looked.join(', ')}`,
    leftOut.length === 0 ? '' : ` · left out, for so many POIs have it: ${leftOut.join(', ')}`,
    unmatched.length === 0 ? '' : ` · nothing known of ${unmatched.join(', ')}`,
  ].join('');
}
