// How far the fused functions lie from the same composed in f64, as the share of the largest entry: [[case, error of the value,
// largest error of a gradient], …] as JSON. decoder.test.ts runs it once for each instruction set (LARR_ISA).
import {
  addRmsNorm,
  blockLinear,
  embedding,
  embeddingBag,
  groupedLinear,
  linearCrossEntropy,
  linearSwiGlu,
  manualSeed,
  mixExperts,
  packedAttention,
  packedQueryAttention,
  RowwiseAdam,
  randint,
  randn,
  sceneAttention,
  swiGlu,
  takeRows,
  tensor,
  tidy,
} from '../dist/index.js';

manualSeed(5);

/** The largest difference of two tensors over the largest entry of the second; 0 for empty ones. NaN is no error but infinite. */
function distance(got, wanted) {
  if (wanted.numel === 0) return 0;
  const error = got.to('f64').sub(wanted).abs().amax().item() / Math.max(1e-30, wanted.abs().amax().item());
  return Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
}

/** Runs f on the inputs in `dtype` and, with the same rounded values, in f64; outputs are weighed at random and differentiated. */
function compare(dtype, inputs, f) {
  const rounded = inputs.map((x) => x.to(dtype));
  const run = (as) => {
    const leaves = rounded.map((x) => x.to(as).detach().clone().requiresGrad_());
    const outputs = f(leaves, as);
    let total;
    manualSeed(9);
    for (const out of outputs) {
      const term = out
        .mul(randn(out.shape, { dtype: 'f64' }).to(out.dtype))
        .to('f64')
        .sum();
      total = total === undefined ? term : total.add(term);
    }
    total.backward();
    return { outputs, gradients: leaves.map((leaf) => leaf.grad) };
  };
  const exact = run('f64');
  const fused = run(dtype);
  return [
    Math.max(...exact.outputs.map((out, i) => distance(fused.outputs[i], out))),
    Math.max(...exact.gradients.map((g, i) => distance(fused.gradients[i], g))),
  ];
}

const rows = [];
const check = (name, dtype, inputs, f) => tidy(() => rows.push([`${name} ${dtype}`, ...compare(dtype, inputs(), f)]));
const normal = (...shape) => randn(shape, { dtype: 'f64' });

for (const dtype of ['f32', 'bf16']) {
  for (const [lengths, heads, own, size] of [
    [[1], 1, 1, 2],
    [[2, 1, 3], 2, 1, 6],
    [[1, 47, 48, 49, 5], 4, 2, 16],
    [[97, 1, 130], 2, 2, 48],
    [[33], 6, 2, 64],
    [[70, 11], 2, 1, 128],
    [[19], 1, 1, 80],
    [[], 2, 2, 8],
  ]) {
    const starts = [0];
    for (const length of lengths) starts.push(starts.at(-1) + length);
    const total = starts.at(-1);
    const angles = normal(Math.max(1, ...lengths), size / 2);
    check(
      `attention of ${lengths.join(', ') || 'nothing'}; heads ${heads}/${own} of ${size}`,
      dtype,
      () => [normal(total, (heads + 2 * own) * size)],
      ([x], as) => [
        packedAttention(
          x,
          ...[angles.cos(), angles.sin()].map((t) => t.to('f32').to(as === 'f64' ? 'f64' : 'f32')),
          tensor(Int32Array.from(starts), [starts.length], { dtype: 'i32' }),
          heads,
          own,
        ),
      ],
    );
  }
  for (const [lengths, heads, own, size, wanted] of [
    [[1], 1, 1, 2, [0]],
    [[2, 1, 3], 2, 1, 6, [1, 5]],
    [[100, 49], 2, 1, 16, [3, 50, 51, 98, 100]],
    [[97, 1, 130, 20], 2, 2, 48, Array.from({ length: 248 }, (_, i) => i).filter((i) => i % 7 < 5 && i !== 97)],
    [[60], 3, 1, 64, []],
    [[33, 70], 4, 2, 16, Array.from({ length: 103 }, (_, i) => i)],
  ]) {
    const starts = [0];
    for (const length of lengths) starts.push(starts.at(-1) + length);
    const whole = (values) => tensor(Int32Array.from(values), [values.length], { dtype: 'i32' });
    const angles = normal(Math.max(...lengths), size / 2);
    check(
      `attention of ${wanted.length} of ${lengths.join(', ')}; heads ${heads}/${own} of ${size}`,
      dtype,
      () => [normal(wanted.length, heads * size), normal(starts.at(-1), 2 * own * size)],
      ([queries, keysValues], as) => [
        packedQueryAttention(
          queries,
          keysValues,
          whole(wanted),
          ...[angles.cos(), angles.sin()].map((t) => t.to('f32').to(as === 'f64' ? 'f64' : 'f32')),
          whole(starts),
          heads,
          own,
        ),
      ],
    );
  }
  for (const [count, width, taken] of [
    [1, 1, 40],
    [50, 37, 700],
    [20, 192, 0],
    [9, 16, 4],
  ]) {
    const index = randint(0, count, [taken]);
    check(
      `${taken} rows of [${count}, ${width}]`,
      dtype,
      () => [normal(count, width)],
      ([x]) => [takeRows(x, index)],
    );
  }
  for (const [count, width] of [
    [1, 2],
    [3, 16],
    [700, 192],
    [5, 37],
    [0, 8],
  ]) {
    check(
      `norm of a sum [${count}, ${width}]`,
      dtype,
      () => [normal(count, width), normal(width), normal(count, width)],
      ([x, weight, update]) => addRmsNorm(x, weight, update),
    );
    check(
      `norm [${count}, ${width}]`,
      dtype,
      () => [normal(count, width), normal(width)],
      ([x, weight]) => [addRmsNorm(x, weight)[1]],
    );
    check(
      `SwiGLU [${count}, ${2 * width}]`,
      dtype,
      () => [normal(count, 2 * width).mul(3)],
      ([x]) => [swiGlu(x)],
    );
  }
  for (const [count, width, out] of [
    [32, 2, 2],
    [33, 1, 1],
    [50, 37, 70],
    [67, 96, 200],
    [1100, 64, 48],
    [40, 4101, 66],
    [1, 16, 8],
    [0, 16, 8],
  ]) {
    check(
      `product [${count}, ${width}] to ${out}`,
      dtype,
      () => [normal(count, width), normal(out, width), normal(out)],
      (inputs) => [blockLinear(...inputs)],
    );
    check(
      `product with ReLU [${count}, ${width}] to ${out}`,
      dtype,
      () => [normal(count, width), normal(out, width), normal(out)],
      (inputs) => [blockLinear(...inputs, { relu: true })],
    );
    check(
      `SwiGLU of a product [${count}, ${width}] to ${2 * out}`,
      dtype,
      () => [normal(count, width).div(Math.sqrt(width)), normal(2 * out, width)],
      (inputs) => [linearSwiGlu(...inputs)],
    );
  }
  // Rows that lie across memory, and in more dims than two.
  check(
    'product of a transposed view',
    dtype,
    () => [normal(24, 70), normal(24, 50)],
    ([x, weight]) => [blockLinear(x.transpose(0, 1).reshape([7, 10, 24]).transpose(0, 1), weight.transpose(0, 1))],
  );
  for (const [count, blocks, inputs, outputs, source] of [
    [40, 3, 16, 64, [0, 1, 2]],
    [203, 3, 33, 50, [2, 0, 2]],
    [7, 2, 5, 4, [1, 1]],
    [0, 2, 16, 16, [0, 1]],
  ]) {
    const networks = source.length;
    check(
      `${networks} products side by side [${count}, ${blocks} × ${inputs}] to ${outputs}`,
      dtype,
      () => [normal(count, blocks * inputs), normal(networks, inputs, outputs), normal(networks, 1, outputs)],
      ([x, weight, bias]) => [groupedLinear(x, weight, source, { bias, relu: true })],
    );
  }
  for (const [count, experts, gates, d] of [
    [33, 4, 2, 128],
    [5, 3, 1, 7],
    [0, 2, 1, 4],
  ]) {
    check(
      `mixture of ${experts} experts of ${d}`,
      dtype,
      () => [normal(count, experts * d), normal(count, gates, experts).softmax(2)],
      ([x, gate]) => [mixExperts(x, gate)],
    );
  }
  for (const [count, width, classes] of [
    [1, 4, 2],
    [9, 16, 37],
    [130, 24, 300],
    [3000, 8, 4099],
    [0, 4, 5],
  ]) {
    const target = randint(0, classes, [count]);
    check(
      `cross-entropy [${count}, ${width}] of ${classes}`,
      dtype,
      () => [normal(count, width), normal(classes, width)],
      ([states, weight]) => [linearCrossEntropy(states, weight, target)],
    );
  }
  // Logits exact in bf16, one of them `logit`, that of the target, and the others 0: a target that is nearly certain still has its gradient.
  for (const [classes, logit] of [
    [4099, 14],
    [4099, 15],
    [300, 14],
    [5, 8],
    [2, 7],
  ]) {
    const [states, weight] = [
      [40, 3],
      [classes, 3],
    ].map(([count]) => tensor(new Float32Array(count * 3), [count, 3]));
    states.select(1, 0).fill_(logit);
    weight
      .select(0, classes - 1)
      .select(0, 0)
      .fill_(1);
    const target = tensor(new BigInt64Array(40).fill(BigInt(classes - 1)), [40]);
    tidy(() => {
      const leaf = states.to(dtype).detach().requiresGrad_();
      linearCrossEntropy(leaf, weight.to(dtype), target).backward();
      const others = (classes - 1) * Math.exp(-logit);
      const wanted = -others / (1 + others);
      const error = Math.max(
        ...leaf.grad
          .to('f32')
          .select(1, 0)
          .toFloat32Array()
          .map((got) => Math.abs(got / wanted - 1)),
      );
      rows.push([`gradient of a target of ${(1 + wanted).toFixed(5)} among ${classes} ${dtype}`, 0, error]);
    });
  }
}
// What is no number makes the loss none: of the target's class or another, in the loop's lanes or behind them.
for (const dtype of ['f32', 'bf16']) {
  for (const [classes, broken] of [
    [300, 7],
    [300, 299],
    [3, 1],
  ]) {
    for (const wanted of [broken, 0]) {
      tidy(() => {
        const weight = normal(classes, 8);
        weight.select(0, broken).fill_(Number.NaN);
        const states = normal(5, 8).to(dtype);
        const target = tensor(new BigInt64Array(5).fill(BigInt(wanted)), [5]);
        const loss = linearCrossEntropy(states, weight.to(dtype), target).item();
        const error = Number.isNaN(loss) ? 0 : Number.POSITIVE_INFINITY;
        rows.push([`cross-entropy of class ${wanted} of ${classes} where ${broken} is no number ${dtype}`, error, 0]);
      });
    }
  }
}
// Those that compute in f32 throughout.
for (const [batch, n, heads, d] of [
  [5, 2, 1, 3],
  [37, 10, 4, 32],
  [300, 7, 3, 45],
]) {
  const index = randint(0, 20, [batch, n]);
  const missing = randint(0, 3, [batch, n]).eq(0);
  check(
    `attention of ${batch} scenes, ${heads} heads of ${d / heads}`,
    'f32',
    () => [normal(21, heads).mul(6), normal(21, d)],
    ([logits, values]) => [sceneAttention(logits, values, index, missing)],
  );
}
for (const width of [1, 16, 19, 130]) {
  const offsets = tensor(BigInt64Array.from([0n, 7n, 7n, 8n, 200n]), [5]);
  const index = randint(0, 50, [300]);
  const table = normal(50, width);
  tidy(() => {
    const options = { mode: 'mean', paddingIndex: 0 };
    const [got, wanted] = ['f32', 'f64'].map((as) => embeddingBag(table.to('f32').to(as), index, offsets, options));
    rows.push([`bags of ${width} f32`, distance(got, wanted), 0]);
  });
  tidy(() => {
    const gradient = normal(300, width).to('f32');
    const [got, wanted] = ['f32', 'f64'].map((as) => {
      const weight = table.to('f32').to(as).requiresGrad_();
      const adam = new RowwiseAdam([weight], { lr: 0.01 });
      for (let step = 0; step < 3; step++) {
        weight.grad = null;
        embedding(weight, index, { sparse: true }).mul(gradient.to(as)).sum().backward();
        adam.step();
      }
      adam.dispose();
      return weight.detach();
    });
    rows.push([`row-wise Adam of ${width} f32`, distance(got, wanted), 0]);
  });
}
process.stdout.write(JSON.stringify(rows));
