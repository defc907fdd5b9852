// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.hpp"
#include "cpu/aligned_memory.hpp"
#include "cpu/attend_head.hpp"
#include "cpu/encode_head.hpp"
#include "cpu/executor.hpp"
#include "cpu/schedule.hpp"
#include "cpu/workspace.hpp"

namespace hashevict::cpu {

/// Distributes heads and sequences over threads. Only one worker at a time works on a head.
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
  void start_read(void* host, const void* memory, const Runs& runs, hashevict_stream stream) override;
  void start_write(void* memory, const void* host, const Runs& runs, hashevict_stream stream) override;
  void wait(hashevict_stream stream) override;
  std::span<const int32_t* const> host_pages(int32_t sequence, std::span<const int32_t> tokens,
                                             hashevict_stream stream) override;

 private:
  /// Checks the contents of index arrays, which validate_args() leaves unread.
  void validate(const core::Step& step, core::Operation operation);
  /// Places each row's tokens in order; all heads run in parallel.
  void take_tokens(const core::Step& step, bool store);
  /// The attention of a batch of prompts whose tokens have their slots.
  void attend_prompts(const core::Step& step);
  /// Adds each row's tokens to its sequence's counters.
  void count_tokens(const core::Step& step, bool is_prompt);
  [[nodiscard]] const Schedule& schedule(const core::Layer& layer) const {
    return schedules_[static_cast<std::size_t>(layer.index)];
  }
  /// Whether the heads of so many rows keep the workers busy: together they have as many splits as two of the longest
  /// head for each worker.
  [[nodiscard]] bool has_enough_heads(const core::Layer& layer, int64_t rows) const {
    const Schedule& own = schedule(layer);
    const int64_t wanted = 2 * int64_t{executor_.num_workers()} * own.most_splits();
    return executor_.num_workers() == 1 || rows * static_cast<int64_t>(own.splits().size()) >= wanted;
  }
  /// Calls `body(row, kv_head, worker)` for all heads of `rows` rows, longest heads first.
  template <class Body>
  void for_each_head(const core::Layer& layer, int64_t rows, const Body& body);
  /// The same for steps without attention. It fetches the inputs of the head that the worker will probably take next.
  template <class Body>
  void for_each_step(const core::Step& step, const Body& body);
  /// Runs items of attention, one for each head of `rows` rows. `make_item(row, kv_head, item)` fills in an item, or
  /// returns false if there is none. If there are few heads, workers share the splits of each. The result is the same,
  /// since splits do not depend on the workers.
  template <class MakeItem>
  void attend_items(const core::Layer& layer, int64_t rows, const MakeItem& make_item);
  void decode_by_heads(const core::Step& step);
  void decode_by_splits(const core::Step& step);
  void reset_layer(int32_t layer, int32_t sequence);
  void fork_layer(int32_t layer, int32_t source, int32_t target);

  std::vector<AlignedMemory> owned_;
  Workspace workspace_;
  Executor executor_;
  std::vector<Schedule> schedules_;  ///< [num_layers]
  core::PageSet pages_;              ///< those that a call uses
};

template <class Body>
void CpuBackend::for_each_head(const core::Layer& layer, int64_t rows, const Body& body) {
  const std::span<const int32_t> heads = schedule(layer).heads();
  executor_.for_each(rows * static_cast<int64_t>(heads.size()), [&](int64_t item, int32_t worker) {
    body(item % rows, heads[static_cast<std::size_t>(item / rows)], worker);
  });
}

template <class Body>
void CpuBackend::for_each_step(const core::Step& step, const Body& body) {
  const core::Layer& layer = storage_.layer(step.layer);
  const std::span<const int32_t> heads = schedule(layer).heads();
  const int64_t items = int64_t{step.rows} * static_cast<int64_t>(heads.size());
  const auto tokens_of = [&](int64_t item) {
    return head_tokens(step, layer, static_cast<int32_t>(item % step.rows),
                       heads[static_cast<std::size_t>(item / step.rows)]);
  };
  executor_.for_each(items, [&](int64_t item, int32_t worker) {
    if (item + executor_.num_workers() < items) fetch_step(tokens_of(item + executor_.num_workers()));
    body(tokens_of(item), worker);
  });
}

template <class MakeItem>
void CpuBackend::attend_items(const core::Layer& layer, int64_t rows, const MakeItem& make_item) {
  const Schedule& own = schedule(layer);
  if (has_enough_heads(layer, rows) || own.most_splits() == 1) {
    for_each_head(layer, rows, [&](int64_t row, int32_t kv_head, int32_t worker) {
      AttendItem item;
      if (!make_item(row, kv_head, item)) return;
      attend_item(item, workspace_.partials_of_worker(worker), workspace_.scratch(worker));
    });
    return;
  }
  const std::span<const core::Split> splits = own.splits();
  const auto num_splits_of_row = static_cast<int64_t>(splits.size());
  const auto partials = [&](int64_t row, int32_t kv_head) {
    return workspace_.partials(row * num_splits_of_row + own.first_split(kv_head));
  };
  executor_.for_each(rows * num_splits_of_row, [&](int64_t index, int32_t worker) {
    const int64_t row = index % rows;
    const core::Split split = splits[static_cast<std::size_t>(index / rows)];
    AttendItem item;
    if (!make_item(row, split.kv_head, item) || split.index >= num_splits(item.length)) return;
    const Scratch& scratch = workspace_.scratch(worker);
    load_queries(item, scratch);
    attend_item_split(item, split.index, partials(row, split.kv_head), scratch);
  });
  for_each_head(layer, rows, [&](int64_t row, int32_t kv_head, int32_t worker) {
    AttendItem item;
    if (!make_item(row, kv_head, item)) return;
    finish_item(item, partials(row, kv_head), workspace_.scratch(worker));
  });
}

// Functions of the registry's entry.
std::string refusal(int32_t device);
uint64_t workspace_bytes(const core::Settings& settings);
std::unique_ptr<Backend> create(core::Settings settings, const hashevict_memory* memory);
void describe(hashevict_capabilities& capabilities);

}  // namespace hashevict::cpu
