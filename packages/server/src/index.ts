export type { Limits } from './api/app.js';
export type { ErrorReply, Fallbacks, ModelIdentity, RankedPoi, RankReply, RankRequest } from './api/contracts.js';
export { createServer, type RunningServer, type ServerOptions } from './server.js';
