// SPDX-License-Identifier: Apache-2.0
#include "cuda/cuda_backend.hpp"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "backend/construct.hpp"
#include "backend/transfers.hpp"
#include "core/bounds.hpp"
#include "core/carver.hpp"
#include "core/failure.hpp"
#include "core/validate.hpp"

namespace hashevict::cuda {
namespace {

// Block numbers are 32-bit: a block takes one split of a head, or one token of a head.
constexpr int64_t kMaxBlocks = std::numeric_limits<int32_t>::max();

/// Checks the limits of this device that other backends do not have.
void check_device(const core::Settings& settings) {
  const int32_t device = settings.placement.device;
  const int32_t devices = num_devices();
  core::require_in_range({"config.placement", "device"}, device, 0, devices - 1);
  const int64_t heads = settings.shape.num_kv_heads;
  core::require(settings.execution.max_batch_tokens <= kMaxBlocks / heads,
                "config.execution.max_batch_tokens = {}: expected at most {} for {} KV heads on a CUDA device",
                settings.execution.max_batch_tokens, kMaxBlocks / heads, heads);
  for (const core::LayerSettings& shape : settings.layers) {
    const auto splits = core::checked_product({settings.shape.num_sequences, shape.num_splits.value});
    core::require(splits <= kMaxBlocks,
                  "config.shape.num_sequences = {}: expected fewer than 2^31 splits over all heads on a CUDA device",
                  settings.shape.num_sequences);
  }
}

}  // namespace

CudaBackend::CudaBackend(core::Storage storage, std::vector<DeviceMemory> owned)
    : Backend{std::move(storage)}, owned_{std::move(owned)}, workspace_{storage_.settings, storage_.memory.workspace} {
  prepare_kernels();
  reset(core::kAll, nullptr);
  pages_.resize(static_cast<std::size_t>(core::pages_of_sequence(storage_.settings)));
  page_offsets_.resize(rows_layers() * static_cast<std::size_t>(std::max(storage_.memory.table.num_heads, 1) + 1));
  write_parameters(*this);  // waits, so the caller's streams need no order after the default stream
}

void CudaBackend::prepare_kernels() {
  int32_t had = std::numeric_limits<int32_t>::max();
  overlaps_ = true;
  bool is_first = true;
  std::set<int32_t> widths;  // the kernels of layers differ in the width of codes alone
  for (const core::Layer& layer : storage_.layers) {
    if (!widths.insert(layer.rule.hash_bits).second) continue;
    for (const auto prepare : {kernels::prepare_encode, kernels::prepare_evict, kernels::prepare_attend,
                               kernels::prepare_decode, kernels::prepare_prefill, kernels::prepare_copy}) {
      const kernels::Prepared prepared = prepare(layer);
      check_launch(prepared.error, "making the kernels ready");
      had = std::min(had, prepared.shared_bytes);
      overlaps_ = overlaps_ && prepared.overlaps;
    }
  }
  for (const core::Layer& layer : storage_.layers) {
    const kernels::Prepared prepared = kernels::prepare_decode_cluster(layer);
    check_launch(prepared.error, "making the kernels ready");
    clusters_ = is_first ? prepared.clusters : kernels::fewest(clusters_, prepared.clusters);
    const kernels::Prepared by_copies = kernels::prepare_attend_bulk(layer);
    check_launch(by_copies.error, "making the kernels ready");
    bulk_ = (is_first || bulk_) && by_copies.bulk;
    is_first = false;
    const int32_t needed = std::max(kernels::attention_shared_bytes(layer), kernels::prompt_shared_bytes(layer));
    if (needed > had) {
      core::fail(
          HASHEVICT_UNSUPPORTED,
          "config.shape.num_qo_heads / num_kv_heads = {}: needs {} bytes of shared memory a block: expected at most "
          "{}, which the device has",
          storage_.settings.shape.group_size, needed, had);
    }
  }
}

void CudaBackend::start_read(void* host, const void* memory, const Runs& runs, hashevict_stream stream) {
  const CurrentDevice current{device()};
  copy_to_host(host, memory, runs, stream);
}

void CudaBackend::start_write(void* memory, const void* host, const Runs& runs, hashevict_stream stream) {
  const CurrentDevice current{device()};
  copy_to_device(memory, host, runs, stream);
}

void CudaBackend::wait(hashevict_stream stream) {
  const CurrentDevice current{device()};
  cuda::wait(stream);
}

void CudaBackend::read_page_offsets(int32_t sequence, hashevict_stream stream) {
  if (storage_.memory.table.offsets == nullptr) return;
  Transfers transfers{*this, stream};
  const std::size_t of_layer = page_offsets_.size() / rows_layers();
  for (std::size_t i = 0; i < rows_layers(); ++i) {
    const core::BlockTable& table = storage_.layers[i].table;
    transfers.read(page_offsets_.data() + i * of_layer, table.offsets + table.row(sequence, 0),
                   {of_layer * sizeof(int32_t)});
  }
  transfers.finish();
}

std::span<const int32_t* const> CudaBackend::host_pages(int32_t sequence, std::span<const int32_t> tokens,
                                                        hashevict_stream stream) {
  const core::CacheMemory& memory = storage_.memory;
  if (memory.table.entries == nullptr) return {};
  read_page_offsets(sequence, stream);
  const std::size_t of_layer = page_offsets_.size() / rows_layers();
  int32_t* copied = pages_.data();
  Transfers transfers{*this, stream};
  core::visit_page_rows(storage_.settings, sequence, tokens, [&](const core::PageRow& row, int32_t count) {
    const core::BlockTable& table = storage_.layer(row.layer).table;
    int64_t first = table.row(sequence, row.kv_head) * table.stride;
    if (table.offsets != nullptr) {
      const auto index = static_cast<std::size_t>(row.layer) * of_layer + static_cast<std::size_t>(row.kv_head);
      core::check_page_list(storage_.settings, memory, row, page_offsets_[index], page_offsets_[index + 1], count);
      first = page_offsets_[index];
    }
    transfers.read(copied, table.entries + first, {static_cast<uint64_t>(count) * sizeof(int32_t)});
    copied += count;
  });
  transfers.finish();
  copied = pages_.data();
  core::visit_page_rows(storage_.settings, sequence, tokens, [&](const core::PageRow& row, int32_t count) {
    core::check_page_entries(memory, row, copied, count, nullptr);
    page_rows_[storage_.settings.head_index(row.layer, row.kv_head)] = copied;
    copied += count;
  });
  if (memory.table.num_heads == 0) std::fill(page_rows_.begin(), page_rows_.end(), pages_.data());
  return page_rows_;
}

void check_rows(const core::Step& step, int64_t blocks) {
  core::require(step.rows <= kMaxBlocks / blocks,
                "args.batch: {} rows: expected at most {} on a CUDA device, where each takes {} blocks in layer {}",
                step.rows, kMaxBlocks / blocks, blocks, step.layer);
}

void check_launch(const char* error, const char* operation) {
  if (error != nullptr) core::fail(HASHEVICT_BACKEND_ERROR, "{}: {}", operation, error);
}

uint64_t workspace_bytes(const core::Settings& settings) {
  return Workspace::bytes(settings);
}

std::unique_ptr<Backend> create(core::Settings settings, const hashevict_memory* memory) {
  check_device(settings);
  const CurrentDevice current{settings.placement.device};
  std::vector<DeviceMemory> owned;
  const uint64_t workspace = workspace_bytes(settings);
  core::Storage storage = make_storage(std::move(settings), memory, workspace,
                                       [&](uint64_t bytes) { return owned.emplace_back(allocate(bytes)).get(); });
  return std::make_unique<CudaBackend>(std::move(storage), std::move(owned));
}

void describe(hashevict_capabilities& capabilities) {
  capabilities.has_cuda_build = 1;
  capabilities.num_cuda_devices = num_usable_devices();
}

}  // namespace hashevict::cuda
