// One case of the ranker against the network in double, on every instruction set, with and without what is kept of POIs.
#include <cmath>
#include <thread>

#include "checks.h"
#include "larr/ranker.h"

namespace larr::test {
namespace {

std::vector<float> normals(Random& random, size_t count, double scale = 1) {
  std::vector<float> values(count);
  for (float& x : values) x = float(scale * random.normal());
  return values;
}

struct Problem {
  RankerProgram program;
  std::vector<std::vector<float>> weights;
  std::vector<float> mean, scale, embedding, pois;
  std::vector<float> first_order, second_order;  // of what is beside the network: w [rows, tasks], u [tasks, embedding]
  std::vector<float> terms;                      // w - sum_d u_d v_d^2 / 2
  int embedding_rows = 0, poi_rows = 0;
  RankerTables tables() const { return {embedding.data(), embedding_rows, terms.empty() ? nullptr : terms.data(), pois.data(), poi_rows}; }

  int reg(int width) {
    program.registers.push_back(width);
    return int(program.registers.size()) - 1;
  }
  void layer(Random& random, RankerStep::Kind kind, int from, int to, bool relu, bool bias) {
    const int in = kind == RankerStep::input ? program.inputs.context_width() + program.inputs.row_width() : program.registers[size_t(from)];
    const int out = program.registers[size_t(to)];
    RankerStep step;
    step.kind = kind, step.from = from, step.to = {to}, step.relu = relu;
    step.weight = weights.emplace_back(normals(random, size_t(out) * size_t(in), 1 / std::sqrt(double(in)))).data();
    if (bias) step.bias = weights.emplace_back(normals(random, size_t(out))).data();
    program.steps.push_back(step);
  }
};

// A network of two levels of experts and gates with random sizes; some sizes may be nothing. Beside it what its IDs add, `beside`: terms alone, the terms of
// a factorisation machine, or nothing.
enum class Beside { machine, nothing, terms };
Problem make(Random& random, Beside beside) {
  Problem p;
  p.weights.reserve(256);
  RankerInputs& in = p.program.inputs;
  in.embedding = 1 + random.below(20);
  in.context_ids = random.below(4), in.context_dense = random.below(4);
  in.z = random.below(2) * (1 + random.below(40)), in.behaviour = random.below(2) * (1 + random.below(20)), in.poi = random.below(2) * (1 + random.below(40));
  for (int i = random.below(5); i > 0; i--) in.ids.push_back(uint8_t(random.below(2)));
  for (int i = random.below(6); i > 0; i--) in.dense.push_back(uint8_t(random.below(2)));
  if (in.context_width() + in.row_width() == 0) in.dense.push_back(1);
  const size_t dense = size_t(in.context_dense) + in.dense.size();
  p.mean = normals(random, dense), p.scale = normals(random, dense);
  p.mean.resize(dense + 1), p.scale.resize(dense + 1);
  in.mean = p.mean.data(), in.scale = p.scale.data();
  p.embedding_rows = 1 + random.below(300), p.poi_rows = 1 + random.below(300);
  p.embedding = normals(random, size_t(p.embedding_rows) * size_t(in.embedding));
  p.pois = normals(random, size_t(p.poi_rows) * size_t(in.poi) + 1);

  const int experts = 1 + random.below(7), width = 1 + random.below(150), hidden = 1 + random.below(300), tasks = 1 + random.below(2);
  std::vector<int> streams;
  for (int level = 0; level < 2; level++) {
    std::vector<int> said, gates, mixed;
    for (int e = 0; e < experts; e++) {
      const int h = p.reg(hidden), out = p.reg(width);
      if (level == 0) p.layer(random, RankerStep::input, -1, h, true, true);
      else p.layer(random, RankerStep::linear, streams[size_t(e) % streams.size()], h, true, true);
      p.layer(random, RankerStep::linear, h, out, random.below(2), random.below(2));
      said.push_back(out);
    }
    const int results = level == 0 ? tasks + 1 : tasks;
    RankerStep mix;
    mix.kind = RankerStep::mix;
    for (int g = 0; g < results; g++) {
      const int gate = p.reg(experts);
      if (level == 0) p.layer(random, RankerStep::input, -1, gate, false, false);
      else p.layer(random, RankerStep::linear, streams[size_t(g)], gate, false, false);
      mix.gates.push_back(gate), mix.to.push_back(p.reg(width));
      const int sure = random.below(experts);
      for (int e = 0; e < experts; e++) mix.seen.push_back(uint8_t(e == sure || random.below(2)));
    }
    mix.experts = said;
    p.program.steps.push_back(mix);
    streams = mix.to;
  }
  for (int t = 0; t < tasks; t++) {
    const int logit = p.reg(1);
    p.layer(random, RankerStep::linear, streams[size_t(t)], logit, false, true);
    p.program.logits.push_back(logit);
  }
  p.program.click_shift = float(random.normal());
  if (beside == Beside::nothing) return p;
  p.terms = p.first_order = normals(random, size_t(p.embedding_rows) * size_t(tasks));
  if (beside == Beside::terms) return p;
  // as large as leaves the probabilities some way from 0 and 1
  p.second_order = normals(random, size_t(tasks) * size_t(in.embedding), 3 / (std::sqrt(double(in.embedding)) * double(1 + in.context_ids + int(in.ids.size()))));
  p.program.second_order = p.second_order.data();
  for (int id = 0; id < p.embedding_rows; id++)
    for (int k = 0; k < tasks; k++) {
      double squares = 0;
      for (int d = 0; d < in.embedding; d++) {
        const double v = p.embedding[size_t(id * in.embedding + d)];
        squares += double(p.second_order[size_t(k * in.embedding + d)]) * v * v;
      }
      p.terms[size_t(id * tasks + k)] = float(double(p.first_order[size_t(id * tasks + k)]) - squares / 2);
    }
  return p;
}

Beside beside_of(uint64_t seed) { return Beside(seed % 3); }

struct Rows {
  std::vector<int32_t> context, context_ids, ids, poi, kept, version;
  std::vector<float> context_dense, z, behaviour, dense;
  RankerRows rows;
};

// Rows of `pois` POIs: what follows from a POI alone is the same wherever the same one stands.
Rows make_rows(Random& random, const Problem& p, int n, int contexts, int pois, int version) {
  const RankerInputs& in = p.program.inputs;
  Rows r;
  const auto indices = [&](size_t count, int below) {
    std::vector<int32_t> values(count + 1);
    for (int32_t& x : values) x = random.below(below);
    return values;
  };
  const size_t F = in.ids.size(), D = in.dense.size();
  r.context = indices(size_t(n), contexts);
  r.context_ids = indices(size_t(contexts * in.context_ids), p.embedding_rows);
  r.context_dense = normals(random, size_t(contexts * in.context_dense) + 1);
  r.z = normals(random, size_t(contexts * in.z) + 1);
  r.behaviour = normals(random, size_t(contexts * in.behaviour) + 1);
  r.ids = indices(size_t(n) * F, p.embedding_rows);
  r.dense = normals(random, size_t(n) * D + 1);
  r.poi = indices(size_t(n), p.poi_rows);
  r.kept = indices(size_t(n), pois);
  r.version.assign(size_t(n) + 1, version);
  for (int i = 0; i < n; i++) {
    if (random.below(8) == 0) r.kept[size_t(i)] = -1;
    if (r.kept[size_t(i)] < 0) continue;
    Random own(uint64_t(r.kept[size_t(i)]) * 1000 + uint64_t(version));
    for (size_t f = 0; f < F; f++)
      if (in.ids[f]) r.ids[size_t(i) * F + f] = own.below(p.embedding_rows);
    for (size_t f = 0; f < D; f++)
      if (in.dense[f]) r.dense[size_t(i) * D + f] = float(own.normal());
    r.poi[size_t(i)] = own.below(p.poi_rows);
  }
  r.rows = {n, contexts, r.context.data(), r.context_ids.data(), r.context_dense.data(), r.z.data(), r.behaviour.data(), r.ids.data(), r.dense.data(),
            r.poi.data(), nullptr, nullptr};
  return r;
}

// What stands beside the network by its own definition, sum_f w_f + u . sum_{f<g} v_f v_g of each row and task, and its size: the same of absolute values,
// every pair of places counted, f = g too. That is what the rounding of (sum_f v_f)^2 - sum_f v_f^2 is measured against, which cancels.
struct Shallow {
  std::vector<double> logit, size;  // [rows, tasks]
};

Shallow shallow_of(const Problem& p, const RankerRows& rows) {
  const RankerInputs& in = p.program.inputs;
  const size_t tasks = p.program.logits.size(), d = size_t(in.embedding);
  Shallow made;
  for (int64_t row = 0; row < rows.rows; row++) {
    std::vector<size_t> ids;
    for (int f = 0; f < in.context_ids; f++) ids.push_back(size_t(rows.context_ids[rows.context[row] * in.context_ids + f]));
    for (size_t f = 0; f < in.ids.size(); f++) ids.push_back(size_t(rows.ids[size_t(row) * in.ids.size() + f]));
    for (size_t k = 0; k < tasks; k++) {
      double logit = 0, size = 0;
      for (size_t f = 0; f < ids.size() && !p.first_order.empty(); f++) {
        const double w = double(p.first_order[ids[f] * tasks + k]);
        logit += w, size += std::fabs(w);
        for (size_t g = 0; g < ids.size() && !p.second_order.empty(); g++)
          for (size_t i = 0; i < d; i++) {
            const double pair = double(p.second_order[k * d + i]) * double(p.embedding[ids[f] * d + i]) * double(p.embedding[ids[g] * d + i]);
            if (f < g) logit += pair;
            size += std::fabs(pair);
          }
      }
      made.logit.push_back(logit), made.size.push_back(size);
    }
  }
  return made;
}

double logit_of(double p) { return std::log(p) - std::log1p(-p); }
double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

void check_ranker(uint64_t seed, const std::vector<Isa>& isas) {
  Random random(seed);
  const Problem p = make(random, beside_of(seed));
  const bool orders = p.program.logits.size() > 1;
  std::vector<Rows> requests;
  for (int version : {0, 0, 1, 0}) requests.push_back(make_rows(random, p, 1 + random.below(230), 1 + random.below(9), 1 + random.below(120), version));
  std::vector<std::vector<double>> exact;    // click, then order, of each request
  std::vector<std::vector<double>> allowed;  // of each request
  for (const Rows& request : requests) {
    const size_t n = size_t(request.rows.rows), tasks = p.program.logits.size();
    std::vector<double> click(n), order(n), bare_click(n), bare_order(n), error(n, 4e-6);
    ranker_reference(p.program, p.tables(), request.rows, click.data(), order.data());
    // The network alone, and its logits with what stands beside them pair by pair: the terms' sums must be that. A logit may be off by the unit roundoff of
    // f32 times the size of what is summed, a probability by a quarter of that (measured over 60 networks: 4.0e-7 at most, and 4.1e-7 without
    // anything beside the network, a tenth of what is allowed).
    RankerProgram bare = p.program;
    bare.second_order = nullptr;
    RankerTables without = p.tables();
    without.terms = nullptr;
    ranker_reference(bare, without, request.rows, bare_click.data(), bare_order.data());
    const Shallow shallow = shallow_of(p, request.rows);
    double rounding = 0;
    for (size_t i = 0; i < n; i++) {
      double size = 0;
      for (size_t k = 0; k < tasks; k++) size += shallow.size[i * tasks + k];
      error[i] += 0x1p-24 * size / 4;
      const double by_pairs = sigmoid_of(logit_of(bare_click[i]) + shallow.logit[i * tasks]);
      rounding = std::fmax(rounding, std::fabs(click[i] - by_pairs) - error[i]);
      if (!orders) continue;
      const double order_by_pairs = by_pairs * sigmoid_of(logit_of(bare_order[i] / bare_click[i]) + shallow.logit[i * tasks + 1]);
      rounding = std::fmax(rounding, std::fabs(order[i] - order_by_pairs) - error[i]);
    }
    expect(rounding <= 0, "ranker " + std::to_string(seed) + ": the reference's terms are not the pairs of IDs");
    exact.push_back(std::move(click)), exact.push_back(std::move(order)), allowed.push_back(std::move(error));
  }
  // The smaller memory holds some rows, and has to begin anew; none at all is possible, too.
  for (Isa isa : isas)
    for (size_t memory : {size_t(0), size_t(400) << 10, size_t(64) << 20}) {
      const std::string what = "ranker " + std::to_string(seed) + " " + isa_name(isa) + " " + std::to_string(memory >> 10) + " KiB";
      const FusedRanker ranker(p.program, p.tables(), memory, isa);
      for (size_t q = 0; q < requests.size(); q++) {
        const Rows& request = requests[q];
        const size_t n = size_t(request.rows.rows);
        std::vector<float> click(n + 1, poison), order(n + 1, poison), again(n + 1, poison);
        RankerRows rows = request.rows;
        rows.kept = request.kept.data(), rows.version = request.version.data();
        ranker.score(rows, click.data(), orders ? order.data() : nullptr);
        expect(click.back() == poison && order.back() == poison, what + " wrote past its outputs");
        double worst = 0;
        for (size_t i = 0; i < n; i++) {
          worst = std::fmax(worst, std::fabs(double(click[i]) - exact[2 * q][i]) / allowed[q][i]);
          if (orders) worst = std::fmax(worst, std::fabs(double(order[i]) - exact[2 * q + 1][i]) / allowed[q][i]);
        }
        expect(worst < 1, what + " is off by " + std::to_string(worst) + " of what it may be off");
        rows.kept = nullptr;
        ranker.score(rows, again.data(), orders ? order.data() : nullptr);
        expect(again == click, what + " depends on what is kept");
      }
      expect(memory > 0 || ranker.kept_bytes() == 0, what + " keeps rows without memory");
      expect(ranker.kept_bytes() <= memory + (size_t(64) << 10), what + " keeps more than it may");
      Rows& request = requests[0];
      const size_t n = size_t(request.rows.rows);
      std::vector<float> click(n), order(n);
      request.context.back() = 0;
      auto context = request.context;
      context[n - 1] = int32_t(request.rows.contexts);
      RankerRows wrong = request.rows;
      wrong.context = context.data();
      bool thrown = false;
      try {
        ranker.score(wrong, click.data(), orders ? order.data() : nullptr);
      } catch (const std::out_of_range& e) {
        thrown = std::string(e.what()).find("context[") == 0;
      }
      expect(thrown, what + " takes a context that is not there");
    }
}

// Callers side by side on one ranker whose memory is too small for their POIs, which change: rows are found, added and dropped all the time.
void check_ranker_threads(uint64_t seed) {
  Random random(seed);
  const Problem p = make(random, beside_of(seed));
  const bool orders = p.program.logits.size() > 1;
  const FusedRanker ranker(p.program, p.tables(), size_t(300) << 10);
  std::vector<Rows> requests;
  std::vector<std::vector<float>> wanted;
  for (int i = 0; i < 24; i++) {
    requests.push_back(make_rows(random, p, 1 + random.below(60), 1 + random.below(3), 80, i % 3));
    const size_t n = size_t(requests.back().rows.rows);
    std::vector<float> click(n), order(n);
    ranker.score(requests.back().rows, click.data(), orders ? order.data() : nullptr);
    wanted.push_back(click);
  }
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; caller++)
    callers.emplace_back([&, caller] {
      for (int turn = 0; turn < 60; turn++) {
        const size_t q = size_t(turn * 5 + caller * 7) % requests.size();
        RankerRows rows = requests[q].rows;
        rows.kept = requests[q].kept.data(), rows.version = requests[q].version.data();
        std::vector<float> click(wanted[q].size()), order(wanted[q].size());
        ranker.score(rows, click.data(), orders ? order.data() : nullptr);
        wrong[size_t(caller)] += click != wanted[q];
      }
    });
  for (std::thread& caller : callers) caller.join();
  for (int count : wrong) expect(count == 0, "ranker of seed " + std::to_string(seed) + " with callers side by side: " + std::to_string(count) + " of 60 are off");
}

}  // namespace larr::test
