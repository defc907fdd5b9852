# SPDX-License-Identifier: Apache-2.0
# Wrong attention of a prompt.
hashevict_add_mutant(
  death_off_by_one
  FILE kernels/detail/prefill_replay.cuh
  KERNEL prefill
  FROM "deaths.of_tokens + token, static_cast<uint32_t>(index));"
  TO "deaths.of_tokens + token, static_cast<uint32_t>(index + 1));"
  EXPECTED "FAILED.*PromptsAttention")
hashevict_add_mutant(
  death_of_another_slot
  FILE kernels/detail/prefill_replay.cuh
  KERNEL prefill
  FROM "simt::store(token < 0 ? deaths.of_slots + slot :"
  TO "simt::store(token < 0 ? deaths.of_slots + slot / 2 :"
  EXPECTED "FAILED.*PromptsAttention")
hashevict_add_mutant(
  attention_after_the_slots_are_overwritten
  FILE kernels/prefill.cu
  KERNEL prefill
  FROM "choose, attend, store_survivors}"
  TO "choose, store_survivors, attend}"
  EXPECTED "FAILED.*PromptsAttention")
hashevict_add_mutant(
  wrong_first_slot
  FILE kernels/detail/prefill_keys.cuh
  KERNEL prefill_attend
  FROM "if (birth < 0) return address(in.slots + birth);"
  TO "if (birth < 0) return address(-1 - birth);"
  EXPECTED "FAILED.*PromptsAttention")
hashevict_add_mutant(
  dropped_tile
  FILE kernels/detail/prefill_tile.cuh
  KERNEL prefill_attend
  FROM "return int64_t{batch.tokens} / tile_tokens(group_size) + batch.rows;"
  TO "return int64_t{batch.tokens} / tile_tokens(group_size);"
  EXPECTED "FAILED.*PromptsAttention")
hashevict_add_mutant(
  slots_of_the_neighbour
  FILE kernels/detail/prefill_keys.cuh
  KERNEL prefill_attend
  FROM "head.length(row.before),"
  TO "settings_of(layer, tile.kv_head ^ 1).length(row.before),"
  EXPECTED "FAILED.*(PromptsAttention|RaggedHeads)")
hashevict_add_mutant(
  future_keys_seen
  FILE kernels/detail/prefill_fma.cuh
  KERNEL prefill_attend
  FROM "birth <= tokens_[i] && tokens_[i] < death;"
  TO "birth <= tokens_[i] + 1 && tokens_[i] < death;"
  EXPECTED "FAILED.*PromptsAttention")
hashevict_add_mutant(
  dead_keys_seen_on_tensor_cores
  FILE kernels/detail/prefill_mma.cuh
  KERNEL prefill_attend
  FROM "token >= deaths[i % 2])"
  TO "token > deaths[i % 2])"
  EXPECTED "FAILED.*PromptsAttentionOnTensorCores")
hashevict_add_mutant(
  hidden_keys_overlooked
  FILE kernels/detail/prefill_mma.cuh
  KERNEL prefill_attend
  FROM "shared_.list.deaths.load(entry) < in_.tile.end;"
  TO "shared_.list.deaths.load(entry) < in_.tile.first;"
  EXPECTED "FAILED.*PromptsAttentionOnTensorCores")
hashevict_add_mutant(
  keys_used_before_they_arrive
  FILE kernels/detail/prefill_mma.cuh
  KERNEL prefill_attend
  FROM [[
    simt::wait_for_copies();
    simt::block_sync();
    stage_packed]]
  TO [[
    simt::block_sync();
    stage_packed]]
  EXPECTED "(FAILED.*PromptsAttentionOnTensorCores|not ordered)")
hashevict_add_mutant(
  keys_overwritten_in_use
  FILE kernels/detail/prefill_mma.cuh
  KERNEL prefill_attend
  FROM [[
    simt::wait_for_copies();
    simt::block_sync();
    if (next >= 0)]]
  TO [[
    simt::wait_for_copies();
    if (next >= 0)]]
  EXPECTED "(not ordered by a barrier|uninitialised)")
