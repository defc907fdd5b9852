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
hashevict_add_mutant(
  stage_before_its_addresses
  FILE kernels/detail/attend_split.cuh
  KERNEL attend
  FROM [[
    }
    simt::block_sync();
  }
}]]
  TO [[
    }
  }
}]]
  EXPECTED "shared memory, attend_(split|mma).cuh.*(uninitialised|not ordered by a barrier)")
hashevict_add_mutant(
  stage_overwritten_in_use
  FILE kernels/detail/attend_split.cuh
  KERNEL attend
  FROM "const int32_t at = next % (2 * kStageSlots);"
  TO "const int32_t at = 0;"
  EXPECTED "shared memory, attend_split.cuh.*not ordered by a barrier")

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
  FILE kernels/detail/attend_mma.cuh
  KERNEL attend
  FROM "shared.offsets.load(first + 8);"
  TO "shared.offsets.load(first);"
  EXPECTED "FAILED.*TensorCores")
hashevict_add_mutant(
  dropped_half_of_the_dimensions
  FILE kernels/detail/attend_mma.cuh
  KERNEL attend
  FROM [[
      for (int32_t i = 0; i < 4; i += 2) {
        const uint32_t* const upper]]
  TO [[
      for (int32_t i = 0; i < 2; i += 2) {
        const uint32_t* const upper]]
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
  FROM "{low_halves(words[0], words[1]), high_halves(words[0], words[1]),"
  TO "{high_halves(words[0], words[1]), low_halves(words[0], words[1]),"
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
