// Stage 1 in a process of its own: node pretrain-until.mjs OPTIONS STEP with `pretrain`'s options as JSON. Interrupted at the first line of
// metrics.jsonl from STEP on; 0 lets it end.
import { setNumThreads } from '@larr/torch';
import { pretrain } from '@larr/trainer';

setNumThreads(1);
const options = JSON.parse(process.argv[2]);
const until = Number(process.argv[3]);
const abort = new AbortController();
const enough = new Error('enough');
await pretrain({
  ...options,
  signal: abort.signal,
  onProgress({ step }) {
    if (until > 0 && step >= until) abort.abort(enough);
  },
}).catch((error) => {
  if (error !== enough) throw error;
});
