// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hashevict/cache.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "support/any_args.hpp"

/// Shared by the tests of the API: a small cache, inputs for it, and checks that a refusal changed nothing.
namespace hashevict::test {

/// The status and the message of a call of the C ABI.
struct Outcome {
  hashevict_status status = HASHEVICT_OK;
  std::string message;
};

/// Runs `call(hashevict_error*)` with a poisoned message buffer and checks the rules for every message: one line,
/// terminated within the buffer, not empty after a failure, untouched after a success.
Outcome outcome_of(const std::function<hashevict_status(hashevict_error*)>& call);

/// The minimum of a refusal: its status, and texts that its message must contain (the argument, its value, the
/// expectation).
struct Refusal {
  hashevict_status status = HASHEVICT_INVALID_ARGUMENT;
  std::vector<std::string> message;
};

void expect_refused(const Outcome& outcome, const Refusal& refusal);

/// 2 layers, 3 sequences, 2 KV heads with 2 query heads each, 16 dimensions, 20 slots, float32, one CPU thread.
Config small_config();
hashevict_config small_c_config();
/// Converts a config without rules of layers to the C ABI's, which points to its capacities.
hashevict_config c_config_of(const Config& config);

/// Bytes of an element of small_config()'s slots: strides of lent memory count bytes.
inline constexpr int64_t kFloat = sizeof(float);

/// Standard normal numbers; the same seed gives the same numbers.
std::vector<float> normal_numbers(size_t count, uint64_t seed);

/// A memory range as bytes.
std::vector<std::byte> bytes_of(const void* data, size_t size);

/// A sanitizer replaces the allocator, so tests of allocation are meaningless there.
#if defined(HASHEVICT_SANITIZE_ADDRESS) || defined(HASHEVICT_SANITIZE_THREAD)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

/// Fills tensor outputs before a call, so that a write is visible.
inline constexpr float kPoison = -12345.0F;
inline constexpr int32_t kIndexPoison = -777;

/// Inputs and poisoned outputs of one step, and the arguments that point to them: by default `num_tokens` tokens, one
/// per row, in rows 0, 1, ... of the cache.
struct StepData {
  /// @param layer of whose rule the step brings the importances; `args.layer` stays 0
  StepData(const Config& config, int64_t num_tokens, uint64_t seed, int32_t layer = 0);
  StepData(const StepData&) = delete;  // `args` points into this object
  StepData& operator=(const StepData&) = delete;

  /// Divides the arguments' tokens into rows of these lengths.
  void set_rows(const std::vector<int32_t>& tokens_per_row);
  /// Sets the sequence of each row.
  void set_sequences(const std::vector<int32_t>& sequences);

  /// Whether no output was written.
  [[nodiscard]] bool outputs_untouched() const;

  std::vector<float> q, k, v, out, lse;
  std::vector<float> importance, importance_slope;  ///< in `args` if the rule takes them
  std::vector<int32_t> slots, victims, cu_seqlens, row_to_sequence;
  AnyArgs args;
};

/// Sets a random projection in every layer whose rule is of ProjectionKind::learned.
void learn_projections(Cache& cache, uint64_t seed);

/// Sets random weights in every layer whose rule computes importances from keys.
void set_importance_weights(Cache& cache, uint64_t seed);

/// Feeds `tokens` random tokens to one sequence of every layer, in one decode step each.
void feed(Cache& cache, int32_t sequence, int64_t tokens, uint64_t seed);

/// The saved state of every sequence, one after the other.
std::vector<std::byte> save_all(Cache& cache);

/// A cache of small_config() (or another) with tokens: sequence 0 is beyond its capacity, 1 partly full, 2 empty.
Cache used_cache(const Config& config = small_config());

/// Memory for the keys and values of a paged config, with a padded block table that scatters the pages. Pages of single
/// heads are one pool for all layers. `memory` lends it; the object must outlive the cache.
struct PagedMemory {
  explicit PagedMemory(const Config& config);
  PagedMemory(const PagedMemory&) = delete;  // `memory` points into this object
  PagedMemory& operator=(const PagedMemory&) = delete;

  std::vector<std::vector<float>> keys, values;  ///< [num_layers] of pages, or one pool for all layers; float32
  std::vector<int32_t> block_table;
  Memory memory;
};

/// small_config() with pages of 8 slots, so that the last page of a sequence is partly used.
Config small_paged_config();
/// The same with pages of single heads, which have different capacities.
Config small_config_of_head_pages();

/// `count` bytes at a multiple of HASHEVICT_ALIGNMENT, between guard bytes that reveal writes outside.
class GuardedBuffer {
 public:
  explicit GuardedBuffer(uint64_t count);
  [[nodiscard]] void* data() const { return data_; }
  [[nodiscard]] bool guards_intact() const;
  [[nodiscard]] bool contains(const void* pointer) const;

 private:
  std::vector<std::byte> storage_;
  std::byte* data_;
  uint64_t count_;
};

/// A named row of a table-driven test.
template <class Action>
struct Case {
  std::string name;
  Action action;
  Refusal refusal;

  friend void PrintTo(const Case& row, std::ostream* stream) { *stream << row.name; }
};

/// Names a parametrised test after its row.
struct CaseName {
  template <class Info>
  std::string operator()(const Info& info) const {
    return info.param.name;
  }
};

}  // namespace hashevict::test
