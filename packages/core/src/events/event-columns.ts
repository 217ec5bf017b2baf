import { compileDerivation } from '../scene/derive.js';
import { derivationInputs } from '../scene/inputs.js';
import type { DatasetSchema } from '../schema/schema.js';

/** A column that a schema reads of its events table. */
export interface EventColumn {
  name: string;
  /** whether something takes it as a number */
  number: boolean;
}

/** The columns that a schema reads of its events, but for keys, time and labels: what was known of the moment. */
export function momentColumns(schema: DatasetSchema): EventColumn[] {
  const { user, poi, row } = schema.keys;
  const labels = Object.values(schema.labels).map((label) => (typeof label === 'object' ? label.column : label));
  const others = new Set([user, poi, row, timeColumn(schema), ...labels]);
  const found = new Map<string, boolean>();
  const note = (reference: string, number: boolean) => {
    if (!reference.startsWith('events.')) return;
    const name = reference.slice('events.'.length);
    if (!others.has(name)) found.set(name, number || (found.get(name) ?? false));
  };
  const { categorical, dense } = schema.features;
  for (const { value, number } of [
    ...categorical.map(({ value }) => ({ value, number: false })),
    ...dense.map(({ value }) => ({ value, number: true })),
    ...schema.keywords.scene.map(({ value }) => ({ value, number: false })),
  ]) {
    if (typeof value === 'string') note(value, number);
    else {
      const { takes } = compileDerivation(value);
      derivationInputs(value).forEach((input, i) => {
        note(input, takes[i] === 'number');
      });
    }
  }
  return [...found].map(([name, number]) => ({ name, number }));
}

/** The events' time column; undefined where a schema has none. */
export function timeColumn({ time }: DatasetSchema): string | undefined {
  return typeof time === 'object' ? time.column : time;
}
