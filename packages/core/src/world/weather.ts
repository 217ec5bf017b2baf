import { type City, meanTemperature } from './cities.js';
import { Random } from './random.js';
import { STREAM } from './streams.js';

/** Weather codes, in the order of their numbers. */
export const WEATHERS = ['sunny', 'cloudy', 'overcast', 'drizzle', 'rain', 'thunderstorm', 'snow', 'fog'] as const;
export type Weather = (typeof WEATHERS)[number];

/** How wet each weather is, 0 … 1: what keeps people from going far and riders slow. */
export const WETNESS: Record<Weather, number> = {
  sunny: 0,
  cloudy: 0,
  overcast: 0.1,
  drizzle: 0.5,
  rain: 0.9,
  thunderstorm: 1,
  snow: 0.8,
  fog: 0.2,
};

const BLOCK_HOURS = 3;
const BLOCKS = 24 / BLOCK_HOURS;

/**
 * Weather and temperature of every city over the log: sky state is a Markov chain in three-hour blocks that stays as it was
 * with probability .75; the temperature anomaly is an AR(1) of days (.75) around the month's mean with a daily curve.
 */
export class Climate {
  private readonly sky: Uint8Array;
  private readonly daily: Float64Array;

  constructor(
    cities: City[],
    private readonly days: number,
    firstDayOfYear: number,
    seed: number,
  ) {
    this.sky = new Uint8Array(cities.length * days * BLOCKS);
    this.daily = new Float64Array(cities.length * days);
    for (const [c, city] of cities.entries()) {
      const random = new Random(seed, STREAM.weather, c);
      // Near the equator one day is like another.
      const unrest = Math.max(0.35, Math.min(1, Math.abs(city.january - city.july) / 20));
      let anomaly = 3.5 * unrest * random.normal();
      let state = -1;
      for (let day = 0; day < days; day++) {
        anomaly = 0.75 * anomaly + 2.4 * unrest * random.normal();
        const mean = meanTemperature(city, firstDayOfYear + day) + anomaly;
        this.daily[c * days + day] = mean;
        for (let block = 0; block < BLOCKS; block++) {
          if (state < 0 || random.uniform() > 0.75) state = this.drawSky(city, mean, random);
          // A front that has cooled to freezing brings snow in place of rain, and the other way about.
          if (state >= 3 && state <= 5 && mean < 0) state = 6;
          if (state === 6 && mean > 2) state = 3;
          this.sky[(c * days + day) * BLOCKS + block] = state;
        }
      }
    }
  }

  private drawSky(city: City, temperature: number, random: Random): number {
    const wet = city.wetness;
    const dry = 1 - wet;
    if (temperature < 1) return random.weighted([dry * 0.45, dry * 0.3, dry * 0.25, 0, 0, 0, wet, 0.03]);
    const storm = temperature > 18 ? 0.25 : 0.05;
    return random.weighted([dry * 0.42, dry * 0.33, dry * 0.25, wet * 0.4, wet * (0.6 - storm), wet * storm, 0, 0.03]);
  }

  /** Index into WEATHERS at a city, day and hour of day. */
  weatherAt(city: number, day: number, hour: number): number {
    return this.sky[(city * this.days + day) * BLOCKS + Math.floor(hour / BLOCK_HOURS)]!;
  }

  /** °C at a city, day and hour (fractional): a daily curve peaking at 15 h, flatter under cloud and rain. */
  temperatureAt(city: number, day: number, hour: number): number {
    const swing = this.weatherAt(city, day, hour) >= 2 ? 2.2 : 4.5;
    return this.daily[city * this.days + day]! + swing * Math.cos((2 * Math.PI * (hour - 15)) / 24);
  }
}
