import { openDataset, UsageError } from '@larr/core';
import type { Command } from 'commander';
import { action, type OptionsOf, wholeNumber, withOptions } from '../command-context.js';
import { textTable } from '../text-table.js';

interface RecallCommandOptions extends OptionsOf<'seed' | 'device' | 'threads'> {
  data: string;
  split?: string;
  model: string;
  vectors: string;
  text?: string;
  scene: Record<string, string>;
  k: number;
}

interface RecallAnswer {
  /** `poi`: the user's own id; `index`: its row in the vectors and in texts/pois.parquet. */
  hits: { rank: number; poi: string; index: number; similarity: number; keywords: Record<string, string> }[];
}

function keyword(text: string, before: Record<string, string>): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1)
    throw new UsageError('BAD_KEYWORD', `--scene ${text}: write field=text, for example weather="heavy rain"`);
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
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
    .requiredOption('--model <dir>', 'what `larr finetune` wrote')
    .requiredOption('--vectors <dir>', 'what `larr embed` wrote')
    .option('--text <text>', 'what to look for')
    .option('--scene <field=text>', 'a scene keyword; may be repeated', keyword, {})
    .option('--k <n>', 'how many', wholeNumber(1), 10)
    .action(
      action<RecallCommandOptions, RecallAnswer>(
        async (options) => {
          const { disposeEmbedder, loadEmbedder } = await import('../../embedding/embedder.js');
          const { loadPoiIds, loadPoiIndex, recall } = await import('../../embedding/recall.js');
          const { checkVectors } = await import('../../embedding/vectors-manifest.js');
          const dataset = await openDataset(options.data, options.split);
          await checkVectors(options.vectors, dataset, { directory: options.model, seed: options.seed });
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
          const embedder = await loadEmbedder(options.model, { device: options.device, seed: options.seed });
          try {
            const found = await recall(
              embedder,
              await loadPoiIndex(options.vectors),
              { ...(options.text === undefined ? {} : { text: options.text }), keywords },
              options.k,
            );
            const texts = await dataset.poiTexts();
            const ids = await loadPoiIds(dataset);
            return {
              hits: found.map(({ poi, similarity }, i) => ({
                rank: i + 1,
                poi: ids[poi]!,
                index: poi,
                similarity,
                keywords: Object.fromEntries((texts[poi] ?? []).map((entry) => [entry.keyword, entry.text])),
              })),
            };
          } finally {
            disposeEmbedder(embedder);
          }
        },
        ({ hits }) =>
          textTable(
            ['POI', 'what it is', 'similarity'],
            hits.map(({ poi, similarity, keywords }) => [
              poi,
              Object.values(keywords).slice(0, 3).join(' · ').slice(0, 110),
              similarity.toFixed(4),
            ]),
            'left',
          ),
      ),
    );
}
