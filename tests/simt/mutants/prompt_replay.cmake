# SPDX-License-Identifier: Apache-2.0
# Wrong replays of prompts whose steps are prepared 32 at a time.
hashevict_add_mutant(
  third_of_a_bucket_overlooked
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM "bests[1] == 0 ? 0 : bests[1] | kBound;"
  TO "0;"
  EXPECTED "FAILED.*BucketsOfManySlots")
hashevict_add_mutant(
  victim_taken_twice
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM "if (strikes && strike(wide_.keys, winner, pair)) bests_.lists.store_many(place, pair);"
  TO ""
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  victim_taken_twice_in_a_row
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM "const bool gone = wide_.keys.same_owner(lists_[2 * i], before);"
  TO "const bool gone = false;"
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  tie_of_short_keys
  FILE kernels/detail/prefill_chunk.cuh
  KERNEL prefill
  FROM "(oldest_first ? position : slot)"
  TO "(oldest_first ? slot : position)"
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  recent_slot_in_a_chunk
  FILE kernels/detail/prefill_chunk.cuh
  KERNEL prefill
  FROM "return evicted - first_recent + 1;"
  TO "return evicted - first_recent;"
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  own_tokens_kept
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM "first_steps_[h] <= step;"
  TO "first_steps_[h] < step;"
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  slot_of_a_replaced_token
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM "root_ = own ? holder - kLaneBuckets - 1 : lane;"
  TO "root_ = own ? lane : lane;"
  EXPECTED "FAILED.*Mutants")

# What overlaps: steps of a chunk while the next one's scan still sees what they replace.
hashevict_add_mutant(
  stale_victim_in_the_next_lists
  FILE kernels/detail/prefill_place.cuh
  KERNEL prefill
  FROM "if (strike(wide.keys, victim, pair)) bests.lists.store_many(place, pair);"
  TO ""
  EXPECTED "FAILED.*Mutants|conflict|not ordered")
hashevict_add_mutant(
  replaced_token_in_the_next_lists
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM "return slot < 0 ? -1 : kBuckets + bucket_of_slot(slot);"
  TO "return -1;"
  EXPECTED "FAILED.*Mutants|not ordered")
hashevict_add_mutant(
  tokens_of_the_chunk_before_forgotten
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM "if (wide_.before != 0) ties_[0] = bests_.ties.load(lane_);"
  TO ""
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  codes_of_the_wrong_chunk
  FILE kernels/detail/prefill_bests.cuh
  KERNEL prefill
  FROM "chunk.of(own ? wide_.parity : 1 - wide_.parity);"
  TO "chunk.of(wide_.parity);"
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  slots_of_the_wrong_chunk
  FILE kernels/detail/prefill_place.cuh
  KERNEL prefill
  FROM "root < kWideTokens ? 1 - wide.parity : wide.parity;"
  TO "wide.parity;"
  EXPECTED "FAILED.*Mutants|not ordered")
hashevict_add_mutant(
  scores_without_a_second_copy
  FILE kernels/detail/prefill_chunk.cuh
  KERNEL prefill
  FROM "(parity * kWideTokens + step) * kPastTokens + token;"
  TO "step * kPastTokens + token;"
  EXPECTED "not ordered by a barrier")
hashevict_add_mutant(
  victim_in_a_bucket_that_is_scanned_again
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM "if (wide_.keys.same_owner(tie, victim)) stands = false;"
  TO ""
  EXPECTED "FAILED.*BucketsOfManySlots")
hashevict_add_mutant(
  token_in_a_bucket_that_is_scanned_again
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM "position < wide_.stale_end() &&"
  TO "position < wide_.position &&"
  EXPECTED "FAILED.*BucketsOfManySlots")
hashevict_add_mutant(
  smallest_distance_lost
  FILE kernels/detail/prefill_place.cuh
  KERNEL prefill
  FROM "all.set_accumulator(slot, bests.smallest.load(wide.parity * minima_of(prompt.head.capacity) + slot));"
  TO ""
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  smallest_distance_of_a_token_not_carried_on
  FILE kernels/detail/prefill_place.cuh
  KERNEL prefill
  FROM "bests.smallest.load(next + capacity + kWideTokens + token)"
  TO "bests.smallest.load(own + capacity + token)"
  EXPECTED "FAILED.*Mutants")

# Missing barriers.
hashevict_add_mutant(
  lists_stored_before_the_steps_end
  FILE kernels/detail/prefill_place.cuh
  KERNEL prefill
  FROM [[
  simt::block_sync();
  mark(Phase::bests);]]
  TO "  mark(Phase::bests);"
  EXPECTED "not ordered by a barrier|uninitialised")
hashevict_add_mutant(
  steps_before_the_lists_are_stored
  FILE kernels/detail/prefill_place.cuh
  KERNEL prefill
  FROM [[
  simt::block_sync();
  mark(Phase::place);]]
  TO "  mark(Phase::place);"
  EXPECTED "not ordered by a barrier|uninitialised")
hashevict_add_mutant(
  victims_struck_before_the_lists_are_stored
  FILE kernels/detail/prefill_place.cuh
  KERNEL prefill
  FROM [[
  simt::warp_sync(simt::kFullMask);  // settle_victims() strikes]]
  TO "  //"
  EXPECTED "not ordered by a barrier|uninitialised")
hashevict_add_mutant(
  lists_loaded_before_they_are_struck
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM [[
      simt::warp_sync(simt::kFullMask);
      if (step + 2 < kWideTokens)]]
  TO "      if (step + 2 < kWideTokens)"
  EXPECTED "not ordered by a barrier")
hashevict_add_mutant(
  slots_overwritten_while_they_are_looked_up
  FILE kernels/detail/prefill_place.cuh
  KERNEL prefill
  FROM [[
  simt::warp_sync(simt::kFullMask);
  bests.slots.store]]
  TO "  bests.slots.store"
  EXPECTED "not ordered by a barrier")
