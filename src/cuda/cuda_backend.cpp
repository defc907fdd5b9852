// SPDX-License-Identifier: Apache-2.0
#include "cuda/cuda_backend.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "backend/construct.hpp"
#include "core/carver.hpp"
#include "core/failure.hpp"
#include "cuda/params.hpp"

namespace hashevict::cuda {
namespace {

/// What a config asks of this device, beyond what any backend can do.
void check_device(const core::Settings& settings) {
  const int32_t device = settings.config.device;
  const int32_t devices = num_devices();
  core::require(device >= 0 && device < devices, "device = {}: expected 0 to {}", device, devices - 1);
  // Blocks are counted in 32 bits: a split of a head each, or a token of a head each.
  constexpr int64_t kMaxBlocks = std::numeric_limits<int32_t>::max();
  const int64_t heads = settings.heads();
  core::require(settings.max_batch_tokens <= kMaxBlocks / heads,
                "max_batch_tokens = {}: expected at most {} for {} KV heads on a CUDA device",
                settings.max_batch_tokens, kMaxBlocks / heads, heads);
  for (const core::LayerSettings& shape : settings.layers) {
    const auto splits = core::checked_product({settings.sequences(), heads, num_splits(shape.capacity)});
    core::require(splits <= kMaxBlocks,
                  "num_sequences = {}: expected fewer than 2^31 splits of {} slots over all heads on a CUDA device",
                  settings.sequences(), kernels::kSplitSlots);
  }
}

}  // namespace

CudaBackend::CudaBackend(core::Storage storage, std::vector<DeviceMemory> owned)
    : Backend{std::move(storage)}, owned_{std::move(owned)}, workspace_{storage_.settings, storage_.memory.workspace} {
  const hashevict_config& config = storage_.settings.config;
  for (int32_t i = 0; i < config.num_layers; ++i) {
    layers_.push_back(layer_params(storage_, i));
    const int32_t needed =
        std::max(kernels::attention_shared_bytes(layers_.back()), kernels::prompt_shared_bytes(layers_.back()));
    const int32_t had = max_shared_bytes(config.device);
    if (needed > had) {
      core::fail(
          HASHEVICT_UNSUPPORTED,
          "num_qo_heads / num_kv_heads = {}: needs {} bytes of shared memory a block: expected at most {}, which "
          "the device has",
          storage_.settings.group_size, needed, had);
    }
  }
  draw_projections(*this);
  for (int32_t i = 0; i < config.num_layers; ++i) {
    fill(
        storage_.layer_state(i).tickets, 0,
        static_cast<uint64_t>(config.num_sequences) * static_cast<uint64_t>(config.num_kv_heads + 1) * sizeof(uint32_t),
        nullptr);
  }
  for (int32_t sequence = 0; sequence < config.num_sequences; ++sequence) reset(sequence, nullptr);
  int32_t anything = 0;  // waits: the caller's streams need not be ordered after the default one
  read(&anything, storage_.layer_state(0).lengths, sizeof anything, nullptr);
}

void CudaBackend::read(void* host, const void* memory, uint64_t bytes, hashevict_stream stream) {
  const CurrentDevice current{device()};
  copy_to_host(host, memory, bytes, stream);
}

void CudaBackend::write(void* memory, const void* host, uint64_t bytes, hashevict_stream stream) {
  const CurrentDevice current{device()};
  copy_to_device(memory, host, bytes, stream);
}

const int32_t* CudaBackend::host_pages(int32_t sequence, int32_t num_slots, hashevict_stream stream) {
  const core::CacheMemory& memory = storage_.memory;
  if (memory.block_table == nullptr) return nullptr;
  const int32_t page_size = storage_.settings.config.page_size;
  const auto needed = static_cast<int32_t>((int64_t{num_slots} + page_size - 1) / page_size);
  int64_t first = sequence * memory.block_table_stride;
  if (memory.block_table_offsets != nullptr) {
    int32_t range[2];
    read(range, memory.block_table_offsets + sequence, sizeof range, stream);
    core::require(range[0] >= 0 && range[1] - int64_t{range[0]} >= needed,
                  "block_table_offsets: sequence {} has entries {} to {}: expected {} pages", sequence, range[0],
                  range[1], needed);
    first = range[0];
  }
  pages_.resize(static_cast<std::size_t>(needed));
  read(pages_.data(), memory.block_table + first, pages_.size() * sizeof(int32_t), stream);
  for (std::size_t i = 0; i < pages_.size(); ++i) {
    core::require(pages_[i] >= 0 && pages_[i] < memory.num_pages,
                  "block_table: page {} of sequence {} is {}: expected 0 to {}", i, sequence, pages_[i],
                  memory.num_pages - 1);
  }
  return pages_.data();
}

void check_launch(const char* error, const char* operation) {
  if (error != nullptr) core::fail(HASHEVICT_BACKEND_ERROR, "{}: {}", operation, error);
}

bool available() {
  return num_devices() > 0;
}

uint64_t workspace_bytes(const core::Settings& settings) {
  return Workspace::bytes(settings);
}

std::unique_ptr<Backend> create(core::Settings settings, const hashevict_memory* memory) {
  check_device(settings);
  const CurrentDevice current{settings.config.device};
  std::vector<DeviceMemory> owned;
  const uint64_t workspace = workspace_bytes(settings);
  core::Storage storage = make_storage(std::move(settings), memory, workspace,
                                       [&](uint64_t bytes) { return owned.emplace_back(allocate(bytes)).get(); });
  return std::make_unique<CudaBackend>(std::move(storage), std::move(owned));
}

void describe(hashevict_capabilities& capabilities) {
  capabilities.has_cuda_build = 1;
  capabilities.num_cuda_devices = num_devices();
}

}  // namespace hashevict::cuda
