import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type DatasetSchema, type PoiNames, parseSchema, poiNames, sceneKeywords } from '@larr/core';
import { BundleFeatures, SceneEntries } from '../bundle/contents.js';
import type { SceneValues } from '../ranking/ranking-model.js';
import { SceneInput } from '../ranking/scene-input.js';
import { type Entity, EntityIndex, type Facet } from './entity-index.js';
import { type Position, positionOf, type SceneField, sceneFields } from './scene-fields.js';

/** What a bundle knows of its users, its POIs and its scenes, for people to choose from. */
export class Catalogue {
  readonly fields: SceneField[];
  readonly position: Position | null;
  /** keywords of a POI in the schema's order */
  readonly poiKeywords: readonly string[];
  /** which of them is a POI's name, and which says where it is */
  readonly poi: PoiNames;
  /** scene keywords in the order of the schema */
  readonly keywords: readonly string[];
  readonly #schema: DatasetSchema;
  readonly #entries: Map<string, Set<string>>;
  readonly #directory: string;
  readonly #input: SceneInput;
  #users: Promise<EntityIndex> | null = null;
  #pois: Promise<EntityIndex> | null = null;

  private constructor(directory: string, schema: DatasetSchema, features: BundleFeatures, entries: SceneEntries) {
    this.#directory = directory;
    this.#schema = schema;
    this.#input = new SceneInput(schema);
    this.fields = sceneFields(schema, features, entries);
    this.position = positionOf(schema);
    this.keywords = schema.keywords.scene.map(({ name }) => name);
    this.poiKeywords = schema.keywords.poi.map(({ name }) => name);
    this.poi = poiNames(schema);
    this.#entries = new Map();
    for (const { field, texts } of entries)
      this.#entries.set(field, new Set([...(this.#entries.get(field) ?? []), ...texts]));
  }

  /**
   * Opens the catalogue of a loaded bundle.
   * @param digest first 12 hex digits of the manifest's SHA-256 when it was loaded
   * @returns null where other files lie there by now, or none
   */
  static async open(directory: string, digest: string): Promise<Catalogue | null> {
    const manifest = await readFile(join(directory, 'manifest.json')).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    });
    if (manifest === null || !createHash('sha256').update(manifest).digest('hex').startsWith(digest)) return null;
    const json = async (file: string): Promise<unknown> => JSON.parse(await readFile(join(directory, file), 'utf8'));
    const schema = parseSchema(await json('schema.json'), 'schema.json of the bundle');
    const features = BundleFeatures.parse(await json('features.json'));
    const entries = (await exists(join(directory, 'scene.json'))) ? SceneEntries.parse(await json('scene.json')) : [];
    return new Catalogue(directory, schema, features, entries);
  }

  /** Users by id, the beginnings of words in their columns, or simply the first ones. */
  async users(query: string, limit: number): Promise<Entity[]> {
    return (await this.#userIndex()).search(query, {}, limit);
  }

  async user(id: string): Promise<Entity | null> {
    return (await (await this.#userIndex()).get([id]))[0] ?? null;
  }

  async poisById(ids: readonly string[]): Promise<Entity[]> {
    return (await this.#poiIndex()).get(ids);
  }

  async pois(query: string, within: Readonly<Record<string, string>>, limit: number): Promise<Entity[]> {
    return (await this.#poiIndex()).search(query, within, limit);
  }

  async counts(): Promise<{ users: number; pois: number }> {
    const [users, pois] = await Promise.all([this.#userIndex(), this.#poiIndex()]);
    return { users: users.count, pois: pois.count };
  }

  /** Columns that POIs can be chosen by, each with the scene field that has the same values, if there is one. */
  async facets(): Promise<(Facet & { follows: string | null })[]> {
    const facets = await (await this.#poiIndex()).facets();
    const texts = this.fields.filter(({ kind, values }) => kind === 'text' && values.length > 0);
    return facets.map((facet) => {
      const groups = new Set(facet.groups.map(({ value }) => value));
      const same = texts.find(
        ({ values }) => values.filter(({ value }) => groups.has(value)).length > values.length / 2,
      );
      return { ...facet, follows: same?.name ?? null };
    });
  }

  async hasFacet(column: string): Promise<boolean> {
    return (await this.#poiIndex()).hasFacet(column);
  }

  /**
   * The scene keywords that follow from a scene, as a ranking would read them; those that depend on the POI are left out.
   * @throws ApiError SCENE_FIELD_UNKNOWN, SCENE_VALUE_INVALID (400)
   */
  async moment(user: string, scene: SceneValues): Promise<{ field: string; text: string | null; known: boolean }[]> {
    const { event, texts } = this.#input.read(scene);
    const found = await this.user(user);
    // A model without a scene encoder misses no embedding.
    const reads = this.#entries.size > 0;
    const keywords = sceneKeywords(this.#schema, { ...event, [this.#schema.keys.user]: user }, found?.columns);
    return keywords.map(({ field, text: derived }) => {
      const text = texts.has(field) ? (texts.get(field) ?? null) : derived;
      return { field, text, known: text === null || !reads || (this.#entries.get(field)?.has(text) ?? false) };
    });
  }

  async close(): Promise<void> {
    const open = await Promise.allSettled([this.#users, this.#pois]);
    for (const index of open) if (index.status === 'fulfilled') index.value?.close();
  }

  #userIndex(): Promise<EntityIndex> {
    this.#users ??= EntityIndex.open({
      store: join(this.#directory, 'store', 'users.parquet'),
      key: 'user',
      texts: null,
      name: null,
      searched: [],
      position: null,
    }).catch((error: unknown) => {
      this.#users = null;
      throw error;
    });
    return this.#users;
  }

  #poiIndex(): Promise<EntityIndex> {
    this.#pois ??= this.#openPois().catch((error: unknown) => {
      this.#pois = null;
      throw error;
    });
    return this.#pois;
  }

  async #openPois(): Promise<EntityIndex> {
    const texts = join(this.#directory, 'store', 'poi-texts.parquet');
    return EntityIndex.open({
      store: join(this.#directory, 'store', 'pois.parquet'),
      key: 'poi',
      texts: (await exists(texts)) ? texts : null,
      name: this.poi.name,
      searched: [...new Set([this.poi.name, this.poi.place, ...this.#schema.texts.cptInput])].filter((k) => k !== null),
      alsoShort: this.poiKeywords,
      position: this.position?.columns ?? null,
    });
  }
}

const exists = (file: string): Promise<boolean> =>
  stat(file).then(
    () => true,
    () => false,
  );
