import { z } from 'zod';
import { checkTrainingState, lora, precision, recompute, saveAs, trainingState } from '../pretraining/config.js';

const count = z.int().positive();
const weight = z.number().min(0);

/** Settings of stage 2 (method.md, section 3). The run depends on these, the stage-1 model, the dataset and the seed alone. */
export const FinetuneConfig = z
  .strictObject({
    dimension: count.default(128).describe('Width of the vectors.'),
    pooling: z
      .enum(['mean', 'last'])
      .default('mean')
      .describe(
        'What of a text becomes its vector: the mean of all its states, or the state of its last token (the paper). A small decoder learns better from the mean: method.md, section 7.',
      ),
    similarity: z
      .enum(['cosine', 'dot', 'distance'])
      .default('cosine')
      .describe('sim of eq. 10: cosine, dot product, or the negative squared distance.'),
    asymmetric: z.boolean().default(false).describe('Two heads W_a and W_b; vectors that are stored are those of W_a.'),
    userUserWeight: weight
      .default(0.1)
      .describe('α: weight of user–user pairs. Above 0.2 it pulled the other kinds down.'),
    poiPoiWeight: weight.default(1).describe('β: weight of POI–POI pairs.'),
    userPoiWeight: weight
      .default(0.3)
      .describe(
        'γ: weight of user–POI pairs. Behaviour texts name the dishes of the very POIs that a user took, so much of this kind is learnt by copying words: more of it made later choices harder to tell, not easier.',
      ),
    dishWeight: weight
      .default(1)
      .describe(
        "Weight of dish–description pairs, where the dataset has corpus/dishes.jsonl. Descriptions lose the dish's own name: repeated, it would be all there is to match.",
      ),
    maskDuplicates: z
      .boolean()
      .default(true)
      .describe('Leave false negatives out of the sums. false is the form in the paper.'),
    steps: count
      .default(350)
      .describe('Steps in all; each takes one kind of pair, drawn in proportion to the weights.'),
    firstShare: z
      .number()
      .min(0)
      .max(1)
      .default(0.55)
      .describe('Share of the steps before user–POI and user–user pairs join.'),
    batchSize: z
      .int()
      .min(2)
      .default(48)
      .describe('Pairs in a step. At a small budget the number of steps counts, not the batch.'),
    microBatch: count
      .default(512)
      .describe(
        'Pairs encoded at a time. A batch above it is encoded in pieces, its gradient cached between (GradCache): the same result in less memory.',
      ),
    temperature: z.number().positive().default(0.07).describe('τ at the end.'),
    initialTemperature: z.number().positive().default(0.2).describe('τ at the beginning; it falls geometrically.'),
    userTemperature: z
      .number()
      .positive()
      .nullable()
      .default(null)
      .describe(
        'τ of user–user and user–POI pairs, all along; null: the falling one of the others. What is true of a user is true of many: at a low τ their vectors are surer than texts let them be, and the loss stays above chance.',
      ),
    learningRate: z.number().positive().default(5e-4).describe('Peak rate.'),
    warmupShare: z.number().min(0).max(1).default(0.05).describe('Share of the steps with a rising rate.'),
    finalShare: z.number().min(0).max(1).default(0.05).describe('The cosine ends at this share of the peak rate.'),
    weightDecay: weight.default(0.01).describe('Decoupled weight decay (AdamW).'),
    clipNorm: z.number().positive().default(1).describe('Largest gradient norm.'),
    hidePlaceShare: z
      .number()
      .min(0)
      .max(1)
      .default(0.5)
      .describe(
        'Share of user–POI batches whose texts do not say where the user lives and the POI is: else place alone decides. Which keywords do say it follows from `place` of the schema and from names such as home, city or address.',
      ),
    sameCityShare: z
      .number()
      .min(0)
      .max(1)
      .default(0.5)
      .describe('Share of user–POI batches drawn from one place, where the schema says which that is (`place.poi`).'),
    heldOutPois: count.default(1000).describe('POIs kept out of every pair and evaluated on; at most a third of all.'),
    heldOutUsers: count.default(500).describe('Users kept out of user–user pairs; at most a tenth of all.'),
    heldOutDishes: count
      .default(100)
      .describe('Dishes kept out of dish–description pairs, with all their descriptions; at most a twentieth.'),
    precision,
    recompute,
    trainingState,
    lora,
    saveAs,
    evaluateEvery: count
      .default(500)
      .describe('Steps between measurements on held-out POIs and users (without the probe).'),
    checkpointEvery: count.default(200).describe('Steps between checkpoints.'),
    logEvery: count.default(20).describe('Steps between lines of metrics.jsonl.'),
    gate: z
      .strictObject({
        poiPoiRecallAt10: z
          .number()
          .default(0.6)
          .describe('Share of held-out POIs found among the nearest ten by their other half.'),
        withinCityAuc: z
          .number()
          .default(0.6)
          .describe(
            "AUC of users' later choices among POIs of the same place, by the mean vector of what a user clicked before (by the user's text, where nobody clicked).",
          ),
        probeGain: z.number().default(0.01).describe('R² of the true attributes must pass the stage-1 states by this.'),
      })
      .prefault({})
      .describe('What vectors must reach before stage 3 takes them.'),
  })
  .superRefine(checkTrainingState)
  .superRefine(({ userUserWeight, poiPoiWeight, userPoiWeight, dishWeight }, context) => {
    if (userUserWeight + poiPoiWeight + userPoiWeight + dishWeight > 0) return;
    context.addIssue({
      code: 'custom',
      path: ['poiPoiWeight'],
      message:
        'all four kinds of pairs have weight 0 (userUserWeight, poiPoiWeight, userPoiWeight, dishWeight): give one a weight',
    });
  });
export type FinetuneConfig = z.output<typeof FinetuneConfig>;
export type FinetuneConfigInput = z.input<typeof FinetuneConfig>;
