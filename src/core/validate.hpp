// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/settings.hpp"
#include "core/state.hpp"
#include "core/step.hpp"
#include "hashevict/hashevict.h"

/// One validator per kind of argument. Each throws Failure with a message of the form
/// "argument = value: expected ...", and none touches any state.
namespace hashevict::core {

/// Checks a config and resolves defaults and fractions. The backend stays as given.
Settings validate_config(const hashevict_config* given);

/// How a layer's keys and values lie in memory, in elements; the same for all layers but for dense strides.
struct KvLayout {
  int64_t sequence_stride, head_stride, slot_stride, page_stride;
};

/// Memory lent to a cache, checked; absent parts stay null.
struct CacheMemory {
  std::vector<void*> keys, values;  ///< [num_layers], or empty: the cache allocates them
  std::vector<KvLayout> layouts;    ///< [num_layers]
  const int32_t* block_table = nullptr;
  int64_t block_table_stride = 0;
  const int32_t* block_table_offsets = nullptr;
  int64_t num_pages = 0;
  void* state = nullptr;
  void* workspace = nullptr;
};

/// Checks lent memory (may be null: nothing is lent) against what the config needs.
CacheMemory validate_memory(const hashevict_memory* memory, const Settings& settings, uint64_t state_bytes,
                            uint64_t workspace_bytes);

/// Checks everything about a step that can be known without reading index arrays, which may be device memory.
Step validate_step(const hashevict_step* given, const Settings& settings, Operation operation);

/// Checks the contents of index arrays in host memory against the state: sequences in range and at most once, offsets
/// monotone, no position beyond 2^31 - 1, block-table entries in range. `seen` is scratch of num_sequences bytes.
void validate_batch_contents(const Step& step, const Settings& settings, const CacheMemory& memory,
                             const LayerState& state, Operation operation, uint8_t* seen);

/// Block-table entries of the pages that the first `num_slots` slots of a sequence need: in host memory, in range.
void validate_pages(const Settings& settings, const CacheMemory& memory, int32_t sequence, int32_t num_slots);

/// This sequence's row of the block table, or nullptr if the layout is not paged. Host memory.
const int32_t* block_table_row(const Settings& settings, const CacheMemory& memory, int32_t sequence);

void validate_layer(const Settings& settings, int32_t layer);
void validate_sequence(const Settings& settings, int32_t sequence, const char* name);

/// What a tensor must be. Holds no memory of its own: validation allocates nothing unless it fails.
struct TensorSpec {
  const char* name;  ///< for messages
  bool any_float;    ///< float32, float16 or bfloat16; else exactly `dtype`
  DType dtype;
  std::array<int64_t, 3> shape;  ///< kNoDim past the rank
  bool written;
};
inline constexpr int64_t kNoDim = -1;

/// Whether a tensor is there: it has memory, or it needs none, since one of its extents is 0.
bool present(const hashevict_tensor& tensor);

/// Checks one present tensor against its spec.
TensorView validate_tensor(const hashevict_tensor& tensor, const TensorSpec& spec);

}  // namespace hashevict::core
