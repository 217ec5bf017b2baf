import { describe, expect, it } from 'vitest';
import { parseConfig } from '../pretraining/config.js';
import { FinetuneConfig } from './config.js';
import { atChance } from './finetune.js';

describe('settings of stage 2', () => {
  it('that give no kind of pairs a weight are refused as such', () => {
    const none = { userUserWeight: 0, poiPoiWeight: 0, userPoiWeight: 0, dishWeight: 0 };
    const read = (config: object) => () => parseConfig(FinetuneConfig, config, 'stage 2');
    expect(read(none)).toThrow(/all four kinds of pairs have weight 0.*give one a weight/);
    expect(read({ ...none, dishWeight: 0.1 })).not.toThrow();
  });

  it('are not told to be lowered where they are as low as they may be', () => {
    expect(atChance({ poiPoi: 0.999, userUser: 0.5 }, 24)).toEqual([
      expect.stringMatching(/poiPoi pairs stays at chance.*Lower the batch size or the learning rate/),
    ]);
    expect(atChance({ poiPoi: 0.999 }, 2)).toEqual([expect.stringMatching(/Lower the learning rate, or give/)]);
  });
});
