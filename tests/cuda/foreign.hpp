// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "hashevict/hashevict.h"

namespace hashevict::test {

/// The kind of an engine's kernel between the cache's own kernels.
enum class Foreign {
  none,        ///< no such kernel
  plain,       ///< launched as usual
  overlapping  ///< starts while the launch before ends, and lets the next one start at once
};

/// An engine's kernel: copies `words` words of 32 bits on a stream (a `cudaStream_t`). @return nullptr, or the
/// runtime's message
const char* copy_words(const void* from, void* to, std::size_t words, Foreign foreign, hashevict_stream stream);

}  // namespace hashevict::test
