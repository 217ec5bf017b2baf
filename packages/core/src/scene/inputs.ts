import type { Derivation } from '../schema/schema.js';

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
