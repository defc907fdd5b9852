// SPDX-License-Identifier: Apache-2.0
#include "retention.hpp"

#include <algorithm>

#include "cli/budget.hpp"
#include "cli/profile.hpp"
#include "cli/trace_recorder.hpp"
#include "engine/decoder.hpp"
#include "engine/sampler.hpp"
#include "engine/tokenizer.hpp"
#include "policies.hpp"

namespace hashevict::cli {
namespace {

// Records the steps at which each head evicts each position. Observes one sequence of a cache from its first token on.
class RetentionRecorder {
 public:
  RetentionRecorder(int32_t num_layers, int32_t num_kv_heads)
      : num_seen_(static_cast<size_t>(num_layers), 0), num_kv_heads_(num_kv_heads) {
    for (int32_t i = 0; i < num_layers * num_kv_heads; ++i) heads_.push_back({i / num_kv_heads, i % num_kv_heads, {}});
  }

  // Returns the function for engine::KvCache::set_observer().
  void observe(const engine::KvCache::Observation& step) {
    const auto layer = static_cast<size_t>(step.layer);
    const auto* victims = step.victims.data_as<int32_t>();
    for (int64_t token = 0; token < step.victims.shape[0]; ++token, ++num_seen_[layer]) {
      for (int32_t head = 0; head < num_kv_heads_; ++head) {
        HeadRetention& retention = heads_[layer * static_cast<size_t>(num_kv_heads_) + static_cast<size_t>(head)];
        retention.evicted_at.push_back(-1);
        const int32_t victim = victims[token * step.victims.stride[0] + head];
        if (victim >= 0) retention.evicted_at[static_cast<size_t>(victim)] = num_seen_[layer];
      }
    }
  }

  // Returns, by layer and head, the step that overwrote each position, or the number of tokens seen if it is held.
  std::vector<HeadRetention> result() const {
    std::vector<HeadRetention> heads = heads_;
    for (HeadRetention& head : heads) {
      std::replace(head.evicted_at.begin(), head.evicted_at.end(), -1, static_cast<int32_t>(head.evicted_at.size()));
    }
    return heads;
  }

 private:
  std::vector<HeadRetention> heads_;  // layer-major; evicted_at is -1 while held
  std::vector<int32_t> num_seen_;     // tokens, per layer
  int32_t num_kv_heads_;
};

}  // namespace

Retention follow(const Runtime& runtime, std::string_view policy, double budget, const Example& example, uint64_t seed,
                 const std::filesystem::path& trace) {
  const engine::ModelConfig& model = runtime.model.config();
  const std::vector<int32_t> prompt = sequence_tokens(model, example.prompt);
  const auto num_tokens = static_cast<int64_t>(prompt.size() + example.answer.size());
  Retention retention;
  retention.policy = policy;
  retention.calibrated = runtime.profile != nullptr && runtime.divides;
  retention.budget = budget;
  retention.slots = Budget::of_fraction(budget).slots_for(num_tokens);
  Config config = policy_config(policy, model, retention.slots, seed);
  if (runtime.profile != nullptr) runtime.profile->configure(config);
  divide_slots(runtime, config, num_tokens);
  retention.head_slots = config.shape.capacities;
  if (retention.head_slots.empty()) {
    const auto heads = static_cast<size_t>(model.num_layers) * static_cast<size_t>(model.num_kv_heads);
    retention.head_slots.assign(heads, config.shape.capacity);
  }
  engine::KvCache cache = make_cache(runtime, config);
  engine::Decoder decoder(runtime.model, cache, runtime.threads);
  RetentionRecorder recorder(model.num_layers, model.num_kv_heads);
  TraceRecorder tracer(model);
  cache.set_observer([&](const engine::KvCache::Observation& step) {
    recorder.observe(step);
    if (!trace.empty()) tracer.observe(step);
  });
  std::vector<int32_t> answer;
  std::span<const float> logits = stream(decoder, prompt, engine::Logits::last);
  retention.heads = recorder.result();
  if (!trace.empty()) {
    tracer.write(trace, [&](engine::SafetensorsWriter& writer) { add_learned(runtime, cache.config(), writer); });
  }
  cache.set_observer({});
  while (answer.size() < example.answer.size()) {
    answer.push_back(engine::greedy(logits));
    logits = decoder.stream(std::span(&answer.back(), 1), engine::Logits::last);
  }
  retention.answer = engine::ByteTokenizer::decode(answer);
  return retention;
}

}  // namespace hashevict::cli
