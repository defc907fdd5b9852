// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/clocks.cuh"
#include "kernels/detail/prefill_bests.cuh"
#include "kernels/detail/prefill_replay.cuh"

/// The replay of wide chunks. One warp takes the steps one after the other: it looks up the bests of the buckets, and
/// knows the chunk's own tokens, one a lane. It scans a bucket again only where both bests are gone.
namespace hashevict::kernels {

/// A token of the chunk in the lane of its number.
struct OwnToken {
  int32_t slot = -1;  ///< -1: not placed yet, or replaced
};

/// The key of the lane's token in a step; 0 if the step cannot evict it.
HASHEVICT_DEVICE uint32_t own_key(const Prompt& prompt, const WideChunk& wide, const Bests& bests, int32_t step,
                                  const OwnToken& own) {
  const int32_t token = simt::lane();
  const int32_t position = wide.position + token;
  if (own.slot < 0 || position < prompt.head.num_sink_tokens || token + prompt.head.recent_window >= step) return 0;
  return (bests.own.load(step * kWideTokens + token) << wide.keys.shift) + wide.keys.tie(position, own.slot);
}

/// The score of a slot in a step, measured anew.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE uint32_t score_again(const Prompt& prompt, const AllSlots& all, const Chunk& chunk,
                                      const WideChunk& wide, int32_t step, int32_t slot) {
  const Code<kBits> code = all.code(slot);
  if (prompt.rule().scored == core::Scored::smallest_distance) {
    uint32_t smallest = all.accumulator(slot);
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

/// The largest key among those slots of a bucket that the chunk has not replaced. The warp calls it; all lanes get it.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE uint32_t scan_bucket(const Prompt& prompt, const AllSlots& all, const Chunk& chunk,
                                      const WideChunk& wide, int32_t step, int32_t bucket) {
  uint32_t best = 0;
  for (int32_t n = simt::lane(); slot_of_bucket(bucket, n) < wide.num_slots; n += simt::kWarpSize) {
    const int32_t slot = slot_of_bucket(bucket, n);
    const int32_t position = all.position(slot);
    if (position >= wide.position || wide.first_step(prompt.head, position) > step) continue;
    const uint32_t key =
        (score_again<kBits>(prompt, all, chunk, wide, step, slot) << wide.keys.shift) + wide.keys.tie(position, slot);
    if (key > best) best = key;
  }
  return simt::warp_max(best);
}

/// The slot of a key in its bucket; -1 if no slot has the position, as in a forged state. The warp calls it.
template <class AllSlots>
HASHEVICT_DEVICE int32_t find_slot_of_key(const AllSlots& all, const WideChunk& wide, int32_t bucket, uint32_t key) {
  const int32_t owner = wide.keys.owner(key);
  if (!wide.keys.oldest_first) return owner;
  for (int32_t n = 0; slot_of_bucket(bucket, n) < wide.num_slots; n += simt::kWarpSize) {
    const int32_t slot = slot_of_bucket(bucket, n + simt::lane());
    const uint32_t found = simt::ballot(simt::kFullMask, slot < wide.num_slots && all.position(slot) == owner);
    if (found != 0) return slot_of_bucket(bucket, n + lowest_bit(found));
  }
  return -1;
}

/// Removes a victim from the bests of its bucket in all later steps, a lane each.
HASHEVICT_DEVICE void strike(const WideChunk& wide, const Bests& bests, int32_t step, int32_t bucket, uint32_t victim) {
  if (simt::lane() <= step) return;
  const int32_t place = simt::lane() * kBuckets + bucket;
  const uint32_t second = bests.seconds.load(place);
  const uint32_t rest = second == 0 ? 0 : second | kBound;  // bounds what neither of the two stands for
  if (wide.keys.same_owner(bests.firsts.load(place), victim)) {
    bests.firsts.store(place, second);
    bests.seconds.store(place, rest);
  } else if (wide.keys.same_owner(second, victim)) {
    bests.seconds.store(place, rest);
  }
}

/// The choice of a step.
struct Choice {
  int32_t slot;    ///< -1: none can be evicted
  int32_t victim;  ///< its position
};

/// The choice of a step that evicts. The warp calls it. Ends without ordering memory.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE Choice choose_victim(const Prompt& prompt, const AllSlots& all, const Chunk& chunk,
                                      const WideChunk& wide, const Bests& bests, int32_t step, OwnToken& own) {
  constexpr int32_t kOfLane = kBuckets / simt::kWarpSize;
  const uint32_t own_best = own_key(prompt, wide, bests, step, own);
  uint32_t firsts[kOfLane];
  bests.firsts.load_many(step * kBuckets + simt::lane() * kOfLane, firsts);
  while (true) {
    int32_t index = 0;
    uint32_t best = 0;
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kOfLane; ++i) {
      if (firsts[i] > best) index = i;
      best = firsts[i] > best ? firsts[i] : best;
    }
    const uint32_t winner = simt::warp_max(best > own_best ? best : own_best);
    if (winner == 0) return {-1, -1};
    const uint32_t of_own = simt::ballot(simt::kFullMask, own_best == winner);
    if (of_own != 0) {
      const int32_t token = lowest_bit(of_own);
      const int32_t slot = simt::shuffle(simt::kFullMask, own.slot, token);
      if (simt::lane() == token) own.slot = -1;
      return {slot, wide.position + token};
    }
    const int32_t lane = lowest_bit(simt::ballot(simt::kFullMask, best == winner));
    const int32_t bucket = lane * kOfLane + simt::shuffle(simt::kFullMask, index, lane);
    if ((winner & kBound) == 0) {
      const int32_t slot = find_slot_of_key(all, wide, bucket, winner);
      strike(wide, bests, step, bucket, winner);
      return {slot, slot < 0 ? -1 : all.position(slot)};
    }
    const uint32_t again = scan_bucket<kBits>(prompt, all, chunk, wide, step, bucket);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kOfLane; ++i) {
      if (lane * kOfLane + i == bucket && simt::lane() == lane) firsts[i] = again;
    }
  }
}

/// One warp chooses the slots of the chunk's tokens and sets their positions, by which it knows what it has replaced.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE void choose_slots(const Prompt& prompt, const AllSlots& all, const Chunk& chunk, const WideChunk& wide,
                                   const Bests& bests) {
  OwnToken own;
  HASHEVICT_NO_UNROLL
  for (int32_t step = 0; step < wide.count; ++step) {
    const int32_t position = wide.position + step;
    Choice choice{position, -1};
    if (position >= prompt.head.capacity) {
      choice = choose_victim<kBits>(prompt, all, chunk, wide, bests, step, own);
    }
    simt::warp_sync(simt::kFullMask);
    if (simt::lane() == step) {
      own.slot = choice.slot;
      if (choice.slot >= 0) all.set_position(choice.slot, position);
      bests.slots.store(step, choice.slot);
      bests.victims.store(step, choice.victim);
    }
    simt::warp_sync(simt::kFullMask);
  }
}

/// All threads fill the slots whose positions are set, and report the chunk's steps.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE void place_chunk(const Prompt& prompt, const AllSlots& all, const Chunk& chunk, const WideChunk& wide,
                                  const Bests& bests) {
  const bool smallest = prompt.rule().scored == core::Scored::smallest_distance;
  for (int32_t slot = simt::thread_index(); smallest && slot < wide.num_slots; slot += kChooseThreads) {
    if (all.position(slot) < wide.position) all.set_accumulator(slot, bests.smallest.load(slot));
  }
  const int32_t token = simt::thread_index();
  if (token >= wide.count) return;
  const int32_t slot = bests.slots.load(token);
  if (slot < 0) return;
  report_step(prompt, wide.first + token, slot, bests.victims.load(token));
  if (all.position(slot) != wide.position + token) return;  // a later token of the chunk has replaced it
  fill_slot<kBits>(prompt, all, chunk, token, slot);
  if (smallest) all.set_accumulator(slot, bests.smallest.load(prompt.head.capacity + token));
}

template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE void replay_wide(const Prompt& prompt, const AllSlots& all, const Chunk& chunk, const Bests& bests) {
  const int32_t first_probe = prompt.rule().probe == core::Probe::new_key ? 0 : 1;
  const int32_t end_probe = first_probe + num_probes(prompt.layer());
  HASHEVICT_NO_UNROLL
  for (int32_t first = 0; first < prompt.row.num_tokens; first += kWideTokens) {
    const int32_t left = prompt.row.num_tokens - first;
    const int32_t position = prompt.row.before + first;
    const WideChunk wide{first,
                         position,
                         left < kWideTokens ? left : kWideTokens,
                         prompt.head.length(position),
                         first_probe,
                         end_probe,
                         short_keys(prompt.layer())};
    stage_chunk<kBits>(prompt, chunk, first, wide.count);
    mark(Phase::stage);
    if (prompt.rule().accumulates || position + wide.count > prompt.head.capacity) {
      find_bests<kBits>(prompt, all, chunk, wide, bests);
    }
    simt::block_sync();
    mark(Phase::bests);
    if (simt::warp() == 0) choose_slots<kBits>(prompt, all, chunk, wide, bests);
    simt::block_sync();
    mark(Phase::steps);
    place_chunk<kBits>(prompt, all, chunk, wide, bests);
    simt::block_sync();
    mark(Phase::place);
  }
}

}  // namespace hashevict::kernels
