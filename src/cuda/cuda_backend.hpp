// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.hpp"
#include "cuda/devices.hpp"
#include "cuda/runtime.hpp"
#include "cuda/workspace.hpp"
#include "kernels/launch.hpp"

namespace hashevict::cuda {

/// Turns operations into launches. It neither reads device memory nor waits, except where backend.hpp says so. Kernels
/// read lengths, rows and offsets themselves, so a step can be captured in a graph and replayed.
class CudaBackend final : public Backend {
 public:
  CudaBackend(core::Storage storage, std::vector<DeviceMemory> owned);

  void prefill(const core::Step& step, hashevict_stream stream) override;
  void evict(const core::Step& step, hashevict_stream stream) override;
  void append(const core::Step& step, hashevict_stream stream) override;
  void attend(const core::Step& step, hashevict_stream stream) override;
  void decode(const core::Step& step, hashevict_stream stream) override;
  void encode(const EncodeArguments& arguments, hashevict_stream stream) override;
  void reset(int32_t sequence, hashevict_stream stream) override;
  void fork(int32_t source, int32_t target, hashevict_stream stream) override;
  void start_read(void* host, const void* memory, const Runs& runs, hashevict_stream stream) override;
  void start_write(void* memory, const void* host, const Runs& runs, hashevict_stream stream) override;
  void wait(hashevict_stream stream) override;
  std::span<const int32_t* const> host_pages(int32_t sequence, std::span<const int32_t> tokens,
                                             hashevict_stream stream) override;

 private:
  [[nodiscard]] kernels::Queue queue(hashevict_stream stream) const { return {stream, overlaps_, clusters_, bulk_}; }
  /// Layers that have rows of the block table of their own; 1: all layers share one.
  [[nodiscard]] std::size_t rows_layers() const {
    return storage_.memory.table.num_heads > 0 ? storage_.layers.size() : 1;
  }
  /// Copies the offsets of a sequence's rows to the host, if the table is CSR.
  void read_page_offsets(int32_t sequence, hashevict_stream stream);
  /// Makes the kernels ready. Fails if a layer needs more shared memory than its kernels may have.
  void prepare_kernels();
  [[nodiscard]] int32_t device() const { return storage_.settings.placement.device; }

  std::vector<DeviceMemory> owned_;
  Workspace workspace_;
  bool overlaps_ = false;       ///< Prepared::overlaps holds for all kernels
  kernels::Clusters clusters_;  ///< that the kernels of all layers may have
  bool bulk_ = false;           ///< Prepared::bulk holds for the kernels of all layers
  std::vector<int32_t> pages_;  ///< host copy of one sequence's rows of the block table, as far as they are in use
  std::vector<int32_t> page_offsets_;  ///< of the same rows: for each layer, or for all, those of its rows and the end
};

/// Fails with INVALID_ARGUMENT if a launch cannot have `blocks` blocks for each row of a batch. Rows that are skipped
/// count, so there may be more of them than sequences.
void check_rows(const core::Step& step, int64_t blocks);

/// Fails with BACKEND_ERROR if a launch has failed.
void check_launch(const char* error, const char* operation);

// Functions of the registry's entry.
uint64_t workspace_bytes(const core::Settings& settings);
std::unique_ptr<Backend> create(core::Settings settings, const hashevict_memory* memory);
void describe(hashevict_capabilities& capabilities);

}  // namespace hashevict::cuda
