// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/hashevict.h>

namespace hashevict {

/// The queue an operation is put into: a `cudaStream_t`, held as an opaque pointer so that no CUDA header is needed.
///
/// Neither owns nor keeps alive the stream it names. The CPU backend ignores it: its operations are done when they
/// return. It is the last parameter of every operation and never has a default, so that a call on the default stream
/// is always one that somebody wrote down: `cache.decode(step, hashevict::Stream{})`.
class Stream {
 public:
  /// @param stream a `cudaStream_t`; null is the default stream
  explicit Stream(void* stream = nullptr) noexcept : stream_{stream} {}

  [[nodiscard]] hashevict_stream get() const noexcept { return stream_; }

 private:
  hashevict_stream stream_;
};

}  // namespace hashevict
