// How fast the machine multiplies matrices at best: what a training step's own speed is a share of (model FLOPs utilisation).
import {
  autocast,
  cudaDevices,
  getNumThreads,
  getRngState,
  noGrad,
  randn,
  setRngState,
  synchronize,
  tidy,
} from '@larr/torch';

export interface MachinePeak {
  /** Multiplications and additions a second. */
  flops: number;
  /** Where the figure comes from, in words. */
  source: string;
}

/** Dense bf16 products by the makers' data sheets, in teraFLOPS; the first name that fits counts. */
const DATA_SHEETS: [name: RegExp, teraflops: number][] = [
  [/H100 PCIe/i, 756],
  [/H100 NVL/i, 835],
  [/H100|H200|GH200|H800/i, 989.4],
  [/B200/i, 2250],
  [/A100|A800/i, 312],
  [/L40S/i, 362],
  [/\bL4\b/i, 121],
  [/\bA10\b/i, 125],
  [/RTX 4090/i, 165.2],
];

const known = new Map<string, MachinePeak>();

/**
 * The peak of a device for products in `precision`: a data sheet's for GPUs that are known here and bf16, else measured, once a process.
 * Of several processes, each on such a device: the peak of all.
 */
export function machinePeak(device: string, precision: 'f32' | 'bf16', processes = 1): MachinePeak {
  const { flops, source } = peakOfOne(device, precision);
  return { flops: processes * flops, source: processes === 1 ? source : `${processes} × ${source}` };
}

function peakOfOne(device: string, precision: 'f32' | 'bf16'): MachinePeak {
  const key = `${device} ${precision} ${getNumThreads()}`;
  let peak = known.get(key);
  if (peak === undefined) {
    peak = dataSheet(device, precision) ?? measuredPeak(device, precision);
    known.set(key, peak);
  }
  return peak;
}

function dataSheet(device: string, precision: 'f32' | 'bf16'): MachinePeak | null {
  if (!device.startsWith('cuda') || precision !== 'bf16') return null;
  const name = cudaDevices()[Number(device.split(':')[1] ?? 0)]?.name ?? '';
  const entry = DATA_SHEETS.find(([pattern]) => pattern.test(name));
  return entry === undefined ? null : { flops: entry[1] * 1e12, source: `data sheet of ${name}, dense bf16` };
}

/** The best of five products of square matrices. */
function measuredPeak(device: string, precision: 'f32' | 'bf16'): MachinePeak {
  const size = device.startsWith('cuda') ? 8192 : 1024;
  const finish = () => {
    if (device.startsWith('cuda')) synchronize(device);
  };
  // A run draws the same numbers whether or not it was measured on the way.
  const random = getRngState();
  const best = noGrad(() =>
    tidy(() => {
      const a = randn([size, size], { device }).to(precision);
      const b = randn([size, size], { device }).to(precision);
      let seconds = Number.POSITIVE_INFINITY;
      for (let i = 0; i < 6; i++) {
        finish();
        const started = performance.now();
        tidy(() => {
          autocast(() => a.matmul(b), { enabled: false });
          finish();
        });
        // The first one warms up.
        if (i > 0) seconds = Math.min(seconds, (performance.now() - started) / 1000);
      }
      return seconds;
    }),
  );
  setRngState(random);
  return {
    flops: (2 * size ** 3) / best,
    source: `measured: product of ${precision} matrices of ${size} × ${size}, ${getNumThreads()} threads`,
  };
}
