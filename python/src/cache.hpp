// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nanobind/nanobind.h>

#include <deque>
#include <hashevict/cache.hpp>
#include <memory>

#include "tensors.hpp"

namespace hashevict::python {

namespace nb = nanobind;

/// What Python's `_native.Cache` is: a cache, and the tensors that were lent to it.
class NativeCache {
 public:
  /// @param parts as to_config() takes them
  /// @param lent None, or as lend() takes it
  NativeCache(nb::dict parts, nb::object lent);

  [[nodiscard]] Cache& cache() { return *cache_; }
  [[nodiscard]] const MemorySpace& space() const { return space_; }

 private:
  std::deque<BorrowedTensor> lent_;  ///< destroyed after the cache, whose memory they are
  std::unique_ptr<Cache> cache_;
  MemorySpace space_{};
};

/// Builds the description of lent memory, `{field: value}` with tensors for pointers, and holds the tensors in `held`.
/// @throws Error invalid_argument for an unknown field, and for a block table of other rows than the config's
Memory lend(const Config& config, nb::dict fields, std::deque<BorrowedTensor>& held);

using NativeClass = nb::class_<NativeCache>;

// Each adds the methods of one subject.
void add_operations(NativeClass& cache);
void add_parameters(NativeClass& cache);
void add_sequences(NativeClass& cache);
void add_inspection(nb::module_& module, NativeClass& cache);

}  // namespace hashevict::python
