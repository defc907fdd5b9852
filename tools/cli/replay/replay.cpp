// SPDX-License-Identifier: Apache-2.0
#include "replay.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>

#include "centers.hpp"
#include "cli/memory.hpp"
#include "replay_tensors.hpp"
#include "unified_memory.hpp"

namespace hashevict::cli {
namespace {

constexpr int64_t kChunk = 1024;  // tokens per decode call: bounds the workspace, changes no result

// Asks the library which backend AUTO chooses.
Backend resolved(Backend backend) {
  if (backend != Backend::automatic) return backend;
  return Cache::capabilities(Backend::automatic).num_cuda_devices > 0 ? Backend::cuda : Backend::cpu;
}

Config shaped_config(const Trace& trace, const ReplayOptions& options) {
  Config config = options.config;
  config.placement.backend = resolved(options.config.placement.backend);
  config.shape.num_layers = trace.num_layers();
  config.shape.num_sequences = 1;
  config.shape.num_qo_heads = trace.num_qo_heads();
  config.shape.num_kv_heads = trace.num_kv_heads();
  config.shape.head_dim = trace.head_dim();
  config.shape.dtype = trace.dtype();
  set_capacities(config, options.budgets, trace.num_tokens());
  const Tensor& projection = trace.layers().front().projection;
  if (projection.present()) config.rule.projection_per_head = projection.rank == 3;
  const TraceLayer& first = trace.layers().front();
  config.rule.importance_source = first.importance_weight.present() ? ImportanceSource::key : ImportanceSource::given;
  config.rule.importance_slopes = first.importance_slope.present() ? 1 : 0;
  config.execution.max_batch_tokens = std::max(options.prompt, std::min(trace.num_tokens(), kChunk));
  return config;
}

// Creates a cache that keeps the whole prompt of one layer.
Config unbounded_config(const Config& bounded, int64_t prompt) {
  Config config = bounded;
  config.shape.num_layers = 1;
  config.shape.capacity = static_cast<int32_t>(prompt);
  config.shape.capacities.clear();
  config.rule.policy = Policy::window;
  config.rule.num_sink_tokens = 0;
  config.rule.recent_window = 0;
  config.rule.sink_fraction = config.rule.recent_fraction = -1.0F;
  config.rule.centering = Centering::none;
  config.rule.projection_kind = ProjectionKind::gaussian;
  return config;
}

// Bytes of a replay's result: of each token in all layers, and of the slots at the end.
uint64_t result_bytes(const Config& config, int64_t num_tokens) {
  const int64_t of_a_token =
      4 * (2 * int64_t{config.shape.num_kv_heads} + int64_t{config.shape.num_qo_heads} * config.shape.head_dim);
  const int64_t of_a_slot = int64_t{config.shape.num_kv_heads} * (4 + config.rule.hash_bits / 8);  // of every head
  int64_t bytes = config.shape.num_layers * num_tokens * of_a_token;
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) bytes += most_slots(config, layer) * of_a_slot;
  return static_cast<uint64_t>(bytes);
}

// Lends a cache memory that its backend reaches. On the CPU the cache allocates its own.
Memory lend(const Config& config, UnifiedMemory& memory) {
  Memory lent;
  if (memory.is_host()) return lent;
  const Bytes bytes = Cache::required_bytes(config);
  const auto slots_of = [&](int32_t layer) { return static_cast<uint64_t>(sum_of_slots(config, layer)); };
  uint64_t all_slots = 0;
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) all_slots += slots_of(layer);
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
    const uint64_t slots = slots_of(layer);  // all slots have the same size
    lent.keys.push_back(memory.allocate(bytes.keys / all_slots * slots));
    lent.values.push_back(memory.allocate(bytes.values / all_slots * slots));
  }
  lent.state = memory.allocate(bytes.state);
  lent.state_bytes = bytes.state;
  lent.workspace = memory.allocate(bytes.workspace);
  lent.workspace_bytes = bytes.workspace;
  return lent;
}

// Requires projections and centres of one kind in all layers that fit the rule.
void require_learned(const TraceLayer& layer, const TraceLayer& first, const Config& config) {
  if (layer.projection.present() && layer.num_projection_rows() != config.rule.hash_bits) {
    throw Error(Status::invalid_argument, "the trace's projection has " + std::to_string(layer.num_projection_rows()) +
                                              " rows; expected one per hash bit, " +
                                              std::to_string(config.rule.hash_bits));
  }
  if (layer.projection.present() && first.projection.rank != layer.projection.rank) {
    throw Error(Status::invalid_argument,
                "the trace's layers bring projections of different ranks; expected one kind in all layers");
  }
  if (layer.center.present() && config.rule.centering != Centering::fixed) {
    throw Error(Status::invalid_argument, "the trace brings centers; expected centering 'fixed' to use them");
  }
}

// Importances must be there if the rule ranks by them, and be of one kind in all layers.
void require_importances(const Trace& trace, const Config& config) {
  if (config.rule.policy != Policy::importance) return;
  const TraceLayer& first = trace.layers().front();
  for (int32_t i = 0; i < trace.num_layers(); ++i) {
    const TraceLayer& layer = trace.layers()[static_cast<size_t>(i)];
    const std::string name = "layers." + std::to_string(i) + ".importance";
    if (!layer.importance.present() && !layer.importance_weight.present()) {
      throw Error(Status::invalid_argument,
                  fmt::format("policy importance: expected {0}, or {0}.weight and {0}.bias, in the trace", name));
    }
    if (layer.importance.present() != first.importance.present() ||
        layer.importance_slope.present() != first.importance_slope.present()) {
      throw Error(
          Status::invalid_argument,
          "policy importance: layer " + std::to_string(i) +
              " of the trace brings other tensors of importances than layer 0; expected the same in all layers");
    }
  }
}

void require_valid(const Trace& trace, const ReplayOptions& options) {
  if (options.prompt < 0 || options.prompt > trace.num_tokens()) {
    throw Error(Status::invalid_argument, "prompt = " + std::to_string(options.prompt) + ": expected 0 .. " +
                                              std::to_string(trace.num_tokens()) + ", the tokens of the trace");
  }
  if (options.config.rule.centering == Centering::prompt && options.prompt == 0) {
    throw Error(Status::invalid_argument, "centering 'prompt' needs a prompt; prompt = 0");
  }
  if (options.prefill_window < 1) {
    throw Error(Status::invalid_argument,
                "prefill window = " + std::to_string(options.prefill_window) + ": expected at least 1");
  }
  for (const TraceLayer& layer : trace.layers()) require_learned(layer, trace.layers().front(), options.config);
  require_importances(trace, options.config);
}

// A trace has finite numbers, but results may overflow.
void require_finite(int32_t layer, const std::vector<float>& out, int64_t num_tokens) {
  const auto bad = std::find_if(out.begin(), out.end(), [](float value) { return !std::isfinite(value); });
  if (bad == out.end()) return;
  const int64_t token = (bad - out.begin()) / (static_cast<int64_t>(out.size()) / num_tokens);
  throw Error(Status::invalid_data, "layer " + std::to_string(layer) + ", token " + std::to_string(token) +
                                        ": the attention is not finite; expected queries, keys and values that do not "
                                        "overflow");
}

class Replayer {
 public:
  Replayer(const Trace& trace, const ReplayOptions& options)
      : trace_(trace),
        options_(options),
        config_(checked(shaped_config(trace, options), trace, options)),
        memory_(config_.placement.backend, config_.placement.device),
        tensors_(trace, config_, memory_),
        cache_(config_, lend(config_, memory_)) {
    if (options.prompt == 0) return;
    const Config beside = beside_config(config_, options);
    beside_.emplace(beside, lend(beside, memory_));
  }

  ReplayLayer run(int32_t layer) {
    const auto tokens = static_cast<size_t>(trace_.num_tokens());
    const auto heads = static_cast<size_t>(config_.shape.num_kv_heads);
    ReplayLayer result;
    result.slots.resize(tokens * heads);
    result.victims.resize(tokens * heads);
    result.out.resize(tokens * static_cast<size_t>(config_.shape.num_qo_heads) *
                      static_cast<size_t>(config_.shape.head_dim));
    tensors_.enter(trace_.layers()[static_cast<size_t>(layer)], result);
    set_learned(cache_, layer);
    if (options_.prompt > 0) prefill(layer, result);
    decode(cache_, layer, options_.prompt, trace_.num_tokens());
    tensors_.fetch();
    require_finite(layer, result.out, trace_.num_tokens());
    read_state(cache_, layer, result);
    return result;
  }

 private:
  static Config beside_config(const Config& config, const ReplayOptions& options) {
    return options.prefill_mode == PrefillMode::replay ? config : unbounded_config(config, options.prompt);
  }

  static Config checked(Config config, const Trace& trace, const ReplayOptions& options) {
    uint64_t bytes = Cache::required_bytes(config).total + result_bytes(config, trace.num_tokens());
    if (options.prompt > 0) bytes += Cache::required_bytes(beside_config(config, options)).total;
    require_memory("budget", bytes, UnifiedMemory::total_bytes(config.placement.backend, config.placement.device));
    return config;
  }

  bool replays_prompt() const { return options_.prefill_mode == PrefillMode::replay; }

  void set_learned(Cache& cache, int32_t layer) const {
    const TraceLayer& data = trace_.layers()[static_cast<size_t>(layer)];
    if (data.projection.present()) cache.set_projection(layer, data.projection);
    if (config_.rule.policy == Policy::importance && data.importance_weight.present()) {
      cache.set_importance_weights(layer, data.importance_weight, data.importance_bias);
    }
    if (!data.center.present()) return;
    const std::vector<float> none(static_cast<size_t>(config_.shape.num_qo_heads) *
                                  static_cast<size_t>(config_.shape.head_dim));
    cache.set_center(layer, 0, data.center, Tensor(none.data(), {config_.shape.num_qo_heads, config_.shape.head_dim}));
  }

  void decode(Cache& cache, int32_t layer, int64_t begin, int64_t end) {
    for (; begin < end; begin += kChunk) {
      DecodeArgs step = tensors_.step(begin, std::min(kChunk, end - begin));
      step.layer = layer;
      if (cache.config().rule.policy != Policy::importance) step.importance = step.importance_slope = Tensor{};
      cache.decode(step, Stream{});
    }
  }

  void prefill(int32_t layer, ReplayLayer& result) {
    if (replays_prompt()) {
      set_learned(*beside_, layer);
      set_prompt_center(layer);
      decode(*beside_, layer, 0, options_.prompt);
    } else {  // one layer, reused by all
      beside_->reset(Stream{});
      decode(*beside_, 0, 0, options_.prompt);
    }
    tensors_.fetch();
    const ReplayLayer steps{0, {}, result.slots, result.victims, {}, {}, {}};
    const DecodeArgs all = tensors_.step(0, options_.prompt);
    PrefillArgs args;
    args.layer = layer;
    args.batch = all.batch;
    args.q = all.q;
    args.k = all.k;
    args.v = all.v;
    args.slots = all.slots;
    args.victims = all.victims;
    args.importance = all.importance;
    args.importance_slope = all.importance_slope;
    args.mode = options_.prefill_mode;
    args.window = options_.prefill_window;
    cache_.prefill(args, Stream{});
    tensors_.fetch();
    require_taken(layer, result);
    if (replays_prompt()) require_same_state(layer, steps, result);
  }

  // Steps have no prompt whose mean centring could subtract.
  void set_prompt_center(int32_t layer) {
    if (config_.rule.centering != Centering::prompt) return;
    const TraceLayer& data = trace_.layers()[static_cast<size_t>(layer)];
    const std::vector<float> key_center = prompt_center(data.k, options_.prompt);
    const std::vector<float> query_center = prompt_center(data.q, options_.prompt);
    beside_->set_center(layer, 0, Tensor(key_center.data(), {config_.shape.num_kv_heads, config_.shape.head_dim}),
                        Tensor(query_center.data(), {config_.shape.num_qo_heads, config_.shape.head_dim}));
  }

  void read_state(const Cache& cache, int32_t layer, ReplayLayer& result) const {
    const int64_t code_bytes = config_.rule.hash_bits / 8;
    const auto heads = static_cast<size_t>(config_.shape.num_kv_heads);
    result.capacity = most_slots(config_, layer);
    result.capacities.clear();
    for (int32_t head = 0; head < config_.shape.num_kv_heads; ++head) {
      result.capacities.push_back(head_capacity(config_, layer, head));
    }
    const auto slots = static_cast<size_t>(result.capacity);
    result.positions.assign(heads * slots, -1);
    result.codes.assign(heads * slots * static_cast<size_t>(code_bytes), 0);
    for (int32_t head = 0; head < config_.shape.num_kv_heads; ++head) {
      const View view = cache.view(layer, head);
      const int64_t length = *view.lengths.data_as<int32_t>();
      for (int64_t slot = 0; slot < length; ++slot) {
        const int64_t index = int64_t{head} * result.capacity + slot;
        result.positions[static_cast<size_t>(index)] =
            view.positions.data_as<int32_t>()[slot * view.positions.stride[1]];
        std::memcpy(&result.codes[static_cast<size_t>(index * code_bytes)],
                    view.codes.data_as<uint8_t>() + slot * view.codes.stride[1], static_cast<size_t>(code_bytes));
      }
    }
  }

  // The CPU refuses such a prompt with INVALID_STATE. A device skips it, so that the sequence has seen no token.
  void require_taken(int32_t layer, const ReplayLayer& result) const {
    const auto end = result.slots.begin() + options_.prompt * config_.shape.num_kv_heads;
    if (std::any_of(result.slots.begin(), end, [](int32_t slot) { return slot >= 0; })) return;
    throw Error(Status::invalid_state, "prefill: the device refused the prompt of layer " + std::to_string(layer) +
                                           ": expected an empty sequence");
  }

  // Prefill must leave the same state as the steps; a difference is a defect of the library.
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

}  // namespace hashevict::cli
