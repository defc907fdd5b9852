// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/params.hpp"

/// The kernels' only entry points: declarations, so that callers need no CUDA compiler.
namespace hashevict::kernels {

/// The stream that launches go to.
struct Queue {
  void* stream = nullptr;  ///< a `cudaStream_t`
  bool overlaps = false;   ///< a launch may start while the one before it ends: Prepared::overlaps
};

/// The state of kernels that were made ready for launches.
struct Prepared {
  const char* error;     ///< nullptr, or the runtime's message about one of the kernels
  int32_t shared_bytes;  ///< dynamic shared memory that a block of each kernel may have
  bool overlaps;  ///< each kernel was compiled for devices whose launches overlap, and waits for the launch before
};

/// Make ready every kernel that the launcher of the same name may start for a layer of this shape, on the current
/// device and for the whole process. They load the kernel, so that its first launch may be part of a graph, and raise
/// its limit of dynamic shared memory to the device's maximum. Launches change no such setting, so they may run on any
/// thread.
Prepared prepare_encode(const Layer& layer);
Prepared prepare_evict(const Layer& layer);
Prepared prepare_attend(const Layer& layer);
Prepared prepare_decode(const Layer& layer);
Prepared prepare_prefill(const Layer& layer);
Prepared prepare_prefill_attend(const Layer& layer);
Prepared prepare_copy(const Layer& layer);

// Each puts its work on a stream. It neither waits nor allocates. It returns nullptr, or the runtime's message about
// the launch.
/// Codes of vectors.
const char* launch_encode(const EncodeParams& params, const Queue& queue);
/// Steps without attention: one launch for all rows and heads.
const char* launch_evict(const EvictParams& params, const Queue& queue);
/// Attention: one launch. The last block of each head combines its splits.
const char* launch_attend(const AttendParams& params, const Queue& queue);
/// Eviction, attention and the combination of splits: one launch.
const char* launch_decode(const DecodeParams& params, const Queue& queue);
/// A prompt: centres and importances if asked for, codes, then the rule on codes alone, attention if asked for, then
/// one gather of keys and values.
const char* launch_prefill(const PrefillParams& params, const Queue& queue);
/// The attention of a prompt, as a part of launch_prefill(): one launch.
const char* launch_prefill_attend(const PrefillParams& params, const Queue& queue);
const char* launch_copy(const CopyParams& params, const Queue& queue);

/// The most dynamic shared memory that a block of a layer's attention or prefill takes; no other launch takes more.
/// Construction refuses a cache whose kernels are granted less.
int32_t attention_shared_bytes(const Layer& layer);
int32_t prompt_shared_bytes(const Layer& layer);
int32_t prompt_attention_shared_bytes(const Layer& layer);

}  // namespace hashevict::kernels
