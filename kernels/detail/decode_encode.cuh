// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_inputs.cuh"
#include "kernels/detail/clocks.cuh"
#include "kernels/detail/step.cuh"

/// The codes and the importance of a token that decode() takes, for any rule and width of codes.
namespace hashevict::kernels {

/// A token and the KV head that takes it.
struct DecodeItem {
  int32_t sequence;
  int32_t kv_head;
  int32_t token;
  int32_t position;
  int32_t capacity;     ///< of the head
  int32_t first_split;  ///< of the head, among those of the layer
  int32_t split_bits;   ///< binary logarithm of the slots of a split

  /// Valid slots before the token is placed.
  [[nodiscard]] HASHEVICT_DEVICE int32_t length() const { return position < capacity ? position : capacity; }
  [[nodiscard]] HASHEVICT_DEVICE bool is_full() const { return position >= capacity; }
  [[nodiscard]] HASHEVICT_DEVICE int32_t num_splits() const { return core::splits_of(length(), split_bits); }
};

/// Encodes `count` vectors, the first rows of `shared.staged`, into the codes from `first_code` on. Lane = bit. A warp
/// takes a word of several vectors, two at a time: their sums run side by side and share the loads of the projection.
/// Each sum is that of project_word().
HASHEVICT_DEVICE void project_staged(const Layer& layer, const float* projection, const StepShared& shared,
                                     int32_t count, int32_t first_code) {
  constexpr int32_t kMany = 32;  // elements of the projection whose loads are in flight together
  constexpr int32_t kFew = 8;    // divides head_dim
  const int32_t bits = layer.rule.hash_bits;
  const int32_t head_dim = layer.shape.head_dim;
  const int32_t words = code_words(bits);  // 1, 2 or 4
  const int32_t groups = kAttendWarps / words;
  const int32_t each = (count + groups - 1) / groups;
  const int32_t word = simt::warp() % words;
  const int32_t first = simt::warp() / words * each;
  const int32_t end = first + each < count ? first + each : count;
  const int32_t bit = word * 32 + simt::lane();
  HASHEVICT_NO_UNROLL
  for (int32_t v = first; v < end; v += 2) {
    const int32_t both[2] = {v * head_dim, (v + 1 < end ? v + 1 : v) * head_dim};
    float sums[2] = {};
    const float* weight = projection + (bit < bits ? bit : 0);
    HASHEVICT_NO_UNROLL
    for (int32_t base = 0; base < head_dim; base += kMany) {
      float weights[kMany];
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kMany; ++i) {
        weights[i] = 0.0F;
        if (base + i / kFew * kFew < head_dim) weights[i] = simt::load_constant(weight);
        weight += bits;
      }
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kMany; i += kFew) {
        if (base + i >= head_dim) break;
        HASHEVICT_UNROLL
        for (int32_t n = 0; n < 2; ++n) {
          float values[kFew];
          shared.staged.load_many(both[n] + base + i, values);
          HASHEVICT_UNROLL
          for (int32_t k = 0; k < kFew; ++k) sums[n] = simt::fma(weights[i + k], values[k], sums[n]);
        }
      }
    }
    HASHEVICT_UNROLL
    for (int32_t n = 0; n < 2; ++n) {
      const uint32_t code = simt::ballot(simt::kFullMask, bit < bits && sums[n] >= 0.0F);
      if (simt::lane() == 0 && v + n < end) shared.codes.store((first_code + v + n) * words + word, code);
    }
  }
}

/// Stages the mean of all keys, the new one included, as vector 1.
HASHEVICT_DEVICE void stage_mean(const EvictParams& p, const Head& head, const DecodeItem& item,
                                 const StepShared& shared) {
  HASHEVICT_NO_UNROLL
  for (int32_t e = simt::thread_index(); e < p.layer.shape.head_dim; e += kAttendThreads) {
    const float key = input_element(p.layer, head, p.q, p.k, item.token, 0, e);
    const float mean =
        simt::divide(simt::add(simt::load(head.key_sums + e), key), static_cast<float>(item.position + 1));
    shared.staged.store(p.layer.shape.head_dim + e, centered(p.layer, head, 0, e, mean));
  }
}

/// centered() for eight elements from `e` on, a multiple of 8.
HASHEVICT_DEVICE void center_eight(const Layer& layer, const Head& head, int32_t vector, int32_t e,
                                   float (&values)[8]) {
  const float* const center = vector == 0 ? head.key_centers : head.query_centers + (vector - 1) * layer.shape.head_dim;
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 8; i += 4) {
    const simt::Bytes16 some = simt::load16(center + e + i);
    HASHEVICT_UNROLL
    for (int32_t k = 0; k < 4; ++k) {
      values[i + k] = simt::subtract(values[i + k], simt::float_from_bits(some.words[k]));
    }
  }
}

/// weigh_key() by a warp, of the staged key.
HASHEVICT_DEVICE float weigh_staged_key(const float* weights, int32_t head_dim, const StepShared& shared) {
  constexpr int32_t kMany = 8;  // divides head_dim
  float sum = 0.0F;
  HASHEVICT_NO_UNROLL
  for (int32_t base = 0; base < head_dim; base += simt::kWarpSize) {
    const int32_t e = base + simt::lane();
    const float weight = e < head_dim ? simt::load(weights + e) : 0.0F;
    const int32_t end = head_dim - base < simt::kWarpSize ? head_dim - base : simt::kWarpSize;
    HASHEVICT_NO_UNROLL
    for (int32_t first = 0; first < end; first += kMany) {
      float key[kMany];
      shared.key.load_many(base + first, key);
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kMany; ++i) {
        sum = simt::fma(simt::shuffle(simt::kFullMask, weight, first + i), key[i], sum);
      }
    }
  }
  return simt::add(sum, simt::load(weights + head_dim));
}

/// stage_importance() by a warp.
HASHEVICT_DEVICE void bring_importance(const EvictParams& p, const Head& head, int64_t token,
                                       const StepShared& shared) {
  core::Importance importance = given_importance(p, head.kv_head, token);
  if (p.layer.rule.weighs_keys) {
    importance.value = weigh_staged_key(head.importance_weights, p.layer.shape.head_dim, shared);
  }
  if (simt::lane() == 0) shared.importance.store(0, importance.value);
  if (simt::lane() == 0) shared.importance.store(1, importance.slope);
}

/// encode_token() and make_probe(): the key into code 0; the rule's probe into code 1, or the group's queries into
/// codes 1, 2, .. Ends with a barrier.
HASHEVICT_DEVICE void encode_step(const EvictParams& p, const Head& head, const DecodeItem& item,
                                  const StepShared& shared) {
  const Layer& layer = p.layer;
  const int32_t head_dim = layer.shape.head_dim;
  const int32_t words = code_words(layer.rule.hash_bits);
  const int32_t num_vectors = layer.rule.facts.needs_queries ? 1 + layer.shape.group_size : 1;
  const bool has_mean = layer.rule.facts.needs_key_sums && (item.is_full() || layer.rule.facts.accumulates);
  HASHEVICT_NO_UNROLL
  for (int32_t first = 0; first < num_vectors; first += kStagedVectors) {
    const int32_t count = num_vectors - first < kStagedVectors ? num_vectors - first : kStagedVectors;
    HASHEVICT_NO_UNROLL
    for (RowWalk at{8 * simt::thread_index(), head_dim}; at.row < count; at.skip(8 * kAttendThreads)) {
      const int32_t e = at.e;
      const int32_t vector = first + at.row;
      float values[8];
      const Vectors x = vector == 0 ? p.k : p.q;
      const int64_t index = vector == 0 ? head.kv_head : int64_t{head.kv_head} * layer.shape.group_size + vector - 1;
      const int64_t place = item.token * x.stride[0] + index * x.stride[1] + e * x.stride[2];
      // Inlined: around a call here, decode_mma_64 would spill on sm_80.
      const Eight eight = load_eight_apart(x.data, x.dtype, place, x.stride[2]);
      HASHEVICT_UNROLL
      for (int32_t k = 0; k < 8; ++k) values[k] = eight.values[k];
      if (vector == 0) shared.key.store_many(e, values);
      if (head.key_centers != nullptr) {
        center_eight(layer, head, vector, e, values);
      }
      shared.staged.store_many(at.row * head_dim + e, values);
    }
    if (has_mean) stage_mean(p, head, item, shared);
    simt::block_sync();
    project_staged(layer, head.projection, shared, has_mean ? 2 : count, first);
    if (first == 0 && layer.rule.facts.needs_importance && simt::warp() == kAttendWarps - 1) {
      bring_importance(p, head, item.token, shared);  // while other warps encode
    }
    if (layer.rule.facts.probe == core::Probe::zero && simt::thread_index() < words) {
      shared.codes.store(words + simt::thread_index(), 0U);
    }
    simt::block_sync();
  }
}

}  // namespace hashevict::kernels
