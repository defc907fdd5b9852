// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/hashevict.h>

#include <type_traits>

struct CUstream_st;  // a `cudaStream_t` points to it; the CUDA headers define it

namespace hashevict {

/// The queue that runs an operation: a `cudaStream_t`, held as an opaque pointer so that no CUDA header is needed.
///
/// Does not own the stream. The CPU backend ignores it: its operations are done when they return. It is the last
/// parameter of every operation and has no default, so that a call on the default stream says so:
/// `cache.decode(args, hashevict::kDefaultStream)`.
class Stream {
 public:
  /// The default stream, as kDefaultStream.
  constexpr Stream() noexcept = default;

  /// @param stream a `cudaStream_t`; null is the default stream
  constexpr explicit Stream(CUstream_st* stream) noexcept : stream_{stream} {}

  /// @param stream a `cudaStream_t` as an opaque pointer
  constexpr explicit Stream(hashevict_stream stream) noexcept : stream_{stream} {}

  /// Refuses everything else: numbers, nullptr (write kDefaultStream), and pointers to other types, which would convert
  /// to `void*` unseen.
  template <class T,
            std::enable_if_t<!std::is_same_v<T, hashevict_stream> && !std::is_same_v<T, CUstream_st*>, int> = 0>
  explicit Stream(T) = delete;

  [[nodiscard]] constexpr hashevict_stream get() const noexcept { return stream_; }

 private:
  hashevict_stream stream_ = nullptr;
};

/// The default stream of the cache's device.
inline constexpr Stream kDefaultStream{};

}  // namespace hashevict
