// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/params.hpp"

/// The kernels' only entry points: declarations, so that callers need no CUDA compiler.
namespace hashevict::kernels {

/// The clusters of blocks that kernels may be launched in.
struct Clusters {
  int32_t blocks = 0;          ///< of a cluster, at most: a power of two up to 8; 0: no clusters
  int32_t twice_as_large = 0;  ///< clusters of twice as many blocks that the device runs at once
};

/// The clusters that both allow.
inline Clusters fewest(const Clusters& a, const Clusters& b) {
  if (a.blocks != b.blocks) return {a.blocks < b.blocks ? a.blocks : b.blocks, 0};
  return {a.blocks, a.twice_as_large < b.twice_as_large ? a.twice_as_large : b.twice_as_large};
}

/// The stream that launches go to.
struct Queue {
  void* stream = nullptr;  ///< a `cudaStream_t`
  bool overlaps = false;   ///< a launch may start while the one before it ends: Prepared::overlaps
  Clusters clusters = {};  ///< Prepared::clusters of prepare_decode_cluster()
  bool bulk = false;       ///< Prepared::bulk of prepare_attend_bulk()
};

/// The state of kernels that were made ready for launches.
struct Prepared {
  const char* error;     ///< nullptr, or the runtime's message about one of the kernels
  int32_t shared_bytes;  ///< dynamic shared memory that a block of each kernel may have
  bool overlaps;  ///< each kernel was compiled for devices whose launches overlap, and waits for the launch before
  Clusters clusters = {};  ///< of kernels that need them
  bool bulk = false;       ///< each kernel that needs bulk copies was compiled for devices that have them, and fits
};

/// Make ready every kernel that the launcher of the same name may start for a layer of this shape, on the current
/// device and for the whole process. They load the kernel, so that its first launch may be part of a graph, and raise
/// its limit of dynamic shared memory to the device's maximum. Launches change no such setting, so they may run on any
/// thread.
Prepared prepare_encode(const Layer& layer);
Prepared prepare_evict(const Layer& layer);
Prepared prepare_attend(const Layer& layer);
/// Finds no bulk copies where the device has none, or the kernels were compiled for older ones.
Prepared prepare_attend_bulk(const Layer& layer);
Prepared prepare_decode(const Layer& layer);
/// Finds no clusters where the device has none, or the kernels were compiled for older ones.
Prepared prepare_decode_cluster(const Layer& layer);
Prepared prepare_prefill(const Layer& layer);
Prepared prepare_prefill_attend(const Layer& layer);
Prepared prepare_copy(const Layer& layer);

// Each puts its work on a stream. It neither waits nor allocates. It returns nullptr, or the runtime's message about
// the launch.
/// Codes of vectors.
const char* launch_encode(const EncodeParams& params, const Queue& queue);
/// Steps without attention: one launch for all rows and heads.
const char* launch_evict(const EvictParams& params, const Queue& queue);
/// Attention: one launch, by bulk copies where can_attend_bulk() says so. The last block of each head combines its
/// splits.
const char* launch_attend(const AttendParams& params, const Queue& queue);
/// Whether launch_attend_bulk() can do this, on a device with bulk copies. Results do not depend on it.
bool can_attend_bulk(const AttendParams& params);
const char* launch_attend_bulk(const AttendParams& params, const Queue& queue);
/// Eviction, attention and the combination of splits: one launch, in clusters where decode_cluster_size() says so.
const char* launch_decode(const DecodeParams& params, const Queue& queue);
/// The blocks of each cluster of launch_decode_cluster(); 0: it cannot do this. Results do not depend on it.
int32_t decode_cluster_size(const DecodeParams& params, const Clusters& clusters);
const char* launch_decode_cluster(const DecodeParams& params, int32_t cluster_size, const Queue& queue);
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
