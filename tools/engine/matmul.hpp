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

/// Outputs that lie side by side in a packed matrix.
inline constexpr std::int64_t kPanelWidth = 16;

/**
 * A weight matrix `[outputs, inputs]` in panels of 16 outputs: `[outputs / 16][inputs][16]`, the last panel filled up
 * with zeros. So the outputs of a panel are the lanes of vectors, and every output is one chain of fused multiply-adds
 * in increasing input: its bits depend neither on the vector width nor on threads nor on what else is in the batch.
 * Weights stay in their stored type and are widened in registers.
 */
class PackedMatrix {
 public:
  PackedMatrix() = default;

  /// Stacks matrices of equal `inputs`, the outputs of one after those of another. Stored as fp32 if types differ.
  /// @throws Error invalid_data if they are not matrices of equal inputs
  explicit PackedMatrix(const std::vector<const StoredTensor*>& parts);

  std::int64_t outputs() const { return outputs_; }
  std::int64_t inputs() const { return inputs_; }
  std::int64_t num_panels() const { return (outputs_ + kPanelWidth - 1) / kPanelWidth; }
  ElementType type() const { return type_; }
  /// First element of a panel.
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

/// A part of a product, for callers with a blocking of their own.
struct PanelProduct {
  const std::byte* panels;  ///< first of the panels, which lie `panel_stride` bytes apart, at their first input
  std::size_t panel_stride;
  ElementType type;
  std::int64_t inputs;   ///< how many of each panel's inputs to add up
  std::int64_t outputs;  ///< how many outputs to write, not necessarily a multiple of a panel
  const float* x;        ///< `[rows, inputs]`, rows `x_stride` apart
  std::int64_t x_stride;
  float* y;  ///< `[rows, outputs]`, rows `y_stride` apart
  std::int64_t y_stride;
  std::int64_t rows;
  bool accumulate;  ///< add to y rather than replace it
};

/// Computes it on the calling thread.
void multiply_panels(const PanelProduct& product);

}  // namespace hashevict::engine
