# SPDX-License-Identifier: Apache-2.0
# Planted bugs in the attention of single tokens: kernels attend, attend_bulk and decode.

# Faults that the executor reports.
hashevict_add_mutant(
  merge_before_its_factors
  FILE kernels/detail/decode_finish.cuh
  KERNEL decode
  FROM [[
    simt::wait_for_copies();
    simt::block_sync();
    for_quads(queries, head_dim,]]
  TO [[
    simt::wait_for_copies();
    for_quads(queries, head_dim,]]
  EXPECTED "shared memory, attend_fold.cuh.*(uninitialised|not ordered by a barrier)")
hashevict_add_mutant(
  record_before_it_is_written
  FILE kernels/decode.cuh
  KERNEL decode
  FROM [[
  arrays.head.find(p.heads, layer, row.sequence, split.kv_head);
  simt::block_sync();]]
  TO [[
  arrays.head.find(p.heads, layer, row.sequence, split.kv_head);]]
  EXPECTED "shared memory, head.cuh.*(uninitialised|not ordered by a barrier)")
hashevict_add_mutant(
  mean_before_the_key
  FILE kernels/detail/decode_encode.cuh
  KERNEL decode
  FROM [[
      simt::block_sync();
      stage_mean(layer, head, item, shared);]]
  TO [[
      stage_mean(layer, head, item, shared);]]
  EXPECTED "shared memory, decode_encode.cuh.*(uninitialised|not ordered by a barrier)")
hashevict_add_mutant(
  importance_of_every_other_weight
  FILE kernels/detail/decode_encode.cuh
  KERNEL decode
  FROM "const int32_t step = encodes ? bits : 1;"
  TO "const int32_t step = encodes ? bits : 2;"
  EXPECTED "FAILED.*DecodeFindsImportances|global memory")
hashevict_add_mutant(
  losers_before_they_have_come
  FILE kernels/detail/decode_finish.cuh
  KERNEL decode
  FROM "simt::wait_for_copies();"
  TO ""
  EXPECTED "without waiting|FAILED.*Splits|random bytes")

# Faults of the threads' columns of rows.
hashevict_add_mutant(
  stage_before_its_addresses
  FILE kernels/detail/attend_fifo.cuh
  KERNEL attend
  FROM [[found);
    simt::warp_sync(simt::kFullMask);]]
  TO [[found);]]
  EXPECTED "shared memory, attend_fifo.cuh.*(uninitialised|not ordered by a barrier)")
hashevict_add_mutant(
  stage_overwritten_in_use
  FILE kernels/detail/attend_fifo.cuh
  KERNEL attend
  FROM "    simt::warp_sync(simt::kFullMask);  // all lanes have read the stage that was there"
  TO ""
  EXPECTED "shared memory, attend_fifo.cuh.*not ordered by a barrier")
hashevict_add_mutant(
  wait_that_leaves_one_group_too_many
  FILE kernels/detail/attend_fifo.cuh
  KERNEL attend
  FROM "simt::wait_for_older_copies<kEntries - 1>();"
  TO "simt::wait_for_older_copies<kEntries>();"
  EXPECTED "attend_fifo.cuh.*copy to what a copy fills")
hashevict_add_mutant(
  rows_that_nobody_waits_for
  FILE kernels/detail/attend_fifo.cuh
  KERNEL decode
  FROM "simt::wait_for_older_copies<kEntries - 1>();"
  TO ""
  EXPECTED "attend_fifo.cuh.*copy to what a copy fills")
hashevict_add_mutant(
  entry_that_is_no_group
  FILE kernels/detail/attend_fifo.cuh
  KERNEL decode
  FROM "    simt::commit_copies();"
  TO ""
  EXPECTED "attend_fifo.cuh.*copy to what a copy fills")
hashevict_add_mutant(
  entry_filled_while_it_is_filled
  FILE kernels/detail/attend_fifo.cuh
  KERNEL decode
  FROM "entry_ < kEntries; ++entry_) fill(input);"
  TO "entry_ < kEntries; ++entry_) fill(input), fill(input);"
  EXPECTED "attend_fifo.cuh.*copy to what a copy fills")
hashevict_add_mutant(
  entry_overwritten_before_it_is_read
  FILE kernels/detail/attend_fifo.cuh
  KERNEL attend
  FROM "simt::wait_for_older_copies<kEntries - 1>();"
  TO [[simt::wait_for_older_copies<kEntries - 1>();
    columns_.start_copy_or_zeros(word_of(0), nullptr, false);]]
  EXPECTED "attend_fifo.cuh.*copy over what a copy brought and nobody has read")
hashevict_add_mutant(
  columns_before_the_results_in_them_are_read
  FILE kernels/detail/attend_fifo.cuh
  KERNEL decode
  FROM [[
    simt::block_sync();
    HASHEVICT_NO_UNROLL]]
  TO [[
    HASHEVICT_NO_UNROLL]]
  EXPECTED "shared memory, attend_fifo.cuh.*not ordered by a barrier")
hashevict_add_mutant(
  results_in_columns_that_are_in_use
  FILE kernels/detail/attend_split.cuh
  KERNEL attend
  FROM "  simt::block_sync();  // all columns have been read"
  TO ""
  EXPECTED "shared memory, attend_(split|fifo).cuh.*not ordered by a barrier")
hashevict_add_mutant(
  results_in_columns_that_are_in_use_on_tensor_cores
  FILE kernels/detail/attend_mma.cuh
  KERNEL decode
  FROM "  simt::block_sync();  // all columns have been read"
  TO ""
  EXPECTED "shared memory, attend_(mma|fifo).cuh.*not ordered by a barrier")
hashevict_add_mutant(
  last_turn_left_out
  FILE kernels/detail/attend_fifo.cuh
  KERNEL attend
  FROM "(left + kAttendWarps * Parts::kWarpSlots - 1) /"
  TO "left /"
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  stage_that_is_looked_up_twice
  FILE kernels/detail/attend_fifo.cuh
  KERNEL attend
  FROM "look_up(end / simt::kWarpSize + 1, input, find_offset);"
  TO "look_up(end / simt::kWarpSize, input, find_offset);"
  EXPECTED "FAILED.*LongHeads")

# Wrong attention.
hashevict_add_mutant(
  dropped_split
  FILE kernels/detail/decode_encode.cuh
  KERNEL decode
  FROM "return core::splits_of(length(), split_bits);"
  TO "return length() >> split_bits > 0 ? length() >> split_bits : 1;"
  EXPECTED "FAILED.*Splits")
hashevict_add_mutant(
  victim_added_back
  FILE kernels/detail/decode_finish.cuh
  KERNEL decode
  FROM "own.key != 0 && own.slot != slot;"
  TO "own.key != 0;"
  EXPECTED "FAILED.*Splits")
hashevict_add_mutant(
  candidate_of_the_wrong_split
  FILE kernels/detail/decode_step.cuh
  KERNEL decode
  FROM "high == best_high ? low : 0U"
  TO "low"
  EXPECTED "FAILED.*Splits")
hashevict_add_mutant(
  codes_of_one_vector
  FILE kernels/detail/decode_encode.cuh
  KERNEL decode
  FROM "{v, v + 1 < end ? v + 1 : v};"
  TO "{v, v};"
  EXPECTED "FAILED.*TensorCores")
hashevict_add_mutant(
  unscaled_parts
  FILE kernels/detail/attend_fold.cuh
  KERNEL decode
  FROM "lane > 0 ? previous : before, upto"
  TO "before, upto"
  EXPECTED "FAILED.*Splits")
hashevict_add_mutant(
  token_that_does_not_see_itself
  FILE kernels/detail/attend_inputs.cuh
  KERNEL attend
  FROM "simt::load(positions + slot) <= last_position"
  TO "simt::load(positions + slot) < last_position"
  EXPECTED "FAILED.*Splits")

# Wrong attention on tensor cores.
hashevict_add_mutant(
  wrong_fragment_row
  FILE kernels/detail/attend_fifo.cuh
  KERNEL attend
  FROM "row + piece % 2 * 8"
  TO "row"
  EXPECTED "FAILED.*TensorCores")
hashevict_add_mutant(
  dropped_half_of_the_dimensions
  FILE kernels/detail/attend_mma.cuh
  KERNEL attend
  FROM "for (int32_t i = 0; i < 4; i += 2) {"
  TO "for (int32_t i = 0; i < 2; i += 2) {"
  EXPECTED "FAILED.*TensorCores")
hashevict_add_mutant(
  weights_of_one_part
  FILE kernels/detail/attend_shape.cuh
  KERNEL attend
  FROM "kParts = kIsBfloat ? 3 : 2;"
  TO "kParts = 1;"
  EXPECTED "FAILED.*TensorCores")
hashevict_add_mutant(
  dimensions_swapped
  FILE kernels/detail/attend_mma.cuh
  KERNEL attend
  FROM "operands[j][0] = low_halves(words[0], words[1]);"
  TO "operands[j][0] = high_halves(words[0], words[1]);"
  EXPECTED "FAILED.*TensorCores")
hashevict_add_mutant(
  held_out_slot_counts
  FILE kernels/detail/attend_mma.cuh
  KERNEL decode
  FROM [[
      logits.store(lane.query(i % 2), logit);
      logit = kNegativeInfinity;]]
  TO [[
      logits.store(lane.query(i % 2), logit);]]
  EXPECTED "FAILED.*TensorCores")

hashevict_add_mutant(
  value_of_the_victim_counts
  FILE kernels/detail/attend_mma.cuh
  KERNEL decode
  FROM "== held_out.index) pieces[i] = {};"
  TO "== -1) pieces[i] = {};"
  EXPECTED "FAILED.*VictimsThatAreNotNumbers")
hashevict_add_mutant(
  value_of_the_victim_counts_without_tensor_cores
  FILE kernels/detail/attend_split.cuh
  KERNEL decode
  FROM "if ((turn.held_out >> i & 1U) != 0) rows[i] = {};"
  TO ""
  EXPECTED "FAILED.*VictimsThatAreNotNumbers")

# Attention by bulk copies.
hashevict_add_mutant(
  ring_before_its_mbarriers
  FILE kernels/attend_bulk.cuh
  KERNEL attend_bulk
  FROM "  simt::block_sync();  // the ring's mbarriers are there"
  TO ""
  EXPECTED "(uninitialised|not ordered by a barrier)")
hashevict_add_mutant(
  ring_before_its_queries
  FILE kernels/attend_bulk.cuh
  KERNEL attend_bulk
  FROM "    simt::block_sync();  // queries are staged; the results of the split before have been taken"
  TO ""
  EXPECTED "shared memory.*(uninitialised|not ordered by a barrier)")
hashevict_add_mutant(
  hidden_slots_in_the_ring
  FILE kernels/attend_bulk.cuh
  KERNEL attend_bulk
  FROM "return visible.has(first_slot + slot);"
  TO "return visible.has(first_slot);"
  EXPECTED "FAILED.*Splits")
hashevict_add_mutant(
  hidden_slots_in_the_ring_of_tensor_cores
  FILE kernels/detail/attend_ring.cuh
  KERNEL attend_bulk
  FROM "return slot < count && (hidden >> (slot - own) & 1U) == 0;"
  TO "return slot < count;"
  EXPECTED "FAILED.*TensorCores")
