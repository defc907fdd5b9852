// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "backend/backend.hpp"
#include "cpu/aligned_memory.hpp"
#include "cpu/attend_head.hpp"
#include "cpu/executor.hpp"
#include "cpu/head.hpp"
#include "cpu/workspace.hpp"

namespace hashevict::cpu {

/// Heads and sequences over threads; each head's state is touched by one worker at a time.
class CpuBackend final : public Backend {
 public:
  CpuBackend(core::Storage storage, std::vector<AlignedMemory> owned);

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
  /// Checks what validate_step() could not: contents of index arrays.
  void validate(const core::Step& step, core::Operation operation);
  /// Takes each row's tokens one after the other; all heads in parallel.
  void take_tokens(const core::Step& step, bool store);
  /// Adds each row's tokens to its sequence's counters.
  void count_tokens(const core::Step& step, bool is_prompt);
  /// Runs items of attention: `make_item(index, item)` fills one in, or says that there is none. Where items are few,
  /// workers share the splits of each; the result is the same, since splits do not depend on it.
  template <class MakeItem>
  void attend_items(const core::Step& step, int64_t num_items, const MakeItem& make_item);
  void decode_by_heads(const core::Step& step);
  void decode_by_splits(const core::Step& step);
  void reset_layer(int32_t layer, int32_t sequence);
  void fork_layer(int32_t layer, int32_t source, int32_t target);

  std::vector<AlignedMemory> owned_;
  Workspace workspace_;
  Executor executor_;
};

template <class MakeItem>
void CpuBackend::attend_items(const core::Step& step, int64_t num_items, const MakeItem& make_item) {
  const int32_t workers = executor_.num_workers();
  const int64_t splits = num_splits(storage_.layer_settings(step.layer).capacity);
  if (num_items >= 2 * int64_t{workers} || workers == 1 || splits == 1) {
    executor_.for_each(num_items, [&](int64_t index, int32_t worker) {
      AttendItem item;
      if (!make_item(index, item)) return;
      attend_item(item, step, workspace_.partials(worker), workspace_.scratch(worker));
    });
    return;
  }
  executor_.for_each(num_items * splits, [&](int64_t index, int32_t worker) {
    AttendItem item;
    const auto split = static_cast<int32_t>(index % splits);
    if (!make_item(index / splits, item) || split >= num_splits(item.length)) return;
    const Scratch scratch = workspace_.scratch(worker);
    load_queries(item, step, scratch);
    attend_item_split(item, step, split, workspace_.partials(index / splits), scratch);
  });
  executor_.for_each(num_items, [&](int64_t index, int32_t worker) {
    AttendItem item;
    if (!make_item(index, item)) return;
    finish_item(item, step, workspace_.partials(index), workspace_.scratch(worker));
  });
}

// What the registry needs.
bool available();
uint64_t workspace_bytes(const core::Settings& settings);
std::unique_ptr<Backend> create(core::Settings settings, const hashevict_memory* memory);
void describe(hashevict_capabilities& capabilities);

}  // namespace hashevict::cpu
