// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/clocks.cuh"
#include "kernels/detail/prefill_replay.cuh"
#include "kernels/detail/prefill_wide.cuh"

/// The replay of wide chunks: one warp takes the steps of a chunk while the others scan for the next one. Behind them,
/// the warp of a bucket finds the slots that its victims leave, and strikes the victims from the lists of the next
/// chunk, whose scan has still seen them. The tokens enter these slots while the codes of the chunk after that are
/// staged.
namespace hashevict::kernels {

/// The slot of a stale key in its bucket; -1 if no slot has the position, as in a forged state. The warp calls it.
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

/// Each warp of the scan finds the slots of the chunk's victims that lie in its buckets, and strikes these victims from
/// the lists of the next chunk, in all steps, a lane each.
template <class AllSlots>
HASHEVICT_DEVICE void settle_victims(const AllSlots& all, const WideChunk& wide, const Bests& bests) {
  const int32_t own_bucket = bests.buckets.load(simt::lane());
  const uint32_t own_key = bests.keys.load(simt::lane());
  uint32_t left = simt::ballot(simt::kFullMask, own_bucket >= 0 && own_bucket % kBuckets / 8 == simt::warp() - 1);
  for (; left != 0; left &= left - 1) {
    const int32_t token = lowest_bit(left);
    const int32_t found = simt::shuffle(simt::kFullMask, own_bucket, token);
    const int32_t bucket = found % kBuckets;
    const uint32_t victim = simt::shuffle(simt::kFullMask, own_key, token);
    const int32_t place = simt::lane() * kListWords + 2 * bucket;
    uint32_t pair[2];
    bests.lists.load_many(place, pair);
    if (strike(wide.keys, victim, pair)) bests.lists.store_many(place, pair);
    if (found >= kBuckets) continue;  // a token, whose slot is known
    const int32_t slot = find_slot_of_key(all, wide, bucket, victim);
    if (simt::lane() != 0) continue;
    bests.slots.store(wide.parity * kWideTokens + token, slot);
    bests.victims.store(token, slot < 0 ? -1 : all.position(slot));
  }
}

/// All threads take over the minima after a chunk, once its steps need those before it no longer. They do not depend on
/// victims: a token that enters a slot overwrites the minimum there.
template <class AllSlots>
HASHEVICT_DEVICE void keep_minima(const Prompt& prompt, const AllSlots& all, const WideChunk& wide,
                                  const Bests& bests) {
  const int32_t count = prompt.head.length(wide.position);
  for (int32_t slot = simt::thread_index(); slot < count; slot += kChooseThreads) {
    all.set_accumulator(slot, bests.smallest.load(wide.parity * minima_of(prompt.head.capacity) + slot));
  }
}

/// One warp puts the tokens of a chunk into their slots, a lane each, and reports the steps.
/// @param last whether no chunk follows, whose scan has carried on the minima of these tokens
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE void place_tokens(const Prompt& prompt, const AllSlots& all, const Bests& bests, int32_t first,
                                   bool last) {
  const WideChunk wide = wide_chunk(prompt, first);
  const int32_t token = simt::lane();
  const int32_t root = bests.roots.load(token);
  const int32_t parity = root < kWideTokens ? 1 - wide.parity : wide.parity;
  const int32_t slot = bests.slots.load(parity * kWideTokens + root % kWideTokens);
  simt::warp_sync(simt::kFullMask);
  bests.slots.store(wide.parity * kWideTokens + token, slot);
  if (token >= wide.count || slot < 0) return;
  report_step(prompt, first + token, slot, bests.victims.load(token));
  if (bests.ties.load(token) == 0) return;  // a later token of the chunk has replaced it
  all.set_position(slot, wide.position + token);
  fill_slot<kBits>(prompt, all, slot, key_code<kBits>(prompt, first + token), {});  // scored distances: no importances
  if (!keeps_minima(prompt.layer())) return;
  const int32_t capacity = prompt.head.capacity;
  const int32_t own = wide.parity * minima_of(capacity);
  const int32_t next = (1 - wide.parity) * minima_of(capacity);
  all.set_accumulator(slot, bests.smallest.load(own + capacity + token));
  if (!last) bests.smallest.store(next + slot, bests.smallest.load(next + capacity + kWideTokens + token));
}

/// All threads let the first scan find the slots' minima.
template <class AllSlots>
HASHEVICT_DEVICE void start_minima(const Prompt& prompt, const AllSlots& all, const Bests& bests) {
  const int32_t count = prompt.head.length(prompt.row.before);
  for (int32_t slot = simt::thread_index(); slot < count; slot += kChooseThreads) {
    bests.smallest.store(minima_of(prompt.head.capacity) + slot, static_cast<uint8_t>(all.accumulator(slot)));
  }
}

/// One round of a replay: the steps of the chunk that starts at `first`, the scan for the one behind it, and the slots
/// of the one before it. Each of the three may be missing.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE void replay_round(const Prompt& prompt, const AllSlots& all, const Chunk& chunk, const Bests& bests,
                                   int32_t first) {
  const int32_t left = prompt.row.num_tokens - first;  // of this chunk and of those behind it
  const int32_t behind = first + kWideTokens;
  if (first > 0 && simt::warp() == kChooseWarps - 1) {
    place_tokens<kBits>(prompt, all, bests, first - kWideTokens, left <= 0);
  }
  if (left <= 0) return;
  const WideChunk next = wide_chunk(prompt, behind);
  if (next.count > 0) {
    stage_chunk<kBits>(prompt, chunk.of(next.parity), behind, next.count);
  } else {
    simt::block_sync();
  }
  mark(Phase::stage);
  const bool scans = next.scans(prompt);
  if (scans) weigh_probes<kBits>(prompt, chunk.of(next.parity), next, bests);
  mark(Phase::weights);
  TileScan<kBits, AllSlots> scan{prompt, all, bests, behind};
  if (simt::warp() == 0) {
    if (first >= 0) WideSteps<kBits, AllSlots>{prompt, all, chunk.of(1 - next.parity), bests, first}.take();
  } else if (scans) {
    scan.scan(chunk);
  }
  mark(Phase::steps);
  simt::block_sync();
  mark(Phase::bests);
  if (simt::warp() > 0 && scans) scan.store();
  simt::warp_sync(simt::kFullMask);  // settle_victims() strikes from the warp's own lists
  if (first >= 0) {
    const WideChunk wide = wide_chunk(prompt, first);
    if (simt::warp() > 0) settle_victims(all, wide, bests);
    if (keeps_minima(prompt.layer())) keep_minima(prompt, all, wide, bests);
  }
  simt::block_sync();
  mark(Phase::place);
}

template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE void replay_wide(const Prompt& prompt, const AllSlots& all, const Chunk& chunk, const Bests& bests) {
  if (keeps_minima(prompt.layer())) start_minima(prompt, all, bests);
  HASHEVICT_NO_UNROLL
  for (int32_t first = -kWideTokens; first < prompt.row.num_tokens + kWideTokens; first += kWideTokens) {
    replay_round<kBits>(prompt, all, chunk, bests, first);
  }
  simt::block_sync();
}

}  // namespace hashevict::kernels
