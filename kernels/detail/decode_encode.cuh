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
/// @param weighs the warp then finds the key's importance, the sum of weigh_key(), by the same code: all lanes do
HASHEVICT_DEVICE void project_staged(const Layer& layer, const Head& head, const StepShared& shared, int32_t count,
                                     int32_t first_code, bool weighs) {
  constexpr int32_t kMany = 32;  // elements of the projection whose loads are in flight together
  constexpr int32_t kFew = 8;    // divides head_dim
  const int32_t bits = layer.rule.hash_bits;
  const int32_t head_dim = layer.shape.head_dim;
  const int32_t words = code_words(bits);
  const int32_t log_words = words / 2;  // of 1, 2 or 4
  const int32_t groups = kAttendWarps >> log_words;
  const int32_t each = (count + groups - 1) >> (kLogAttendWarps - log_words);
  const int32_t warp = simt::uniform_warp();
  const int32_t word = warp & (words - 1);
  const int32_t first = (warp >> log_words) * each;
  const int32_t end = first + each < count ? first + each : count;
  const int32_t bit = word * 32 + simt::lane();
  HASHEVICT_NO_UNROLL
  for (int32_t v = first; v < end || weighs; v += 2) {
    const bool encodes = v < end;
    const int32_t vectors[2] = {v, v + 1 < end ? v + 1 : v};
    const simt::SharedArray<float> from = encodes ? shared.staged : shared.key;
    const float* const weight = encodes ? head.projection + (bit < bits ? bit : 0) : head.importance_weights;
    const int32_t step = encodes ? bits : 1;
    float sums[2] = {};
    HASHEVICT_NO_UNROLL
    for (int32_t base = 0; base < head_dim; base += kMany) {
      float weights[kMany];
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kMany; i += kFew) {
        const float* at = weight + (base + i < head_dim ? base + i : 0) * step;  // the first ones are loaded again
        HASHEVICT_UNROLL
        for (int32_t k = 0; k < kFew; ++k, at += step) weights[i + k] = simt::load_constant(at);
      }
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kMany; i += kFew) {
        if (base + i >= head_dim) break;
        HASHEVICT_UNROLL
        for (int32_t n = 0; n < 2; ++n) {
          float values[kFew];
          from.load_many((encodes ? vectors[n] * head_dim : 0) + base + i, values);
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
    if (encodes) continue;
    weighs = false;
    if (simt::lane() == 0) shared.importance.store(0, simt::add(sums[0], simt::load(weight + head_dim)));
  }
}

/// Stages the mean of all keys, the new one included, as vector 1. The key is in shared memory.
HASHEVICT_DEVICE void stage_mean(const Layer& layer, const Head& head, const DecodeItem& item,
                                 const StepShared& shared) {
  HASHEVICT_NO_UNROLL
  for (int32_t e = simt::thread_index(); e < layer.shape.head_dim; e += kAttendThreads) {
    const float sum = simt::add(simt::load(head.key_sums + e), shared.key.load(e));
    const float mean = simt::divide(sum, static_cast<float>(item.position + 1));
    const float center = simt::varying(head.key_centers != nullptr) ? simt::load(head.key_centers + e) : 0.0F;
    shared.staged.store(layer.shape.head_dim + e, simt::subtract(mean, center));
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

/// A lane stages the importance that the token brings, another one its slope.
HASHEVICT_DEVICE void bring_importance(const EvictParams& p, int32_t kv_head, int64_t token, const StepShared& shared) {
  if (simt::lane() >= 2) return;
  const Numbers<const float> all = simt::lane() == 0 ? p.importance : p.importance_slope;
  shared.importance.store(simt::lane(), all.data == nullptr
                                            ? 0.0F
                                            : simt::load(all.data + token * all.stride[0] + kv_head * all.stride[1]));
}

/// encode_token() and make_probe(): the key into code 0; the rule's probe into code 1, or the group's queries into
/// codes 1, 2, .. Ends with a barrier.
HASHEVICT_DEVICE void encode_step(const EvictParams& p, const SharedHead& record, const DecodeItem& item,
                                  const StepShared& shared) {
  const Layer& layer = p.layer;
  const core::RuleFacts& facts = layer.rule.facts;
  const int32_t head_dim = layer.shape.head_dim;
  const int32_t num_vectors = facts.needs_queries ? 1 + layer.shape.group_size : 1;
  const bool has_mean = facts.needs_key_sums && (item.is_full() || facts.accumulates);
  HASHEVICT_NO_UNROLL
  for (int32_t first = 0; first < num_vectors; first += kStagedVectors) {
    const int32_t count = num_vectors - first < kStagedVectors ? num_vectors - first : kStagedVectors;
    RowWalk<8> at{head_dim};
    HASHEVICT_NO_UNROLL
    while (at.next(count)) {
      const int32_t vector = first + at.row;
      const Vectors x = vector == 0 ? p.k : p.q;
      const int64_t index = vector == 0 ? item.kv_head : int64_t{item.kv_head} * layer.shape.group_size + vector - 1;
      float values[8];
      load_eight_of(x, item.token * x.stride[0] + index * x.stride[1], at.e, values);
      const Head head = record.load(layer);  // here: the loop would exist with and without centres
      if (vector == 0) shared.key.store_many(at.e, values);
      if (head.key_centers != nullptr) center_eight(layer, head, vector, at.e, values);
      shared.staged.store_many(at.row * head_dim + at.e, values);
    }
    const Head head = record.load(layer);
    if (has_mean) {
      simt::block_sync();
      stage_mean(layer, head, item, shared);
    }
    simt::block_sync();
    const bool brings = first == 0 && facts.needs_importance && simt::uniform_warp() == kAttendWarps - 1;
    if (brings) bring_importance(p, item.kv_head, item.token, shared);
    project_staged(layer, head, shared, has_mean ? 2 : count, first, brings && layer.rule.weighs_keys);
    const int32_t words = code_words(layer.rule.hash_bits);
    if (facts.probe == core::Probe::zero && simt::thread_index() < words) {
      shared.codes.store(words + simt::thread_index(), 0U);
    }
    simt::block_sync();
  }
}

}  // namespace hashevict::kernels
