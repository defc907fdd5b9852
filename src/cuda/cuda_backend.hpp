// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.hpp"
#include "cuda/runtime.hpp"
#include "cuda/workspace.hpp"
#include "kernels/launch.hpp"

namespace hashevict::cuda {

/// Turns operations into launches. Nothing here looks at device memory or waits, except where backend.hpp says so:
/// lengths, rows and offsets are read by the kernels, so that a step can be captured in a graph and replayed.
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
  void read(void* host, const void* memory, uint64_t bytes, hashevict_stream stream) override;
  void write(void* memory, const void* host, uint64_t bytes, hashevict_stream stream) override;
  const int32_t* host_pages(int32_t sequence, int32_t num_slots, hashevict_stream stream) override;

 private:
  [[nodiscard]] const kernels::Layer& layer(int32_t index) const { return layers_[static_cast<std::size_t>(index)]; }
  [[nodiscard]] kernels::Partials partials(int32_t layer) const {
    return workspace_.partials(storage_.layer_settings(layer).capacity);
  }
  [[nodiscard]] int32_t device() const { return storage_.settings.config.device; }

  std::vector<DeviceMemory> owned_;
  Workspace workspace_;
  std::vector<kernels::Layer> layers_;
  std::vector<int32_t> pages_;  ///< host copy of one sequence's part of the block table
};

/// Fails with BACKEND_ERROR unless a launch succeeded.
void check_launch(const char* error, const char* operation);

// What the registry needs.
bool available();
uint64_t workspace_bytes(const core::Settings& settings);
std::unique_ptr<Backend> create(core::Settings settings, const hashevict_memory* memory);
void describe(hashevict_capabilities& capabilities);

}  // namespace hashevict::cuda
