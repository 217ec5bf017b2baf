import { z } from 'zod';

/** Names stand in paths, event ids and metrics' labels. */
const name = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9_-]{0,63}$/,
    'small letters, digits, - and _ are allowed, up to 64 of them, the first a letter or digit',
  );

const lift = z.number().gt(0).lte(1);

/** What a ranking is made with in an arm; what is left out stays as the server has it without the experiment. */
export const ArmDefinition = z
  .strictObject({
    name,
    weight: z
      .number()
      .positive()
      .max(1e6)
      .default(1)
      .meta({ description: 'Share of the users, in proportion to the other arms.' }),
    bundle: name.optional().meta({ description: 'Alias of a loaded bundle that ranks.' }),
    parameters: z
      .strictObject({
        by: z.enum(['pCtr', 'pCtcvr']).optional().meta({ description: 'Which probability ranks.' }),
        k: z.int().min(1).max(100_000).optional().meta({ description: 'How many POIs are returned.' }),
      })
      .default({})
      .meta({ description: 'Fields of the rank request that the arm sets, whatever the request says.' }),
  })
  .meta({ id: 'ExperimentArm' });
export type ArmDefinition = z.infer<typeof ArmDefinition>;

/** The fields of an experiment's definition. */
export const ExperimentFields = z.strictObject({
  name,
  description: z.string().max(2000).default(''),
  layer: name
    .default('default')
    .meta({ description: 'A user is in at most one experiment of a layer; layers are independent of each other.' }),
  salt: z
    .string()
    .min(1)
    .max(64)
    .optional()
    .meta({ description: 'Decides which arm a user gets; the name by default. Another salt shuffles users anew.' }),
  unit: z.literal('user').default('user').meta({ description: 'What is randomised: users.' }),
  arms: z.array(ArmDefinition).min(2).max(10).meta({ description: 'The first one is the control.' }),
  traffic: z
    .number()
    .min(0)
    .max(1)
    .default(1)
    .meta({ description: "Share of the layer's users. Raising it moves nobody from one arm to another." }),
  primary: z.enum(['ctr', 'cvr', 'ctcvr', 'gmv']).default('ctr').meta({ description: 'The metric that decides.' }),
  alpha: z.number().gt(0).lte(0.2).default(0.05).meta({ description: 'Chance of a false finding that is accepted.' }),
  smallestLift: z
    .strictObject({
      ctr: lift.default(0.02),
      cvr: lift.default(0.05),
      ctcvr: lift.default(0.05),
      gmv: lift.default(0.05),
    })
    .prefault({})
    .meta({
      description:
        'Smallest relative lift of each metric that is worth finding: where its sequential test is the quickest.',
    }),
  durableExposures: z
    .boolean()
    .default(false)
    .meta({ description: "Whether a ranking waits until the user's first exposure is on the disk." }),
  prePeriodDays: z
    .int()
    .min(0)
    .max(90)
    .default(14)
    .meta({ description: 'Days before the start whose events reduce the variance (CUPED); 0: none.' }),
});

/** An experiment as people write it. */
export const ExperimentDefinition = ExperimentFields.superRefine(({ arms }, context) => {
  const names = arms.map((arm) => arm.name);
  names.forEach((each, i) => {
    if (names.indexOf(each) !== i)
      context.addIssue({ code: 'custom', path: ['arms', i, 'name'], message: `another arm is named ${each}` });
  });
}).meta({ id: 'ExperimentDefinition' });
export type ExperimentDefinition = z.infer<typeof ExperimentDefinition>;
