export type { ErrorReply, Fallbacks, ModelIdentity, RankedPoi, RankReply, RankRequest } from './api/contracts/index.js';
export type { Limits } from './api/state.js';
export { createServer, type RunningServer, type ServerOptions } from './server.js';
