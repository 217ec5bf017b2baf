import { fileURLToPath } from 'node:url';
import { z } from 'zod';

/**
 * The dataset schema: what a user writes (as TypeScript through `defineSchema`, or as JSON) so that LARR understands
 * their tables without any code. docs/data.md is the guide; the JSON Schema for editors is `datasetJsonSchema()`.
 */

const name = z
  .string()
  .regex(/^\p{L}[\p{L}\p{M}\p{N}_-]*$/u, 'a name starts with a letter and has letters, digits, "_" and "-" only')
  .describe('A name: letters of any script, digits, "_" and "-"; starts with a letter.');
const column = z.string().min(1).describe('A column of the table.');
const reference = z
  .string()
  .regex(/^(events|users|pois)\..+$/, 'a reference is "events.<column>", "users.<column>" or "pois.<column>"')
  .describe('A column: "events.<column>", "users.<column>" or "pois.<column>".');
const count = z.int().min(1);

const Source = z.union([
  z.string().min(1).describe('A file or glob, relative to the schema file; the format follows from its ending.'),
  z.strictObject({
    path: z
      .string()
      .min(1)
      .describe(
        'A file or glob, relative to the schema file; http(s):// and s3:// work too. Of a DuckDB database: "shop.duckdb#events".',
      ),
    format: z.enum(['parquet', 'csv', 'tsv', 'jsonl', 'duckdb']).optional(),
    delimiter: z
      .string()
      .length(1)
      .refine((c) => !/["\r\n]/.test(c), 'a quotation mark or a line break cannot separate columns')
      .optional()
      .describe('What separates the columns of a CSV file; default ",".'),
    key: column.optional().describe("The table's key column, where it differs from the events' column."),
  }),
  z.strictObject({
    query: z.string().min(1).describe('Any DuckDB query that yields the table (attach databases in `setup`).'),
    key: column.optional(),
  }),
]);

const TimeColumn = z.union([
  column,
  z.strictObject({
    column,
    unit: z
      .enum(['timestamp', 's', 'ms', 'us'])
      .describe('Numbers count seconds, milliseconds or microseconds since 1970.'),
  }),
]);

const Label = z.union([
  column,
  z.strictObject({ column, atLeast: z.number().describe('The label is 1 where the column reaches this value.') }),
  z.strictObject({
    column,
    positive: z
      .string()
      .min(1)
      .describe('The label is 1 where the column says this, in capitals or not, and 0 where it says anything else.'),
  }),
]);

const TimeOf = z.strictObject({ derive: z.literal('timeSlot'), time: reference.optional() });
const Weekday = z.strictObject({ derive: z.literal('weekday'), time: reference.optional() });
const Weekend = z.strictObject({ derive: z.literal('weekend'), time: reference.optional() });
const Hour = z.strictObject({ derive: z.literal('hour'), time: reference.optional() });
const Month = z.strictObject({ derive: z.literal('month'), time: reference.optional() });
const Mealtime = z.strictObject({ derive: z.literal('mealtime'), time: reference.optional() });
const Season = z.strictObject({
  derive: z.literal('season'),
  time: reference.optional(),
  latitude: reference.optional().describe('Turns the seasons round south of the equator.'),
});
const TemperatureWords = z.strictObject({
  derive: z.literal('temperatureWords'),
  of: reference.describe('Degrees.'),
  unit: z.enum(['celsius', 'fahrenheit']).default('celsius'),
});
const DistanceKm = z.strictObject({
  derive: z.literal('distanceKm'),
  from: z.tuple([reference, reference]).describe('Latitude and longitude, degrees.'),
  to: z.tuple([reference, reference]),
});
const DistanceBand = z.strictObject({
  derive: z.literal('distanceBand'),
  from: z.tuple([reference, reference]),
  to: z.tuple([reference, reference]),
  edges: z.array(z.number().positive()).min(1).default([0.5, 1, 3, 5, 10]).describe('Band edges, km, rising.'),
});
const Travelling = z.strictObject({
  derive: z.literal('travelling'),
  home: reference.describe("The user's home city."),
  here: reference.describe('The city of the event.'),
});
const Bucket = z.strictObject({
  derive: z.literal('bucket'),
  of: reference,
  edges: z.array(z.number()).min(1).describe('Rising; bucket i holds edges[i-1] <= value < edges[i].'),
  names: z
    .array(z.string())
    .optional()
    .describe('One more than the edges; otherwise "under 5", "5 to 10", "10 or more".'),
});
const Text = z.strictObject({
  derive: z.literal('text'),
  of: reference,
  template: z.string().default('{}').describe('"{}" is the value, e.g. "city {}".'),
  values: z
    .record(z.string(), z.string())
    .optional()
    .describe('Texts of coded values; a value not listed stands for itself.'),
});
/** A derivation: computed by `core/src/scene` for `prepare` and the server alike. */
const DerivationSchema = z.discriminatedUnion('derive', [
  TimeOf,
  Weekday,
  Weekend,
  Hour,
  Month,
  Mealtime,
  Season,
  TemperatureWords,
  DistanceKm,
  DistanceBand,
  Travelling,
  Bucket,
  Text,
]);
const Value = z.union([reference, DerivationSchema]);

const missing = z.array(z.string()).optional().describe('Values that mean "missing" here (empty text always does).');
const limits = {
  minCount: count.optional().describe('A value seen less often in the train part has no entry of its own (default 1).'),
  maxSize: count.optional().describe('At most this many entries, the most frequent first.'),
  buckets: count.optional().describe('Hash into this many buckets instead of keeping a vocabulary.'),
};

const Categorical = z.strictObject({
  name,
  value: Value,
  role: z.enum(['user', 'poi', 'user-feature', 'poi-feature', 'context']).optional(),
  missing,
  ...limits,
});
const Cross = z.strictObject({ name, of: z.tuple([z.string(), z.string()]), ...limits });
const Dense = z.strictObject({
  name,
  value: Value,
  transform: z.enum(['none', 'log1p']).default('none').describe('log1p suits counts and prices.'),
  missing,
});
const Measure = z.enum([
  'impressions',
  'clicks',
  'orders',
  'ctr',
  'cvr',
  'daysSinceImpression',
  'daysSinceClick',
  'daysSinceOrder',
]);
const Statistics = z.strictObject({
  of: z.enum(['user', 'poi', 'user-poi']),
  measures: z.array(Measure).min(1),
  windows: z
    .array(z.union([count, z.literal('all')]))
    .min(1)
    .default([7])
    .describe('Trailing windows in days; "all" is everything before.'),
  ending: z
    .enum(['day', 'event'])
    .default('day')
    .describe('The window ends strictly before the day of the event, or strictly before the event itself.'),
  smoothing: z
    .number()
    .positive()
    .default(20)
    .describe(
      'Strength k of the prior p: ctr = (clicks + k p) / (impressions + k); p is the global rate before the window ends.',
    ),
});
const Sequence = z.strictObject({
  name,
  length: z.int().min(1).max(4096),
  on: z.enum(['click', 'order']).default('click'),
});

const keywordBase = {
  name,
  token: name.optional().describe('Name of the special-token pair; default "<poi|user|scene>_<name>".'),
  missing,
};
const textBase = {
  ...keywordBase,
  column: column.optional().describe('A column; lists are joined with ", ".'),
  template: z.string().optional().describe('Text with {column} slots; missing when any slot is.'),
  maxCharacters: count.optional().describe('Longer texts are cut at a word boundary.'),
};
const PoiKeyword = z.strictObject(textBase);
const Behaviour = z.union([
  z.strictObject({
    top: count.describe('How many of the most frequent values to name.'),
    of: z.string().describe('"pois.<column>" (text or list) or "scene.<field>".'),
    on: z.enum(['click', 'order']).optional().describe('Default: order where there are orders, else click.'),
    separator: z.string().optional().describe('Splits a text column into values, e.g. ",".'),
    words: z
      .boolean()
      .optional()
      .describe('Count the single words of the text, weighted by how rare they are among POIs.'),
    howOften: z
      .boolean()
      .optional()
      .describe(
        'Say how often in words: "mostly", "often", "sometimes". Default: yes, unless single words are counted.',
      ),
  }),
  z.strictObject({
    recent: count.describe('How many of the latest to list, newest first (needs a time column).'),
    template: z.string().describe('Text with {pois.<column>} and {scene.<field>} slots.'),
    on: z.enum(['click', 'order']).optional(),
  }),
]);
const UserKeyword = z.strictObject({ ...textBase, behaviour: Behaviour.optional() });
const SceneKeyword = z.strictObject({ ...keywordBase, value: Value });

const TextTemplatesShape = z.strictObject({
  cptInput: z.array(z.string()).default([]).describe('POI keywords the language model is shown (name, location).'),
  cptTarget: z.array(z.string()).default([]).describe('POI keywords it learns to write (default: all others).'),
  poiBusiness: z.array(z.string()).default([]).describe('One half of a POI–POI pair: name, location, menu.'),
  poiBasic: z.array(z.string()).default([]).describe('The other half: introduction, tags.'),
  userProfile: z.array(z.string()).default([]).describe('One half of a user–user pair.'),
  userBehaviour: z.array(z.string()).default([]).describe('The other half.'),
});

const ratios = z
  .tuple([z.number().positive(), z.number().positive(), z.number().positive()])
  .describe('train : validation : test');
const Split = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('time'),
    testDays: count.default(1),
    validationDays: count.default(1),
  }),
  z.strictObject({ kind: z.literal('random'), ratios: ratios.default([8, 1, 1]) }),
  z.strictObject({ kind: z.literal('cold-poi'), ratios: ratios.default([8, 1, 1]) }),
  z.strictObject({ kind: z.literal('cold-user'), ratios: ratios.default([8, 1, 1]) }),
]);

const Negatives = z.discriminatedUnion('method', [
  z.strictObject({
    method: z
      .literal('unused')
      .describe('For a log of positives: same user and context, a POI that the user never used.'),
    perPositive: count,
  }),
  z.strictObject({
    method: z.literal('downsample').describe('Keeps a share of the unclicked rows of the train part.'),
    keep: z.number().gt(0).lt(1),
  }),
]);

const Training = z
  .strictObject({
    epochs: count,
    batchSize: count,
    learningRate: z.number().positive(),
    schedule: z.enum(['constant', 'cosine', 'plateau']),
    embeddingDim: count,
    hidden: z.array(count),
    dropout: z.number().min(0).lt(1),
    idDropout: z.number().min(0).lt(1),
    batchNorm: z.boolean(),
    embeddingL2: z.number().min(0),
    weightDecay: z.number().min(0),
    patience: z
      .int()
      .min(0)
      .describe('Epochs without a better validation AUC before training stops; 0 never stops early.'),
    align: z.strictObject({ lambda: z.number().min(0).describe('λ of L = L_rec + λ L_al (LARR).') }),
    larr: z.strictObject({
      gain: z.number().positive().describe('What the semantic inputs of LARR are multiplied with at first.'),
    }),
  })
  .partial();

export const DatasetSchema = z.strictObject({
  $schema: z.string().optional().describe('Where editors find the JSON Schema of this file; means nothing else.'),
  name,
  description: z.string().optional(),
  setup: z
    .array(z.string())
    .default([])
    .describe(
      `DuckDB statements run first: INSTALL, LOAD, ATTACH, CREATE SECRET. "\${NAME}" stands for an environment variable, so that no password lies in the file.`,
    ),
  tables: z.strictObject({ events: Source, users: Source.optional(), pois: Source.optional() }),
  keys: z
    .strictObject({
      user: column.default('user').describe('The user column of the events.'),
      poi: column.default('poi').describe('The POI column of the events.'),
      row: column.optional().describe('A unique whole-number column that becomes row_id; default: the row number.'),
    })
    .prefault({}),
  time: TimeColumn.optional().describe('When the event happened, local time of the place.'),
  labels: z
    .strictObject({ click: Label.optional(), order: Label.optional() })
    .describe(
      '0/1, true/false, yes/no, a threshold, or the value that counts. A single label of either kind is trained as the click.',
    ),
  place: z
    .strictObject({
      poi: column.optional().describe("The POI table's column with the place a POI is in: its city, say."),
      user: column.optional().describe("The user table's column with the place a user lives in."),
    })
    .refine(({ poi, user }) => poi !== undefined || user !== undefined, 'name a column of the POIs, the users, or both')
    .optional()
    .describe(
      'Where POIs are and users live. Stage 2 draws negatives from the same place, judges within it, and hides it from half of its texts.',
    ),
  poiName: name
    .optional()
    .describe(
      'The POI keyword with the name that people know a POI by; the console shows it. Default: the one called name or title, else the first of "cptInput" that is no place.',
    ),
  missing: z
    .array(z.string())
    .default([])
    .describe(
      'Values that mean "missing" in every text and every number. ID features of a plain column keep them as values.',
    ),
  features: z
    .strictObject({
      categorical: z.array(Categorical).default([]),
      cross: z.array(Cross).default([]),
      dense: z.array(Dense).default([]),
      statistics: z.array(Statistics).default([]),
      sequences: z.array(Sequence).default([]),
    })
    .prefault({}),
  keywords: z
    .strictObject({
      poi: z.array(PoiKeyword).default([]),
      user: z.array(UserKeyword).default([]),
      scene: z.array(SceneKeyword).default([]),
    })
    .prefault({}),
  texts: TextTemplatesShape.prefault({}),
  splits: z.record(name, Split).default({}).describe('Default: by time where there is a time column, else random.'),
  defaultSplit: z.string().optional().describe('Default: the first split.'),
  negatives: Negatives.optional(),
  training: Training.optional().describe('Settings that suit this dataset; --config overrides them.'),
});

/** A validated schema, defaults filled in. */
export type DatasetSchema = z.output<typeof DatasetSchema>;
/** What people write: defaults may be left out. */
export type DatasetSchemaInput = z.input<typeof DatasetSchema>;
/** The column of a label, and what makes it 1 where that is not said by 1, true or yes. */
export type LabelSpec = z.output<typeof Label>;
export type TableSource = z.output<typeof Source>;
export type Derivation = z.output<typeof DerivationSchema>;
/** A column reference (`"events.weather"`) or a derivation. */
export type ValueSpec = string | Derivation;
export type StatisticsFeature = z.output<typeof Statistics>;
export type StatisticMeasure = z.output<typeof Measure>;
export type PoiKeyword = z.output<typeof PoiKeyword>;
export type UserKeyword = z.output<typeof UserKeyword>;
export type SceneKeyword = z.output<typeof SceneKeyword>;
export type BehaviourSpec = z.output<typeof Behaviour>;
export type TextTemplates = z.output<typeof TextTemplatesShape>;
export type SplitSpec = z.output<typeof Split>;
export type TrainingDefaults = Required<z.output<typeof Training>>;

/** JSON Schema (draft 2020-12) of the schema file, for editors. */
export function datasetJsonSchema(): Record<string, unknown> {
  return { title: 'Dataset schema of LARR', ...z.toJSONSchema(DatasetSchema, { io: 'input' }) };
}

/** The file that holds `datasetJsonSchema()`, for a schema file's "$schema". */
export const datasetJsonSchemaFile = fileURLToPath(new URL('../../dataset-schema.generated.json', import.meta.url));
