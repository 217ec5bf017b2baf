import { address, request } from '../api/request';
import type { CatalogueEntriesReply, CatalogueEntry, CatalogueSceneReply, MomentReply, RankReply } from '../api/types';
import { type Answer, useAnswer } from '../api/use-answer';
import type { Option } from '../design/Combobox';
import type { Understood } from './understood';
import type { Candidates, SceneDraft, View } from './view';

/** Most POIs of a group that are ranked at once. */
const CANDIDATES = 200;

export const askScene = (bundle: string | null, signal?: AbortSignal): Promise<CatalogueSceneReply> =>
  request(address('/v1/catalogue/scene', { bundle: bundle ?? undefined }), { signal, scope: 'rank' });

export async function askUsers(
  query: string,
  limit: number,
  bundle: string | null,
  signal?: AbortSignal,
): Promise<CatalogueEntry[]> {
  const path = address('/v1/catalogue/users', { query, limit, bundle: bundle ?? undefined });
  return (await request<CatalogueEntriesReply>(path, { signal, scope: 'rank' })).entries;
}

async function askPois(
  fields: Record<string, string | number | readonly string[]>,
  bundle: string | null,
  signal?: AbortSignal,
): Promise<CatalogueEntry[]> {
  const path = address('/v1/catalogue/pois', { ...fields, bundle: bundle ?? undefined });
  return (await request<CatalogueEntriesReply>(path, { signal, scope: 'rank' })).entries;
}

/** What a POI is called. */
export function nameOf(entry: CatalogueEntry, catalogue: CatalogueSceneReply | null): string {
  const name = catalogue?.poi.name;
  return (name === null || name === undefined ? undefined : entry.texts[name]) ?? entry.id;
}

/** The raw columns of an entry in one line. */
export function columnsLine({ columns }: CatalogueEntry): string {
  return Object.values(columns)
    .filter((value) => typeof value === 'string')
    .join(' · ');
}

export const userOption = (entry: CatalogueEntry): Option => ({
  id: entry.id,
  title: entry.id,
  detail: columnsLine(entry),
});

export async function searchPois(
  catalogue: CatalogueSceneReply,
  bundle: string | null,
  query: string,
  signal: AbortSignal,
): Promise<Option[]> {
  const { place } = catalogue.poi;
  return (await askPois({ query, limit: 12 }, bundle, signal)).map((entry) => ({
    id: entry.id,
    title: nameOf(entry, catalogue),
    detail: (place === null ? undefined : entry.texts[place]) ?? columnsLine(entry),
  }));
}

/** POIs to rank, with what is known of each. */
export interface Chosen {
  ids: string[];
  entries: ReadonlyMap<string, CatalogueEntry>;
  /** middle of the group that they were chosen by */
  middle: { latitude: number; longitude: number } | null;
  /** what recall understood of a text; null of other choices */
  understood: Understood | null;
}

/** Of `POST /v1/recall`, what is read here. */
interface Recalled extends Understood {
  pois: { poi: string }[];
}

/** Which group a choice stands for in a scene: its own value, or that of the scene field that it follows. */
export function groupOf(
  candidates: Extract<Candidates, { kind: 'group' }>,
  scene: SceneDraft,
  catalogue: CatalogueSceneReply,
): CatalogueSceneReply['facets'][number]['groups'][number] | null {
  const facet = catalogue.facets.find(({ column }) => column === candidates.column);
  if (facet === undefined) return null;
  const value = candidates.value ?? (facet.follows === null ? undefined : scene[facet.follows]);
  return facet.groups.find((group) => group.value === value) ?? null;
}

/** The POIs that a view's choice names, with their texts. */
export function useChosen(
  view: View,
  scene: SceneDraft,
  body: Record<string, string | number> | null,
  catalogue: CatalogueSceneReply | null,
  bundle: string | null,
): Answer<Chosen> {
  const { candidates, user } = view;
  const ready = catalogue !== null && user !== null && body !== null;
  const group = ready && candidates.kind === 'group' ? groupOf(candidates, scene, catalogue) : null;
  const question = !ready
    ? null
    : JSON.stringify([
        bundle,
        catalogue.model.bundle,
        candidates.kind === 'group' ? [candidates.column, group?.value ?? null] : candidates,
        // who is near to what depends on the scene only where no text says it
        candidates.kind === 'recall' ? [user, body] : null,
      ]);
  return useAnswer<Chosen>(
    question,
    async (signal) => {
      let ids: string[] | null = null;
      let understood: Chosen['understood'] = null;
      let entries: CatalogueEntry[];
      if (candidates.kind === 'group' && group !== null) {
        entries = await askPois({ within: `${candidates.column}:${group.value}`, limit: CANDIDATES }, bundle, signal);
      } else if (candidates.kind === 'recall') {
        const found = await request<Recalled>('/v1/recall', {
          method: 'POST',
          body: {
            k: 100,
            ...(candidates.text.trim() === '' ? { user, scene: body } : { text: candidates.text.trim() }),
            ...(bundle === null ? {} : { bundle }),
          },
          signal,
          scope: 'rank',
        });
        ids = found.pois.map(({ poi }) => poi);
        understood = { matched: found.matched, common: found.common, unmatched: found.unmatched };
        entries = ids.length === 0 ? [] : await askPois({ ids: ids.map(encodeURIComponent).join(',') }, bundle, signal);
      } else if (candidates.kind === 'list') {
        ids = [...candidates.ids];
        entries = ids.length === 0 ? [] : await askPois({ ids: ids.map(encodeURIComponent).join(',') }, bundle, signal);
      } else {
        entries = await askPois({ limit: 100 }, bundle, signal);
      }
      const middle =
        group?.latitude === undefined || group.longitude === undefined
          ? null
          : { latitude: round(group.latitude), longitude: round(group.longitude) };
      return {
        ids: ids ?? entries.map(({ id }) => id),
        entries: new Map(entries.map((entry) => [entry.id, entry])),
        middle,
        understood,
      };
    },
    { delayMs: 30 },
  );
}

const round = (x: number): number => Math.round(x * 1e5) / 1e5;

/** The ranking of chosen POIs for a user in a scene, and the scene's keywords as the model reads them. */
export function useRanking(
  question: { user: string; scene: Record<string, string | number>; ids: readonly string[] } | null,
  catalogue: CatalogueSceneReply | null,
  bundle: string | null,
  by: View['by'],
): Answer<{ rank: RankReply; moment: MomentReply }> {
  const key =
    question === null || catalogue === null || question.ids.length === 0
      ? null
      : JSON.stringify([question, bundle, by, catalogue.model.bundle]);
  return useAnswer(
    key,
    async (signal) => {
      const { user, scene, ids } = question!;
      // Named, so that looking at a user's ranking neither puts the user into an experiment nor is counted as one.
      const alias = { bundle: bundle ?? 'current' };
      const post = <T>(path: string, body: object): Promise<T> =>
        request<T>(path, { method: 'POST', body, signal, scope: 'rank' });
      const [rank, moment] = await Promise.all([
        post<RankReply>('/v1/rank', {
          user,
          scene,
          candidates: ids.slice(0, catalogue!.candidates),
          ...(catalogue!.explainable ? { explain: true } : {}),
          ...(by === null ? {} : { by }),
          ...alias,
        }),
        post<MomentReply>('/v1/catalogue/moment', { user, scene, ...alias }),
      ]);
      return { rank, moment };
    },
    // a slider that is dragged asks some times a second, not at every step
    { delayMs: 70 },
  );
}
