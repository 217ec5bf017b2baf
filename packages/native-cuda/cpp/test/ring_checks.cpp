// InfoNCE over a ring of threads, each a rank: against float64 of the whole batch, and what becomes of errors.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "../infonce/plan.h"
#include "infonce_case.h"
#include "larr/ring.h"

namespace larr::infonce_detail {
extern const Path emulated_amx;
}

namespace larr::test {
namespace {

// What the ranks share. Bytes are copied when the receiver waits, as late as a transport may: a buffer written too early shows.
struct Hub {
  struct Parcel {
    const void* data;
    size_t bytes;
    bool taken = false;
  };
  std::mutex mutex;
  std::condition_variable changed;
  int size;
  std::vector<std::deque<std::shared_ptr<Parcel>>> sent;  // by sender, until taken
  std::vector<const double*> given;                       // by rank
  int arrived = 0, round = 0;
  explicit Hub(int ranks) : size(ranks), sent(size_t(ranks)), given(size_t(ranks)) {}

  void until(std::unique_lock<std::mutex>& lock, const std::function<bool()>& ready) {
    if (!changed.wait_for(lock, std::chrono::seconds(60), ready)) throw std::logic_error("the ring is stuck");
  }
};

class ThreadRing final : public Ring {
 public:
  std::function<void()> at_shift = [] {};

  ThreadRing(Hub& hub, int rank) : hub_(hub), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return hub_.size; }

  void begin_shift(const void* send, void* receive, size_t bytes) override {
    at_shift();
    std::memset(receive, 0xff, bytes);  // NaN until it has come
    const std::lock_guard lock(hub_.mutex);
    leaving_.push_back(std::make_shared<Hub::Parcel>(Hub::Parcel{send, bytes}));
    hub_.sent[size_t(rank_)].push_back(leaving_.back());
    expected_.push_back({receive, bytes});
    hub_.changed.notify_all();
  }

  void wait() override {
    std::unique_lock lock(hub_.mutex);
    auto& from = hub_.sent[size_t((rank_ + hub_.size - 1) % hub_.size)];
    for (const auto& [to, bytes] : expected_) {
      hub_.until(lock, [&] { return !from.empty(); });
      if (from.front()->bytes != bytes) throw std::logic_error("ranks shift different numbers of bytes");
      std::memcpy(to, from.front()->data, bytes);
      from.front()->taken = true;
      from.pop_front();
      hub_.changed.notify_all();
    }
    expected_.clear();
    for (const auto& parcel : leaving_) hub_.until(lock, [&] { return parcel->taken; });
    leaving_.clear();
  }

  void gather(const double* own, int count, double* all) override {
    std::unique_lock lock(hub_.mutex);
    if (!expected_.empty() || !leaving_.empty()) throw std::logic_error("a gather while blocks are under way");
    hub_.given[size_t(rank_)] = own;
    meet(lock);
    for (const double* x : hub_.given) all = std::copy(x, x + count, all);
    meet(lock);  // before that, others may still read what is our caller's
  }

 private:
  void meet(std::unique_lock<std::mutex>& lock) {
    const int round = hub_.round;
    if (++hub_.arrived == hub_.size) {
      hub_.arrived = 0;
      hub_.round++;
      hub_.changed.notify_all();
    }
    hub_.until(lock, [&] { return hub_.round != round; });
  }

  struct Expected {
    void* to;
    size_t bytes;
  };
  Hub& hub_;
  int rank_;
  std::vector<std::shared_ptr<Hub::Parcel>> leaving_;
  std::vector<Expected> expected_;
};

// body(rank, ring) on every rank at once; what each of them threw.
std::vector<std::exception_ptr> on_ranks(int size, const std::function<void(int, ThreadRing&)>& body) {
  Hub hub(size);
  std::vector<std::exception_ptr> thrown(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; rank++)
    threads.emplace_back([&, rank] {
      try {
        ThreadRing ring(hub, rank);
        body(rank, ring);
      } catch (...) {
        thrown[size_t(rank)] = std::current_exception();
      }
    });
  for (std::thread& t : threads) t.join();
  return thrown;
}

void run_rank(const Variant& v, const InfoNce& p, InfoNceOut& out, Ring& ring, const std::atomic<bool>* cancel = nullptr) {
#if defined(LARR_TEST_AMX)
  if (v.kind == Variant::emulated_amx) return infonce_detail::run(infonce_detail::emulated_amx, p, out, ring, {.isa = Isa::scalar, .cancel = cancel});
#endif
  infonce_ring(p, out, ring, {.isa = v.isa, .cancel = cancel});
}

// `whole`'s rows of one rank: edges[rank] .. edges[rank + 1].
InfoNce part_of(const InfoNce& whole, const std::vector<int64_t>& edges, int rank) {
  InfoNce p = whole;
  const int64_t from = edges[size_t(rank)];
  p.batch = edges[size_t(rank) + 1] - from;
  if (p.batch == 0) {
    p.q = p.k = p.groups = nullptr;
    return p;
  }
  p.q = static_cast<const float*>(whole.q) + from * whole.dim;
  p.k = static_cast<const float*>(whole.k) + from * whole.dim;
  p.groups = whole.groups ? whole.groups + from : nullptr;
  return p;
}

std::vector<int64_t> even_edges(int64_t batch, int size) {
  std::vector<int64_t> edges;
  for (int r = 0; r <= size; r++) edges.push_back(batch * r / size);
  return edges;
}

// Where each rank's rows end: any, evenly, or all on one rank.
std::vector<int64_t> random_edges(Random& random, int64_t batch, int size) {
  std::vector<int64_t> edges = even_edges(batch, size);
  const int kind = random.below(4), only = random.below(size);
  for (int r = 1; r < size; r++) {
    if (kind < 2) edges[size_t(r)] = random.below(int(batch) + 1);
    if (kind == 2) edges[size_t(r)] = r <= only ? 0 : batch;
  }
  std::sort(edges.begin(), edges.end());
  return edges;
}

std::string named(const NceCase& c, const std::vector<int64_t>& edges, const std::string& variant) {
  std::string text = "ring of";
  for (size_t r = 0; r + 1 < edges.size(); r++) text += " " + std::to_string(edges[r + 1] - edges[r]);
  return text + ": " + name(c) + variant;
}

NceOutputs run_whole(const Variant& v, const InfoNce& whole, const std::vector<int64_t>& edges, bool gradients, const std::string& what) {
  const int size = int(edges.size()) - 1;
  NceOutputs got(size_t(whole.batch), size_t(whole.dim));
  std::vector<InfoNceOut> outs;
  for (int r = 0; r < size; r++) {
    outs.push_back(got.from(size_t(edges[size_t(r)]), size_t(whole.dim)));
    const bool empty = edges[size_t(r)] == edges[size_t(r) + 1];
    if (!gradients || (empty && r % 2)) outs.back().dq = outs.back().dk = nullptr;  // a rank without rows has nowhere to put them
  }
  for (const auto& e : on_ranks(size, [&](int r, Ring& ring) { run_rank(v, part_of(whole, edges, r), outs[size_t(r)], ring); }))
    if (e) std::rethrow_exception(e);
  for (const InfoNceOut& out : outs) expect(out.loss == outs[0].loss && out.dscale == outs[0].dscale, what + " loss or dscale differs between ranks");
  got.loss = outs[0].loss, got.dscale = outs[0].dscale;
  return got;
}

}  // namespace

void check_ring(const NceCase& c, int size, uint64_t seed, const std::vector<Isa>& isas) {
  NceProblem made = make_problem(c, seed);
  Random random(seed);
  const std::vector<int64_t> edges = random_edges(random, c.batch, size);
  const NceAnswer exact = reference_of(made.p);
  for (Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const Variant& v : variants(dtype, isas, c.batch <= 400)) {
      made.p.compute = dtype;
      const std::string what = named(c, edges, v.name(dtype));
      const NceOutputs got = run_whole(v, made.p, edges, true, what);
      compare(c, made, exact, dtype, got, what);
      if (seed % 2) expect(run_whole(v, made.p, edges, true, what) == got, what + " differs from run to run");
      else expect(run_whole(v, made.p, edges, false, what).loss == got.loss, what + " forward-only loss differs");
      if (size > 1 || v.kind != Variant::isa_path) continue;
      NceOutputs alone(size_t(c.batch), size_t(c.dim));
      InfoNceOut out = alone.from(0, size_t(c.dim));
      infonce(made.p, out, {.isa = v.isa});
      alone.loss = out.loss, alone.dscale = out.dscale;
      expect(alone == got, what + " is not what one process gets");
    }
}

void check_ring_not_finite(const NceCase& c, int size, uint64_t seed, const std::vector<Isa>& isas) {
  NceProblem made = make_problem(c, seed);
  spoil(made, seed);
  Random random(seed);
  const std::vector<int64_t> edges = random_edges(random, c.batch, size);
  for (Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const Variant& v : variants(dtype, isas, true)) {
      made.p.compute = dtype;
      const std::string what = named(c, edges, v.name(dtype));
      NceOutputs got(size_t(c.batch), size_t(c.dim));
      std::vector<InfoNceOut> outs;
      for (int r = 0; r < size; r++) outs.push_back(got.from(size_t(edges[size_t(r)]), size_t(c.dim)));
      on_ranks(size, [&](int r, Ring& ring) { run_rank(v, part_of(made.p, edges, r), outs[size_t(r)], ring); });
      bool all = true;
      for (const InfoNceOut& out : outs) all = all && std::isnan(out.loss) && std::isnan(out.dscale);
      for (auto* x : {&got.lse_row, &got.lse_col, &got.dq, &got.dk}) {
        x->pop_back();
        for (float y : *x) all = all && std::isnan(y);
      }
      expect(all, what + " gave a number for what is not finite");
    }
}

// What is wrong on one rank is an error on every one, of the kind given, and none is left waiting.
void check_ring_errors() {
  const NceCase c{40, 20, 10, 1, true};
  NceProblem made = make_problem(c, 7);
  const int size = 3;
  const std::vector<int64_t> edges = even_edges(c.batch, size);
  NceOutputs got(size_t(c.batch), size_t(c.dim));
  using Change = std::function<void(InfoNce&, InfoNceOut&, Run&)>;
  // `owner`: of the message that the rank itself gives, where only it knows.
  const auto refused = [&](const std::string& what, const std::string& owner, const Change& change, bool on_all = false) {
    for (int wrong = 0; wrong < size; wrong++) {
      const auto thrown = on_ranks(size, [&](int r, Ring& ring) {
        InfoNce p = part_of(made.p, edges, r);
        InfoNceOut out = got.from(size_t(edges[size_t(r)]), size_t(c.dim));
        Run run{.isa = Isa::scalar, .cancel = nullptr};
        if (r == wrong || on_all) change(p, out, run);
        infonce_ring(p, out, ring, run);
      });
      for (int r = 0; r < size; r++) {
        std::string message;
        try {
          if (thrown[size_t(r)]) std::rethrow_exception(thrown[size_t(r)]);
        } catch (const std::invalid_argument& e) {
          message = e.what();
        } catch (const std::exception& e) {
          message = std::string("(of another kind) ") + e.what();
        }
        const std::string wanted = r == wrong || on_all || owner.find("every rank") != std::string::npos ? owner : "rank " + std::to_string(wrong) + " was given bad arguments";
        expect(message.starts_with("infonce_ring: ") && message.find(wanted) != std::string::npos, what + " on rank " + std::to_string(wrong) + ": rank " + std::to_string(r) + " says '" + message + "'");
      }
    }
  };
  refused("a negative batch", "batch must be at least 0", [](InfoNce& p, InfoNceOut&, Run&) { p.batch = -1; });
  refused("no width", "dim must be at least 1", [](InfoNce& p, InfoNceOut&, Run&) { p.dim = 0; });
  refused("no keys", "q and k must be given", [](InfoNce& p, InfoNceOut&, Run&) { p.k = nullptr; });
  refused("a scale that is no number", "scale must be finite", [](InfoNce& p, InfoNceOut&, Run&) { p.scale = NAN; });
  refused("dq without dk", "dq and dk must be given together", [](InfoNce&, InfoNceOut& out, Run&) { out.dk = nullptr; });
  refused("another width", "dim must be the same on every rank", [](InfoNce& p, InfoNceOut&, Run&) { p.dim = 19; });
  refused("another scale", "scale must be the same on every rank", [](InfoNce& p, InfoNceOut&, Run&) { p.scale = std::nextafter(p.scale, 11); });
  refused("another type", "compute must be the same on every rank", [](InfoNce& p, InfoNceOut&, Run&) { p.compute = Dtype::bf16; });
  refused("no groups", "whether groups are given must be the same on every rank", [](InfoNce& p, InfoNceOut&, Run&) { p.groups = nullptr; });
  refused("no gradients", "must be the same on every rank", [](InfoNce&, InfoNceOut& out, Run&) { out.dq = out.dk = nullptr; });
  if (supported_isas().size() > 1) refused("another instruction set", "must be the same on every rank", [](InfoNce&, InfoNceOut&, Run& run) { run.isa = supported_isas()[1]; });
  refused("no rows anywhere", "batch is 0 on every rank", [](InfoNce& p, InfoNceOut&, Run&) { p.batch = 0; }, true);

  // Cancelled on one rank at its n-th shift, up to the last that there is: every rank hears of it.
  bool last = false;
  for (int shift = 0; !last; shift++) {
    std::atomic<bool> cancel{false}, reached{false};
    const auto thrown = on_ranks(size, [&](int r, ThreadRing& ring) {
      int shifts = 0;
      if (r == 1) ring.at_shift = [&] {
        if (shifts++ != shift) return;
        cancel = reached = true;
      };
      InfoNceOut out = got.from(size_t(edges[size_t(r)]), size_t(c.dim));
      infonce_ring(part_of(made.p, edges, r), out, ring, {.isa = Isa::scalar, .cancel = r == 1 ? &cancel : nullptr});
    });
    last = !reached;
    for (const auto& e : thrown) {
      bool cancelled = false;
      try {
        if (e) std::rethrow_exception(e);
      } catch (const Cancelled&) {
        cancelled = true;
      } catch (const std::exception&) {
      }
      expect(cancelled != last, "cancelled on rank 1 at shift " + std::to_string(shift));
    }
  }
}

}  // namespace larr::test
