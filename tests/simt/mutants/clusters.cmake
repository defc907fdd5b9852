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
  FROM "if (use > 0) barriers_.wait(kEntries + entry, static_cast<uint32_t>(use - 1) % 2);"
  TO ""
  EXPECTED "copy over elements")
hashevict_add_mutant(
  copies_of_fewer_bytes_than_expected
  FILE kernels/detail/attend_ring.cuh
  KERNEL decode_cluster
  FROM "(next - simt::lane()) * row_bytes,"
  TO "row_bytes,"
  EXPECTED "deadlock|uninitialised")
hashevict_add_mutant(
  candidates_before_all_blocks_run
  FILE kernels/decode_cluster.cuh
  KERNEL decode_cluster
  FROM "if (first) simt::cluster_wait();  // all blocks run"
  TO ""
  EXPECTED "no barrier of the cluster says that block|arrives at the cluster's barrier again")
hashevict_add_mutant(
  candidates_before_the_clusters_barrier
  FILE kernels/decode_cluster.cuh
  KERNEL decode_cluster
  FROM [[
  simt::cluster_arrive();
  stage_tile(block, 0);
  simt::cluster_wait();]]
  TO [[
  stage_tile(block, 0);
  simt::block_sync();]]
  EXPECTED "shared memory.*(conflicts between blocks|uninitialised)")
hashevict_add_mutant(
  parts_before_the_clusters_barrier
  FILE kernels/decode_cluster.cuh
  KERNEL decode_cluster
  FROM [[
    simt::wait_for_copies();
    simt::cluster_arrive();
    simt::cluster_wait();]]
  TO [[
    simt::wait_for_copies();
    simt::block_sync();]]
  EXPECTED "shared memory.*(conflicts between blocks|uninitialised)")
hashevict_add_mutant(
  block_that_ends_while_others_read
  FILE kernels/decode_cluster.cuh
  KERNEL decode_cluster
  FROM [[
                       block.attend, block.factors);
    simt::cluster_arrive();
    simt::cluster_wait();]]
  TO [[
                       block.attend, block.factors);
    simt::block_sync();]]
  EXPECTED "ends while block|has ended|conflicts between blocks")
hashevict_add_mutant(
  losers_of_the_cluster_before_they_have_come
  FILE kernels/decode_cluster.cuh
  KERNEL decode_cluster
  FROM "simt::wait_for_copies();"
  TO ""
  EXPECTED "ended before it waited for its copies")

# Wrong attention.
hashevict_add_mutant(
  share_without_its_last_quad
  FILE kernels/detail/decode_merge.cuh
  KERNEL decode_cluster
  FROM "i < share.end; i += kAttendThreads"
  TO "i + 1 < share.end; i += kAttendThreads"
  EXPECTED "FAILED.*Mutants")
hashevict_add_mutant(
  part_of_another_block
  FILE kernels/detail/decode_merge.cuh
  KERNEL decode_cluster
  FROM "return {split & (cluster_size - 1),"
  TO "return {(split + 1) & (cluster_size - 1),"
  EXPECTED "FAILED.*Mutants|uninitialised")
hashevict_add_mutant(
  run_of_rows_too_long
  FILE kernels/detail/attend_ring.cuh
  KERNEL decode_cluster
  FROM "offset != before + row_bytes);"
  TO "false);"
  EXPECTED "FAILED.*Mutants")
