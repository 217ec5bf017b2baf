// A trained recommendation network over the candidates of a request, in f32 (docs/kernels.md, C): gather, standardise, experts,
// gates, towers and probabilities in blocks of rows that stay in the cache. What follows from a context (a user in a moment) is computed
// once a context, what follows from a POI alone once a POI and kept.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "larr/kernels.h"

namespace larr {

namespace ranker_detail {
struct Path;
}

// What the network reads of a row, x = [context ids' embeddings; context dense; z; behaviour; ids' embeddings; dense; POI vector]. Dense
// values come raw and enter as (value - mean) * scale.
struct RankerInputs {
  int embedding = 0;                        // width of an ID's embedding
  int context_ids = 0, context_dense = 0;   // features of the context
  int z = 0, behaviour = 0;                 // widths of the context's vectors, 0 = none
  std::vector<uint8_t> ids, dense;          // features of the row, 1 where they follow from the POI alone
  int poi = 0;                              // width of the POI's vector, 0 = none
  const float *mean = nullptr, *scale = nullptr;  // [context_dense + dense]
  int context_width() const { return context_ids * embedding + context_dense + z + behaviour; }
  int row_width() const { return int(ids.size()) * embedding + int(dense.size()) + poi; }
};

// A step reads and writes registers: one vector a row. Weights [out, in] as PyTorch keeps them, f32, copied.
struct RankerStep {
  enum Kind {
    input,   // to = x W^T + b
    linear,  // to = from W^T + b
    mix,     // to_g = sum_e softmax(gate_g)_e expert_e over the experts that gate g may see
  } kind = input;
  int from = -1;                        // of linear
  std::vector<int> to;                  // one register; of mix one a gate
  const float* weight = nullptr;
  const float* bias = nullptr;          // may be null
  bool relu = false;
  std::vector<int> gates, experts;      // of mix: registers as wide as there are experts, and registers of one width
  std::vector<uint8_t> seen;            // [gates, experts]
};

struct RankerProgram {
  RankerInputs inputs;
  std::vector<int> registers;           // widths
  std::vector<RankerStep> steps;
  std::vector<int> logits;              // registers of width 1: of the click, and of the order where the model learnt orders
  float click_shift = 0;                // added to the click's logit
  // u [logits, embedding], or null. Logit k gains sum_d u_kd S_d^2 / 2, S the sum of the embeddings of all of a row's IDs, its context's too: the pairs of a
  // factorisation machine and half of each ID's own square, which `RankerTables::terms` takes back.
  const float* second_order = nullptr;
};

// What IDs and POIs are looked up in. Not copied: the tables must outlive the ranker.
struct RankerTables {
  const float* embedding = nullptr;     // [embedding_rows, embedding]
  int64_t embedding_rows = 0;
  const float* terms = nullptr;         // [embedding_rows, logits]: what each of a row's IDs adds to the logits by itself; may be null
  const float* pois = nullptr;          // [poi_rows, poi]
  int64_t poi_rows = 0;
};

// Candidates of one request. Arrays of inputs that the network has not may be null.
struct RankerRows {
  int64_t rows = 0, contexts = 0;
  const int32_t* context = nullptr;        // [rows]
  const int32_t* context_ids = nullptr;    // [contexts, context_ids] rows of the embedding table
  const float* context_dense = nullptr;    // [contexts, context_dense]
  const float* z = nullptr;                // [contexts, z]
  const float* behaviour = nullptr;        // [contexts, behaviour]
  const int32_t* ids = nullptr;            // [rows, ids]
  const float* dense = nullptr;            // [rows, dense]
  const int32_t* poi = nullptr;            // [rows] rows of the POI vectors
  // [rows]: a number from 0 for what follows from the POI alone, and which state of it this is; -1: keep nothing. Null: none is kept.
  const int32_t* kept = nullptr;
  const int32_t* version = nullptr;
};

// Immutable but for what it keeps of POIs, which decides no result; any number of threads may score at once.
class FusedRanker {
 public:
  // `memory`: most bytes kept of POIs (twice that for the moment in which a full one is replaced under calls that read it).
  // Throws std::invalid_argument where the program makes no sense.
  FusedRanker(const RankerProgram& program, const RankerTables& tables, size_t memory, Isa isa = active_isa());
  ~FusedRanker();
  FusedRanker(const FusedRanker&) = delete;
  FusedRanker& operator=(const FusedRanker&) = delete;

  // click [rows] = sigma(click logit + shift); order [rows] = click * sigma(order logit), null where the model learnt no orders.
  // Throws std::out_of_range naming the place of an index outside its table.
  void score(const RankerRows& rows, float* click, float* order, const Run& run = {}) const;

  const RankerProgram& program() const;  // its weights are not there any more
  size_t bytes() const;                  // of the weights
  size_t kept_bytes() const;             // of what is kept of POIs now

 private:
  struct State;
  class Call;
  std::unique_ptr<State> state_;
};

// The same by the definition, in double, one row at a time.
void ranker_reference(const RankerProgram& program, const RankerTables& tables, const RankerRows& rows, double* click, double* order);

}  // namespace larr
