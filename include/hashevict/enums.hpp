// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/hashevict.h>

#include <cstdint>

/// The enumerations of the C ABI, scoped.
namespace hashevict {

/// The device that stores the cache and runs its operations.
enum class Backend : int32_t {
  automatic = HASHEVICT_BACKEND_AUTO,  ///< CUDA where this build has kernels for the device, else CPU
  cpu = HASHEVICT_BACKEND_CPU,
  cuda = HASHEVICT_BACKEND_CUDA
};

/// Selects the slot to evict: the evictable one with the largest score.
enum class Policy : int32_t {
  hash = HASHEVICT_POLICY_HASH,              ///< farthest from the probe that HashSource names (the paper's rule)
  window = HASHEVICT_POLICY_WINDOW,          ///< the oldest: sinks and the most recent stay
  random = HASHEVICT_POLICY_RANDOM,          ///< uniform, from (seed, layer, global KV head, step, position)
  superseded = HASHEVICT_POLICY_SUPERSEDED,  ///< the slot that some later key has come closest to
  mean = HASHEVICT_POLICY_MEAN,              ///< closest to the code of the mean of all keys seen
  votes = HASHEVICT_POLICY_VOTES,            ///< fewest bits set: each bit of a learned code votes to keep its key
  importance = HASHEVICT_POLICY_IMPORTANCE   ///< least important: a + b * age, from the steps or from the keys
};

/// The probe of Policy::hash.
enum class HashSource : int32_t {
  query = HASHEVICT_HASH_SOURCE_QUERY,  ///< distances to the group's query codes, summed (the paper)
  key = HASHEVICT_HASH_SOURCE_KEY       ///< distance to the new key's code (the authors' public code)
};

/// The source of the importance of a key under Policy::importance.
enum class ImportanceSource : int32_t {
  given = HASHEVICT_IMPORTANCE_SOURCE_GIVEN,  ///< each step brings it
  key = HASHEVICT_IMPORTANCE_SOURCE_KEY       ///< linear in the key, see Cache::set_importance_weights()
};

/// Selects the victim if several slots have the largest score.
enum class Tie : int32_t { oldest = HASHEVICT_TIE_OLDEST, lowest_slot = HASHEVICT_TIE_LOWEST_SLOT };

/// Selects the centre that is subtracted from keys and queries before they are hashed.
enum class Centering : int32_t {
  none = HASHEVICT_CENTERING_NONE,      ///< the paper
  prompt = HASHEVICT_CENTERING_PROMPT,  ///< per head, the mean over the one prefill call that starts the sequence
  fixed = HASHEVICT_CENTERING_FIXED     ///< set by Cache::set_center(); zero until then
};

/// The source of projection rows.
enum class ProjectionKind : int32_t {
  gaussian = HASHEVICT_PROJECTION_GAUSSIAN,      ///< drawn: independent standard normal entries (the paper)
  orthogonal = HASHEVICT_PROJECTION_ORTHOGONAL,  ///< the same rows, orthogonalised in blocks of head_dim, norms kept
  learned = HASHEVICT_PROJECTION_LEARNED         ///< not drawn: set by Cache::set_projection() before any token
};

/// The order of slots in memory.
enum class Layout : int32_t {
  head_major = HASHEVICT_LAYOUT_HEAD_MAJOR,  ///< `[sequence][head][slot][dim]`; heads may differ in capacity
  slot_major = HASHEVICT_LAYOUT_SLOT_MAJOR,  ///< `[sequence][slot][head][dim]`
  paged = HASHEVICT_LAYOUT_PAGED             ///< pages of page_size slots, found through an `int32` block table
};

/// Named rules.
enum class Preset : int32_t {
  paper = HASHEVICT_PRESET_PAPER,      ///< query distances, oldest first, 16 bits, 4 sinks, 10 recent
  authors = HASHEVICT_PRESET_AUTHORS,  ///< the authors' public code: the new key's distance, lowest slot first
  superseded =
      HASHEVICT_PRESET_SUPERSEDED,  ///< evicts keys that newer ones have made redundant: 64 bits, half of it recent
  recall = HASHEVICT_PRESET_RECALL  ///< keeps the keys that a learned projection votes for; needs one, see enums.h
};

/// Selects the tokens that stay of a prompt longer than the capacity. A shorter prompt is kept whole.
enum class PrefillMode : int32_t {
  replay = HASHEVICT_PREFILL_REPLAY,  ///< the state that one decode step per token leaves, whatever the chunking
  window = HASHEVICT_PREFILL_WINDOW,  ///< sinks, the last `window` tokens, the others nearest to their queries
  recent = HASHEVICT_PREFILL_RECENT   ///< sinks and the last `capacity - sinks`, whatever the chunking
};

/// Selects the keys that the queries of a prompt see.
enum class PrefillAttention : int32_t {
  streamed = HASHEVICT_PREFILL_STREAMED,  ///< what decode() of each token would have seen; mode replay alone, of rules
                                          ///< without pin_prompt and without Centering::prompt
  full = HASHEVICT_PREFILL_FULL           ///< what the cache held before the call, and the call's tokens, causally
};

/// The place of the queries of Cache::attend() in their sequence.
enum class AttendQueries : int32_t {
  last = HASHEVICT_QUERIES_LAST,   ///< at its last positions: each sees the slots of positions up to its own
  after = HASHEVICT_QUERIES_AFTER  ///< behind every token that it has seen: each sees all valid slots
};

/// The heads whose centre and projections Cache::encode() uses.
enum class EncodeAs : int32_t { keys = HASHEVICT_ENCODE_KEYS, queries = HASHEVICT_ENCODE_QUERIES };

static_assert(static_cast<int>(Backend::cuda) == 2 && static_cast<int>(Policy::importance) == 6 &&
                  static_cast<int>(ImportanceSource::key) == 1 && static_cast<int>(HashSource::key) == 1 &&
                  static_cast<int>(Tie::lowest_slot) == 1 && static_cast<int>(Centering::fixed) == 2 &&
                  static_cast<int>(ProjectionKind::learned) == 2 && static_cast<int>(Layout::paged) == 2 &&
                  static_cast<int>(Preset::recall) == 3 && static_cast<int>(PrefillMode::recent) == 2 &&
                  static_cast<int>(PrefillAttention::full) == 1 && static_cast<int>(AttendQueries::after) == 1 &&
                  static_cast<int>(EncodeAs::queries) == 1,
              "an enumerator was added to enums.h: add it here");

}  // namespace hashevict
