// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/step.hpp"
#include "core/storage.hpp"
#include "hashevict/hashevict.h"

namespace hashevict {

using core::EncodeArguments;

/// One strided copy: `count` runs of `bytes`, and the distance between run starts on either side.
struct Runs {
  uint64_t bytes;
  uint64_t count = 1;
  uint64_t host_stride = 0;
  uint64_t memory_stride = 0;
};

/// A sequence's counters in a layer. Every head has seen the same tokens.
struct SequenceCounters {
  int32_t tokens_seen, prompt_length, center_set;
};

/// What a layer learns or draws once, and a snapshot names by its checksum.
enum class Parameter : uint8_t { projection, importance_weights };
inline constexpr std::size_t kNumParameters = 2;

/// One cache on one kind of device, with a method for each operation. The caller has validated all that can be checked
/// without reading backend memory. An implementation checks the rest before it changes anything, where it can.
class Backend {
 public:
  explicit Backend(core::Storage storage)
      : storage_{std::move(storage)},
        checksums_(kNumParameters, std::vector<std::optional<uint64_t>>(storage_.layers.size())),
        host_counters_(storage_.layers.size()),
        host_numbers_(most_host_numbers(storage_.settings.shape)) {
    if (storage_.memory.table.entries != nullptr) page_rows_.resize(storage_.settings.heads.size());
  }
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  [[nodiscard]] const core::Storage& storage() const { return storage_; }

  /// Whether a layer has a parameter: the caller set it, or construction drew it.
  [[nodiscard]] bool has(Parameter parameter, int32_t layer) const { return noted(parameter, layer).has_value(); }
  /// Checksum of a parameter in the state, kept so that snapshots need not read it; 0 if the layer has none.
  [[nodiscard]] uint64_t checksum(Parameter parameter, int32_t layer) const {
    return noted(parameter, layer).value_or(0);
  }
  void note(Parameter parameter, int32_t layer, uint64_t checksum) {
    checksums_[static_cast<std::size_t>(parameter)][static_cast<std::size_t>(layer)] = checksum;
  }

  /// Host memory for counters of one sequence, [num_layers]. Reserved here, so that calls which copy counters allocate
  /// nothing.
  [[nodiscard]] std::span<SequenceCounters> host_counters() { return host_counters_; }
  /// Host memory for a counter of all sequences, [num_layers, num_sequences], or for two of each KV head of one
  /// sequence, [num_layers, 2, num_kv_heads].
  [[nodiscard]] std::span<int32_t> host_numbers() { return host_numbers_; }

  virtual void prefill(const core::Step& step, hashevict_stream stream) = 0;
  virtual void evict(const core::Step& step, hashevict_stream stream) = 0;
  virtual void append(const core::Step& step, hashevict_stream stream) = 0;
  virtual void attend(const core::Step& step, hashevict_stream stream) = 0;
  virtual void decode(const core::Step& step, hashevict_stream stream) = 0;
  virtual void encode(const EncodeArguments& arguments, hashevict_stream stream) = 0;

  /// Empties one sequence in every layer; core::kAll empties all sequences.
  virtual void reset(int32_t sequence, hashevict_stream stream) = 0;
  virtual void fork(int32_t source, int32_t target, hashevict_stream stream) = 0;

  /// Starts a copy from backend to host memory. Both must stay in place until wait(); Transfers ensures it.
  virtual void start_read(void* host, const void* memory, const Runs& runs, hashevict_stream stream) = 0;
  /// Starts a copy from host to backend memory, on the same terms.
  virtual void start_write(void* memory, const void* host, const Runs& runs, hashevict_stream stream) = 0;
  /// Waits for all work on a stream.
  virtual void wait(hashevict_stream stream) = 0;
  /// Copies from backend to host memory and waits.
  void read(void* host, const void* memory, uint64_t bytes, hashevict_stream stream) {
    start_read(host, memory, {bytes}, stream);
    wait(stream);
  }
  /// Copies from host to backend memory and waits.
  void write(void* memory, const void* host, uint64_t bytes, hashevict_stream stream) {
    start_write(memory, host, {bytes}, stream);
    wait(stream);
  }
  /// The row of the block table of each head of a sequence, [num_layers, num_kv_heads], in host memory and checked for
  /// the slots in use; empty if the layout has no pages.
  /// @param tokens [num_layers] that the sequence has seen
  virtual std::span<const int32_t* const> host_pages(int32_t sequence, std::span<const int32_t> tokens,
                                                     hashevict_stream stream) = 0;

 protected:
  core::Storage storage_;
  std::vector<const int32_t*> page_rows_;  ///< [num_layers, num_kv_heads], for host_pages(); empty without pages

 private:
  static std::size_t most_host_numbers(const core::Shape& shape) {
    return static_cast<std::size_t>(shape.num_layers) *
           static_cast<std::size_t>(std::max(shape.num_sequences, 2 * shape.num_kv_heads));
  }

  [[nodiscard]] const std::optional<uint64_t>& noted(Parameter parameter, int32_t layer) const {
    return checksums_[static_cast<std::size_t>(parameter)][static_cast<std::size_t>(layer)];
  }

  std::vector<std::vector<std::optional<uint64_t>>> checksums_;  ///< [kNumParameters, num_layers]
  std::vector<SequenceCounters> host_counters_;
  std::vector<int32_t> host_numbers_;
};

}  // namespace hashevict
