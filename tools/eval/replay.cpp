// SPDX-License-Identifier: Apache-2.0
#include "replay.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>

#include "centers.hpp"
#include "replay_tensors.hpp"
#include "unified_memory.hpp"

namespace hashevict::eval {
namespace {

constexpr int64_t kChunk = 1024;  // tokens per decode call: bounds the workspace, changes no result

// Only the library knows what it takes by itself: CUDA where there is a device.
Backend resolved(Backend backend) {
  if (backend != Backend::automatic) return backend;
  return Cache::capabilities(Backend::automatic).num_cuda_devices > 0 ? Backend::cuda : Backend::cpu;
}

Config shaped_config(const Trace& trace, const ReplayOptions& options) {
  Config config = options.config;
  config.backend = resolved(options.config.backend);
  config.num_layers = trace.num_layers();
  config.num_sequences = 1;
  config.num_qo_heads = trace.num_qo_heads();
  config.num_kv_heads = trace.num_kv_heads();
  config.head_dim = trace.head_dim();
  config.dtype = trace.dtype();
  config.capacity = options.budgets.front().slots_for(trace.num_tokens());
  config.layer_capacities.clear();
  if (options.budgets.size() > 1) {
    for (const Budget& budget : options.budgets) {
      config.layer_capacities.push_back(budget.slots_for(trace.num_tokens()));
    }
  }
  const Tensor& projection = trace.layers().front().projection;
  if (projection.present()) config.projection_per_head = projection.rank == 3;
  config.max_batch_tokens = std::max(options.prompt, std::min(trace.num_tokens(), kChunk));
  return config;
}

// A cache that keeps the whole prompt of one layer.
Config unbounded_config(const Config& bounded, int64_t prompt) {
  Config config = bounded;
  config.num_layers = 1;
  config.capacity = static_cast<int32_t>(prompt);
  config.layer_capacities.clear();
  config.policy = Policy::window;
  config.num_sink_tokens = 0;
  config.recent_window = 0;
  config.sink_fraction = config.recent_fraction = -1.0F;
  config.centering = Centering::none;
  return config;
}

// The kernel grants more memory than there is and kills who uses it: refuse before.
void require_memory(const Config& config) {
  const uint64_t needed = Cache::required_bytes(config).total;
  const uint64_t present = UnifiedMemory::total_bytes(config.backend, config.device);
  if (needed < present) return;
  throw Error(Status::out_of_memory, "budget of " + std::to_string(config.capacity) + " slots takes " +
                                         std::to_string(needed) + " bytes; this machine has " +
                                         std::to_string(present));
}

// What a cache needs of memory that its backend reaches; on the CPU it allocates that itself.
Memory lend(const Config& config, UnifiedMemory& memory) {
  Memory lent;
  if (memory.is_host()) return lent;
  const Bytes bytes = Cache::required_bytes(config);
  const auto slots_of = [&](int32_t layer) { return static_cast<uint64_t>(layer_capacity(config, layer)); };
  uint64_t all_slots = 0;
  for (int32_t layer = 0; layer < config.num_layers; ++layer) all_slots += slots_of(layer);
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    const uint64_t slots = slots_of(layer);  // each takes as much as any other
    lent.keys.push_back(memory.allocate(bytes.keys / all_slots * slots));
    lent.values.push_back(memory.allocate(bytes.values / all_slots * slots));
  }
  lent.state = memory.allocate(bytes.state);
  lent.state_bytes = bytes.state;
  lent.workspace = memory.allocate(bytes.workspace);
  lent.workspace_bytes = bytes.workspace;
  return lent;
}

// What a layer brings for its codes must be of one kind in all layers, and fit the rule.
void require_learned(const TraceLayer& layer, const TraceLayer& first, const Config& config) {
  if (layer.projection.present() && layer.num_projection_rows() != config.hash_bits) {
    throw Error(Status::invalid_argument, "the trace's projection has " + std::to_string(layer.num_projection_rows()) +
                                              " rows; expected one per hash bit, " + std::to_string(config.hash_bits));
  }
  if (layer.projection.present() && first.projection.rank != layer.projection.rank) {
    throw Error(Status::invalid_argument,
                "the trace's layers bring projections of different ranks; expected one kind in all layers");
  }
  if (layer.center.present() && config.centering != Centering::fixed) {
    throw Error(Status::invalid_argument, "the trace brings centers; expected centering 'fixed' to use them");
  }
}

void require_valid(const Trace& trace, const ReplayOptions& options) {
  if (options.budgets.size() != 1 && options.budgets.size() != trace.layers().size()) {
    throw Error(Status::invalid_argument, std::to_string(options.budgets.size()) + " budgets: expected one, or " +
                                              std::to_string(trace.num_layers()) + ", one a layer of the trace");
  }
  if (options.prompt < 0 || options.prompt > trace.num_tokens()) {
    throw Error(Status::invalid_argument, "prompt = " + std::to_string(options.prompt) + ": expected 0 .. " +
                                              std::to_string(trace.num_tokens()) + ", the tokens of the trace");
  }
  if (options.config.centering == Centering::prompt && options.prompt == 0) {
    throw Error(Status::invalid_argument, "centering 'prompt' needs a prompt; prompt = 0");
  }
  if (options.prefill_window < 1) {
    throw Error(Status::invalid_argument,
                "prefill window = " + std::to_string(options.prefill_window) + ": expected at least 1");
  }
  for (const TraceLayer& layer : trace.layers()) require_learned(layer, trace.layers().front(), options.config);
}

class Replayer {
 public:
  Replayer(const Trace& trace, const ReplayOptions& options)
      : trace_(trace),
        options_(options),
        config_(checked(shaped_config(trace, options))),
        memory_(config_.backend, config_.device),
        tensors_(trace, memory_),
        cache_(config_, lend(config_, memory_)) {
    if (options.prompt == 0) return;
    const Config beside = checked(replays_prompt() ? config_ : unbounded_config(config_, options.prompt));
    beside_.emplace(beside, lend(beside, memory_));
  }

  ReplayLayer run(int32_t layer) {
    const auto tokens = static_cast<size_t>(trace_.num_tokens());
    const auto heads = static_cast<size_t>(config_.num_kv_heads);
    ReplayLayer result;
    result.slots.resize(tokens * heads);
    result.victims.resize(tokens * heads);
    result.out.resize(tokens * static_cast<size_t>(config_.num_qo_heads) * static_cast<size_t>(config_.head_dim));
    tensors_.enter(trace_.layers()[static_cast<size_t>(layer)], result);
    set_learned(cache_, layer);
    if (options_.prompt > 0) prefill(layer, result);
    decode(cache_, layer, options_.prompt, trace_.num_tokens());
    tensors_.fetch();
    read_state(cache_, layer, result);
    return result;
  }

 private:
  static Config checked(Config config) {
    require_memory(config);
    return config;
  }

  bool replays_prompt() const { return options_.prefill_mode == PrefillMode::replay; }

  void set_learned(Cache& cache, int32_t layer) const {
    const TraceLayer& data = trace_.layers()[static_cast<size_t>(layer)];
    if (data.projection.present()) cache.set_projection(layer, data.projection);
    if (!data.center.present()) return;
    const std::vector<float> none(static_cast<size_t>(config_.num_qo_heads) * static_cast<size_t>(config_.head_dim));
    cache.set_center(layer, 0, data.center, Tensor(none.data(), {config_.num_qo_heads, config_.head_dim}));
  }

  void decode(Cache& cache, int32_t layer, int64_t begin, int64_t end) {
    for (; begin < end; begin += kChunk) {
      Step step = tensors_.step(begin, std::min(kChunk, end - begin));
      step.layer = layer;
      cache.decode(step, Stream{});
    }
  }

  void prefill(int32_t layer, ReplayLayer& result) {
    if (replays_prompt()) {
      set_learned(*beside_, layer);
      set_prompt_center(layer);
      decode(*beside_, layer, 0, options_.prompt);
    } else {  // one layer, used by all in turn
      beside_->reset(Stream{});
      decode(*beside_, 0, 0, options_.prompt);
    }
    tensors_.fetch();
    const ReplayLayer steps{0, result.slots, result.victims, {}, {}, {}};
    Step step = tensors_.step(0, options_.prompt);
    step.layer = layer;
    step.out = Tensor();
    step.prefill_mode = options_.prefill_mode;
    step.prefill_window = options_.prefill_window;
    cache_.prefill(step, Stream{});
    tensors_.fetch();
    require_taken(layer, result);
    if (replays_prompt()) require_same_state(layer, steps, result);
  }

  // Steps know no prompt whose mean they could take.
  void set_prompt_center(int32_t layer) {
    if (config_.centering != Centering::prompt) return;
    const TraceLayer& data = trace_.layers()[static_cast<size_t>(layer)];
    const std::vector<float> key_center = prompt_center(data.k, options_.prompt);
    const std::vector<float> query_center = prompt_center(data.q, options_.prompt);
    beside_->set_center(layer, 0, Tensor(key_center.data(), {config_.num_kv_heads, config_.head_dim}),
                        Tensor(query_center.data(), {config_.num_qo_heads, config_.head_dim}));
  }

  void read_state(const Cache& cache, int32_t layer, ReplayLayer& result) const {
    const View view = cache.view(layer);
    const int64_t code_bytes = config_.hash_bits / 8;
    const auto heads = static_cast<size_t>(config_.num_kv_heads);
    result.capacity = layer_capacity(config_, layer);
    const auto slots = static_cast<size_t>(result.capacity);
    result.positions.assign(heads * slots, -1);
    result.codes.assign(heads * slots * static_cast<size_t>(code_bytes), 0);
    const int64_t length = *view.lengths.data_as<int32_t>();
    for (int64_t head = 0; head < config_.num_kv_heads; ++head) {
      for (int64_t slot = 0; slot < length; ++slot) {
        const int64_t index = head * result.capacity + slot;
        result.positions[static_cast<size_t>(index)] =
            view.positions.data_as<int32_t>()[head * view.positions.stride[1] + slot * view.positions.stride[2]];
        std::memcpy(&result.codes[static_cast<size_t>(index * code_bytes)],
                    view.codes.data_as<uint8_t>() + head * view.codes.stride[1] + slot * view.codes.stride[2],
                    static_cast<size_t>(code_bytes));
      }
    }
  }

  // A device cannot tell that it refuses a prompt as the CPU does, by INVALID_STATE: it takes no token of it.
  void require_taken(int32_t layer, const ReplayLayer& result) const {
    const auto end = result.slots.begin() + options_.prompt * config_.num_kv_heads;
    if (std::any_of(result.slots.begin(), end, [](int32_t slot) { return slot >= 0; })) return;
    throw Error(Status::invalid_state, "prefill: the device refused the prompt of layer " + std::to_string(layer) +
                                           ": expected an empty sequence");
  }

  // Prefill must have left what the steps left; anything else is a defect of the library.
  void require_same_state(int32_t layer, const ReplayLayer& steps, const ReplayLayer& prefilled) const {
    ReplayLayer a;
    ReplayLayer b;
    read_state(*beside_, layer, a);
    read_state(cache_, layer, b);
    const bool same = a.positions == b.positions && a.codes == b.codes && steps.slots == prefilled.slots &&
                      steps.victims == prefilled.victims;
    if (same) return;
    throw Error(Status::internal,
                "layer " + std::to_string(layer) + ": prefill left another state than the steps of the prompt");
  }

  const Trace& trace_;
  const ReplayOptions& options_;
  Config config_;
  UnifiedMemory memory_;
  ReplayTensors tensors_;
  Cache cache_;
  std::optional<Cache> beside_;  // the prompt's steps, or its full attention
};

}  // namespace

ReplayResult replay(const Trace& trace, const ReplayOptions& options) {
  require_valid(trace, options);
  Replayer replayer(trace, options);
  ReplayResult result;
  for (int32_t layer = 0; layer < trace.num_layers(); ++layer) result.layers.push_back(replayer.run(layer));
  return result;
}

void write_replay(const ReplayResult& result, const Trace& trace, const std::filesystem::path& path) {
  const int64_t tokens = trace.num_tokens();
  const int64_t heads = trace.num_kv_heads();
  engine::SafetensorsWriter writer;
  for (size_t i = 0; i < result.layers.size(); ++i) {
    const ReplayLayer& layer = result.layers[i];
    const std::string prefix = "layers." + std::to_string(i) + ".";
    const int64_t slots = layer.capacity;
    const auto code_bytes = static_cast<int64_t>(layer.codes.size()) / (heads * slots);
    writer.add(prefix + "slots", {tokens, heads}, std::span(layer.slots));
    writer.add(prefix + "victims", {tokens, heads}, std::span(layer.victims));
    writer.add(prefix + "out", {tokens, trace.num_qo_heads(), trace.head_dim()}, std::span(layer.out));
    writer.add(prefix + "positions", {heads, slots}, std::span(layer.positions));
    writer.add(prefix + "codes", {heads, slots, code_bytes}, std::span(layer.codes));
  }
  writer.write(path);
}

}  // namespace hashevict::eval
