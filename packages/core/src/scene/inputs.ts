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

/** What a derivation takes for a place on earth: degrees beyond these are none. Longitudes run to 180 either way, or from 0 to 360. */
export const degreesOf = { latitude: 90, longitude: 360 } as const;

/** Which of a derivation's inputs, in the order of `derivationInputs`, are coordinates; null for the others. */
export function coordinateInputs(d: Derivation): (keyof typeof degreesOf | null)[] {
  if (d.derive === 'distanceKm' || d.derive === 'distanceBand')
    return ['latitude', 'longitude', 'latitude', 'longitude'];
  if (d.derive === 'season') return [null, 'latitude'];
  return derivationInputs(d).map(() => null);
}

/** Column references that a feature's or scene keyword's value reads; `time` is the schema's time column. */
export function valueInputs(value: ValueSpec): string[] {
  return typeof value === 'string' ? [value] : derivationInputs(value);
}
