// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_bests.cuh"

/// The steps of a wide chunk, one after the other. One warp takes them. It looks up the bests of the buckets, and knows
/// the tokens of the chunk and of the one before it, one of each a lane. It scans a bucket again only where both bests
/// are gone and what bounds the others is the largest key.
///
/// The lists are those of the scan, without the victims of the chunk before (prefill_place.cuh). So they stand for the
/// stale slots before the first step, as the warp strikes a victim from the lists of all later steps. A bound stays one
/// however many slots of its bucket go. Another scan of a bucket sees the slots as they are after the chunk before, at
/// the same time as the scan for the next chunk: nobody writes slots then. So it skips the tokens of the chunk before,
/// which are newer than stale slots, and the victims that the warp remembers.
namespace hashevict::kernels {

/// The score of a slot in a step, measured anew.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE uint32_t score_again(const Prompt& prompt, const AllSlots& all, const Chunk& chunk,
                                      const WideChunk& wide, int32_t step, int32_t slot) {
  const Code<kBits> code = all.code(slot);
  if (keeps_minima(prompt.layer())) {
    uint32_t smallest = all.accumulator(slot);  // before the chunk: see keep_minima()
    for (int32_t i = 0; i <= step; ++i) {
      const uint32_t distance = hamming_distance(code, staged_code<kBits>(chunk, i, wide.first_probe));
      if (distance < smallest) smallest = distance;
    }
    return 255U - smallest;
  }
  uint32_t distance = 0;
  for (int32_t n = wide.first_probe; n < wide.end_probe; ++n) {
    distance += hamming_distance(code, staged_code<kBits>(chunk, step, n));
  }
  const bool equal = prompt.rule().scored == core::Scored::equal_bits;
  return equal ? static_cast<uint32_t>(prompt.layer().rule.hash_bits) - distance : distance;
}

/// Removes a victim from the two bests of its bucket. What then stands second bounds all slots for which neither stood.
/// @return whether it was there; if not, the bests are not to be stored
HASHEVICT_DEVICE bool strike(const ShortKeys& keys, uint32_t victim, uint32_t (&bests)[2]) {
  const bool is_first = keys.same_owner(bests[0], victim);
  const bool is_second = keys.same_owner(bests[1], victim);
  if (is_first) bests[0] = bests[1];
  bests[1] = bests[1] == 0 ? 0 : bests[1] | kBound;
  return is_first || is_second;
}

/// The warp's steps of a chunk. What the next winner depends on comes first; the rest of a step, which looks for the
/// winner's lane and strikes it from the lists of later steps, stands around the reduction that finds the next winner.
/// So the lists of a step are loaded two steps earlier, and lack the winner in between only once they are used.
template <int32_t kBits, class AllSlots>
class WideSteps {
 public:
  /// @param chunk the codes of the steps' tokens
  HASHEVICT_DEVICE WideSteps(const Prompt& prompt, const AllSlots& all, const Chunk& chunk, const Bests& bests,
                             int32_t first)
      : prompt_{prompt}, all_{all}, chunk_{chunk}, bests_{bests}, wide_{wide_chunk(prompt, first)} {
    if (wide_.before != 0) ties_[0] = bests_.ties.load(lane_);
    HASHEVICT_UNROLL
    for (int32_t h = 0; h < 2; ++h) first_steps_[h] = wide_.first_step(prompt.head, position_of(h, lane_));
  }

  HASHEVICT_DEVICE void take() {
    const int32_t free = prompt_.head.capacity - wide_.position;
    const int32_t room = free < wide_.count ? (free > 0 ? free : 0) : wide_.count;  // steps that find a free slot
    const bool appends = lane_ < room;
    const int32_t position = wide_.position + lane_;
    if (appends) ties_[1] = wide_.keys.tie(position, position);
    if (room < wide_.count) take_full(room);
    bests_.ties.store(lane_, ties_[1]);
    bests_.keys.store(lane_, key_);
    bests_.buckets.store(lane_, bucket_of_victim());
    bests_.roots.store(lane_, root_);
    bests_.victims.store(lane_, victim_);
    bests_.slots.store(wide_.parity * kWideTokens + lane_, appends ? position : -1);
  }

 private:
  static constexpr int32_t kLaneBuckets = 4;

  /// The position of the token of a lane: 0: of the chunk before, 1: of this one.
  [[nodiscard]] HASHEVICT_DEVICE int32_t position_of(int32_t h, int32_t lane) const {
    return wide_.position + (h - 1) * kWideTokens + lane;
  }

  /// The bucket where the next scan finds the victim of the lane's step: not if it is a token of this chunk.
  [[nodiscard]] HASHEVICT_DEVICE int32_t bucket_of_victim() const {
    if (victim_ < wide_.stale_end() || victim_ >= wide_.position) return bucket_;
    const int32_t slot = bests_.slots.load((1 - wide_.parity) * kWideTokens + root_);
    return slot < 0 ? -1 : kBuckets + bucket_of_slot(slot);
  }

  /// Takes the steps from `begin` on, which evict.
  HASHEVICT_DEVICE void take_full(int32_t begin) {
    load_lists(begin);
    compete(begin, 0);
    if (begin + 1 < kWideTokens) load_lists(begin + 1);
    uint32_t winner = largest();
    HASHEVICT_NO_UNROLL
    for (int32_t step = begin; step < wide_.count; ++step) {
      while ((winner & kBound) != 0) winner = scan_again(step, winner);
      match(winner);
      replace(step, winner);
      compete(step + 1, winner);
      const uint32_t found = simt::ballot(simt::kFullMask, holder_ >= 0);
      const uint32_t next = largest();
      const int32_t lane = lowest_bit(found);
      const int32_t holder = simt::shuffle(simt::kFullMask, holder_, lane);
      const int32_t bucket = holder < kLaneBuckets ? lane * kLaneBuckets + holder : -1;
      uint32_t pair[2] = {};
      const int32_t place = lane_ * kListWords + 2 * bucket;
      const bool strikes = bucket >= 0 && lane_ > step + 1;
      if (strikes) bests_.lists.load_many(place, pair);
      if (lane_ == step && winner != 0) note(winner, bucket, lane, holder);
      if (strikes && strike(wide_.keys, winner, pair)) bests_.lists.store_many(place, pair);
      simt::warp_sync(simt::kFullMask);
      if (step + 2 < kWideTokens) load_lists(step + 2);
      winner = next;
    }
  }

  /// Loads the lane's lists and scores of a step.
  HASHEVICT_DEVICE void load_lists(int32_t step) {
    if (lane_ * kLaneBuckets < kBuckets) {
      bests_.lists.load_many(step * kListWords + 2 * kLaneBuckets * lane_, lists_);
    }
    HASHEVICT_UNROLL
    for (int32_t h = 0; h < 2; ++h) scores_[h] = bests_.scores.load(wide_.score(step, h * kWideTokens + lane_));
  }

  /// The lane's candidates of a step whose lists are loaded, and not yet without the winner of the step before.
  HASHEVICT_DEVICE void compete(int32_t step, uint32_t before) {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kLaneBuckets; ++i) {
      const bool gone = wide_.keys.same_owner(lists_[2 * i], before);  // also of a token's slot: two bounds, alike
      firsts_[i] = gone ? lists_[2 * i + 1] : lists_[2 * i];
    }
    HASHEVICT_UNROLL
    for (int32_t h = 0; h < 2; ++h) {
      const bool stands = ties_[h] != 0 && first_steps_[h] <= step;
      tokens_[h] = stands ? (scores_[h] << wide_.keys.shift) + ties_[h] : 0;
    }
  }

  /// The largest of all candidates.
  [[nodiscard]] HASHEVICT_DEVICE uint32_t largest() const {
    uint32_t best = tokens_[0] < tokens_[1] ? tokens_[1] : tokens_[0];
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kLaneBuckets; ++i) best = firsts_[i] > best ? firsts_[i] : best;
    return simt::warp_max(best);
  }

  /// Notes what the lane holds of the winner: one of its buckets, or from kLaneBuckets on a token: that of the chunk
  /// before, or its own, of which the root counts. One lane holds it, or all where nobody can be evicted.
  HASHEVICT_DEVICE void match(uint32_t winner) {
    holder_ = -1;
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kLaneBuckets; ++i) holder_ = firsts_[i] == winner ? i : holder_;
    holder_ = tokens_[0] == winner ? kLaneBuckets : holder_;
    holder_ = tokens_[1] == winner ? kLaneBuckets + 1 + root_ : holder_;
  }

  /// The token of a step takes the place of the winner, so that it may be evicted itself.
  HASHEVICT_DEVICE void replace(int32_t step, uint32_t winner) {
    HASHEVICT_UNROLL
    for (int32_t h = 0; h < 2; ++h) {
      if (winner != 0 && tokens_[h] == winner) ties_[h] = 0;
    }
    const ShortKeys& keys = wide_.keys;
    if (winner != 0 && lane_ == step)
      ties_[1] = keys.oldest_first ? keys.tie(position_of(1, step), 0) : keys.tie_of(winner);
  }

  /// Notes the victim of the lane's step.
  HASHEVICT_DEVICE void note(uint32_t winner, int32_t bucket, int32_t lane, int32_t holder) {
    key_ = winner;
    bucket_ = bucket;
    if (bucket >= 0) return;
    const bool own = holder > kLaneBuckets;
    root_ = own ? holder - kLaneBuckets - 1 : lane;
    victim_ = position_of(own ? 1 : 0, lane);
  }

  /// Scans the bucket again whose bound has won a step. @return the winner, now that the bucket's best is known
  HASHEVICT_DEVICE uint32_t scan_again(int32_t step, uint32_t bound) {
    match(bound);
    const int32_t lane = lowest_bit(simt::ballot(simt::kFullMask, holder_ >= 0));
    const int32_t holder = simt::shuffle(simt::kFullMask, holder_, lane);
    const uint32_t best = scan_bucket(step, lane * kLaneBuckets + holder);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kLaneBuckets; ++i) {
      if (lane_ == lane && i == holder) firsts_[i] = best;
    }
    return largest();
  }

  /// The largest key of the stale slots of a bucket that are left.
  [[nodiscard]] HASHEVICT_DEVICE uint32_t scan_bucket(int32_t step, int32_t bucket) const {
    const uint32_t victims = simt::ballot(simt::kFullMask, bucket_ == bucket);
    uint32_t best = 0;
    for (int32_t n = 0; slot_of_bucket(bucket, n) < wide_.num_slots; n += simt::kWarpSize) {
      const int32_t slot = slot_of_bucket(bucket, n + lane_);
      const int32_t position = slot < wide_.num_slots ? all_.position(slot) : -1;
      const uint32_t tie = wide_.keys.tie(position, slot);
      bool stands = position >= 0 && position < wide_.stale_end() && wide_.first_step(prompt_.head, position) <= step;
      for (uint32_t left = victims; left != 0; left &= left - 1) {
        const uint32_t victim = simt::shuffle(simt::kFullMask, key_, lowest_bit(left));
        if (wide_.keys.same_owner(tie, victim)) stands = false;
      }
      if (!stands) continue;
      const uint32_t score = score_again<kBits>(prompt_, all_, chunk_, wide_, step, slot);
      const uint32_t key = (score << wide_.keys.shift) + tie;
      if (key > best) best = key;
    }
    return simt::warp_max(best);
  }

  const Prompt& prompt_;
  const AllSlots& all_;
  const Chunk& chunk_;
  const Bests& bests_;
  const WideChunk wide_;
  const int32_t lane_ = simt::lane();
  // Of the lane's two tokens: what their keys end with, 0 if they are not in a slot; the first step that may evict
  // them.
  uint32_t ties_[2] = {};
  int32_t first_steps_[2];
  // What has become of the step of the lane's number.
  uint32_t key_ = 0;
  int32_t bucket_ = -1;  // of a stale slot
  int32_t root_ = kWideTokens + lane_;
  int32_t victim_ = -1;  // a token's position
  // Of a step: the lane's lists and its tokens' scores, then its candidates.
  uint32_t lists_[2 * kLaneBuckets] = {};
  uint32_t scores_[2] = {};
  uint32_t firsts_[kLaneBuckets] = {};
  uint32_t tokens_[2] = {};
  int32_t holder_ = -1;
};

}  // namespace hashevict::kernels
