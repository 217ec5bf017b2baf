// Written by operators/generate.mjs from operators/operators.mjs. Change that list, not this file.
import { native } from './addon.js';
import type { Tensor } from './tensor.js';

/** Operators of LibTorch as methods of Tensor. */
export interface TensorOperators {
  /** self + other, broadcast. */
  add(other: Tensor | number): Tensor;
  /** self − other, broadcast. */
  sub(other: Tensor | number): Tensor;
  /** self · other element by element, broadcast. */
  mul(other: Tensor | number): Tensor;
  /** self ∕ other, broadcast; true division for whole numbers too. */
  div(other: Tensor | number): Tensor;
  /** self modulo other, with the sign of other. */
  remainder(other: Tensor | number): Tensor;
  /** self to the power of exponent. */
  pow(exponent: Tensor | number): Tensor;
  /** −self. */
  neg(): Tensor;
  /** 1 ∕ self. */
  reciprocal(): Tensor;
  /** |self|. */
  abs(): Tensor;
  /** −1, 0 or 1. */
  sign(): Tensor;
  /** The largest whole number not above self. */
  floor(): Tensor;
  /** The smallest whole number not below self. */
  ceil(): Tensor;
  /** The nearest whole number, halves to even. */
  round(): Tensor;
  /** eˣ. */
  exp(): Tensor;
  /** eˣ − 1, exact near 0. */
  expm1(): Tensor;
  /** Natural logarithm. */
  log(): Tensor;
  /** ln(1 + x), exact near 0. */
  log1p(): Tensor;
  /** Square root. */
  sqrt(): Tensor;
  /** 1 ∕ √x. */
  rsqrt(): Tensor;
  /** x². */
  square(): Tensor;
  /** Sine. */
  sin(): Tensor;
  /** Cosine. */
  cos(): Tensor;
  /** 1 ∕ (1 + e⁻ˣ). */
  sigmoid(): Tensor;
  /** ln sigmoid(x), without overflow. */
  logSigmoid(): Tensor;
  /** Hyperbolic tangent. */
  tanh(): Tensor;
  /** max(x, 0). */
  relu(): Tensor;
  /** x · Φ(x); approximate 'none' (erf) or 'tanh'. Defaults: approximate = none. */
  gelu(approximate?: string): Tensor;
  /** x · sigmoid(x). */
  silu(): Tensor;
  /** ln(1 + e^(βx)) ∕ β, linear above the threshold. Defaults: beta = 1, threshold = 20. */
  softplus(beta?: number, threshold?: number): Tensor;
  /** Error function. */
  erf(): Tensor;
  /** Limits to [min, max]; either may be left out. */
  clamp(min?: number | null, max?: number | null): Tensor;
  /** The smaller of both, element by element. */
  minimum(other: Tensor | number): Tensor;
  /** The larger of both, element by element. */
  maximum(other: Tensor | number): Tensor;
  /** self = other → bool. */
  eq(other: Tensor | number): Tensor;
  /** self ≠ other → bool. */
  ne(other: Tensor | number): Tensor;
  /** self < other → bool. */
  lt(other: Tensor | number): Tensor;
  /** self ≤ other → bool. */
  le(other: Tensor | number): Tensor;
  /** self > other → bool. */
  gt(other: Tensor | number): Tensor;
  /** self ≥ other → bool. */
  ge(other: Tensor | number): Tensor;
  /** Both are true (not 0). */
  logicalAnd(other: Tensor): Tensor;
  /** At least one is true (not 0). */
  logicalOr(other: Tensor): Tensor;
  /** True where self is 0. */
  logicalNot(): Tensor;
  /** Neither infinite nor NaN. */
  isfinite(): Tensor;
  /** Is NaN. */
  isnan(): Tensor;
  /** Sum over dims (all, when absent). Defaults: keepdim = false. */
  sum(dims?: number | readonly number[] | null, keepdim?: boolean): Tensor;
  /** Mean over dims (all, when absent). Defaults: keepdim = false. */
  mean(dims?: number | readonly number[] | null, keepdim?: boolean): Tensor;
  /** Variance over dims; unbiased divides by n − 1. Defaults: keepdim = false, unbiased = true. */
  variance(dims?: number | readonly number[] | null, keepdim?: boolean, unbiased?: boolean): Tensor;
  /** Largest over dims. Defaults: keepdim = false. */
  amax(dims?: number | readonly number[] | null, keepdim?: boolean): Tensor;
  /** Smallest over dims. Defaults: keepdim = false. */
  amin(dims?: number | readonly number[] | null, keepdim?: boolean): Tensor;
  /** Where the largest is (i64); of the flattened tensor when dim is absent. Defaults: keepdim = false. */
  argmax(dim?: number | null, keepdim?: boolean): Tensor;
  /** Where the smallest is (i64); of the flattened tensor when dim is absent. Defaults: keepdim = false. */
  argmin(dim?: number | null, keepdim?: boolean): Tensor;
  /** The p-norm over dims (all, when absent). Defaults: p = 2, keepdim = false. */
  norm(p?: number, dims?: number | readonly number[] | null, keepdim?: boolean): Tensor;
  /** ln Σ eˣ over dims, without overflow. Defaults: keepdim = false. */
  logsumexp(dims: number | readonly number[], keepdim?: boolean): Tensor;
  /** Running sum along dim. */
  cumsum(dim: number): Tensor;
  /** Whether any is true (not 0), over dims. Defaults: keepdim = false. */
  any(dims?: number | readonly number[] | null, keepdim?: boolean): Tensor;
  /** Whether all are true (not 0), over dims. Defaults: keepdim = false. */
  all(dims?: number | readonly number[] | null, keepdim?: boolean): Tensor;
  /** [largest, where] along dim. Defaults: keepdim = false. */
  max(dim: number, keepdim?: boolean): [Tensor, Tensor];
  /** [smallest, where] along dim. Defaults: keepdim = false. */
  min(dim: number, keepdim?: boolean): [Tensor, Tensor];
  /** [the k largest (or smallest), where] along dim. Defaults: dim = -1, largest = true, sorted = true. */
  topk(k: number, dim?: number, largest?: boolean, sorted?: boolean): [Tensor, Tensor];
  /** [sorted, where from] along dim. Defaults: dim = -1, descending = false. */
  sort(dim?: number, descending?: boolean): [Tensor, Tensor];
  /** The order (i64) that sorts along dim. Defaults: dim = -1, descending = false. */
  argsort(dim?: number, descending?: boolean): Tensor;
  /** [eigenvalues, rising, eigenvectors as columns] of a symmetric matrix, of which the lower triangle is read. */
  eigh(): [Tensor, Tensor];
  /** [sorted distinct values, inverse]: inverse has the shape of self and values[inverse] = self. */
  unique(): [Tensor, Tensor];
  /** How often each whole number from 0 up occurs (i64). Defaults: minlength = 0. */
  bincount(minlength?: number): Tensor;
  /** Where self is not 0: i64 [count, ndim]. */
  nonzero(): Tensor;
  /** Matrix product over the last two dims, the others broadcast. */
  matmul(other: Tensor): Tensor;
  /** [n, k] × [k, m]. */
  mm(other: Tensor): Tensor;
  /** [b, n, k] × [b, k, m]. */
  bmm(other: Tensor): Tensor;
  /** β·self + α·a×b. Defaults: beta = 1, alpha = 1. */
  addmm(a: Tensor, b: Tensor, beta?: number, alpha?: number): Tensor;
  /** x Wᵀ + b: x [..., in], weight [out, in], bias [out]. */
  linear(weight: Tensor, bias?: Tensor | null): Tensor;
  /** The same elements in another shape; −1 is worked out. */
  reshape(shape: number | readonly number[]): Tensor;
  /** As reshape, but never copies: fails where a copy is needed. */
  view(shape: number | readonly number[]): Tensor;
  /** Two dims exchanged. */
  transpose(dim0: number, dim1: number): Tensor;
  /** Dims in another order. */
  permute(dims: number | readonly number[]): Tensor;
  /** A dim of size 1 put in. */
  unsqueeze(dim: number): Tensor;
  /** A dim of size 1 taken out. */
  squeeze(dim: number): Tensor;
  /** Dims of size 1 repeated, without a copy; −1 keeps a size. */
  expand(shape: number | readonly number[]): Tensor;
  /** Dims start…end made one. Defaults: start = 0, end = -1. */
  flatten(start?: number, end?: number): Tensor;
  /** A part of a dim, without a copy. */
  narrow(dim: number, start: number, length: number): Tensor;
  /** One place of a dim, which goes. */
  select(dim: number, index: number): Tensor;
  /** Every step-th of start…end (exclusive) along dim. Defaults: step = 1. */
  slice(dim: number, start?: number | null, end?: number | null, step?: number): Tensor;
  /** Dims reversed. */
  flip(dims: number | readonly number[]): Tensor;
  /** The tensor tiled, copying. */
  repeat(repeats: number | readonly number[]): Tensor;
  /** Each element (or place of dim) repeated. */
  repeatInterleave(repeats: number, dim?: number | null): Tensor;
  /** One tensor for each place of dim. Defaults: dim = 0. */
  unbind(dim?: number): Tensor[];
  /** Pieces of a size (the last may be smaller), or of these sizes, along dim. Defaults: dim = 0. */
  split(sizes: number | readonly number[], dim?: number): Tensor[];
  /** That many pieces along dim. Defaults: dim = 0. */
  chunk(chunks: number, dim?: number): Tensor[];
  /** Zeros above the diagonal. Defaults: diagonal = 0. */
  tril(diagonal?: number): Tensor;
  /** Zeros below the diagonal. Defaults: diagonal = 0. */
  triu(diagonal?: number): Tensor;
  /** The diagonal over two dims, as the last dim. Defaults: offset = 0, dim1 = 0, dim2 = 1. */
  diagonal(offset?: number, dim1?: number, dim2?: number): Tensor;
  /** The same elements laid out in order in memory. */
  contiguous(): Tensor;
  /** A copy; gradients flow through it. */
  clone(): Tensor;
  /** The same memory, outside the graph. */
  detach(): Tensor;
  /** Places of a dim by index [n]. */
  indexSelect(dim: number, index: Tensor): Tensor;
  /** out[i][j] = self[i][index[i][j]] (dim 1). */
  gather(dim: number, index: Tensor): Tensor;
  /** self with source added where index says. */
  scatterAdd(dim: number, index: Tensor, source: Tensor): Tensor;
  /** self with places of source added at index [n]. */
  indexAdd(dim: number, index: Tensor, source: Tensor): Tensor;
  /** self with places replaced by those of source at index [n]. */
  indexCopy(dim: number, index: Tensor, source: Tensor): Tensor;
  /** self with value where mask (bool, broadcast) is true. */
  maskedFill(mask: Tensor, value: number): Tensor;
  /** The elements where mask is true, as [n]. */
  maskedSelect(mask: Tensor): Tensor;
  /** i64 [...] → i64 [..., classes]. */
  oneHot(classes: number): Tensor;
  /** eˣ ∕ Σ eˣ along dim. */
  softmax(dim: number): Tensor;
  /** ln softmax along dim. */
  logSoftmax(dim: number): Tensor;
  /** Mean 0 and variance 1 over the last dims, then weight and bias (Ba et al. 2016). Defaults: eps = 1e-5. */
  layerNorm(normalizedShape: number | readonly number[], weight?: Tensor | null, bias?: Tensor | null, eps?: number): Tensor;
  /** x ∕ √(mean x² + eps) · weight over the last dims (Zhang and Sennrich 2019). Defaults: eps = 1e-6. */
  rmsNorm(normalizedShape: number | readonly number[], weight?: Tensor | null, eps?: number): Tensor;
  /** Per channel (dim 1); while training the running statistics are updated in place (Ioffe and Szegedy 2015). Defaults: training = false, momentum = 0.1, eps = 1e-5. */
  batchNorm(runningMean?: Tensor | null, runningVariance?: Tensor | null, weight?: Tensor | null, bias?: Tensor | null, training?: boolean, momentum?: number, eps?: number): Tensor;
  /** x ∕ max(‖x‖₂, eps) along dim. Defaults: dim = -1, eps = 1e-12. */
  normalize(dim?: number, eps?: number): Tensor;
  /** While training, zeros with probability p and 1 ∕ (1 − p) elsewhere. */
  dropout(p: number, training: boolean): Tensor;
  /** Logits [n, classes] against i64 [n] (or probabilities [n, classes]). Defaults: ignoreIndex = -100, reduction = mean, labelSmoothing = 0. */
  crossEntropy(target: Tensor, options?: { weight?: Tensor | null; ignoreIndex?: number; reduction?: 'none' | 'mean' | 'sum'; labelSmoothing?: number }): Tensor;
  /** Logits against probabilities of the same shape, without overflow. Defaults: reduction = mean. */
  binaryCrossEntropyWithLogits(target: Tensor, options?: { weight?: Tensor | null; positiveWeight?: Tensor | null; reduction?: 'none' | 'mean' | 'sum' }): Tensor;
  /** Probabilities against probabilities of the same shape; logarithms are held at −100. Defaults: reduction = mean. */
  binaryCrossEntropy(target: Tensor, options?: { weight?: Tensor | null; reduction?: 'none' | 'mean' | 'sum' }): Tensor;
  /** (self − target)². Defaults: reduction = mean. */
  mseLoss(target: Tensor, options?: { reduction?: 'none' | 'mean' | 'sum' }): Tensor;
  /** Values (of any dtype and device) written over those of self. */
  copy_(source: Tensor): this;
  /** Zeros written over self. */
  zero_(): this;
  /** One value written over self. */
  fill_(value: number): this;
  /** self + α·other, in place. Defaults: alpha = 1. */
  add_(other: Tensor | number, alpha?: number): this;
  /** self · other, in place. */
  mul_(other: Tensor | number): this;
}

/** Tensors one after another along dim. Defaults: dim = 0. */
export const cat = native.cat as (tensors: readonly Tensor[], dim?: number) => Tensor;

/** Tensors of one shape along a new dim. Defaults: dim = 0. */
export const stack = native.stack as (tensors: readonly Tensor[], dim?: number) => Tensor;

/** a where condition (bool) is true, b elsewhere; all broadcast. */
export const where = native.where as (condition: Tensor, a: Tensor | number, b: Tensor | number) => Tensor;

/** Sums of products in Einstein's notation. */
export const einsum = native.einsum as (equation: string, tensors: readonly Tensor[]) => Tensor;

/** [n], [m] → [n, m]. */
export const outer = native.outer as (a: Tensor, b: Tensor) => Tensor;

/** Rows of weight [rows, d] by index (i64 or i32, any shape) → [..., d]. sparse: the gradient of weight holds the rows used alone, for RowwiseAdam. The row paddingIndex gets no gradient. Defaults: sparse = false, paddingIndex = -1. */
export const embedding = native.embedding as (weight: Tensor, index: Tensor, options?: { sparse?: boolean; paddingIndex?: number }) => Tensor;

/** Sums or means (mode 'sum', 'mean') of rows: bag b is index[offsets[b]…offsets[b + 1]] → [bags, d]. Defaults: mode = sum, sparse = false. */
export const embeddingBag = native.embeddingBag as (weight: Tensor, index: Tensor, offsets: Tensor, options?: { mode?: string; sparse?: boolean; weights?: Tensor | null; paddingIndex?: number | null }) => Tensor;

/** softmax(q kᵀ · scale + mask) v over [..., heads, length, d]; scale 1 ∕ √d when absent; a bool mask is true where attention is allowed; enableGqa: key and value may have fewer heads (Vaswani et al. 2017). Defaults: isCausal = false, enableGqa = false. */
export const scaledDotProductAttention = native.scaledDotProductAttention as (query: Tensor, key: Tensor, value: Tensor, options?: { mask?: Tensor | null; isCausal?: boolean; scale?: number | null; enableGqa?: boolean }) => Tensor;

/** Symmetric InfoNCE of query and key [B, d], positives on the diagonal: ½ mean(lse over rows + lse over columns − 2·diagonal) of scale · q kᵀ; pairs i ≠ j of one group (i32 [B]) are left out of both sums (docs/method.md, section 3). Accumulates in f32 (f64 for f64). */
export const infoNce = native.infoNce as (query: Tensor, key: Tensor, scale: Tensor | number, groups?: Tensor | null) => Tensor;

/** Networks side by side: [relu](x_{source e} W_e + b_e) for each e → [B, E · out]; x [B, blocks · in], weight [E, in, out], bias E · out numbers, source: the block of x that each reads. On the CPU for f32 and bf16 nothing is copied between blocks, and products are ours where blockLinear’s are and in and out are 16 at least; what comes back to a block that several read is rounded to its dtype after each of them. Defaults: relu = false. */
export const groupedLinear = native.groupedLinear as (x: Tensor, weight: Tensor, source: number | readonly number[], options?: { bias?: Tensor | null; relu?: boolean }) => Tensor;

/** Σ_e gate[b, g, e] · experts[b, e] → [B, G · d]; experts [B, E · d], gate [B, G, E]. Fused on the CPU for f32 and bf16. */
export const mixExperts = native.mixExperts as (experts: Tensor, gate: Tensor) => Tensor;

/** Attention of one query over the entries that each row names: Σ_i softmax_i(logits[entry, h]) · values[entry, h] → [B, d]; logits [entries + 1, heads], values [entries + 1, d], whose last row is the query itself; index i64 or i32 [B, n], missing bool [B, n]: left out. Fused on the CPU for f32 and bf16. */
export const sceneAttention = native.sceneAttention as (logits: Tensor, values: Tensor, index: Tensor, missing: Tensor) => Tensor;

/** Causal grouped-query attention, softmax(q kᵀ ∕ √d) v, of each of several sequences laid one after another with itself: [T, (heads + 2·keyValueHeads)·d] → [T, heads·d]. A row holds a token’s queries, keys and values. Queries and keys are first turned by their position (rotary, halves apart), which restarts at each sequence: cosine and sine are constants [longest, d ∕ 2]. starts: i32 or i64 [sequences + 1], where each sequence begins and then T, best kept on the CPU. Fused on the CPU for f32 and bf16. */
export const packedAttention = native.packedAttention as (queryKeyValue: Tensor, cosine: Tensor, sine: Tensor, starts: Tensor, heads: number, keyValueHeads: number) => Tensor;

/** packedAttention for some of the tokens: queries [R, heads·d] of tokens (i32 or i64 [R], rising, best kept on the CPU) over keysValues [T, 2·keyValueHeads·d] of all of them → [R, heads·d]. A sequence may have no query. */
export const packedQueryAttention = native.packedQueryAttention as (queries: Tensor, keysValues: Tensor, tokens: Tensor, cosine: Tensor, sine: Tensor, starts: Tensor, heads: number, keyValueHeads: number) => Tensor;

/** Rows of x [n, d] by index (i64 or i32 [m]) → [m, d]. Of a row taken more than once the gradients are summed in f32 and rounded once, on the CPU for f32 and bf16. */
export const takeRows = native.takeRows as (x: Tensor, index: Tensor) => Tensor;

/** [s, s ∕ √(mean s² + eps) · weight] with s = x + update, or x where there is none, over the last dim: a residual step and the norm after it. Under autocast the second is bf16. Fused on the CPU for f32 and bf16. Defaults: eps = 1e-6. */
export const addRmsNorm = native.addRmsNorm as (x: Tensor, weight: Tensor, update?: Tensor | null, eps?: number) => [Tensor, Tensor];

/** silu(gate) · up of rows [gate | up]: [..., 2f] → [..., f] (Shazeer 2020). Fused on the CPU for f32 and bf16. */
export const swiGlu = native.swiGlu as (gateUp: Tensor) => Tensor;

/** x weightᵀ + bias, as `linear`, and with relu the ReLU of it, for many rows and weights as small as a decoder’s: x [..., in], weight [out, in], bias [out] → [..., out]. On a CPU with AVX-512 (bf16: with AVX512-BF16 or AMX) in blocks of our own: sums and the weight’s gradient stay f32, and a row’s bits are its own whatever the other rows. LibTorch’s product for fewer than 32 rows and elsewhere. Defaults: relu = false. */
export const blockLinear = native.blockLinear as (x: Tensor, weight: Tensor, bias?: Tensor | null, options?: { relu?: boolean }) => Tensor;

/** swiGlu(x weightᵀ), the gate applied while the product is in registers: x [..., in], weight [2f, in] → [..., f]. Runs where blockLinear does. */
export const linearSwiGlu = native.linearSwiGlu as (x: Tensor, weight: Tensor) => Tensor;

/** Σ −ln softmax(states weightᵀ)[target], a scalar: states [n, d], weight [classes, d], target i64 or i32 [n]. The [n, classes] scores are never held in full; the gradients are made with the loss, so it can be differentiated once. */
export const linearCrossEntropy = native.linearCrossEntropy as (states: Tensor, weight: Tensor, target: Tensor) => Tensor;
