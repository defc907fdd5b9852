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

/// What the tests of the API share: a small cache, inputs for it, and ways to see that a refusal changed nothing.
namespace hashevict::test {

/// What a call of the C ABI came to.
struct Outcome {
  hashevict_status status = HASHEVICT_OK;
  std::string message;
};

/// Runs `call(hashevict_error*)` with a poisoned message buffer and checks what holds for every message: one line,
/// terminated within the buffer, not empty after a failure, untouched after a success.
Outcome outcome_of(const std::function<hashevict_status(hashevict_error*)>& call);

/// What a refusal must say: its status, and texts that its message contains (the argument, its value, what was
/// expected).
struct Refusal {
  hashevict_status status = HASHEVICT_INVALID_ARGUMENT;
  std::vector<std::string> message;
};

void expect_refused(const Outcome& outcome, const Refusal& refusal);

/// 2 layers, 3 sequences, 2 KV heads with 2 query heads each, 16 dimensions, 20 slots, float32, one CPU thread.
Config small_config();
hashevict_config small_c_config();

/// Standard normal numbers, the same for the same seed.
std::vector<float> normal_numbers(size_t count, uint64_t seed);

/// A memory range as bytes.
std::vector<std::byte> bytes_of(const void* data, size_t size);

/// A sanitizer stands in for the allocator here: tests of allocation mean nothing.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
inline constexpr bool kSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
inline constexpr bool kSanitized = false;
#endif

/// What a tensor output is filled with before a call, so that a write shows.
inline constexpr float kPoison = -12345.0F;
inline constexpr int32_t kIndexPoison = -777;

/// Inputs and poisoned outputs of one step, and the step that points to them: `num_tokens` tokens, one a row, rows
/// 0, 1, ... of the cache, unless tests change it.
struct StepData {
  StepData(const Config& config, int64_t num_tokens, uint64_t seed);
  StepData(const StepData&) = delete;  // `step` points into this object
  StepData& operator=(const StepData&) = delete;

  /// Makes the step bring its tokens in rows of these many tokens.
  void set_rows(const std::vector<int32_t>& tokens_per_row);
  /// Names the sequence of each row.
  void set_sequences(const std::vector<int32_t>& sequences);

  /// Whether no output was written.
  [[nodiscard]] bool outputs_untouched() const;

  std::vector<float> q, k, v, out, lse;
  std::vector<int32_t> slots, victims, cu_seqlens, row_to_sequence;
  Step step;
};

/// Feeds `tokens` random tokens to one sequence of every layer, one decode step each.
void feed(Cache& cache, int32_t sequence, int64_t tokens, uint64_t seed);

/// The saved state of every sequence, one after the other.
std::vector<std::byte> save_all(Cache& cache);

/// A cache of small_config() (or another) that holds tokens: sequence 0 is past its capacity, 1 part full, 2 empty.
Cache used_cache(const Config& config = small_config());

/// Memory for the keys and values of a paged config, with a padded block table whose pages are dealt in a scattered
/// order. `memory` lends it; the object must outlive the cache.
struct PagedMemory {
  explicit PagedMemory(const Config& config);
  PagedMemory(const PagedMemory&) = delete;  // `memory` points into this object
  PagedMemory& operator=(const PagedMemory&) = delete;

  std::vector<std::vector<float>> keys, values;  ///< [num_layers] of pages, storage dtype float32
  std::vector<int32_t> block_table;
  Memory memory;
};

/// small_config() with pages of 8 slots, so that the last page of a sequence is part used.
Config small_paged_config();

/// `count` bytes at an address that is a multiple of HASHEVICT_ALIGNMENT, between guard bytes that tell whether
/// anything was written outside.
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
