// Settings of training by their dotted names, as people write them: align.temperature.
import { z } from 'zod';
import { ownSettings, type TrainConfigInput, trainConfigSchema } from '../training/config.js';

interface Node {
  type?: string;
  properties?: Record<string, Node>;
}

/** The dotted names of the settings that are a number, but for those that decide no figure. */
export function numericSettings(): string[] {
  const idle = ['memoryBudgetMiB', 'checkpointSeconds', 'logEvery', 'larr.vectorDim'];
  const walk = (node: Node, path: string): string[] =>
    Object.entries(node.properties ?? {}).flatMap(([name, inner]) => {
      const at = path === '' ? name : `${path}.${name}`;
      if (inner.properties !== undefined) return walk(inner, at);
      return (inner.type === 'number' || inner.type === 'integer') && !idle.includes(at) ? [at] : [];
    });
  return walk(z.toJSONSchema(trainConfigSchema, { io: 'input' }) as Node, '');
}

/** The value at a dotted name; undefined where there is none. */
// biome-ignore lint/suspicious/noExplicitAny: a setting may be of any type, and who asks knows which
export function settingAt(config: object, path: string): any {
  return path
    .split('.')
    .reduce<unknown>((at, name) => (typeof at === 'object' && at !== null ? Reflect.get(at, name) : undefined), config);
}

/** `config` with another value at a dotted name for one model, over whatever it says of that model or of all. */
export function withSetting(config: TrainConfigInput, model: string, path: string, value: unknown): TrainConfigInput {
  const own = replaced(ownSettings(model, config), path.split('.'), value);
  return { ...config, models: { ...config.models, [model]: own } };
}

function replaced(at: object, [name, ...rest]: string[], value: unknown): object {
  const inner = Reflect.get(at, name!);
  const next =
    rest.length === 0 ? value : replaced(typeof inner === 'object' && inner !== null ? inner : {}, rest, value);
  return { ...at, [name!]: next };
}
