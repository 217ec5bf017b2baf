export type * from './api.generated.js';
export { OPERATIONS } from './api.generated.js';
export { type CallOptions, type ClientOptions, type Input, LarrClient } from './client.js';
export {
  LarrAccessError,
  LarrApiError,
  LarrBusyError,
  LarrClientError,
  LarrConnectionError,
  LarrRequestError,
  LarrServerError,
  LarrTimeoutError,
} from './errors.js';
export { EventQueue, type EventQueueOptions, type NewEvent } from './event-queue.js';
