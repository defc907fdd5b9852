# SPDX-License-Identifier: Apache-2.0
# Wrong replays of prompts whose steps are prepared 32 at a time.
hashevict_add_mutant(
  third_of_a_bucket_overlooked
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM "second == 0 ? 0 : second | kBound;"
  TO "0;"
  EXPECTED "FAILED.*BucketsOfManySlots")
hashevict_add_mutant(
  victim_taken_twice
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM "strike(wide, bests, step, bucket, winner);"
  TO ""
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  tie_of_short_keys
  FILE kernels/detail/prefill_bests.cuh
  KERNEL prefill
  FROM "(oldest_first ? position : slot)"
  TO "(oldest_first ? slot : position)"
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  recent_slot_in_a_chunk
  FILE kernels/detail/prefill_bests.cuh
  KERNEL prefill
  FROM "return evicted - first_recent + 1;"
  TO "return evicted - first_recent;"
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  own_tokens_kept
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM "token + prompt.head.recent_window >= step) return 0;"
  TO "token + prompt.head.recent_window >= step - 1) return 0;"
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  smallest_distance_lost
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM "if (all.position(slot) < wide.position) all.set_accumulator(slot, bests.smallest.load(slot));"
  TO ""
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  steps_before_the_scan_ends
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM [[
    simt::block_sync();
    mark(Phase::bests);]]
  TO "    mark(Phase::bests);"
  EXPECTED "not ordered by a barrier|uninitialised")
hashevict_add_mutant(
  position_read_while_it_is_set
  FILE kernels/detail/prefill_wide.cuh
  KERNEL prefill
  FROM [[
    simt::warp_sync(simt::kFullMask);
    if (simt::lane() == step) {]]
  TO "    if (simt::lane() == step) {"
  EXPECTED "not ordered by a barrier")
