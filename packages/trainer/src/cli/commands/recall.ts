import { type Dataset, type KeywordText, openDataset, UsageError } from '@larr/core';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { PoiIndex, RecallHit } from '../../embedding/recall.js';
import type { Expectation, Fulfilment } from '../../embedding/recall-users.js';
import type { KnownWords } from '../../embedding/recall-words.js';
import type { TextEmbedder } from '../../embedding/text-embedder.js';
import {
  action,
  type CommandContext,
  commaSeparated,
  type OptionsOf,
  wholeNumber,
  withOptions,
} from '../command-context.js';
import { openTextEmbedder } from '../text-embedder.js';
import { textTable } from '../text-table.js';

interface RecallCommandOptions extends OptionsOf<'seed' | 'device' | 'threads'> {
  data: string;
  split?: string;
  model?: string;
  encoder?: string;
  vectors: string;
  text?: string;
  scene: Record<string, string>;
  by: 'model' | 'words';
  user?: string;
  users?: number;
  neverIn?: string[];
  userWeight?: number;
  place?: string;
  where: Record<string, string>;
  expect: Expectation[];
  index: 'auto' | 'exact' | 'hnsw';
  k: number;
}

/** `poi`: the user's own id; `index`: its row in the vectors and in texts/pois.parquet; `fulfils`: all that --expect asks. */
interface Hit {
  rank: number;
  poi: string;
  index: number;
  similarity: number;
  keywords: Record<string, string>;
  fulfils?: boolean;
}

/** Of `fitting` users, `found.length` were drawn; `tasteless` were passed over, since their clicks tell no taste; `weight`: null without a question. */
interface UsersFound<H> {
  fitting: number;
  tasteless: number;
  weight: number | null;
  found: { user: string; clicks: number; hits: H[] }[];
}

interface QuestionRead {
  tokens: number;
  truncated: boolean;
}

interface RecallAnswer {
  /** How the POIs were looked for, and how many that can be found; `recallAt10` of an HNSW index against exact search, measured when it was built. */
  search: { index: 'exact' | 'hnsw'; pois: number; recallAt10: number | null };
  /** How much of the question the model read, where one did; what a truncated one has behind the context counts for nothing. */
  question?: QuestionRead;
  /** What --by words knows of the question. */
  words?: { known: KnownWords[]; little: KnownWords[]; common: KnownWords[]; unknown: string[] };
  /** Of the question; none without one. */
  hits: Hit[];
  /** Of the question together with what each user likes. */
  users?: UsersFound<Hit>;
  /** How many of the k are as expected: all expectations at once, and each of them. */
  expected?: Fulfilment & { k: number; each: (Fulfilment & Expectation)[] };
}

/** From so many POIs on, the index is used unless another is asked for: below, exact search takes a few milliseconds. */
const MANY_POIS = 200_000;
/** How much a user's taste counts beside a question (docs/case-study.md). */
const USER_WEIGHT = 0.25;
/** So many users' lists are shown to people; --json has all. */
const SHOWN_USERS = 2;

function pair(option: string, example: string) {
  return (text: string, before: Record<string, string>): Record<string, string> => {
    const at = text.indexOf('=');
    if (at < 1) throw new UsageError('BAD_KEYWORD', `${option} ${text}: write name=text, for example ${example}`);
    return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
  };
}

function expectation(text: string, before: Expectation[]): Expectation[] {
  const [[column, values] = ['', '']] = Object.entries(pair('--expect', 'location=Guangdong')(text, {}));
  const alternatives = values.split('|').map((value) => value.trim());
  if (alternatives.includes(''))
    throw new UsageError('BAD_KEYWORD', `--expect ${text}: one of the texts is empty; write column=one|other`);
  return [...before, { column, values: alternatives }];
}

function weight(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError('It must be a number of at least 0.');
  return value;
}

export function registerRecall(program: Command): void {
  withOptions(
    program.command('recall').description('find the POIs whose texts suit a question or a scene, for users too'),
    'seed',
    'device',
    'threads',
  )
    .requiredOption('--data <dir>', 'what `import`, `world` or `prepare` wrote')
    .option('--split <name>', "which of the dataset's splits (its default)")
    .option('--model <dir>', 'what `larr finetune` wrote')
    .option('--encoder <dir or id>', 'the sentence encoder that made the vectors, in place of --model')
    .requiredOption('--vectors <dir>', 'what `larr embed` wrote')
    .option('--text <text>', 'what to look for')
    .option('--scene <field=text>', 'a scene keyword; may be repeated', pair('--scene', 'weather="heavy rain"'), {})
    .addOption(
      new Option(
        '--by <reader>',
        "what reads the question: the model, or its words looked up in POIs' texts, without a model",
      )
        .choices(['model', 'words'])
        .default('model'),
    )
    .option('--user <id>', 'for this user: the question together with what they like')
    .option('--users <n>', 'for so many users, drawn by --seed', wholeNumber(1))
    .option(
      '--never-in <places>',
      'only users who neither live in these places nor saw a POI there; separated by commas',
      commaSeparated,
    )
    .option(
      '--user-weight <w>',
      `how much what a user likes counts beside the question (default: ${USER_WEIGHT})`,
      weight,
    )
    .option('--place <name>', 'only POIs of this place, as the schema\'s "place" has it')
    .option(
      '--where <keyword=text>',
      'only POIs whose keyword holds the text; may be repeated',
      pair('--where', 'menu=soup'),
      {},
    )
    .option(
      '--expect <column=text>',
      'count the found POIs whose keyword holds the text, or whose column is it; a|b for either; may be repeated',
      expectation,
      [],
    )
    .addOption(
      new Option(
        '--index <kind>',
        `how to search; auto: hnsw from ${MANY_POIS.toLocaleString('en')} POIs on, exact below, by words and for users`,
      )
        .choices(['auto', 'exact', 'hnsw'])
        .default('auto'),
    )
    .option('--k <n>', 'how many', wholeNumber(1), 10)
    .action(action<RecallCommandOptions, RecallAnswer>(answer, shown));
}

async function answer(options: RecallCommandOptions, context: CommandContext): Promise<RecallAnswer> {
  const { allowedPois, findable, loadPoiIds, loadPoiIndex } = await import('../../embedding/recall.js');
  const { fulfilling, fulfilment } = await import('../../embedding/recall-users.js');
  const { checkVectors } = await import('../../embedding/vectors-manifest.js');
  requireTogether(options);
  const dataset = await openDataset(options.data, options.split);
  const question = questionOf(options, dataset);
  if (question === null && options.user === undefined && options.users === undefined)
    throw new UsageError('EMPTY_QUERY', 'there is nothing to look for: give --text, --scene, or users');
  if (question === null && options.userWeight !== undefined)
    throw new UsageError(
      'WEIGHT_UNREAD',
      '--user-weight says how much what users like counts beside a question, and there is none: give --text or --scene too, or leave it out',
    );
  const allowed = await allowedPois(dataset, { place: options.place, keywords: options.where });
  const each = await fulfilling(dataset, options.expect);
  const fulfils =
    each.length === 0 ? null : Uint8Array.from(each[0]!, (_, poi) => +each.every((one) => one[poi] === 1));
  await checkVectors(options.vectors, dataset);
  const index = await loadPoiIndex(options.vectors);
  const texts = await dataset.poiTexts();
  const searched = findable(index, allowed);
  const found = await search(options, context, dataset, index, { question, allowed, texts });
  const ids = await loadPoiIds(dataset);
  const hits = (some: readonly RecallHit[]): Hit[] =>
    some.map(({ poi, similarity }, i) => ({
      rank: i + 1,
      poi: ids[poi]!,
      index: poi,
      similarity,
      keywords: Object.fromEntries((texts[poi] ?? []).map((entry) => [entry.keyword, entry.text])),
      ...(fulfils && { fulfils: fulfils[poi] === 1 }),
    }));
  const pois = (some: readonly RecallHit[]) => some.map(({ poi }) => poi);
  const counted = (those: Uint8Array): Fulfilment =>
    fulfilment(
      those,
      searched,
      found.hits === null ? null : pois(found.hits),
      (found.users?.found ?? []).map((one) => pois(one.hits)),
    );
  return {
    search: {
      index: found.recallAt10 === null ? 'exact' : 'hnsw',
      pois: searched.reduce((sum, one) => sum + one, 0),
      recallAt10: found.recallAt10,
    },
    ...(found.question && { question: found.question }),
    ...(found.words && { words: found.words }),
    hits: hits(found.hits ?? []),
    ...(found.users && {
      users: { ...found.users, found: found.users.found.map((one) => ({ ...one, hits: hits(one.hits) })) },
    }),
    ...(fulfils && {
      expected: {
        k: options.k,
        ...counted(fulfils),
        each: options.expect.map((one, i) => ({ ...one, ...counted(each[i]!) })),
      },
    }),
  };
}

/** @throws UsageError `USERS_MISSING`, `USER_OR_USERS`, `EXACT_ONLY` where options contradict each other */
function requireTogether({ user, users, neverIn, userWeight, by, index, model, encoder }: RecallCommandOptions): void {
  const forUsers = user !== undefined || users !== undefined;
  if (!forUsers && (neverIn !== undefined || userWeight !== undefined))
    throw new UsageError(
      'USERS_MISSING',
      `${neverIn === undefined ? '--user-weight' : '--never-in'} is about users: give --users or --user too`,
    );
  if (user !== undefined && users !== undefined)
    throw new UsageError('USER_OR_USERS', 'give either --user, one by their id, or --users, how many');
  if (index === 'hnsw' && (forUsers || by === 'words'))
    throw new UsageError('EXACT_ONLY', 'by words and for users every POI is looked at: leave --index hnsw out');
  if (by === 'words' && (model !== undefined || encoder !== undefined))
    throw new UsageError(
      'MODEL_UNREAD',
      `--by words looks words up and reads no model: leave ${model === undefined ? '--encoder' : '--model'} out`,
    );
}

interface Question {
  text?: string;
  keywords: { token: string; text: string }[];
}

/** What is asked; null where nothing is. @throws UsageError `UNKNOWN_FIELD`, `EMPTY_QUERY` */
function questionOf({ text, scene }: RecallCommandOptions, dataset: Dataset): Question | null {
  if (text?.trim() === '')
    throw new UsageError('EMPTY_QUERY', '--text is empty: say what to look for, or leave it out');
  const tokens = new Map(dataset.split.scene.map(({ field, token }) => [field, token]));
  const keywords = Object.entries(scene).map(([field, own]) => {
    const token = tokens.get(field);
    if (token === undefined)
      throw new UsageError(
        'UNKNOWN_FIELD',
        `there is no scene field "${field}"; the dataset has ${[...tokens.keys()].join(', ')}`,
      );
    return { token, text: own };
  });
  return text === undefined && keywords.length === 0 ? null : { ...(text !== undefined && { text }), keywords };
}

interface Found {
  recallAt10: number | null;
  /** null where nothing was asked */
  hits: RecallHit[] | null;
  question?: QuestionRead;
  words?: RecallAnswer['words'];
  users?: UsersFound<RecallHit>;
}

async function search(
  options: RecallCommandOptions,
  context: CommandContext,
  dataset: Dataset,
  index: PoiIndex,
  asked: { question: Question | null; allowed: Uint8Array | null; texts: readonly KeywordText[][] },
): Promise<Found> {
  const { question, allowed, texts } = asked;
  const forUsers = options.user !== undefined || options.users !== undefined;
  if (options.by === 'model' && !forUsers) return searchByModel(options, context, dataset, index, asked);
  const { nearestInSpace, poiSpace, questionInSpace } = await import('../../embedding/poi-space.js');
  const space = poiSpace(index);
  const { k, seed, userWeight: weight = USER_WEIGHT } = options;
  let vector: Float32Array | null = null;
  let words: RecallAnswer['words'];
  let read: QuestionRead | undefined;
  if (question !== null && options.by === 'words') {
    const { questionByWords } = await import('../../embedding/recall-words.js');
    const said = [...(question.text ? [question.text] : []), ...question.keywords.map(({ text }) => text)];
    const { vector: read, ...told } = questionByWords(said, texts, space);
    vector = read;
    words = told;
  } else if (question !== null) {
    vector = await withEmbedder(options, context, dataset, async (embedder) => {
      read = await questionRead(embedder, question, context);
      return questionInSpace(embedder, space, question);
    });
  }
  const [hits = null] = vector === null ? [] : nearestInSpace(space, [vector], k, allowed);
  if (!forUsers) return { recallAt10: null, hits, ...(words && { words }) };
  const { questionsOf, tastesOf } = await import('../../embedding/recall-users.js');
  const { user, users: count = 1, neverIn } = options;
  const { users, ...fit } = await tastesOf(dataset, space, { count, seed, neverIn, user });
  const lists = nearestInSpace(space, questionsOf(vector, users, weight), k, allowed);
  return {
    recallAt10: null,
    hits,
    ...(read && { question: read }),
    ...(words && { words }),
    users: {
      ...fit,
      weight: question === null ? null : weight,
      found: users.map(({ user: id, clicks }, i) => ({ user: id, clicks, hits: lists[i]! })),
    },
  };
}

async function searchByModel(
  options: RecallCommandOptions,
  context: CommandContext,
  dataset: Dataset,
  index: PoiIndex,
  { question, allowed }: { question: Question | null; allowed: Uint8Array | null },
): Promise<Found> {
  const { recall } = await import('../../embedding/recall.js');
  const { openNearestIndex } = await import('../../embedding/nearest-index.js');
  return withEmbedder(options, context, dataset, async (embedder) => {
    const wanted = options.index === 'hnsw' || (options.index === 'auto' && index.pois >= MANY_POIS);
    const graph =
      wanted && allowed === null
        ? await openNearestIndex(options.vectors, index, embedder.similarity, {
            seed: options.seed,
            threads: options.threads,
            signal: context.signal,
            onProgress: (done, total) => context.progress('index', done, total),
          })
        : null;
    const hits = await recall(embedder, index, question ?? {}, options.k, { allowed, graph });
    return {
      recallAt10: graph?.recallAt10 ?? null,
      hits,
      ...(question && { question: await questionRead(embedder, question, context) }),
    };
  });
}

/** How much of a question a model reads; says so where that is not all. */
async function questionRead(
  embedder: TextEmbedder,
  question: Question,
  { say }: CommandContext,
): Promise<QuestionRead> {
  const { questionText } = await import('../../embedding/recall.js');
  const { ids, truncated } = embedder.tokens(` ${questionText(embedder, question)}`);
  if (truncated)
    say(
      `The question is longer than the model's context of ${embedder.contextLength} tokens: what comes behind was not read.`,
    );
  return { tokens: ids.length, truncated };
}

/** Opens the model, makes sure that the vectors are its own, and lets go of it. */
async function withEmbedder<T>(
  options: RecallCommandOptions,
  context: CommandContext,
  dataset: Dataset,
  work: (embedder: Awaited<ReturnType<typeof openTextEmbedder>>['embedder']) => Promise<T>,
): Promise<T> {
  const { checkVectors } = await import('../../embedding/vectors-manifest.js');
  const { embedder, directory, digest } = await openTextEmbedder(options, context);
  try {
    await checkVectors(options.vectors, dataset, { directory, digest });
    return await work(embedder);
  } finally {
    embedder.dispose();
  }
}

/** The answer for people. */
function shown({ search: { pois, recallAt10 }, words, hits, users, expected }: RecallAnswer): string {
  const list = (some: readonly Hit[]) =>
    textTable(
      [...(expected ? ['as expected'] : []), 'POI', 'what it is', 'similarity'],
      some.map(({ poi, similarity, keywords, fulfils }) => [
        ...(expected ? [fulfils ? '✓' : ''] : []),
        poi,
        Object.values(keywords).slice(0, 3).join(' · ').slice(0, 110),
        similarity.toFixed(4),
      ]),
      'left',
    );
  const searched = `${pois.toLocaleString('en')} POIs searched${recallAt10 === null ? '' : ` by an HNSW index, which finds ${(100 * recallAt10).toFixed(1)} % of what exact search does`}`;
  const named = (some: readonly KnownWords[] = []) =>
    some.map(({ text, pois: having }) => `"${text}" (${having.toLocaleString('en')} POIs)`).join(', ');
  return [
    searched +
      (words ? `\nknown of the question: ${named(words.known)}` : '') +
      (words?.little.length ? `\nleft out, for POIs of all sorts have it: ${named(words.little)}` : '') +
      (words?.common.length ? `\nleft out, for so many POIs have it: ${named(words.common)}` : '') +
      (words?.unknown.length ? `\nnot known: ${words.unknown.join(', ')}` : ''),
    ...(hits.length > 0 ? [list(hits)] : []),
    ...(users ? [caption(users)] : []),
    ...(users?.found ?? [])
      .slice(0, SHOWN_USERS)
      .map(
        ({ user, clicks, hits: own }) => `user ${user}, ${clicks} ${clicks === 1 ? 'click' : 'clicks'}\n${list(own)}`,
      ),
    ...(expected ? [expectedTable(expected, users)] : []),
  ].join('\n\n');
}

/** Which users were drawn, and what was asked for each. */
function caption({ found, fitting, tasteless, weight }: UsersFound<unknown>): string {
  const drawn = `${found.length.toLocaleString('en')} of the ${fitting.toLocaleString('en')} users that fit`;
  const passed =
    tasteless === 0 ? '' : ` (${tasteless.toLocaleString('en')} passed over: what they clicked tells no taste)`;
  const asked =
    weight === null
      ? 'asked by what they like alone, without a question'
      : `what they like counting ${weight} beside the question`;
  return `${drawn}${passed}, ${asked}`;
}

function expectedTable(
  { k, each, ...all }: NonNullable<RecallAnswer['expected']>,
  users: RecallAnswer['users'],
): string {
  const rows = [
    ...each.map((one) => [`${one.column}: ${one.values.join(' or ')}`.slice(0, 60), one] as const),
    ...(each.length > 1 ? [['all of it', all] as const] : []),
  ];
  const head = [
    `as expected, of ${k}`,
    'by chance',
    'question alone',
    ...(users ? ['with users, mean', 'fewest'] : []),
  ];
  const of = users ? '\n± is the standard error over the users' : '';
  return (
    textTable(
      head,
      rows.map(([name, { chance, question, users: own }]) => [
        name,
        (k * chance).toFixed(1),
        question === null ? '–' : String(question),
        ...(own
          ? [`${own.mean.toFixed(2)}${own.error === null ? '' : ` ± ${own.error.toFixed(2)}`}`, String(own.least)]
          : []),
      ]),
    ) + of
  );
}
