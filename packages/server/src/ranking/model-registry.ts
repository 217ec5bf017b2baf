import { notReady } from '../api/errors.js';
import type { RankingModel } from './ranking-model.js';

/** The alias that requests are answered by unless they, or an experiment's arm, say otherwise. */
export const CURRENT = 'current';

/** The loaded models by alias. */
export class ModelRegistry {
  readonly #models = new Map<string, RankingModel>();

  /** The model that answers; null until one has loaded. */
  get current(): RankingModel | null {
    return this.get(CURRENT);
  }

  get(alias: string): RankingModel | null {
    return this.#models.get(alias) ?? null;
  }

  /** Puts a model in place. */
  install(model: RankingModel, alias = CURRENT): void {
    this.#models.set(alias, model);
  }

  /**
   * Answers with the model of an alias.
   * @throws ApiError NOT_READY (503)
   */
  async use<T>(alias: string | undefined, work: (model: RankingModel) => Promise<T>): Promise<T> {
    const model = this.get(alias ?? CURRENT);
    if (model === null) throw notReady();
    return work(model);
  }

  async close(): Promise<void> {
    const models = [...this.#models.values()];
    this.#models.clear();
    await Promise.all(models.map((model) => model.close()));
  }
}
