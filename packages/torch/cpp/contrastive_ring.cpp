// The algorithm of infonce_ring (larr/ring.h) over LibTorch's operators. Tiles are rows of this rank's Q against the block of K that
// is visiting; the diagonal is left out of them and added apart. Log-sum-exps are f64 between tiles.
#include "contrastive_ring.h"

#include <larr/ring_steps.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace larr {
namespace {

constexpr int64_t kTileBytes = 16 << 20;  // of one array of scores; at most four exist
constexpr double kNothing = -std::numeric_limits<double>::infinity();

// A block of K in host memory, in one piece: k [most, d], ids [most], and for pass 2 the columns' log-sum-exps [most].
struct Block {
  at::Tensor k, ids, lse;
  char* data = nullptr;
  size_t head = 0, whole = 0;

  Block(int64_t most, int64_t dim, at::ScalarType compute) {
    const int64_t wide = most * dim * static_cast<int64_t>(c10::elementSize(compute)), narrow = most * 4, lseAt = (wide + narrow + 7) / 8 * 8;
    head = static_cast<size_t>(wide + narrow);
    whole = static_cast<size_t>(lseAt + most * 8);
    memory_ = at::empty({static_cast<int64_t>(whole)}, at::kByte);
    data = static_cast<char*>(memory_.data_ptr());
    k = at::from_blob(data, {most, dim}, compute);
    ids = at::from_blob(data + wide, {most}, at::kInt);
    lse = at::from_blob(data + lseAt, {most}, at::kDouble);
  }

 private:
  at::Tensor memory_;
};

class Composed {
 public:
  Composed(const at::Tensor& q, const at::Tensor& k, double scale, const Terms& terms, Ring& ring)
      : q_(q), k_(k), scale_(scale), terms_(terms), ring_(ring), agreement_(ring) {}

  Fused run(const at::Tensor& ids) {
    agreement_.attempt([&] { prepare(ids); });
    agreement_.reach({});
    passOne();
    double own = 0;
    agreement_.attempt([&] { own = logSumExps(); });
    const auto compute = q_.scalar_type();
    Fused fused;
    fused.loss = at::scalar_tensor(agreedSum(own) / (2 * static_cast<double>(terms_.total)), q_.options());
    double dscale = 0;
    if (terms_.gradients) {
      passTwo();
      agreement_.attempt([&] {
        const double factor = scale_ / (2 * static_cast<double>(terms_.total));
        const at::Tensor share = ownGradient_.unsqueeze(1).to(compute);
        const at::Tensor diagonal = at::sum(q_.to(at::kDouble) * dq_.to(at::kDouble)) + at::sum(ownGradient_ * dots_);
        dscale = diagonal.item<double>() / (2 * static_cast<double>(terms_.total));
        fused.dq = (dq_ + share * k_) * factor;
        fused.dk = (gradients_[home(ring_.size())].narrow(0, 0, rows_).to(q_.device()) + share * q_) * factor;
      });
      dscale = agreedSum(dscale);
    }
    fused.dscale = at::scalar_tensor(dscale / ring_.size(), q_.options().dtype(at::kDouble));
    return fused;
  }

 private:
  void prepare(const at::Tensor& ids) {
    const int64_t most = *std::max_element(terms_.batches.begin(), terms_.batches.end()), dim = q_.size(1);
    const auto compute = q_.scalar_type();
    rows_ = q_.size(0);
    for (int i = 0; i < std::min(ring_.size(), 3); i++) blocks_.emplace_back(most, dim, compute);
    const auto host = at::TensorOptions();
    for (int i = 0; i < std::min(ring_.size(), 2); i++) {
      totals_[i] = at::empty({most}, host.dtype(at::kDouble));
      if (terms_.gradients) gradients_[i] = at::empty({most, dim}, host.dtype(compute));
    }
    const Block& own = blocks_[0];
    own.k.narrow(0, 0, rows_).copy_(k_);
    if (terms_.grouped && rows_ > 0) own.ids.narrow(0, 0, rows_).copy_(ids);
    ids_ = own.ids.narrow(0, 0, rows_).to(q_.device()).clone();
    dots_ = at::sum(q_.to(at::kDouble) * k_.to(at::kDouble), at::IntArrayRef{1});
    rowTotal_ = at::full({rows_}, kNothing, dots_.options());
    if (terms_.gradients) dq_ = at::zeros_like(q_);
  }

  // The block of rank `whose` becomes the columns, on the inputs' device.
  void meet(const Block& block, int whose) {
    columns_ = terms_.batches[static_cast<size_t>(whose)];
    own_ = whose == ring_.rank();
    key_ = block.k.narrow(0, 0, columns_).to(q_.device());
    if (terms_.grouped) columnIds_ = block.ids.narrow(0, 0, columns_).to(q_.device());
  }

  // body(first row, rows, scores) of every tile, scores [rows, columns_] with minus infinity for pairs that are left out.
  template <class F>
  void overTiles(const F& body) const {
    if (rows_ == 0 || columns_ == 0) return;
    const int64_t height = std::max<int64_t>(1, kTileBytes / (columns_ * static_cast<int64_t>(q_.element_size())));
    for (int64_t row = 0; row < rows_; row += height) {
      const int64_t n = std::min(height, rows_ - row);
      at::Tensor scores = at::mm(q_.narrow(0, row, n), key_.t()).mul_(scale_);
      if (terms_.grouped) scores.masked_fill_(at::eq(ids_.narrow(0, row, n).unsqueeze(1), columnIds_.unsqueeze(0)), kNothing);
      else if (own_) scores.diagonal(row).fill_(kNothing);
      body(row, n, scores);
    }
  }

  template <class Work, class Arrived>
  void round(size_t bytes, const at::Tensor (&behind)[2], const Work& work, const Arrived& arrived) {
    void* data[3] = {};
    for (size_t i = 0; i < blocks_.size(); i++) data[i] = blocks_[i].data;
    const auto of = [](const at::Tensor& x) { return x.defined() ? x.data_ptr() : nullptr; };
    go_round(
        ring_, {data[0], data[1], data[2]}, bytes, {of(behind[0]), of(behind[1])}, behind[0].nbytes(),
        [&](int step, int block, int whose) {
          agreement_.attempt([&] {
            meet(blocks_[static_cast<size_t>(block)], whose);
            work(step, blocks_[static_cast<size_t>(block)]);
          });
        },
        [&](int step) { agreement_.attempt([&] { arrived(step); }); });
  }

  void passOne() {
    at::Tensor column;  // this rank's part of the block's columns
    round(
        blocks_[0].head, totals_,
        [&](int, const Block&) {
          column = at::full({columns_}, kNothing, dots_.options());
          overTiles([&](int64_t row, int64_t n, const at::Tensor& scores) {
            at::Tensor total = rowTotal_.narrow(0, row, n);
            total.copy_(at::logaddexp(total, at::logsumexp(scores, at::IntArrayRef{1}).to(at::kDouble)));
            column = at::logaddexp(column, at::logsumexp(scores, at::IntArrayRef{0}).to(at::kDouble));
          });
        },
        [&](int step) {
          at::Tensor total = totals_[step % 2].narrow(0, 0, columns_);
          total.copy_(step == 0 ? column.cpu() : at::logaddexp(total, column.cpu()));
        });
  }

  // This rank's part of the loss, times 2 B.
  double logSumExps() {
    const at::Tensor own = dots_ * scale_, column = totals_[home(ring_.size())].narrow(0, 0, rows_).to(q_.device());
    const at::Tensor nothing = at::zeros_like(own);
    // log(sum + e^own) - own, never cancelling: what the pair still has to learn
    const at::Tensor rowExcess = at::logaddexp(rowTotal_ - own, nothing), columnExcess = at::logaddexp(column - own, nothing);
    rowLse_ = (own + rowExcess).to(q_.scalar_type());
    blocks_[0].lse.narrow(0, 0, rows_).copy_(own + columnExcess);
    ownGradient_ = at::expm1(-rowExcess) + at::expm1(-columnExcess);
    return at::sum(rowExcess + columnExcess).item<double>();
  }

  void passTwo() {
    at::Tensor dk;  // this rank's part
    round(
        blocks_[0].whole, gradients_,
        [&](int, const Block& block) {
          const at::Tensor columnLse = block.lse.narrow(0, 0, columns_).to(q_.device(), q_.scalar_type());
          dk = at::zeros_like(key_);
          overTiles([&](int64_t row, int64_t n, at::Tensor& scores) {
            const at::Tensor g = at::exp(scores - rowLse_.narrow(0, row, n).unsqueeze(1));
            g.add_(scores.sub_(columnLse.unsqueeze(0)).exp_());
            dq_.narrow(0, row, n).addmm_(g, key_);
            dk.addmm_(g.t(), q_.narrow(0, row, n));
          });
        },
        [&](int step) {
          at::Tensor sum = gradients_[step % 2].narrow(0, 0, columns_);
          if (step == 0) sum.copy_(dk);
          else sum.add_(dk.cpu());
        });
  }

  // The sum over ranks in their order.
  double agreedSum(double own) {
    double sum = 0;
    for (const double x : agreement_.reach({own})) sum += x;
    return sum;
  }

  const at::Tensor q_, k_;
  const double scale_;
  const Terms& terms_;
  Ring& ring_;
  Agreement agreement_;

  int64_t rows_ = 0, columns_ = 0;
  bool own_ = false;
  std::vector<Block> blocks_;  // its own, and visitors
  at::Tensor totals_[2], gradients_[2];
  at::Tensor ids_, dots_, rowTotal_, rowLse_, ownGradient_, dq_;  // of its own rows
  at::Tensor key_, columnIds_;                                    // of the block that is here
};

}  // namespace

Fused composedOverRing(const at::Tensor& q, const at::Tensor& k, double scale, const at::Tensor& ids, bool differentiate, Ring& ring) {
  const auto compute = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  Agreement agreement(ring);
  InfoNce problem;
  problem.batch = q.size(0);
  problem.dim = q.size(1);
  problem.scale = scale;
  if (ids.defined()) problem.groups = ids.const_data_ptr<int32_t>();
  const Terms terms = agreement.terms(problem, differentiate, Isa::scalar);
  return Composed(q.to(compute), k.to(compute), scale, terms, ring).run(ids);
}

}  // namespace larr
