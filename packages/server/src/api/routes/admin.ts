import { realpath } from 'node:fs/promises';
import { basename, isAbsolute, relative, resolve, sep } from 'node:path';
import { LarrError } from '@larr/core';
import type { FastifyInstance } from 'fastify';
import { CURRENT } from '../../ranking/model-registry.js';
import type { RankingModel } from '../../ranking/ranking-model.js';
import { withPoiNumbers } from '../../store/column-values.js';
import {
  AliasParameter,
  FeaturesReply,
  FeaturesRequest,
  ReloadReply,
  ReloadRequest,
  RollbackRequest,
  ServerState,
  UnloadReply,
  UnseenTextsQuery,
  UnseenTextsReply,
} from '../contracts/index.js';
import { ApiError } from '../errors.js';
import { route } from '../operation.js';
import type { RouteContext } from '../state.js';

/** What is loaded: reload, rollback, unload, state. */
export async function adminRoutes(app: FastifyInstance, { state: { models, unseen } }: RouteContext): Promise<void> {
  if (models.options === null) return;
  const { home, root } = models.options;
  /** A path as an answer may show it. */
  const shown = (path: string): string => {
    const below = root === null ? '' : relative(root, path);
    return below === '' || below.startsWith('..') || isAbsolute(below) ? basename(path) : below;
  };
  /** Runs a load; its failure becomes an answer that names no directory of this machine. */
  const loading = async <T>(given: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof LarrError)) throw error;
      const directory = resolve(given);
      const real = await realpath(directory).catch(() => directory);
      const message = error.message.replaceAll(real, shown(given)).replaceAll(directory, shown(given));
      throw new ApiError(error.code === 'STOPPING' ? 503 : 409, error.code, message);
    }
  };

  app.post<{ Body: ReloadRequest }>(
    '/v1/admin/reload',
    route({
      id: 'reload',
      summary: 'Loads a bundle beside the one that answers, tests it, and lets it answer from then on',
      scope: 'admin',
      body: ReloadRequest,
      replies: { 200: { description: 'The bundle that answers now.', schema: ReloadReply } },
    }),
    async ({ body: { bundle, alias }, id }) => {
      const directory = bundle === undefined ? home : await below(root, bundle);
      const started = performance.now();
      const model = await loading(directory, () => models.load(directory, alias));
      return { requestId: id, alias, model: model.identity, seconds: (performance.now() - started) / 1000 };
    },
  );

  app.post<{ Body: RollbackRequest }>(
    '/v1/admin/rollback',
    route({
      id: 'rollback',
      summary: 'Goes back to the bundle that answered before the last reload',
      scope: 'admin',
      body: RollbackRequest,
      replies: { 200: { description: 'The bundle that answers now.', schema: ReloadReply } },
    }),
    async ({ body: { alias }, id }) => {
      const started = performance.now();
      const place = models.previous(alias)?.path ?? home;
      const model = await loading(place, () => models.rollback(alias));
      return { requestId: id, alias, model: model.identity, seconds: (performance.now() - started) / 1000 };
    },
  );

  app.delete<{ Params: { alias: string } }>(
    '/v1/admin/bundles/:alias',
    route({
      id: 'unload',
      summary: 'Closes what is loaded under an alias, after the requests that it answers',
      scope: 'admin',
      params: AliasParameter,
      replies: { 200: { description: 'It is closed.', schema: UnloadReply } },
    }),
    async ({ params: { alias }, id }) => {
      if (alias === CURRENT)
        throw new ApiError(409, 'BUNDLE_IN_USE', 'the current bundle is only ever replaced: reload another', 'alias');
      if (!(await models.unload(alias)))
        throw new ApiError(404, 'BUNDLE_UNKNOWN', `nothing is loaded as "${alias}"`, 'alias');
      return { requestId: id, alias };
    },
  );

  for (const what of ['users', 'pois'] as const) {
    app.patch<{ Body: FeaturesRequest }>(
      `/v1/admin/store/${what}`,
      route({
        id: what === 'users' ? 'changeUsers' : 'changePois',
        summary:
          what === 'users'
            ? "Changes users' features in the online store; the next request reads them"
            : "Changes POIs' features in the online store; every server has them within about a second",
        scope: 'admin',
        body: FeaturesRequest,
        replies: { 200: { description: 'They are written.', schema: FeaturesReply } },
      }),
      async ({ body: { rows, alias }, id }) =>
        models.use(alias, async (model) => ({ requestId: id, written: await change(model, what, rows) })),
    );
  }

  if (unseen != null) {
    app.get<{ Querystring: { limit: number } }>(
      '/v1/admin/unseen-texts',
      route({
        id: 'unseenTexts',
        summary: 'Scene texts that were asked for and have no embedding',
        scope: 'admin',
        query: UnseenTextsQuery,
        replies: { 200: { description: 'The texts.', schema: UnseenTextsReply } },
      }),
      async ({ id, query: { limit } }) => ({
        requestId: id,
        total: unseen.texts.length,
        texts: unseen.texts.slice(-limit).reverse(),
      }),
    );
  }

  app.get(
    '/v1/admin/state',
    route({
      id: 'state',
      summary: 'Which bundles are loaded, since when, and what a rollback goes back to',
      scope: 'admin',
      replies: { 200: { description: 'The state.', schema: ServerState } },
    }),
    async ({ id }) => ({
      requestId: id,
      store: { kind: models.current?.store?.kind ?? null, reachable: models.current?.store?.reachable ?? false },
      bundles: models.loaded.map(({ alias, model, path, since, inFlight }) => {
        const failure = models.failure(alias);
        return {
          alias,
          model: model.identity,
          path: shown(path),
          since: since.toISOString(),
          inFlight,
          queuedRows: model.queuedRows,
          broken: model.broken,
          pois: model.poiTable.pois,
          poiBytes: model.poiTable.bytes,
          ranker: model.ranker,
          data: model.store?.name ?? null,
          previous: models.previous(alias)?.bundle ?? null,
          failure:
            failure === null
              ? null
              : {
                  code: failure.code,
                  message: failure.message.replaceAll(resolve(failure.path), shown(failure.path)),
                  at: failure.at.toISOString(),
                },
        };
      }),
    }),
  );
}

/** Changes columns of users or POIs. @throws ApiError NO_STORE, COLUMN_UNKNOWN, VALUE_INVALID (400), STORE_AWAY, STORE_NOT_LOADED (503) */
async function change(model: RankingModel, what: 'users' | 'pois', rows: FeaturesRequest['rows']): Promise<number> {
  const { store } = model;
  if (store === null) throw new ApiError(400, 'NO_STORE', 'the loaded model has no store of features');
  const changed = new Map(Object.entries(rows));
  try {
    if (what === 'pois') await store.putPois(changed);
    else await store.putUsers(withPoiNumbers(changed, (id) => model.poiNumber(id)));
  } catch (error) {
    if (!(error instanceof LarrError)) throw error;
    if (error.code === 'COLUMN_UNKNOWN' || error.code === 'VALUE_INVALID')
      throw new ApiError(400, error.code, error.message, error.field);
    if (error.code === 'STORE_AWAY' || error.code === 'STORE_NOT_LOADED')
      throw new ApiError(503, error.code, 'the online store does not answer, or is not filled yet', undefined, 1);
    throw error;
  }
  return changed.size;
}

/** A directory below the root, links followed. @throws ApiError BUNDLES_NOT_SET, BUNDLE_UNKNOWN (400) */
async function below(root: string | null, bundle: string): Promise<string> {
  if (root === null) {
    const message = 'bundle: this server was started without --bundles, so it loads only the one it was started with';
    throw new ApiError(400, 'BUNDLES_NOT_SET', message, 'bundle');
  }
  const unknown = new ApiError(400, 'BUNDLE_UNKNOWN', `bundle: there is no "${bundle}" below --bundles`, 'bundle');
  if (bundle.includes('\0')) throw unknown;
  const directory = resolve(root, bundle);
  const real = await realpath(directory).catch(() => null);
  const within = real !== null && `${real}${sep}`.startsWith(`${await realpath(root)}${sep}`) && real !== root;
  if (!within) throw unknown;
  return directory;
}
