// The operators of LibTorch that this package offers: the one list from which operators/generate.mjs writes the C++ glue
// and the TypeScript types, and from which the gradient test draws its samples.
//
//   name      in JavaScript: torch's name in camelCase
//   args      'name: kind' or 'name: kind = default', comma-separated. Kinds: tensor, tensor?, tensors, operand (tensor or
//             number), scalar, scalar?, int, int?, ints, ints?, number, number?, bool, text, reduction
//   options   the same, for the fields of a last argument that is an object
//   cpp       the ATen expression; arguments stand in it under their names, `self` is the tensor of a method
//   returns   'tensor' (when absent), 'tensors' (an array), 'pair' ([values, indices]) or 'this' (written in place)
//   doc       one line for the editor
//   samples   what the gradient test calls it with: [self, ...arguments]; every float sample tensor is differentiated
//   noGradient  why there is no gradient to test; the result must not ask for one then

/** Standard normal values. */
const normal = (...shape) => ({ sample: 'normal', shape });
/** Values in [0.5, 2]. */
const positive = (...shape) => ({ sample: 'positive', shape });
/** Values in [0.1, 0.9]. */
const unit = (...shape) => ({ sample: 'unit', shape });
/** Normal-looking values no two of which are close, so that an order does not change under a small step. */
const distinct = (...shape) => ({ sample: 'distinct', shape });
/** An i64 tensor with these values. */
const index = (values, shape = [values.length]) => ({ sample: 'index', values, shape });
/** A bool tensor with these values. */
const mask = (values, shape = [values.length]) => ({ sample: 'mask', values, shape });

/** A sample that is not differentiated. */
const constant = (sample) => ({ ...sample, constant: true });

const whole = 'its results are truth values or whole numbers';
const inPlace = 'in place: a leaf that asks for a gradient refuses it';

/** Methods of Tensor. */
// biome-ignore format: a table, an operator a line
export const methods = [
  // Arithmetic
  { name: 'add', args: 'other: operand', cpp: 'at::add(self, other)', doc: 'self + other, broadcast.', samples: [[normal(3, 4), normal(4)], [normal(3, 1), normal(2, 1, 4)], [normal(3), 2.5]] },
  { name: 'sub', args: 'other: operand', cpp: 'at::sub(self, other)', doc: 'self − other, broadcast.', samples: [[normal(3, 4), normal(4)], [normal(3), 2]] },
  { name: 'mul', args: 'other: operand', cpp: 'at::mul(self, other)', doc: 'self · other element by element, broadcast.', samples: [[normal(3, 4), normal(3, 1)], [normal(3), -1.5]] },
  { name: 'div', args: 'other: operand', cpp: 'at::div(self, other)', doc: 'self ∕ other, broadcast; true division for whole numbers too.', samples: [[normal(3, 4), positive(4)], [normal(3), 4]] },
  { name: 'remainder', args: 'other: operand', cpp: 'at::remainder(self, other)', doc: 'self modulo other, with the sign of other.', samples: [[unit(5), 2]] },
  { name: 'pow', args: 'exponent: operand', cpp: 'at::pow(self, exponent)', doc: 'self to the power of exponent.', samples: [[positive(3, 4), 2], [positive(3, 4), 0.5], [positive(3), normal(3)]] },
  { name: 'neg', cpp: 'at::neg(self)', doc: '−self.', samples: [[normal(3, 4)]] },
  { name: 'reciprocal', cpp: 'at::reciprocal(self)', doc: '1 ∕ self.', samples: [[positive(3, 4)]] },
  { name: 'abs', cpp: 'at::abs(self)', doc: '|self|.', samples: [[distinct(3, 4)]] },
  { name: 'sign', cpp: 'at::sign(self)', doc: '−1, 0 or 1.', samples: [[distinct(3, 4)]] },
  { name: 'floor', cpp: 'at::floor(self)', doc: 'The largest whole number not above self.', samples: [[unit(3, 4)]] },
  { name: 'ceil', cpp: 'at::ceil(self)', doc: 'The smallest whole number not below self.', samples: [[unit(3, 4)]] },
  { name: 'round', cpp: 'at::round(self)', doc: 'The nearest whole number, halves to even.', samples: [[{ sample: 'values', values: [0.2, 0.8, 1.3, -2.7] }]] },
  { name: 'exp', cpp: 'at::exp(self)', doc: 'eˣ.', samples: [[normal(3, 4)]] },
  { name: 'expm1', cpp: 'at::expm1(self)', doc: 'eˣ − 1, exact near 0.', samples: [[normal(3, 4)]] },
  { name: 'log', cpp: 'at::log(self)', doc: 'Natural logarithm.', samples: [[positive(3, 4)]] },
  { name: 'log1p', cpp: 'at::log1p(self)', doc: 'ln(1 + x), exact near 0.', samples: [[positive(3, 4)]] },
  { name: 'sqrt', cpp: 'at::sqrt(self)', doc: 'Square root.', samples: [[positive(3, 4)]] },
  { name: 'rsqrt', cpp: 'at::rsqrt(self)', doc: '1 ∕ √x.', samples: [[positive(3, 4)]] },
  { name: 'square', cpp: 'at::square(self)', doc: 'x².', samples: [[normal(3, 4)]] },
  { name: 'sin', cpp: 'at::sin(self)', doc: 'Sine.', samples: [[normal(3, 4)]] },
  { name: 'cos', cpp: 'at::cos(self)', doc: 'Cosine.', samples: [[normal(3, 4)]] },
  { name: 'sigmoid', cpp: 'at::sigmoid(self)', doc: '1 ∕ (1 + e⁻ˣ).', samples: [[normal(3, 4)]] },
  { name: 'logSigmoid', cpp: 'at::log_sigmoid(self)', doc: 'ln sigmoid(x), without overflow.', samples: [[normal(3, 4)]] },
  { name: 'tanh', cpp: 'at::tanh(self)', doc: 'Hyperbolic tangent.', samples: [[normal(3, 4)]] },
  { name: 'relu', cpp: 'at::relu(self)', doc: 'max(x, 0).', samples: [[distinct(3, 4)]] },
  { name: 'gelu', args: 'approximate: text = none', cpp: 'at::gelu(self, approximate)', doc: "x · Φ(x); approximate 'none' (erf) or 'tanh'.", samples: [[normal(3, 4)], [normal(3, 4), 'tanh']] },
  { name: 'silu', cpp: 'at::silu(self)', doc: 'x · sigmoid(x).', samples: [[normal(3, 4)]] },
  { name: 'softplus', args: 'beta: scalar = 1, threshold: scalar = 20', cpp: 'at::softplus(self, beta, threshold)', doc: 'ln(1 + e^(βx)) ∕ β, linear above the threshold.', samples: [[normal(3, 4)], [normal(4), 2, 10]] },
  { name: 'erf', cpp: 'at::erf(self)', doc: 'Error function.', samples: [[normal(3, 4)]] },
  { name: 'clamp', args: 'min: scalar?, max: scalar?', cpp: 'at::clamp(self, min, max)', doc: 'Limits to [min, max]; either may be left out.', samples: [[distinct(3, 4), -1.1, 1.1], [distinct(5), null, 0.4], [distinct(5), 0.1]] },
  { name: 'minimum', args: 'other: operand', cpp: 'smaller(self, other)', doc: 'The smaller of both, element by element.', samples: [[normal(3, 4), normal(4)], [distinct(4), 0.1]] },
  { name: 'maximum', args: 'other: operand', cpp: 'larger(self, other)', doc: 'The larger of both, element by element.', samples: [[normal(3, 4), normal(4)], [distinct(4), 0.1]] },

  // Comparisons and truth values
  { name: 'eq', args: 'other: operand', cpp: 'at::eq(self, other)', doc: 'self = other → bool.', noGradient: whole, samples: [[normal(3), normal(3)]] },
  { name: 'ne', args: 'other: operand', cpp: 'at::ne(self, other)', doc: 'self ≠ other → bool.', noGradient: whole, samples: [[normal(3), normal(3)]] },
  { name: 'lt', args: 'other: operand', cpp: 'at::lt(self, other)', doc: 'self < other → bool.', noGradient: whole, samples: [[normal(3), normal(3)]] },
  { name: 'le', args: 'other: operand', cpp: 'at::le(self, other)', doc: 'self ≤ other → bool.', noGradient: whole, samples: [[normal(3), normal(3)]] },
  { name: 'gt', args: 'other: operand', cpp: 'at::gt(self, other)', doc: 'self > other → bool.', noGradient: whole, samples: [[normal(3), normal(3)]] },
  { name: 'ge', args: 'other: operand', cpp: 'at::ge(self, other)', doc: 'self ≥ other → bool.', noGradient: whole, samples: [[normal(3), normal(3)]] },
  { name: 'logicalAnd', args: 'other: tensor', cpp: 'at::logical_and(self, other)', doc: 'Both are true (not 0).', noGradient: whole, samples: [[normal(3), normal(3)]] },
  { name: 'logicalOr', args: 'other: tensor', cpp: 'at::logical_or(self, other)', doc: 'At least one is true (not 0).', noGradient: whole, samples: [[normal(3), normal(3)]] },
  { name: 'logicalNot', cpp: 'at::logical_not(self)', doc: 'True where self is 0.', noGradient: whole, samples: [[normal(3)]] },
  { name: 'isfinite', cpp: 'at::isfinite(self)', doc: 'Neither infinite nor NaN.', noGradient: whole, samples: [[normal(3)]] },
  { name: 'isnan', cpp: 'at::isnan(self)', doc: 'Is NaN.', noGradient: whole, samples: [[normal(3)]] },

  // Reductions
  { name: 'sum', args: 'dims: ints?, keepdim: bool = false', cpp: 'at::sum(self, dims, keepdim)', doc: 'Sum over dims (all, when absent).', samples: [[normal(3, 4)], [normal(3, 4), 1], [normal(2, 3, 4), [0, -1], true]] },
  { name: 'mean', args: 'dims: ints?, keepdim: bool = false', cpp: 'at::mean(self, dims, keepdim)', doc: 'Mean over dims (all, when absent).', samples: [[normal(3, 4)], [normal(2, 3, 4), [0, 2], true]] },
  { name: 'variance', args: 'dims: ints?, keepdim: bool = false, unbiased: bool = true', cpp: 'at::var(self, dims, at::Scalar(unbiased ? 1 : 0), keepdim)', doc: 'Variance over dims; unbiased divides by n − 1.', samples: [[normal(3, 4)], [normal(3, 4), 1, true, false]] },
  { name: 'amax', args: 'dims: ints?, keepdim: bool = false', cpp: 'at::amax(self, dims.value_or(at::IntArrayRef{}), keepdim)', doc: 'Largest over dims.', samples: [[distinct(3, 4)], [distinct(3, 4), -1, true]] },
  { name: 'amin', args: 'dims: ints?, keepdim: bool = false', cpp: 'at::amin(self, dims.value_or(at::IntArrayRef{}), keepdim)', doc: 'Smallest over dims.', samples: [[distinct(3, 4)], [distinct(3, 4), 0]] },
  { name: 'argmax', args: 'dim: int?, keepdim: bool = false', cpp: 'at::argmax(self, dim, keepdim)', doc: 'Where the largest is (i64); of the flattened tensor when dim is absent.', noGradient: whole, samples: [[distinct(3, 4), 1]] },
  { name: 'argmin', args: 'dim: int?, keepdim: bool = false', cpp: 'at::argmin(self, dim, keepdim)', doc: 'Where the smallest is (i64); of the flattened tensor when dim is absent.', noGradient: whole, samples: [[distinct(3, 4), 1]] },
  { name: 'norm', args: 'p: scalar = 2, dims: ints?, keepdim: bool = false', cpp: 'at::linalg_vector_norm(self, p, dims, keepdim)', doc: 'The p-norm over dims (all, when absent).', samples: [[normal(3, 4)], [normal(3, 4), 3, 1, true], [distinct(5), 1]] },
  { name: 'logsumexp', args: 'dims: ints, keepdim: bool = false', cpp: 'at::logsumexp(self, dims, keepdim)', doc: 'ln Σ eˣ over dims, without overflow.', samples: [[normal(3, 4), 1], [normal(3, 4), [0, 1], true]] },
  { name: 'cumsum', args: 'dim: int', cpp: 'at::cumsum(self, dim)', doc: 'Running sum along dim.', samples: [[normal(3, 4), 1]] },
  { name: 'any', args: 'dims: ints?, keepdim: bool = false', cpp: 'at::any(self, dims, keepdim)', doc: 'Whether any is true (not 0), over dims.', noGradient: whole, samples: [[normal(3, 4), 1]] },
  { name: 'all', args: 'dims: ints?, keepdim: bool = false', cpp: 'at::all(self, dims, keepdim)', doc: 'Whether all are true (not 0), over dims.', noGradient: whole, samples: [[normal(3, 4)]] },
  { name: 'max', args: 'dim: int, keepdim: bool = false', returns: 'pair', cpp: 'at::max(self, dim, keepdim)', doc: '[largest, where] along dim.', samples: [[distinct(3, 4), 1]] },
  { name: 'min', args: 'dim: int, keepdim: bool = false', returns: 'pair', cpp: 'at::min(self, dim, keepdim)', doc: '[smallest, where] along dim.', samples: [[distinct(3, 4), 0, true]] },
  { name: 'topk', args: 'k: int, dim: int = -1, largest: bool = true, sorted: bool = true', returns: 'pair', cpp: 'at::topk(self, k, dim, largest, sorted)', doc: '[the k largest (or smallest), where] along dim.', samples: [[distinct(3, 5), 2], [distinct(5, 2), 3, 0, false]] },
  { name: 'sort', args: 'dim: int = -1, descending: bool = false', returns: 'pair', cpp: 'at::sort(self, dim, descending)', doc: '[sorted, where from] along dim.', samples: [[distinct(3, 5)], [distinct(5, 2), 0, true]] },
  { name: 'argsort', args: 'dim: int = -1, descending: bool = false', cpp: 'at::argsort(self, dim, descending)', doc: 'The order (i64) that sorts along dim.', noGradient: whole, samples: [[distinct(3, 5)]] },
  { name: 'eigh', returns: 'pair', cpp: 'at::linalg_eigh(self.detach())', doc: '[eigenvalues, rising, eigenvectors as columns] of a symmetric matrix, of which the lower triangle is read.', noGradient: 'an eigenvector has no sign of its own: taken of the values alone', samples: [[normal(3, 3)]] },
  { name: 'unique', returns: 'pair', cpp: 'unique(self)', doc: '[sorted distinct values, inverse]: inverse has the shape of self and values[inverse] = self.', noGradient: 'a choice of values: LibTorch defines no gradient', samples: [[index([3, 1, 3])]] },
  { name: 'bincount', args: 'minlength: int = 0', cpp: 'at::bincount(self, {}, minlength)', doc: 'How often each whole number from 0 up occurs (i64).', noGradient: whole, samples: [[index([3, 1, 3])]] },
  { name: 'nonzero', cpp: 'at::nonzero(self)', doc: 'Where self is not 0: i64 [count, ndim].', noGradient: whole, samples: [[normal(3)]] },

  // Products
  { name: 'matmul', args: 'other: tensor', cpp: 'at::matmul(self, other)', doc: 'Matrix product over the last two dims, the others broadcast.', samples: [[normal(3, 4), normal(4, 2)], [normal(2, 3, 4), normal(4, 2)], [normal(4), normal(4)]] },
  { name: 'mm', args: 'other: tensor', cpp: 'at::mm(self, other)', doc: '[n, k] × [k, m].', samples: [[normal(3, 4), normal(4, 2)]] },
  { name: 'bmm', args: 'other: tensor', cpp: 'at::bmm(self, other)', doc: '[b, n, k] × [b, k, m].', samples: [[normal(2, 3, 4), normal(2, 4, 2)]] },
  { name: 'addmm', args: 'a: tensor, b: tensor, beta: scalar = 1, alpha: scalar = 1', cpp: 'at::addmm(self, a, b, beta, alpha)', doc: 'β·self + α·a×b.', samples: [[normal(2), normal(3, 4), normal(4, 2)], [normal(3, 2), normal(3, 4), normal(4, 2), 0.5, 2]] },
  { name: 'linear', args: 'weight: tensor, bias: tensor?', cpp: 'at::linear(self, weight, bias)', doc: 'x Wᵀ + b: x [..., in], weight [out, in], bias [out].', samples: [[normal(3, 4), normal(2, 4), normal(2)], [normal(2, 3, 4), normal(5, 4)]] },

  // Shapes
  { name: 'reshape', args: 'shape: ints', cpp: 'at::reshape(self, shape)', doc: 'The same elements in another shape; −1 is worked out.', samples: [[normal(3, 4), [2, -1]]] },
  { name: 'view', args: 'shape: ints', cpp: 'self.view(shape)', doc: 'As reshape, but never copies: fails where a copy is needed.', samples: [[normal(3, 4), [2, 6]]] },
  { name: 'transpose', args: 'dim0: int, dim1: int', cpp: 'at::transpose(self, dim0, dim1)', doc: 'Two dims exchanged.', samples: [[normal(2, 3, 4), 0, -1]] },
  { name: 'permute', args: 'dims: ints', cpp: 'at::permute(self, dims)', doc: 'Dims in another order.', samples: [[normal(2, 3, 4), [2, 0, 1]]] },
  { name: 'unsqueeze', args: 'dim: int', cpp: 'at::unsqueeze(self, dim)', doc: 'A dim of size 1 put in.', samples: [[normal(3, 4), -1]] },
  { name: 'squeeze', args: 'dim: int', cpp: 'at::squeeze(self, dim)', doc: 'A dim of size 1 taken out.', samples: [[normal(3, 1, 4), 1]] },
  { name: 'expand', args: 'shape: ints', cpp: 'self.expand(shape)', doc: 'Dims of size 1 repeated, without a copy; −1 keeps a size.', samples: [[normal(3, 1), [2, 3, 4]]] },
  { name: 'flatten', args: 'start: int = 0, end: int = -1', cpp: 'at::flatten(self, start, end)', doc: 'Dims start…end made one.', samples: [[normal(2, 3, 4), 1]] },
  { name: 'narrow', args: 'dim: int, start: int, length: int', cpp: 'at::narrow(self, dim, start, length)', doc: 'A part of a dim, without a copy.', samples: [[normal(3, 5), 1, 1, 3]] },
  { name: 'select', args: 'dim: int, index: int', cpp: 'at::select(self, dim, index)', doc: 'One place of a dim, which goes.', samples: [[normal(3, 4), 0, -1]] },
  { name: 'slice', args: 'dim: int, start: int?, end: int?, step: int = 1', cpp: 'at::slice(self, dim, start, end, step)', doc: 'Every step-th of start…end (exclusive) along dim.', samples: [[normal(3, 7), 1, 1, 6, 2], [normal(5), 0, -3]] },
  { name: 'flip', args: 'dims: ints', cpp: 'at::flip(self, dims)', doc: 'Dims reversed.', samples: [[normal(3, 4), [0, 1]]] },
  { name: 'repeat', args: 'repeats: ints', cpp: 'self.repeat(repeats)', doc: 'The tensor tiled, copying.', samples: [[normal(2, 3), [2, 1, 2]]] },
  { name: 'repeatInterleave', args: 'repeats: int, dim: int?', cpp: 'at::repeat_interleave(self, repeats, dim)', doc: 'Each element (or place of dim) repeated.', samples: [[normal(2, 3), 2, 1]] },
  { name: 'unbind', args: 'dim: int = 0', returns: 'tensors', cpp: 'at::unbind(self, dim)', doc: 'One tensor for each place of dim.', samples: [[normal(3, 4)], [normal(3, 2), 1]] },
  { name: 'split', args: 'sizes: ints, dim: int = 0', returns: 'tensors', cpp: 'split(self, sizes, dim)', doc: 'Pieces of a size (the last may be smaller), or of these sizes, along dim.', samples: [[normal(5, 2), 2], [normal(2, 5), [1, 4], 1]] },
  { name: 'chunk', args: 'chunks: int, dim: int = 0', returns: 'tensors', cpp: 'at::chunk(self, chunks, dim)', doc: 'That many pieces along dim.', samples: [[normal(2, 6), 3, 1]] },
  { name: 'tril', args: 'diagonal: int = 0', cpp: 'at::tril(self, diagonal)', doc: 'Zeros above the diagonal.', samples: [[normal(3, 4), 1]] },
  { name: 'triu', args: 'diagonal: int = 0', cpp: 'at::triu(self, diagonal)', doc: 'Zeros below the diagonal.', samples: [[normal(3, 4), -1]] },
  { name: 'diagonal', args: 'offset: int = 0, dim1: int = 0, dim2: int = 1', cpp: 'at::diagonal(self, offset, dim1, dim2)', doc: 'The diagonal over two dims, as the last dim.', samples: [[normal(3, 4)], [normal(2, 3, 3), 1, -2, -1]] },
  { name: 'contiguous', cpp: 'self.contiguous()', doc: 'The same elements laid out in order in memory.', samples: [[normal(3, 4)]] },
  { name: 'clone', cpp: 'at::clone(self)', doc: 'A copy; gradients flow through it.', samples: [[normal(3, 4)]] },
  { name: 'detach', cpp: 'self.detach()', doc: 'The same memory, outside the graph.', noGradient: 'cuts the graph, which is its purpose', samples: [[normal(3)]] },

  // Picking and placing
  { name: 'indexSelect', args: 'dim: int, index: tensor', cpp: 'at::index_select(self, dim, index)', doc: 'Places of a dim by index [n].', samples: [[normal(4, 3), 0, index([2, 0, 2])]] },
  { name: 'gather', args: 'dim: int, index: tensor', cpp: 'at::gather(self, dim, index)', doc: 'out[i][j] = self[i][index[i][j]] (dim 1).', samples: [[normal(2, 4), 1, index([0, 3, 3, 1, 2, 0], [2, 3])]] },
  { name: 'scatterAdd', args: 'dim: int, index: tensor, source: tensor', cpp: 'at::scatter_add(self, dim, index, source)', doc: 'self with source added where index says.', samples: [[normal(2, 4), 1, index([0, 3, 3, 1, 2, 0], [2, 3]), normal(2, 3)]] },
  { name: 'indexAdd', args: 'dim: int, index: tensor, source: tensor', cpp: 'at::index_add(self, dim, index, source)', doc: 'self with places of source added at index [n].', samples: [[normal(4, 3), 0, index([2, 0, 2]), normal(3, 3)]] },
  { name: 'indexCopy', args: 'dim: int, index: tensor, source: tensor', cpp: 'at::index_copy(self, dim, index, source)', doc: 'self with places replaced by those of source at index [n].', samples: [[normal(4, 3), 0, index([2, 0]), normal(2, 3)]] },
  { name: 'maskedFill', args: 'mask: tensor, value: scalar', cpp: 'at::masked_fill(self, mask, value)', doc: 'self with value where mask (bool, broadcast) is true.', samples: [[normal(2, 3), mask([1, 0, 1]), 0.5]] },
  { name: 'maskedSelect', args: 'mask: tensor', cpp: 'at::masked_select(self, mask)', doc: 'The elements where mask is true, as [n].', samples: [[normal(2, 3), mask([1, 0, 1])]] },
  { name: 'oneHot', args: 'classes: int', cpp: 'at::one_hot(self, classes)', doc: 'i64 [...] → i64 [..., classes].', noGradient: whole, samples: [[index([1, 0]), 3]] },

  // Networks
  { name: 'softmax', args: 'dim: int', cpp: 'at::softmax(self, dim)', doc: 'eˣ ∕ Σ eˣ along dim.', samples: [[normal(3, 4), -1]] },
  { name: 'logSoftmax', args: 'dim: int', cpp: 'at::log_softmax(self, dim)', doc: 'ln softmax along dim.', samples: [[normal(3, 4), 1]] },
  { name: 'layerNorm', args: 'normalizedShape: ints, weight: tensor?, bias: tensor?, eps: number = 1e-5', cpp: 'at::layer_norm(self, normalizedShape, weight, bias, eps)', doc: 'Mean 0 and variance 1 over the last dims, then weight and bias (Ba et al. 2016).', samples: [[normal(3, 4), [4], normal(4), normal(4)], [normal(2, 3, 4), [3, 4]]] },
  { name: 'rmsNorm', args: 'normalizedShape: ints, weight: tensor?, eps: number = 1e-6', cpp: 'at::rms_norm(self, normalizedShape, weight, eps)', doc: 'x ∕ √(mean x² + eps) · weight over the last dims (Zhang and Sennrich 2019).', samples: [[normal(3, 4), [4], normal(4)], [normal(3, 4), 4]] },
  { name: 'batchNorm', args: 'runningMean: tensor?, runningVariance: tensor?, weight: tensor?, bias: tensor?, training: bool = false, momentum: number = 0.1, eps: number = 1e-5', cpp: 'at::batch_norm(self, weight, bias, runningMean, runningVariance, training, momentum, eps, true)', doc: 'Per channel (dim 1); while training the running statistics are updated in place (Ioffe and Szegedy 2015).', samples: [[normal(5, 3), null, null, normal(3), normal(3), true]] },
  { name: 'normalize', args: 'dim: int = -1, eps: number = 1e-12', cpp: 'normalize(self, dim, eps)', doc: 'x ∕ max(‖x‖₂, eps) along dim.', samples: [[normal(3, 4)], [normal(3, 4), 0]] },
  { name: 'dropout', args: 'p: number, training: bool', cpp: 'at::dropout(self, p, training)', doc: 'While training, zeros with probability p and 1 ∕ (1 − p) elsewhere.', samples: [[normal(3, 4), 0.5, true], [normal(3), 0.5, false]] },
  { name: 'crossEntropy', args: 'target: tensor', options: 'weight: tensor?, ignoreIndex: int = -100, reduction: reduction = mean, labelSmoothing: number = 0', cpp: 'at::cross_entropy_loss(self, target, weight, reduction, ignoreIndex, labelSmoothing)', doc: 'Logits [n, classes] against i64 [n] (or probabilities [n, classes]).', samples: [[normal(3, 4), index([1, 3, 0])], [normal(3, 4), index([1, -1, 0]), { ignoreIndex: -1, reduction: 'sum', labelSmoothing: 0.1 }], [normal(3, 4), index([1, 3, 0]), { reduction: 'none' }]] },
  { name: 'binaryCrossEntropyWithLogits', args: 'target: tensor', options: 'weight: tensor?, positiveWeight: tensor?, reduction: reduction = mean', cpp: 'at::binary_cross_entropy_with_logits(self, target, weight, positiveWeight, reduction)', doc: 'Logits against probabilities of the same shape, without overflow.', samples: [[normal(3, 4), unit(3, 4)], [normal(4), unit(4), { weight: constant(positive(4)), reduction: 'sum' }]] },
  { name: 'binaryCrossEntropy', args: 'target: tensor', options: 'weight: tensor?, reduction: reduction = mean', cpp: 'at::binary_cross_entropy(self, target, weight, reduction)', doc: 'Probabilities against probabilities of the same shape; logarithms are held at −100.', samples: [[unit(3, 4), unit(3, 4)]] },
  { name: 'mseLoss', args: 'target: tensor', options: 'reduction: reduction = mean', cpp: 'at::mse_loss(self, target, reduction)', doc: '(self − target)².', samples: [[normal(3, 4), normal(3, 4)], [normal(3), normal(3), { reduction: 'sum' }]] },

  // In place
  { name: 'copy_', args: 'source: tensor', returns: 'this', cpp: 'self.copy_(source)', doc: 'Values (of any dtype and device) written over those of self.', noGradient: inPlace, samples: [[normal(3), normal(3)]] },
  { name: 'zero_', returns: 'this', cpp: 'self.zero_()', doc: 'Zeros written over self.', noGradient: inPlace, samples: [[normal(3)]] },
  { name: 'fill_', args: 'value: scalar', returns: 'this', cpp: 'self.fill_(value)', doc: 'One value written over self.', noGradient: inPlace, samples: [[normal(3), 2]] },
  { name: 'add_', args: 'other: operand, alpha: scalar = 1', returns: 'this', cpp: 'self.add_(other, alpha)', doc: 'self + α·other, in place.', noGradient: inPlace, samples: [[normal(3), normal(3)]] },
  { name: 'mul_', args: 'other: operand', returns: 'this', cpp: 'self.mul_(other)', doc: 'self · other, in place.', noGradient: inPlace, samples: [[normal(3), 2]] },
];

/** Functions of several tensors. */
// biome-ignore format: a table, an operator a line
export const functions = [
  { name: 'cat', args: 'tensors: tensors, dim: int = 0', cpp: 'at::cat(tensors, dim)', doc: 'Tensors one after another along dim.', samples: [[[normal(2, 3), normal(2, 1)], 1]] },
  { name: 'stack', args: 'tensors: tensors, dim: int = 0', cpp: 'at::stack(tensors, dim)', doc: 'Tensors of one shape along a new dim.', samples: [[[normal(2, 3), normal(2, 3)], -1]] },
  { name: 'where', args: 'condition: tensor, a: operand, b: operand', cpp: 'at::where(condition, a, b)', doc: 'a where condition (bool) is true, b elsewhere; all broadcast.', samples: [[mask([1, 0, 1]), normal(2, 3), normal(3)], [mask([1, 0, 1]), normal(3), 0], [mask([1, 0, 1]), 1.5, normal(3)]] },
  { name: 'einsum', args: 'equation: text, tensors: tensors', cpp: 'at::einsum(equation, tensors)', doc: "Sums of products in Einstein's notation.", samples: [['bij,bj->bi', [normal(2, 3, 4), normal(2, 4)]]] },
  { name: 'outer', args: 'a: tensor, b: tensor', cpp: 'at::outer(a, b)', doc: '[n], [m] → [n, m].', samples: [[normal(3), normal(4)]] },
  { name: 'embedding', args: 'weight: tensor, index: tensor', options: 'sparse: bool = false, paddingIndex: int = -1', cpp: 'at::embedding(weight, index, paddingIndex, false, sparse)', doc: 'Rows of weight [rows, d] by index (i64 or i32, any shape) → [..., d]. sparse: the gradient of weight holds the rows used alone, for RowwiseAdam. The row paddingIndex gets no gradient.', samples: [[normal(4, 3), index([2, 0, 2, 1], [2, 2])], [normal(4, 3), index([2, 0, 2]), { sparse: true }]] },
  { name: 'embeddingBag', args: 'weight: tensor, index: tensor, offsets: tensor', options: 'mode: text = sum, sparse: bool = false, weights: tensor?, paddingIndex: int?', cpp: 'embeddingBag(weight, index, offsets, mode, sparse, weights, paddingIndex)', doc: "Sums or means (mode 'sum', 'mean') of rows: bag b is index[offsets[b]…offsets[b + 1]] → [bags, d].", samples: [[normal(5, 3), index([2, 0, 2, 4]), index([0, 3])], [normal(5, 3), index([2, 0, 2, 4]), index([0, 3]), { mode: 'mean' }], [normal(5, 3), index([2, 0, 2, 4]), index([0, 3]), { weights: normal(4) }]] },
  { name: 'scaledDotProductAttention', args: 'query: tensor, key: tensor, value: tensor', options: 'mask: tensor?, isCausal: bool = false, scale: number?, enableGqa: bool = false', cpp: 'at::scaled_dot_product_attention(query, key, value, mask, 0.0, isCausal, scale, enableGqa)', doc: 'softmax(q kᵀ · scale + mask) v over [..., heads, length, d]; scale 1 ∕ √d when absent; a bool mask is true where attention is allowed; enableGqa: key and value may have fewer heads (Vaswani et al. 2017).', samples: [[normal(1, 2, 3, 4), normal(1, 2, 3, 4), normal(1, 2, 3, 4)], [normal(1, 2, 3, 4), normal(1, 2, 3, 4), normal(1, 2, 3, 4), { isCausal: true, scale: 0.3 }], [normal(1, 1, 2, 4), normal(1, 1, 3, 4), normal(1, 1, 3, 4), { mask: normal(1, 1, 2, 3) }], [normal(1, 4, 3, 4), normal(1, 2, 3, 4), normal(1, 2, 3, 4), { enableGqa: true }]] },
  { name: 'infoNce', args: 'query: tensor, key: tensor, scale: operand, groups: tensor?', cpp: 'infoNce(query, key, scale, groups)', doc: 'Symmetric InfoNCE of query and key [B, d], positives on the diagonal: ½ mean(lse over rows + lse over columns − 2·diagonal) of scale · q kᵀ; pairs i ≠ j of one group (i32 [B]) are left out of both sums (docs/method.md, section 3). Accumulates in f32 (f64 for f64).', samples: [[normal(5, 4), normal(5, 4), 1.5], [normal(5, 4), normal(5, 4), { sample: 'values', values: [2.5], shape: [] }], [normal(5, 4), normal(5, 4), 2, { sample: 'groups', values: [0, 1, 0, 2, 1] }], [normal(3, 4), normal(3, 4), 2, { sample: 'groups', values: [0, 0, 0] }]] },
  { name: 'groupedLinear', args: 'x: tensor, weight: tensor, source: ints', options: 'bias: tensor?, relu: bool = false', cpp: 'groupedLinear(x, weight, bias, source, relu)', doc: 'Networks side by side: [relu](x_{source e} W_e + b_e) for each e → [B, E · out]; x [B, blocks · in], weight [E, in, out], bias E · out numbers, source: the block of x that each reads. On the CPU for f32 and bf16 nothing is copied between blocks, and products are ours where blockLinear’s are and in and out are 16 at least; what comes back to a block that several read is rounded to its dtype after each of them.', samples: [[normal(4, 6), normal(3, 2, 5), [0, 2, 0], { bias: normal(3, 1, 5) }], [normal(4, 6), normal(2, 3, 2), [1, 0]], [normal(4, 2), normal(2, 2, 3), [0, 0], { bias: normal(6), relu: true }]] },
  { name: 'mixExperts', args: 'experts: tensor, gate: tensor', cpp: 'mixExperts(experts, gate)', doc: 'Σ_e gate[b, g, e] · experts[b, e] → [B, G · d]; experts [B, E · d], gate [B, G, E]. Fused on the CPU for f32 and bf16.', samples: [[normal(4, 6), normal(4, 2, 3)]] },
  { name: 'sceneAttention', args: 'logits: tensor, values: tensor, index: tensor, missing: tensor', cpp: 'sceneAttention(logits, values, index, missing)', doc: 'Attention of one query over the entries that each row names: Σ_i softmax_i(logits[entry, h]) · values[entry, h] → [B, d]; logits [entries + 1, heads], values [entries + 1, d], whose last row is the query itself; index i64 or i32 [B, n], missing bool [B, n]: left out. Fused on the CPU for f32 and bf16.', samples: [[normal(5, 2), normal(5, 6), index([0, 3, 2, 2, 1, 0], [3, 2]), mask([0, 0, 1, 0, 1, 1], [3, 2])]] },
  { name: 'packedAttention', args: 'queryKeyValue: tensor, cosine: tensor, sine: tensor, starts: tensor, heads: int, keyValueHeads: int', cpp: 'packedAttention(queryKeyValue, cosine, sine, starts, heads, keyValueHeads)', doc: 'Causal grouped-query attention, softmax(q kᵀ ∕ √d) v, of each of several sequences laid one after another with itself: [T, (heads + 2·keyValueHeads)·d] → [T, heads·d]. A row holds a token’s queries, keys and values. Queries and keys are first turned by their position (rotary, halves apart), which restarts at each sequence: cosine and sine are constants [longest, d ∕ 2]. starts: i32 or i64 [sequences + 1], where each sequence begins and then T, best kept on the CPU. Fused on the CPU for f32 and bf16.', samples: [[normal(6, 8), constant(normal(4, 1)), constant(normal(4, 1)), { sample: 'groups', values: [0, 4, 5, 6] }, 2, 1], [normal(5, 12), constant(normal(5, 2)), constant(normal(5, 2)), { sample: 'groups', values: [0, 5] }, 1, 1]] },
  { name: 'packedQueryAttention', args: 'queries: tensor, keysValues: tensor, tokens: tensor, cosine: tensor, sine: tensor, starts: tensor, heads: int, keyValueHeads: int', cpp: 'packedQueryAttention(queries, keysValues, tokens, cosine, sine, starts, heads, keyValueHeads)', doc: 'packedAttention for some of the tokens: queries [R, heads·d] of tokens (i32 or i64 [R], rising, best kept on the CPU) over keysValues [T, 2·keyValueHeads·d] of all of them → [R, heads·d]. A sequence may have no query.', samples: [[normal(3, 4), normal(6, 4), { sample: 'groups', values: [1, 2, 5] }, constant(normal(4, 1)), constant(normal(4, 1)), { sample: 'groups', values: [0, 4, 5, 6] }, 2, 1], [normal(1, 4), normal(5, 8), { sample: 'groups', values: [4] }, constant(normal(5, 2)), constant(normal(5, 2)), { sample: 'groups', values: [0, 5] }, 1, 1]] },
  { name: 'takeRows', args: 'x: tensor, index: tensor', cpp: 'takeRows(x, index)', doc: 'Rows of x [n, d] by index (i64 or i32 [m]) → [m, d]. Of a row taken more than once the gradients are summed in f32 and rounded once, on the CPU for f32 and bf16.', samples: [[normal(4, 3), index([2, 0, 2, 2, 3])]] },
  { name: 'addRmsNorm', args: 'x: tensor, weight: tensor, update: tensor?, eps: number = 1e-6', returns: 'pair', cpp: 'addRmsNorm(x, weight, update, eps)', doc: '[s, s ∕ √(mean s² + eps) · weight] with s = x + update, or x where there is none, over the last dim: a residual step and the norm after it. Under autocast the second is bf16. Fused on the CPU for f32 and bf16.', samples: [[normal(3, 4), normal(4), normal(3, 4)], [normal(3, 4), normal(4), null, 1e-3]] },
  { name: 'swiGlu', args: 'gateUp: tensor', cpp: 'swiGlu(gateUp)', doc: 'silu(gate) · up of rows [gate | up]: [..., 2f] → [..., f] (Shazeer 2020). Fused on the CPU for f32 and bf16.', samples: [[normal(3, 6)]] },
  { name: 'blockLinear', args: 'x: tensor, weight: tensor, bias: tensor?', options: 'relu: bool = false', cpp: 'blockLinear(x, weight, bias, relu)', doc: 'x weightᵀ + bias, as `linear`, and with relu the ReLU of it, for many rows and weights as small as a decoder’s: x [..., in], weight [out, in], bias [out] → [..., out]. On a CPU with AVX-512 (bf16: with AVX512-BF16 or AMX) in blocks of our own: sums and the weight’s gradient stay f32, and a row’s bits are its own whatever the other rows. LibTorch’s product for fewer than 32 rows and elsewhere.', samples: [[normal(4, 3), normal(5, 3), normal(5)], [normal(2, 2, 3), normal(5, 3)], [normal(4, 3), normal(5, 3), normal(5), { relu: true }]] },
  { name: 'linearSwiGlu', args: 'x: tensor, weight: tensor', cpp: 'linearSwiGlu(x, weight)', doc: 'swiGlu(x weightᵀ), the gate applied while the product is in registers: x [..., in], weight [2f, in] → [..., f]. Runs where blockLinear does.', samples: [[normal(4, 3), normal(6, 3)]] },
  { name: 'linearCrossEntropy', args: 'states: tensor, weight: tensor, target: tensor', cpp: 'linearCrossEntropy(states, weight, target)', doc: 'Σ −ln softmax(states weightᵀ)[target], a scalar: states [n, d], weight [classes, d], target i64 or i32 [n]. The [n, classes] scores are never held in full; the gradients are made with the loss, so it can be differentiated once.', samples: [[normal(4, 3), normal(5, 3), index([1, 4, 0, 1])]] },
];
