# SPDX-License-Identifier: Apache-2.0
# Planted bugs in the decoding of single tokens by clusters of blocks: the ring of bulk copies, and the exchange.

# Faults that the executor reports.
hashevict_add_mutant(
  reader_that_does_not_arrive
  FILE kernels/detail/attend_ring.cuh
  KERNEL decode_cluster
  FROM "if (simt::lane() == 0) barriers_.arrive(kEntries + read_ % kEntries);"
  TO ""
  EXPECTED "deadlock")
hashevict_add_mutant(
  phase_of_the_next_round
  FILE kernels/detail/attend_ring.cuh
  KERNEL decode_cluster
  FROM "barriers_.wait(entry, static_cast<uint32_t>(read_ / kEntries) % 2);"
  TO "barriers_.wait(entry, static_cast<uint32_t>(read_ / kEntries + 1) % 2);"
  EXPECTED "read of|deadlock")
hashevict_add_mutant(
  copies_that_nobody_awaits
  FILE kernels/detail/attend_ring.cuh
  KERNEL decode_cluster
  FROM "barriers_.wait(entry, static_cast<uint32_t>(read_ / kEntries) % 2);"
  TO ""
  EXPECTED "read of")
hashevict_add_mutant(
  entry_refilled_while_it_is_read
  FILE kernels/detail/attend_ring.cuh
  KERNEL decode_cluster
  FROM "if (readers >= 0) barriers.wait(readers, parity);"
  TO ""
  EXPECTED "copy over elements")
hashevict_add_mutant(
  copies_of_fewer_bytes_than_expected
  FILE kernels/detail/attend_ring.cuh
  KERNEL decode_cluster
  FROM "(run_of_rows < left ? run_of_rows : left) * row_bytes,"
  TO "row_bytes,"
  EXPECTED "deadlock|uninitialised")
hashevict_add_mutant(
  pushes_before_all_blocks_run
  FILE kernels/decode_cluster.cuh
  KERNEL decode_cluster
  FROM "if (index == 0) simt::cluster_wait();  // all blocks run"
  TO "//"
  EXPECTED "no barrier of the cluster says that block|arrives at the cluster's barrier again")
hashevict_add_mutant(
  mbarriers_ready_behind_the_clusters_barrier
  FILE kernels/decode_cluster.cuh
  KERNEL decode_cluster
  FROM [[
    block.shared.init();
  }
  block.record.find(p.heads, layer, row.sequence, kv_head);
  simt::block_sync();
  simt::cluster_arrive();]]
  TO [[
  }
  block.record.find(p.heads, layer, row.sequence, kv_head);
  simt::cluster_arrive();
  if (simt::thread_index() == 0) block.shared.init();
  simt::block_sync();]]
  EXPECTED "shared memory.*(conflicts between blocks|uninitialised)")
hashevict_add_mutant(
  candidates_that_nobody_awaits
  FILE kernels/decode_cluster.cuh
  KERNEL decode_cluster
  FROM "block.shared.barriers.wait_for_cluster(kCandidates, static_cast<uint32_t>(index) % 2);"
  TO ""
  EXPECTED "shared memory.*read of")
hashevict_add_mutant(
  candidates_that_nobody_expects
  FILE kernels/decode_cluster.cuh
  KERNEL decode_cluster
  FROM "block.shared.barriers.arrive_at(simt::thread_index(), kCandidates, bytes);"
  TO "block.shared.barriers.arrive_at(simt::thread_index(), kCandidates, 0);"
  EXPECTED "deadlock|read of")
hashevict_add_mutant(
  phase_of_the_next_tokens_candidates
  FILE kernels/decode_cluster.cuh
  KERNEL decode_cluster
  FROM "wait_for_cluster(kCandidates, static_cast<uint32_t>(index) % 2)"
  TO "wait_for_cluster(kCandidates, static_cast<uint32_t>(index + 1) % 2)"
  EXPECTED "deadlock|read of")
hashevict_add_mutant(
  results_that_nobody_awaits
  FILE kernels/detail/decode_merge.cuh
  KERNEL decode_cluster
  FROM "shared.barriers.wait_for_cluster(kResults, parity);"
  TO ""
  EXPECTED "shared memory.*read of|ended before")
hashevict_add_mutant(
  results_awaited_from_the_own_block_alone
  FILE kernels/detail/decode_merge.cuh
  KERNEL decode_cluster
  FROM "shared.barriers.wait_for_cluster(kResults, parity);"
  TO "shared.barriers.wait(kResults, parity);"
  EXPECTED "the wait covers the own block alone")
hashevict_add_mutant(
  results_of_more_bytes_than_expected
  FILE kernels/detail/decode_merge.cuh
  KERNEL decode_cluster
  FROM "(kPushed + Share::of(rank, head_dim).count)"
  TO "Share::of(rank, head_dim).count"
  EXPECTED "deadlock|read of")
hashevict_add_mutant(
  results_of_the_next_tile_over_those_being_merged
  FILE kernels/decode_cluster.cuh
  KERNEL decode_cluster
  FROM "if (tile > 0) sync_cluster();  // all blocks have merged the tile before"
  TO "if (tile > 0) simt::block_sync();"
  EXPECTED "remote shared memory|arrivals at mbarrier|read of|deadlock")
hashevict_add_mutant(
  next_token_before_the_slot_is_overwritten
  FILE kernels/decode_cluster.cuh
  KERNEL decode_cluster
  FROM [[
    simt::fence_bulk_copies();
    sync_cluster();]]
  TO [[
    simt::fence_bulk_copies();
    simt::block_sync();]]
  EXPECTED "conflicts between blocks|arrivals at mbarrier|read of|deadlock")
hashevict_add_mutant(
  slot_overwritten_by_a_block_that_does_not_scan_it
  FILE kernels/decode_cluster.cuh
  KERNEL decode_cluster
  FROM "if (((slot >> item.split_bits) & (simt::cluster_size() - 1)) == simt::cluster_rank()) {"
  TO "if (simt::cluster_rank() == 0) {"
  EXPECTED "global memory.*conflicts between blocks")
hashevict_add_mutant(
  sums_overwritten_before_others_have_read_them
  FILE kernels/decode_cluster.cuh
  KERNEL decode_cluster
  FROM "if (layer.rule.facts.needs_key_sums && simt::thread_index() < simt::cluster_size()) simt::thread_fence();"
  TO ""
  EXPECTED "global memory.*conflicts between blocks")
hashevict_add_mutant(
  losers_of_the_cluster_before_they_have_come
  FILE kernels/detail/decode_merge.cuh
  KERNEL decode_cluster
  FROM "simt::wait_for_copies();"
  TO ""
  EXPECTED "ended before it waited for its copies")

# Wrong attention.
hashevict_add_mutant(
  share_without_its_last_element
  FILE kernels/detail/decode_merge.cuh
  KERNEL decode_cluster
  FROM "i < queries * share.count; i += kAttendThreads"
  TO "i + 1 < queries * share.count; i += kAttendThreads"
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  result_of_another_split
  FILE kernels/detail/decode_merge.cuh
  KERNEL decode_cluster
  FROM "return shared.values.load((split * Shape::kTile + q) * each + e);"
  TO "return shared.values.load((split / 2 * Shape::kTile + q) * each + e);"
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  run_of_rows_too_long
  FILE kernels/detail/attend_ring.cuh
  KERNEL decode_cluster
  FROM "const int32_t run_of_rows = dense ? slot.run : 1;"
  TO "const int32_t run_of_rows = slot.run;"
  EXPECTED "FAILED.*Mutants")
