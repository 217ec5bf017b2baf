import type { FastifyInstance } from 'fastify';
import type { z } from 'zod';
import { Catalogue } from '../../catalogue/catalogue.js';
import type { RankingModel } from '../../ranking/ranking-model.js';
import {
  CatalogueEntriesReply,
  CataloguePoisQuery,
  CatalogueSceneQuery,
  CatalogueSceneReply,
  CatalogueUsersQuery,
  MomentReply,
  MomentRequest,
} from '../contracts/index.js';
import { ApiError } from '../errors.js';
import { route } from '../operation.js';
import type { RouteContext } from '../state.js';

/** Catalogues that stay open: two bundles side by side, and the one before. */
const KEPT = 3;

/** `/v1/catalogue/…`: what the loaded bundles know of users, POIs and scenes, for people to choose from. Opened when first asked for. */
export async function catalogueRoutes(
  app: FastifyInstance,
  { state: { models }, limits }: RouteContext,
): Promise<void> {
  const open = new Map<string, Promise<Catalogue>>();
  app.addHook('onClose', async () => {
    await Promise.allSettled([...open.values()].map(async (catalogue) => (await catalogue).close()));
  });

  function catalogueOf(model: RankingModel): Promise<Catalogue> {
    const { directory, identity } = model;
    const key = `${identity.bundle} ${directory}`;
    const found = open.get(key);
    open.delete(key);
    const catalogue = found ?? openCatalogue(directory, identity.bundle);
    open.set(key, catalogue);
    catalogue.catch(() => open.delete(key));
    if (open.size > KEPT) {
      const [oldest, unused] = open.entries().next().value!;
      open.delete(oldest);
      unused.then((old) => old.close()).catch(() => {});
    }
    return catalogue;
  }
  const withCatalogue = <T>(
    alias: string | undefined,
    work: (catalogue: Catalogue, model: RankingModel) => Promise<T>,
  ) =>
    models.use(alias, async (model) => ({ model: model.identity, ...(await work(await catalogueOf(model), model)) }));

  app.get<{ Querystring: z.infer<typeof CatalogueUsersQuery> }>(
    '/v1/catalogue/users',
    route({
      id: 'catalogueUsers',
      summary: 'Users that the bundle knows, by id or the beginnings of words',
      scope: 'rank',
      query: CatalogueUsersQuery,
      replies: { 200: { description: 'The users.', schema: CatalogueEntriesReply } },
    }),
    async (request) => {
      const { query, limit, bundle } = request.query;
      const found = await withCatalogue(bundle, async (catalogue) => ({
        entries: await catalogue.users(query, limit),
      }));
      return { requestId: request.id, ...found };
    },
  );

  app.get<{ Querystring: z.infer<typeof CataloguePoisQuery> }>(
    '/v1/catalogue/pois',
    route({
      id: 'cataloguePois',
      summary: 'POIs that the bundle knows, by id, the beginnings of words, or group',
      scope: 'rank',
      query: CataloguePoisQuery,
      replies: {
        200: { description: 'The POIs, with all texts that the bundle has of them.', schema: CatalogueEntriesReply },
      },
    }),
    async (request) => {
      const { ids, query, within, limit, bundle } = request.query;
      const found = await withCatalogue(bundle, async (catalogue) => {
        if (ids !== undefined) return { entries: await catalogue.poisById(listed(ids)) };
        return { entries: await catalogue.pois(query, await groups(catalogue, [within ?? []].flat()), limit) };
      });
      return { requestId: request.id, ...found };
    },
  );

  app.get<{ Querystring: z.infer<typeof CatalogueSceneQuery> }>(
    '/v1/catalogue/scene',
    route({
      id: 'catalogueScene',
      summary: 'What a scene may say to the model, and by what POIs can be chosen',
      scope: 'rank',
      query: CatalogueSceneQuery,
      replies: { 200: { description: 'Fields, keywords and groups.', schema: CatalogueSceneReply } },
    }),
    async (request) => {
      const found = await withCatalogue(request.query.bundle, async (catalogue, model) => {
        const example = model.examples[0];
        return {
          explainable: model.explainable,
          fields: catalogue.fields,
          keywords: catalogue.keywords,
          position: catalogue.position,
          poi: { keywords: catalogue.poiKeywords, ...catalogue.poi },
          facets: await catalogue.facets(),
          ...(await catalogue.counts()),
          candidates: limits.candidates,
          example: example === undefined ? null : { user: example.user, scene: example.scene },
        };
      });
      return { requestId: request.id, ...found };
    },
  );

  app.post<{ Body: MomentRequest }>(
    '/v1/catalogue/moment',
    route({
      id: 'catalogueMoment',
      summary: 'The scene keywords that follow from a scene, as the model reads them',
      scope: 'rank',
      body: MomentRequest,
      replies: { 200: { description: 'The user and the keywords.', schema: MomentReply } },
      examples: () => (models.current?.examples ?? []).map(({ user, scene }) => ({ user, scene })),
    }),
    async (request) => {
      const { user, scene, bundle } = request.body;
      const found = await withCatalogue(bundle, async (catalogue) => ({
        user: await catalogue.user(user),
        keywords: await catalogue.moment(user, scene),
      }));
      return { requestId: request.id, ...found };
    },
  );
}

async function openCatalogue(directory: string, digest: string): Promise<Catalogue> {
  const catalogue = await Catalogue.open(directory, digest);
  if (catalogue !== null) return catalogue;
  throw new ApiError(
    409,
    'BUNDLE_REPLACED',
    'the files of this bundle no longer lie where it was loaded from, so its catalogue cannot be read; load the bundle again',
  );
}

/** Ids between commas; a comma that belongs to an id is written %2C. @throws ApiError QUERY_INVALID */
function listed(ids: string): string[] {
  try {
    return [
      ...new Set(
        ids
          .split(',')
          .filter((id) => id !== '')
          .map(decodeURIComponent),
      ),
    ].slice(0, 1000);
  } catch {
    throw new ApiError(400, 'QUERY_INVALID', 'ids: a "%" that begins no character; write it as %25', 'ids');
  }
}

/** @throws ApiError QUERY_INVALID for what is no column:value, or a column that POIs are not grouped by */
async function groups(catalogue: Catalogue, within: readonly string[]): Promise<Record<string, string>> {
  const values: Record<string, string> = {};
  for (const one of within) {
    const colon = one.indexOf(':');
    const column = one.slice(0, Math.max(colon, 0));
    if (!(await catalogue.hasFacet(column))) {
      throw new ApiError(
        400,
        'QUERY_INVALID',
        `within: "${one}" is not column:value with a column that POIs are grouped by; GET /v1/catalogue/scene lists those`,
        'within',
      );
    }
    values[column] = one.slice(colon + 1);
  }
  return values;
}
