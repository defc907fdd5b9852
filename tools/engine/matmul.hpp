// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "safetensors.hpp"
#include "thread_pool.hpp"

namespace hashevict::engine {

/// The number of adjacent outputs in a panel of a packed matrix.
inline constexpr std::int64_t kPanelWidth = 16;

/**
 * A weight matrix `[outputs, inputs]` in panels of 16 outputs: `[outputs / 16][inputs][16]`, the last panel padded
 * with zeros. The outputs of a panel are lanes of vectors, and every output is one chain of fused multiply-adds in
 * increasing input: its bits depend neither on the vector width nor on threads nor on the rest of the batch.
 * Weights stay in their stored type and are widened in registers.
 */
class PackedMatrix {
 public:
  PackedMatrix() = default;

  /// Stacks matrices of equal `inputs`: the outputs of one after those of another. Stores fp32 if their types differ.
  /// @throws Error invalid_data unless all are matrices of equal inputs
  explicit PackedMatrix(const std::vector<const StoredTensor*>& parts);

  std::int64_t outputs() const { return outputs_; }
  std::int64_t inputs() const { return inputs_; }
  std::int64_t num_panels() const { return (outputs_ + kPanelWidth - 1) / kPanelWidth; }
  ElementType type() const { return type_; }
  /// The first element of a panel.
  const std::byte* panel(std::int64_t index) const;

  /// Copies the weights of one output, widened, to `row [inputs]`.
  void copy_row(std::int64_t output, float* row) const;

 private:
  std::int64_t outputs_ = 0;
  std::int64_t inputs_ = 0;
  ElementType type_ = ElementType::f32;
  std::vector<std::byte> data_;
};

/// `y[r] = W x[r]` for every row: x `[rows, inputs]`, y `[rows, outputs]`, dense, fp32.
void multiply(const PackedMatrix& weights, const float* x, std::int64_t rows, float* y, ThreadPool& threads);

/// A part of a product, for callers that block it themselves.
struct PanelProduct {
  const std::byte* panels;  ///< first of the panels, which lie `panel_stride` bytes apart, at their first input
  std::size_t panel_stride;
  ElementType type;
  std::int64_t inputs;   ///< the number of each panel's inputs to add up
  std::int64_t outputs;  ///< the number of outputs to write; need not be a multiple of a panel
  const float* x;        ///< `[rows, inputs]`, rows `x_stride` apart
  std::int64_t x_stride;
  float* y;  ///< `[rows, outputs]`, rows `y_stride` apart
  std::int64_t y_stride;
  std::int64_t rows;
  bool accumulate;  ///< add to y instead of overwriting it
};

/// Computes the part on the calling thread.
void multiply_panels(const PanelProduct& product);

}  // namespace hashevict::engine
