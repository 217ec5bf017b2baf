// The network by the definition, in double: one row at a time, nothing shared between rows.
#include <cmath>

#include "larr/ranker.h"

namespace larr {

void ranker_reference(const RankerProgram& program, const RankerTables& tables, const RankerRows& rows, double* click, double* order) {
  const RankerInputs& in = program.inputs;
  const int d = in.embedding, F = int(in.ids.size()), D = int(in.dense.size());
  for (int64_t row = 0; row < rows.rows; row++) {
    const int64_t context = rows.context[row];
    std::vector<double> x;
    const auto put = [&](const float* values, int count) { x.insert(x.end(), values, values + count); };
    const auto dense = [&](const float* values, int count, int first) {
      for (int i = 0; i < count; i++) x.push_back((double(values[i]) - double(in.mean[first + i])) * double(in.scale[first + i]));
    };
    std::vector<int64_t> ids;
    const auto put_id = [&](int64_t id) { ids.push_back(id), put(tables.embedding + id * d, d); };
    for (int f = 0; f < in.context_ids; f++) put_id(rows.context_ids[context * in.context_ids + f]);
    dense(rows.context_dense + context * in.context_dense, in.context_dense, 0);
    put(rows.z + context * in.z, in.z);
    put(rows.behaviour + context * in.behaviour, in.behaviour);
    for (int f = 0; f < F; f++) put_id(rows.ids[row * F + f]);
    dense(rows.dense + row * D, D, in.context_dense);
    if (in.poi > 0) put(tables.pois + int64_t(rows.poi[row]) * in.poi, in.poi);

    std::vector<std::vector<double>> registers(program.registers.size());
    for (const RankerStep& step : program.steps) {
      if (step.kind == RankerStep::mix) {
        const size_t experts = step.experts.size();
        for (size_t g = 0; g < step.to.size(); g++) {
          const auto& logits = registers[size_t(step.gates[g])];
          double top = -INFINITY, sum = 0;
          for (size_t e = 0; e < experts; e++)
            if (step.seen[g * experts + e]) top = std::fmax(top, logits[e]);
          std::vector<double> share(experts, 0.0), mixed(registers[size_t(step.experts[0])].size(), 0.0);
          for (size_t e = 0; e < experts; e++)
            if (step.seen[g * experts + e]) sum += share[e] = std::exp(logits[e] - top);
          for (size_t e = 0; e < experts; e++)
            for (size_t c = 0; c < mixed.size(); c++) mixed[c] += share[e] / sum * registers[size_t(step.experts[e])][c];
          registers[size_t(step.to[g])] = mixed;
        }
        continue;
      }
      const auto& from = step.kind == RankerStep::input ? x : registers[size_t(step.from)];
      const int out = program.registers[size_t(step.to[0])];
      std::vector<double> y(static_cast<size_t>(out));
      for (int o = 0; o < out; o++) {
        double sum = step.bias ? double(step.bias[o]) : 0;
        for (size_t i = 0; i < from.size(); i++) sum += double(step.weight[size_t(o) * from.size() + i]) * from[i];
        y[size_t(o)] = step.relu && sum < 0 ? 0 : sum;
      }
      registers[size_t(step.to[0])] = y;
    }
    const auto shallow = [&](size_t task) {
      const size_t tasks = program.logits.size();
      double logit = 0;
      if (tables.terms)
        for (int64_t id : ids) logit += double(tables.terms[size_t(id) * tasks + task]);
      for (int i = 0; program.second_order && i < d; i++) {
        double sum = 0;
        for (int64_t id : ids) sum += double(tables.embedding[id * d + i]);
        logit += double(program.second_order[task * size_t(d) + size_t(i)]) * sum * sum / 2;
      }
      return logit;
    };
    const auto sigmoid = [&](size_t task, double shift) {
      return 1 / (1 + std::exp(-(registers[size_t(program.logits[task])][0] + shallow(task) + shift)));
    };
    click[row] = sigmoid(0, double(program.click_shift));
    if (program.logits.size() > 1) order[row] = click[row] * sigmoid(1, 0);
  }
}

}  // namespace larr
