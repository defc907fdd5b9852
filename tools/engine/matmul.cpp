// SPDX-License-Identifier: Apache-2.0
#include "matmul.hpp"

#include <algorithm>

// Tiles keep arrays of vectors, which scalable instruction sets do not allow.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/matmul.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>  // must follow foreach_target

HWY_BEFORE_NAMESPACE();
namespace hashevict::engine::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, kPanelWidth>;
using Vector = hn::Vec<Floats>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(Floats()));
constexpr int kVectors = static_cast<int>(kPanelWidth) / kLanes;

// Rows of a tile: the registers also hold a panel's weights and one broadcast input.
#if HWY_TARGET == HWY_NEON || HWY_TARGET <= HWY_AVX3
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif
constexpr int kTileRows = std::max(1, std::min(12, (kRegisters - 2) / kVectors - 1));
// A tile of one panel needs a broadcast for each product if a panel is one vector. Two panels share the broadcasts, and
// 32 registers hold the sums.
constexpr int kTilePanels = kVectors == 1 && kRegisters == 32 ? 2 : 1;

HWY_INLINE Vector load(const float* weights) {
  return hn::LoadU(Floats(), weights);
}

template <class Narrow>
HWY_INLINE Vector load(const Narrow* weights) {
  const hn::Rebind<Narrow, Floats> narrow;
  return hn::PromoteTo(Floats(), hn::LoadU(narrow, weights));
}

// Multiplies `kRows` rows by `kPanels` panels. All sums stay in registers.
template <class T, int kRows, int kPanels>
HWY_INLINE void multiply_tile(const PanelProduct& p, int64_t row, int64_t panel, float* y, int64_t y_stride) {
  const Floats d;
  const T* weights[kPanels];
  for (int i = 0; i < kPanels; ++i) {
    weights[i] = reinterpret_cast<const T*>(p.panels + static_cast<size_t>(panel + i) * p.panel_stride);
  }
  constexpr int kSums = kPanels * kVectors;  // of each row
  Vector sums[kRows][kSums];
  HWY_UNROLL(16)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(16)
    for (int v = 0; v < kSums; ++v) {
      sums[r][v] = p.accumulate ? hn::LoadU(d, y + r * y_stride + std::int64_t{v} * kLanes) : hn::Zero(d);
    }
  }
  const float* x = p.x + row * p.x_stride;
  const int64_t num_inputs = p.inputs;
  const int64_t x_stride = p.x_stride;
  for (int64_t k = 0; k < num_inputs; ++k) {
    const auto weight = [&](int v) HWY_ATTR {
      return load(weights[v / kVectors] + k * kPanelWidth + (v % kVectors) * kLanes);
    };
    if constexpr (kRows < kSums) {  // keeps the smaller operand in registers
      Vector inputs[kRows];
      HWY_UNROLL(16)
      for (int r = 0; r < kRows; ++r) inputs[r] = hn::Set(d, x[r * x_stride + k]);
      HWY_UNROLL(16)
      for (int v = 0; v < kSums; ++v) {
        const Vector w = weight(v);
        HWY_UNROLL(16)
        for (int r = 0; r < kRows; ++r) sums[r][v] = hn::MulAdd(inputs[r], w, sums[r][v]);
      }
    } else {
      Vector w[kSums];
      HWY_UNROLL(16)
      for (int v = 0; v < kSums; ++v) w[v] = weight(v);
      HWY_UNROLL(16)
      for (int r = 0; r < kRows; ++r) {
        const Vector input = hn::Set(d, x[r * x_stride + k]);
        HWY_UNROLL(16)
        for (int v = 0; v < kSums; ++v) sums[r][v] = hn::MulAdd(input, w[v], sums[r][v]);
      }
    }
  }
  HWY_UNROLL(16)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(16)
    for (int v = 0; v < kSums; ++v) hn::StoreU(sums[r][v], d, y + r * y_stride + std::int64_t{v} * kLanes);
  }
}

// As above for a last panel with fewer outputs than lanes: writes through a full-sized buffer.
template <class T, int kRows, int kPanels>
void multiply_edge(const PanelProduct& p, int64_t row, int64_t panel) {
  constexpr int64_t kWidth = kPanels * kPanelWidth;
  float buffer[kRows * kWidth] = {};
  const int64_t outputs = p.outputs - panel * kPanelWidth;
  for (int64_t r = 0; r < kRows; ++r) {
    float* y = p.y + (row + r) * p.y_stride + panel * kPanelWidth;
    if (p.accumulate) std::copy_n(y, outputs, buffer + r * kWidth);
  }
  multiply_tile<T, kRows, kPanels>(p, row, panel, buffer, kWidth);
  for (int64_t r = 0; r < kRows; ++r) {
    std::copy_n(buffer + r * kWidth, outputs, p.y + (row + r) * p.y_stride + panel * kPanelWidth);
  }
}

template <class T, int kRows, int kPanels>
void multiply_block(const PanelProduct& p, int64_t row, int64_t panel) {
  if ((panel + kPanels) * kPanelWidth > p.outputs) return multiply_edge<T, kRows, kPanels>(p, row, panel);
  multiply_tile<T, kRows, kPanels>(p, row, panel, p.y + row * p.y_stride + panel * kPanelWidth, p.y_stride);
}

template <class T, int kRows, int kPanels>
void multiply_remaining_rows(const PanelProduct& p, int64_t row, int64_t panel) {
  if constexpr (kRows > 0) {
    if (p.rows - row == kRows) return multiply_block<T, kRows, kPanels>(p, row, panel);
    multiply_remaining_rows<T, kRows - 1, kPanels>(p, row, panel);
  }
}

// Few rows have too few sums to hide the latency of additions, so they take several panels at once.
template <class T, int kRows, int kPanels>
int64_t multiply_few_rows(const PanelProduct& p) {
  int64_t panel = 0;
  for (; (panel + kPanels) * kPanelWidth <= p.outputs; panel += kPanels) multiply_block<T, kRows, kPanels>(p, 0, panel);
  return panel;
}

// Panels stay in the first-level cache while all rows use them.
template <class T, int kPanels>
void multiply_rows(const PanelProduct& p, int64_t panel) {
  int64_t row = 0;
  for (; row + kTileRows <= p.rows; row += kTileRows) multiply_block<T, kTileRows, kPanels>(p, row, panel);
  multiply_remaining_rows<T, kTileRows - 1, kPanels>(p, row, panel);
}

template <class T>
void multiply_all(const PanelProduct& p) {
  int64_t panel = p.rows == 1 ? multiply_few_rows<T, 1, 4>(p) : p.rows == 2 ? multiply_few_rows<T, 2, 2>(p) : 0;
  if constexpr (kTilePanels > 1) {
    for (; (panel + kTilePanels) * kPanelWidth <= p.outputs; panel += kTilePanels) {
      multiply_rows<T, kTilePanels>(p, panel);
    }
  }
  for (; panel * kPanelWidth < p.outputs; ++panel) multiply_rows<T, 1>(p, panel);
}

void multiply_panels_of_type(const PanelProduct& p) {
  switch (p.type) {
    case ElementType::f16:
      return multiply_all<hwy::float16_t>(p);
    case ElementType::bf16:
      return multiply_all<hwy::bfloat16_t>(p);
    default:
      return multiply_all<float>(p);
  }
}

}  // namespace
}  // namespace hashevict::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <cstring>
#include <string>

namespace hashevict::engine {
namespace {

HWY_EXPORT(multiply_panels_of_type);

constexpr std::int64_t kRowsPerTask = 96;       // of x: they fit the second-level cache beside a panel
constexpr std::int64_t kInputsPerBlock = 256;   // of a panel: they fit the first-level cache
constexpr std::int64_t kWorkPerTask = 1 << 18;  // multiply-adds that justify waking a thread

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

ElementType common_type(const std::vector<const StoredTensor*>& parts) {
  for (const StoredTensor* part : parts) {
    if (part->shape.size() != 2 || part->shape[1] != parts[0]->shape[1]) {
      throw Error{Status::invalid_data,
                  "tensor " + part->name + ": expected a matrix of as many columns as " + parts[0]->name + " has"};
    }
    if (part->type != parts[0]->type) return ElementType::f32;
  }
  return parts[0]->type;
}

// Copies the elements of a part's rows to their places in the panels.
template <class T>
void pack(const T* source, std::int64_t rows, std::int64_t inputs, std::int64_t first_output, T* panels) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t output = first_output + r;
    T* target = panels + output / kPanelWidth * kPanelWidth * inputs + output % kPanelWidth;
    for (std::int64_t k = 0; k < inputs; ++k) target[k * kPanelWidth] = source[r * inputs + k];
  }
}

// The numbers of rows and panels of a task.
struct Split {
  std::int64_t row_chunks, panel_chunks, panels_per_chunk;

  Split(std::int64_t rows, const PackedMatrix& w, std::int32_t num_threads) {
    row_chunks = divide_up(rows, kRowsPerTask);
    const std::int64_t work = std::min(rows, kRowsPerTask) * w.num_panels() * kPanelWidth * w.inputs();
    const std::int64_t wanted = num_threads == 1 ? 1 : divide_up(std::int64_t{4} * num_threads, row_chunks);
    panels_per_chunk = divide_up(w.num_panels(), std::clamp(work / kWorkPerTask, std::int64_t{1}, wanted));
    panels_per_chunk = divide_up(panels_per_chunk, 4) * 4;
    panel_chunks = divide_up(w.num_panels(), panels_per_chunk);
  }
};

}  // namespace

PackedMatrix::PackedMatrix(const std::vector<const StoredTensor*>& parts) : type_(common_type(parts)) {
  inputs_ = parts[0]->shape[1];
  for (const StoredTensor* part : parts) outputs_ += part->shape[0];
  const auto num_elements = static_cast<std::size_t>(num_panels() * kPanelWidth * inputs_);
  data_.resize(num_elements * element_bytes(type_));
  std::int64_t first = 0;
  for (const StoredTensor* part : parts) {
    const std::int64_t rows = part->shape[0];
    if (type_ == ElementType::f32) {
      pack(part->to_floats().data(), rows, inputs_, first, reinterpret_cast<float*>(data_.data()));
    } else {
      pack(reinterpret_cast<const std::uint16_t*>(part->bytes.data()), rows, inputs_, first,
           reinterpret_cast<std::uint16_t*>(data_.data()));
    }
    first += rows;
  }
}

const std::byte* PackedMatrix::panel(std::int64_t index) const {
  return data_.data() + static_cast<std::size_t>(index * kPanelWidth * inputs_) * element_bytes(type_);
}

void PackedMatrix::copy_row(std::int64_t output, float* row) const {
  const std::size_t bytes = element_bytes(type_);
  const std::byte* source = panel(output / kPanelWidth) + static_cast<std::size_t>(output % kPanelWidth) * bytes;
  for (std::int64_t k = 0; k < inputs_; ++k) {
    row[k] = widen(type_, source + static_cast<std::size_t>(k * kPanelWidth) * bytes);
  }
}

void multiply_panels(const PanelProduct& product) {
  HWY_DYNAMIC_DISPATCH(multiply_panels_of_type)(product);
}

void multiply(const PackedMatrix& weights, const float* x, std::int64_t rows, float* y, ThreadPool& threads) {
  const Split split(rows, weights, threads.num_threads());
  threads.parallel_for(split.row_chunks * split.panel_chunks, [&](std::int64_t task) {
    const std::int64_t row = task / split.panel_chunks * kRowsPerTask;
    const std::int64_t panel = task % split.panel_chunks * split.panels_per_chunk;
    const std::int64_t output = panel * kPanelWidth;
    PanelProduct p{};
    p.panel_stride = static_cast<std::size_t>(kPanelWidth * weights.inputs()) * element_bytes(weights.type());
    p.type = weights.type();
    p.outputs = std::min(split.panels_per_chunk * kPanelWidth, weights.outputs() - output);
    p.x_stride = weights.inputs();
    p.y = y + row * weights.outputs() + output;
    p.y_stride = weights.outputs();
    p.rows = std::min(kRowsPerTask, rows - row);
    for (std::int64_t k = 0; k < weights.inputs(); k += kInputsPerBlock) {
      p.panels = weights.panel(panel) + static_cast<std::size_t>(k * kPanelWidth) * element_bytes(weights.type());
      p.inputs = std::min(kInputsPerBlock, weights.inputs() - k);
      p.x = x + row * weights.inputs() + k;
      p.accumulate = k > 0;
      multiply_panels(p);
    }
  });
}

}  // namespace hashevict::engine
#endif  // HWY_ONCE
