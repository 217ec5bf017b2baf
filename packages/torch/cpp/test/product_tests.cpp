// The decoder's products against float64, on every instruction set that this machine has and on emulated tiles, for random shapes:
// `product_tests [cases]`. What lies before, between and behind the operands' rows is no number, and behind a buffer's last one lies a page that
// must not be touched. Prints a JSON report; ends 1 where a check failed.
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "../decoder/kernels.h"
#include "larr/kernels.h"

namespace larr::decoder {
const Kernels& emulatedAmx();
bool tilesConfigured();
}

namespace {

using namespace larr;
using namespace larr::decoder;

int checks = 0, failures = 0;

void expect(bool good, const std::string& what) {
  checks++;
  if (good) return;
  if (++failures < 40) std::fprintf(stderr, "FAILED %s\n", what.c_str());
}

constexpr float none = std::numeric_limits<float>::quiet_NaN();

uint16_t top(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return uint16_t(bits >> 16);
}
float wide(uint16_t half) {
  const uint32_t bits = uint32_t(half) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

// Numbers of either type that end where a page begins which cannot be read or written.
class Numbers {
 public:
  Numbers(Dtype type, int64_t count) : type_(type), count_(count) {
    const size_t page = size_t(sysconf(_SC_PAGESIZE)), bytes = size_t(count) * size();
    room_ = (bytes + page - 1) / page * page + page;
    at_ = static_cast<char*>(mmap(nullptr, room_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (at_ == MAP_FAILED || mprotect(at_ + room_ - page, page, PROT_NONE) != 0) std::abort();
    data_ = at_ + room_ - page - bytes;
    for (int64_t i = 0; i < count; i++) set(i, none);
  }
  ~Numbers() { munmap(at_, room_); }
  Numbers(const Numbers&) = delete;
  size_t size() const { return type_ == Dtype::bf16 ? 2 : 4; }
  Matrix matrix(int64_t from = 0) const { return {data_ + size_t(from) * size(), type_}; }
  float* floats() const { return reinterpret_cast<float*>(data_); }
  void set(int64_t i, float x) {
    if (type_ == Dtype::f32) return void(std::memcpy(data_ + 4 * i, &x, 4));
    const uint16_t half = std::isnan(x) ? 0x7fc0 : top(x);
    std::memcpy(data_ + 2 * i, &half, 2);
  }
  float get(int64_t i) const {
    if (type_ == Dtype::f32) return floats()[i];
    uint16_t half;
    std::memcpy(&half, data_ + 2 * i, 2);
    return wide(half);
  }
  std::vector<unsigned char> bytes() const { return {data_, data_ + size_t(count_) * size()}; }

 private:
  Dtype type_;
  int64_t count_;
  size_t room_;
  char *at_, *data_;
};

struct Random {
  std::mt19937_64 engine;
  int64_t below(int64_t n) { return int64_t(engine() % uint64_t(n)); }
  bool coin() { return engine() & 1; }
  // Every one is a bf16 number, so that rounding operands changes none.
  float number() { return wide(top(float(std::normal_distribution<double>()(engine)))); }
};

// [rows, width], rows `step` apart, the first behind `before` numbers.
struct Table {
  int64_t rows, width, step, before;
  Numbers numbers;
  Table(Random& random, Dtype type, int64_t rows, int64_t width, bool apart)
      : rows(rows), width(width), step(width + (apart ? random.below(5) : 0)), before(apart ? random.below(4) : 0), numbers(type, before + (rows - 1) * step + width) {}
  void fill(Random& random) {
    for (int64_t r = 0; r < rows; r++)
      for (int64_t c = 0; c < width; c++) numbers.set(before + r * step + c, random.number());
  }
  Matrix matrix() const { return numbers.matrix(before); }
  float operator()(int64_t r, int64_t c) const { return numbers.get(before + r * step + c); }
  // Whether every number that lies between the rows is what it was.
  bool untouched() const {
    for (int64_t i = 0; i < before; i++)
      if (!std::isnan(numbers.get(i))) return false;
    for (int64_t r = 0; r + 1 < rows; r++)
      for (int64_t c = width; c < step; c++)
        if (!std::isnan(numbers.get(before + r * step + c))) return false;
    return true;
  }
};

struct Set {
  const char* name;
  const Kernels* kernels;
};

int64_t sizeOf(Random& random, int64_t most) {
  static const int64_t odd[] = {1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 80, 96, 127, 128, 129};
  return random.coin() ? std::min(most, odd[random.below(19)]) : 1 + random.below(most);
}

void checkProduct(const Set& set, Dtype type, uint64_t seed) {
  Random random{std::mt19937_64(seed)};
  const Kernels& k = *set.kernels;
  const bool deep = random.below(8) == 0;  // beyond one chain of sums, and in two calls
  const int64_t rows = sizeOf(random, 130), depth = deep ? 1000 + random.below(1200) : sizeOf(random, 300);
  const bool gate = !deep && random.below(4) == 0, transposed = gate || random.coin();
  const int64_t columns = gate ? 2 * sizeOf(random, 90) : sizeOf(random, 200);
  const Dtype outType = gate ? type : random.coin() ? Dtype::f32 : type;
  const bool add = !gate && random.below(4) == 0, relu = !gate && random.coin(), biased = !gate && random.coin(), keep = !gate || random.coin();
  const std::string what = std::string(set.name) + (type == Dtype::bf16 ? " bf16" : " f32") + " product, seed " + std::to_string(seed) + ": " + std::to_string(rows) + " x " +
                           std::to_string(depth) + " x " + std::to_string(columns) + (gate ? " gate" : "") + (transposed ? " transposed" : "") + (add ? " add" : "") +
                           (relu ? " relu" : "") + (biased ? " bias" : "");

  Table a(random, type, rows, depth, true), b(random, random.coin() ? Dtype::f32 : type, transposed ? columns : depth, transposed ? depth : columns, false);
  a.fill(random);
  b.fill(random);
  Numbers bias(Dtype::f32, columns), packed(Dtype::f32, k.panels(type, columns, gate) * int64_t(k.panelFloats(type, depth)));
  for (int64_t c = 0; c < columns; c++) bias.set(c, random.number());
  const Packing packing{type, depth, columns, b.matrix(), b.step, transposed, gate};
  const int64_t panels = k.panels(type, columns, gate);
  for (int64_t panel = 0; panel < panels; panel++) k.pack(packing, panel, panel + 1, packed.floats());

  const auto run = [&](Table& out, Numbers& gated, int64_t begin, int64_t end) {
    Product p{};
    p.depth = depth;
    p.columns = columns;
    p.panels = panels;
    p.a = a.matrix();
    p.aStep = a.step;
    p.packed = packed.floats();
    p.out = keep ? out.matrix() : Matrix{};
    p.outStep = keep ? out.step : columns;
    if (gate) p.gated = gated.matrix();
    const int64_t middle = deep && outType == Dtype::f32 ? depth / 2 / 32 * 32 : 0;
    for (p.begin = 0; p.begin < depth; p.begin = p.end) {
      p.end = p.begin < middle ? middle : depth;
      p.add = add || p.begin > 0;
      p.bias = biased && p.begin == 0 ? bias.floats() : nullptr;
      p.relu = relu && p.end == depth;
      k.product(p, begin, end);
    }
  };
  Table out(random, outType, rows, columns, !gate);
  Numbers gated(type, rows * columns / 2);
  if (add) out.fill(random);
  std::vector<double> start(size_t(rows * columns), 0);
  for (int64_t r = 0; add && r < rows; r++)
    for (int64_t c = 0; c < columns; c++) start[size_t(r * columns + c)] = out(r, c);
  // In two parts: a row is its own whatever rows are beside it, below to the last bit.
  const int64_t cut = random.below(rows + 1);
  run(out, gated, 0, cut);
  run(out, gated, cut, rows);

  const double unit = outType == Dtype::bf16 ? 1.0 / 256 : 0;
  for (int64_t r = 0; r < rows; r++) {
    std::vector<double> sums(static_cast<size_t>(columns)), sizes(static_cast<size_t>(columns));
    for (int64_t c = 0; c < columns; c++) {
      double sum = start[size_t(r * columns + c)] + (biased ? double(bias.get(c)) : 0), size = std::fabs(sum);
      for (int64_t i = 0; i < depth; i++) {
        const double term = double(a(r, i)) * double(transposed ? b(c, i) : b(i, c));
        sum += term;
        size += std::fabs(term);
      }
      sums[size_t(c)] = relu ? std::max(0.0, sum) : sum;
      sizes[size_t(c)] = size;
    }
    bool good = true;
    for (int64_t c = 0; keep && c < columns; c++)
      good &= std::fabs(double(out(r, c)) - sums[size_t(c)]) <= unit * std::fabs(sums[size_t(c)]) + 3e-6 * sizes[size_t(c)];
    for (int64_t c = 0; gate && c < columns / 2; c++) {
      const double g = sums[size_t(c)], u = sums[size_t(columns / 2 + c)], y = g / (1 + std::exp(-g)) * u;
      const double slack = 3e-6 * (sizes[size_t(c)] * (std::fabs(u) + 1) + sizes[size_t(columns / 2 + c)] * (std::fabs(g) + 1));
      good &= std::fabs(double(gated.get(r * (columns / 2) + c)) - y) <= (type == Dtype::bf16 ? 1.0 / 256 : 1e-5) * std::fabs(y) + slack;
    }
    expect(good, what + ", row " + std::to_string(r));
  }
  expect(!keep || out.untouched(), what + ": between the rows of out");
  Table again(random, outType, rows, columns, false);
  Numbers gatedAgain(type, rows * columns / 2);
  for (int64_t r = 0; add && r < rows; r++)
    for (int64_t c = 0; c < columns; c++) again.numbers.set(again.before + r * again.step + c, float(start[size_t(r * columns + c)]));
  run(again, gatedAgain, 0, rows);
  bool same = !gate || gated.bytes() == gatedAgain.bytes();
  for (int64_t r = 0; keep && r < rows; r++)
    for (int64_t c = 0; c < columns; c++) same &= out(r, c) == again(r, c);
  expect(same, what + ": the same bits with other rows beside");
}

void checkOuter(const Set& set, Dtype type, uint64_t seed) {
  Random random{std::mt19937_64(seed)};
  const Kernels& k = *set.kernels;
  const int64_t depth = random.below(8) == 0 ? 512 : sizeOf(random, 300), rows = sizeOf(random, 150), columns = sizeOf(random, 200);
  const bool add = random.coin();
  const std::string what = std::string(set.name) + (type == Dtype::bf16 ? " bf16" : " f32") + " outer product, seed " + std::to_string(seed) + ": " + std::to_string(depth) +
                           " x " + std::to_string(rows) + " x " + std::to_string(columns) + (add ? " add" : "");
  Table a(random, type, depth, rows, true), b(random, type, depth, columns, true);
  a.fill(random);
  b.fill(random);
  const int64_t panels = k.panels(type, columns, false), block = k.outerRows(type), blocks = (rows + block - 1) / block;
  Numbers packed(Dtype::f32, panels * int64_t(k.panelFloats(type, depth))), out(Dtype::f32, rows * columns), scratch(Dtype::f32, block * ((depth + 31) / 32 * 32));
  k.pack({type, depth, columns, b.matrix(), b.step, false, false}, 0, panels, packed.floats());
  std::vector<double> start(size_t(rows * columns), 0);
  for (int64_t i = 0; add && i < rows * columns; i++) out.set(i, float(start[size_t(i)] = random.number()));
  const Outer p{type, depth, rows, columns, a.matrix(), a.step, packed.floats(), out.floats(), add};
  const int64_t cut = random.below(blocks + 1);
  k.outer(p, 0, cut, scratch.floats());
  k.outer(p, cut, blocks, scratch.floats());
  for (int64_t r = 0; r < rows; r++) {
    bool good = true;
    for (int64_t c = 0; c < columns; c++) {
      double sum = start[size_t(r * columns + c)], size = std::fabs(sum);
      for (int64_t i = 0; i < depth; i++) {
        const double term = double(a(i, r)) * double(b(i, c));
        sum += term;
        size += std::fabs(term);
      }
      good &= std::fabs(double(out.get(r * columns + c)) - sum) <= 3e-6 * size;
    }
    expect(good, what + ", row " + std::to_string(r));
  }
}

}  // namespace

int main(int count, char** arguments) {
  const int cases = count > 1 ? std::atoi(arguments[1]) : 200;
  std::vector<Set> sets;
  for (const Isa isa : supported_isas()) {
    const Kernels* kernels = isa == Isa::scalar ? &plain : nullptr;
#if defined(__x86_64__)
    if (isa == Isa::avx2) kernels = &avx2;
    if (isa == Isa::avx512) kernels = &avx512;
    if (isa == Isa::avx512bf16) {
      sets.push_back({"amx (emulated)", &emulatedAmx()});
      kernels = &avx512bf16;
    }
    if (isa == Isa::amx) kernels = &amx();
#endif
    sets.push_back({isa_name(isa), kernels});
  }
  std::string names;
  for (const Set& set : sets) {
    names += std::string(names.empty() ? "\"" : ", \"") + set.name + "\"";
    for (const Dtype type : {Dtype::f32, Dtype::bf16}) {
      if (!set.kernels->multiplies(type)) continue;
      for (int i = 0; i < cases; i++) {
        checkProduct(set, type, uint64_t(i) + 1);
        checkOuter(set, type, uint64_t(i) + 1);
#if defined(__x86_64__)
        expect(!tilesConfigured(), std::string(set.name) + ": tiles are given back");
#endif
      }
    }
  }
  std::printf("{\"checks\": %d, \"failures\": %d, \"sets\": [%s]}\n", checks, failures, names.c_str());
  return failures == 0 ? 0 : 1;
}
