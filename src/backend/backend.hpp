// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>

#include "core/step.hpp"
#include "core/storage.hpp"
#include "hashevict/hashevict.h"

namespace hashevict {

/// What encode() hashes: validated arguments of hashevict_encode().
struct EncodeArguments {
  int32_t layer;
  int32_t sequence;
  bool queries;
  int64_t tokens;
  core::TensorView x;      ///< [tokens, heads, head_dim]
  core::TensorView codes;  ///< [tokens, heads, code_bytes]
};

/// One cache on one kind of device: a method an operation. Arguments have been validated as far as that is possible
/// without reading backend memory; an implementation checks the rest before it changes anything, where it can.
class Backend {
 public:
  explicit Backend(core::Storage storage) : storage_{std::move(storage)} {}
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  [[nodiscard]] const core::Storage& storage() const { return storage_; }

  virtual void prefill(const core::Step& step, hashevict_stream stream) = 0;
  virtual void evict(const core::Step& step, hashevict_stream stream) = 0;
  virtual void append(const core::Step& step, hashevict_stream stream) = 0;
  virtual void attend(const core::Step& step, hashevict_stream stream) = 0;
  virtual void decode(const core::Step& step, hashevict_stream stream) = 0;
  virtual void encode(const EncodeArguments& arguments, hashevict_stream stream) = 0;

  /// Empties one sequence in every layer.
  virtual void reset(int32_t sequence, hashevict_stream stream) = 0;
  virtual void fork(int32_t source, int32_t target, hashevict_stream stream) = 0;

  /// Copies from backend to host memory, and waits.
  virtual void read(void* host, const void* memory, uint64_t bytes, hashevict_stream stream) = 0;
  /// Copies from host to backend memory, and waits.
  virtual void write(void* memory, const void* host, uint64_t bytes, hashevict_stream stream) = 0;
  /// A sequence's row of the block table in host memory (checked for `num_slots` slots), nullptr if not paged.
  virtual const int32_t* host_pages(int32_t sequence, int32_t num_slots, hashevict_stream stream) = 0;

 protected:
  core::Storage storage_;
};

}  // namespace hashevict
