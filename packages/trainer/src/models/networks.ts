import type { NetworkName } from './config.js';
import { createDcnV2 } from './dcn-v2.js';
import { createDeepFm } from './deepfm.js';
import { createDin } from './din.js';
import { createEsmm } from './esmm.js';
import { createFiBiNet } from './fibinet.js';
import { createDnn } from './mlp.js';
import { createMmoe } from './mmoe.js';
import type { CreateNetwork } from './network.js';
import { createPle } from './ple.js';
import { createWideDeep } from './wide-deep.js';
import { createXDeepFm } from './xdeepfm.js';

/** Every network, by the name of the model that it is on its own. */
export const networks: Record<NetworkName, CreateNetwork> = {
  dnn: createDnn,
  'wide-deep': createWideDeep,
  deepfm: createDeepFm,
  'dcn-v2': createDcnV2,
  xdeepfm: createXDeepFm,
  fibinet: createFiBiNet,
  din: createDin,
  esmm: createEsmm,
  mmoe: createMmoe,
  ple: createPle,
};
