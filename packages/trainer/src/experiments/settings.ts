// Settings of training by their dotted names, as people write them: align.temperature.
import { problemsOf } from '@larr/core';
import { z } from 'zod';
import { type NetworkName, networksOfTowers } from '../models/config.js';
import { modelKind } from '../models/index.js';
import { ownSettings, type TrainConfigInput, trainConfigSchema } from '../training/config.js';

interface Node {
  type?: string;
  properties?: Record<string, Node>;
}

/** Settings that decide no figure, or follow from something else. */
const idle = [
  'memoryBudgetMiB',
  'checkpointSeconds',
  'logEvery',
  'larr.vectorDim',
  'p5.logEvery',
  'p5.checkpointEvery',
  'p5.recompute',
  'p5.lora.save',
];

/** Sections that one network alone reads. */
const sections = new Map<string, NetworkName>([
  ['ple', 'ple'],
  ['mmoe', 'mmoe'],
  ['dcnV2', 'dcn-v2'],
  ['xdeepfm', 'xdeepfm'],
  ['fibinet', 'fibinet'],
  ['din', 'din'],
]);

/** Every setting of training by its dotted name, and its type in JSON Schema; none that decide no figure. */
export function settingTypes(): Map<string, string | undefined> {
  const walk = (node: Node, path: string): [string, string | undefined][] =>
    Object.entries(node.properties ?? {}).flatMap(([name, inner]): [string, string | undefined][] => {
      const at = path === '' ? name : `${path}.${name}`;
      if (inner.properties !== undefined) return walk(inner, at);
      return idle.includes(at) ? [] : [[at, inner.type]];
    });
  return new Map(walk(z.toJSONSchema(trainConfigSchema, { io: 'input', unrepresentable: 'any' }) as Node, ''));
}

/** The dotted names of the settings that are a number, but for those that decide no figure. */
export function numericSettings(): string[] {
  return [...settingTypes()].flatMap(([name, type]) => (type === 'number' || type === 'integer' ? [name] : []));
}

/** Why a setting cannot have a value, each reason with the setting's name; none where it can. */
export function problemsOfSetting(path: string, value: unknown): string[] {
  const config = replaced({}, path.split('.'), value);
  const parsed = trainConfigSchema.safeParse(config);
  return parsed.success ? [] : problemsOf(trainConfigSchema, parsed.error, config);
}

/**
 * Why it would mean nothing to give a model another value of a setting; null where it reads it.
 * @param bases the networks that a model may be built on that is none itself
 */
export function whyUnread(model: string, path: string, bases: readonly NetworkName[]): string | null {
  const { vectors, overrides, network, languageModel = false } = modelKind(model);
  if (overrides && settingAt(overrides, path) !== undefined) return `${model} is what it is by its own ${path}`;
  const reads = (one: NetworkName) => {
    if (path.startsWith('p5.')) return languageModel;
    if (languageModel) return false;
    if (path === 'base') return network === null;
    if (path.startsWith('align.') || path.startsWith('larr.')) return vectors !== null;
    return networkReads(one, path);
  };
  if ((network === null ? bases : [network]).some(reads)) return null;
  return `${model}${network === null && !languageModel ? ` on ${bases.join(', ')}` : ''} does not read ${path}`;
}

function networkReads(network: NetworkName, path: string): boolean {
  const of = sections.get(path.split('.')[0]!);
  if (of !== undefined) return of === network;
  if (path === 'hidden') return network !== 'ple' && network !== 'mmoe';
  return path !== 'interactions' || networksOfTowers.has(network);
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
