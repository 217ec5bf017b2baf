import { z } from 'zod';
import { Id, Scene } from './common.js';

/** What happened after a ranking: shown, clicked, ordered. */
export const EventInput = z
  .strictObject({
    id: Id.meta({ description: "The client's own id of the event: sent again, it is written once." }),
    type: z.enum(['impression', 'click', 'order']),
    user: Id,
    poi: Id,
    time: Id.meta({
      description:
        "When it happened, ISO 8601, on the clock of the place. A time more than a day after the server's clock (UTC) is refused.",
    }),
    requestId: Id.optional().meta({ description: 'requestId of the ranking that it follows.' }),
    position: z.int().min(1).optional().meta({ description: 'Place in the list that was shown, from 1.' }),
    value: z.number().min(0).optional().meta({ description: 'What an order was worth, not below 0.' }),
    scene: Scene.optional().meta({
      description:
        'The moment, as a ranking takes it: fields that no loaded model reads and values that a ranking would refuse are refused here too ' +
        '(`SCENE_FIELD_UNKNOWN`, `SCENE_VALUE_INVALID`), and nothing of the request is written. While no model is loaded, they are taken as they come.',
    }),
  })
  .meta({ id: 'EventInput' });
export type EventInput = z.infer<typeof EventInput>;

/** Request body of `POST /v1/events`. */
export const EventsRequest = z
  .strictObject({ events: z.array(EventInput).min(1).max(1000) })
  .meta({ id: 'EventsRequest' });
export type EventsRequest = z.infer<typeof EventsRequest>;

/** Reply of `POST /v1/events`: the events are on the disk. */
export const EventsReply = z
  .object({
    requestId: z.string(),
    accepted: z.int().min(0),
    duplicates: z.int().min(0).meta({ description: 'Events whose id was known already; not written again.' }),
  })
  .meta({ id: 'EventsReply' });
