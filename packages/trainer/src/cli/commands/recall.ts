import { openDataset, UsageError } from '@larr/core';
import { type Command, Option } from 'commander';
import { action, type OptionsOf, wholeNumber, withOptions } from '../command-context.js';
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
  place?: string;
  where: Record<string, string>;
  index: 'auto' | 'exact' | 'hnsw';
  k: number;
}

interface RecallAnswer {
  /** How the POIs were looked for; `recallAt10` of an HNSW index against exact search, measured when it was built. */
  search: { index: 'exact' | 'hnsw'; pois: number; recallAt10: number | null };
  /** `poi`: the user's own id; `index`: its row in the vectors and in texts/pois.parquet. */
  hits: { rank: number; poi: string; index: number; similarity: number; keywords: Record<string, string> }[];
}

/** From so many POIs on, the index is used unless another is asked for: below, exact search takes a few milliseconds. */
const MANY_POIS = 200_000;

function pair(option: string, example: string) {
  return (text: string, before: Record<string, string>): Record<string, string> => {
    const at = text.indexOf('=');
    if (at < 1) throw new UsageError('BAD_KEYWORD', `${option} ${text}: write name=text, for example ${example}`);
    return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
  };
}

export function registerRecall(program: Command): void {
  withOptions(
    program.command('recall').description('find the POIs whose texts suit a question or a scene'),
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
    .option('--place <name>', 'only POIs of this place, as the schema\'s "place" has it')
    .option(
      '--where <keyword=text>',
      'only POIs whose keyword holds the text; may be repeated',
      pair('--where', 'menu=soup'),
      {},
    )
    .addOption(
      new Option(
        '--index <kind>',
        `how to search; auto: hnsw from ${MANY_POIS.toLocaleString('en')} POIs on, exact below`,
      )
        .choices(['auto', 'exact', 'hnsw'])
        .default('auto'),
    )
    .option('--k <n>', 'how many', wholeNumber(1), 10)
    .action(
      action<RecallCommandOptions, RecallAnswer>(
        async (options, context) => {
          const { openNearestIndex } = await import('../../embedding/nearest-index.js');
          const { allowedPois, loadPoiIds, loadPoiIndex, recall } = await import('../../embedding/recall.js');
          const { checkVectors } = await import('../../embedding/vectors-manifest.js');
          const dataset = await openDataset(options.data, options.split);
          const tokens = new Map(dataset.split.scene.map(({ field, token }) => [field, token]));
          const keywords = Object.entries(options.scene).map(([field, text]) => {
            const token = tokens.get(field);
            if (token === undefined)
              throw new UsageError(
                'UNKNOWN_FIELD',
                `there is no scene field "${field}"; the dataset has ${[...tokens.keys()].join(', ')}`,
              );
            return { token, text };
          });
          const allowed = await allowedPois(dataset, { place: options.place, keywords: options.where });
          const { embedder, directory, digest } = await openTextEmbedder(options, context);
          try {
            await checkVectors(options.vectors, dataset, { directory, digest });
            const index = await loadPoiIndex(options.vectors);
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
            const query = { ...(options.text === undefined ? {} : { text: options.text }), keywords };
            const found = await recall(embedder, index, query, options.k, { allowed, graph });
            const texts = await dataset.poiTexts();
            const ids = await loadPoiIds(dataset);
            return {
              search: {
                index: graph === null ? 'exact' : 'hnsw',
                pois: allowed?.reduce((sum, one) => sum + one, 0) ?? index.pois,
                recallAt10: graph?.recallAt10 ?? null,
              },
              hits: found.map(({ poi, similarity }, i) => ({
                rank: i + 1,
                poi: ids[poi]!,
                index: poi,
                similarity,
                keywords: Object.fromEntries((texts[poi] ?? []).map((entry) => [entry.keyword, entry.text])),
              })),
            };
          } finally {
            embedder.dispose();
          }
        },
        ({ search, hits }) =>
          `${search.pois.toLocaleString('en')} POIs searched${search.recallAt10 === null ? '' : ` by an HNSW index, which finds ${(100 * search.recallAt10).toFixed(1)} % of what exact search does`}\n${textTable(
            ['POI', 'what it is', 'similarity'],
            hits.map(({ poi, similarity, keywords }) => [
              poi,
              Object.values(keywords).slice(0, 3).join(' · ').slice(0, 110),
              similarity.toFixed(4),
            ]),
            'left',
          )}`,
      ),
    );
}
