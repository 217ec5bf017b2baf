import type { Derivation, ValueSpec } from '../schema/schema.js';

/** Column references a derivation reads, in the order its implementation takes them; `time` is the schema's time column. */
export function derivationInputs(d: Derivation): string[] {
  switch (d.derive) {
    case 'timeSlot':
    case 'weekday':
    case 'weekend':
    case 'hour':
    case 'month':
    case 'mealtime':
      return [d.time ?? 'time'];
    case 'season':
      return d.latitude === undefined ? [d.time ?? 'time'] : [d.time ?? 'time', d.latitude];
    case 'temperatureWords':
    case 'bucket':
    case 'text':
      return [d.of];
    case 'distanceKm':
    case 'distanceBand':
      return [...d.from, ...d.to];
    case 'travelling':
      return [d.home, d.here];
  }
}

/** Column references that a feature's or scene keyword's value reads; `time` is the schema's time column. */
export function valueInputs(value: ValueSpec): string[] {
  return typeof value === 'string' ? [value] : derivationInputs(value);
}
