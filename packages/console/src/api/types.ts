/**
 * The server's own contracts, as types alone: what the console reads cannot differ from what the server sends without the build saying so.
 */
export type {
  CatalogueEntriesReply,
  CatalogueEntry,
  CatalogueSceneReply,
  HealthReport,
  MomentReply,
  RankedPoi,
  RankReply,
  Readiness,
  RunReply,
  RunSummary,
  RunsReply,
} from '../../../server/src/api/contracts/index.js';

import type {
  ExperimentReply as ExperimentShape,
  ExperimentsReply as ExperimentsShape,
  ReportReply as ReportShape,
} from '../../../server/src/api/contracts/index.js';

type Reply<Shape extends { parse: (value: unknown) => unknown }> = ReturnType<Shape['parse']>;
export type ExperimentReply = Reply<typeof ExperimentShape>;
export type ExperimentsReply = Reply<typeof ExperimentsShape>;
export type ReportReply = Reply<typeof ReportShape>;
