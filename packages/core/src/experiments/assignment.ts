import { hash } from 'node:crypto';
import type { ArmDefinition } from './definition.js';

/** Users of a layer fall into this many slots; an experiment holds a set of them. */
export const SLOTS = 10_000;

/**
 * A number in [0, 1) that depends on its parts alone: the first 48 bits of SHA-256 over their UTF-8, each preceded by its length, so that no two
 * lists of parts run into each other. The same in every process, on every machine.
 */
export function unitHash(...parts: readonly string[]): number {
  const text = parts.map((part) => `${part.length}:${part}`).join('');
  return Number.parseInt(hash('sha256', text, 'hex').slice(0, 12), 16) / 2 ** 48;
}

/** The slot of a user in a layer, 0 … SLOTS − 1. */
export function slotOf(layer: string, user: string): number {
  return Math.floor(unitHash('layer', layer, user) * SLOTS);
}

/**
 * The arm a user has in an experiment, an index into `arms`. It depends on the salt, the weights and the user, and not on the slot: whoever comes in when
 * the traffic is raised is shared out as those before, and nobody moves.
 */
export function armOf(salt: string, arms: readonly Pick<ArmDefinition, 'weight'>[], user: string): number {
  const total = arms.reduce((sum, { weight }) => sum + weight, 0);
  let left = unitHash('arm', salt, user) * total;
  for (let i = 0; i < arms.length - 1; i++) {
    left -= arms[i]!.weight;
    if (left < 0) return i;
  }
  return arms.length - 1;
}

/** Whether a user is held out of all experiments. A raised share keeps those who were held out before. */
export function isHeldOut(share: number, user: string): boolean {
  return share > 0 && unitHash('holdout', user) < share;
}
