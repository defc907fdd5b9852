// SPDX-License-Identifier: Apache-2.0
#include "retention.hpp"

#include <string>

#include "budget.hpp"
#include "engine/decoder.hpp"
#include "engine/sampler.hpp"
#include "engine/tokenizer.hpp"
#include "policies.hpp"
#include "votes.hpp"

namespace hashevict::eval {
namespace {

// The engine's activations are fp32 `[tokens, heads, head_dim]`; only the rows of a token are contiguous.
void append(std::vector<float>& to, const Tensor& tensor) {
  const int64_t width = tensor.shape[1] * tensor.shape[2];
  for (int64_t token = 0; token < tensor.shape[0]; ++token) {
    const float* row = tensor.data_as<float>() + token * tensor.stride[0];
    to.insert(to.end(), row, row + width);
  }
}

}  // namespace

RetentionRecorder::RetentionRecorder(int32_t num_layers, int32_t num_kv_heads)
    : num_seen_(static_cast<size_t>(num_layers), 0), num_kv_heads_(num_kv_heads) {
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    for (int32_t head = 0; head < num_kv_heads; ++head) heads_.push_back({layer, head, {}});
  }
}

void RetentionRecorder::observe(const Step& step) {
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

std::vector<HeadRetention> RetentionRecorder::result() const {
  std::vector<HeadRetention> heads = heads_;
  for (HeadRetention& head : heads) {
    for (int32_t& step : head.evicted_at) {
      if (step < 0) step = static_cast<int32_t>(head.evicted_at.size());
    }
  }
  return heads;
}

TraceRecorder::TraceRecorder(const engine::ModelConfig& model)
    : layers_(static_cast<size_t>(model.num_layers)),
      num_qo_heads_(model.num_qo_heads),
      num_kv_heads_(model.num_kv_heads),
      head_dim_(model.head_dim) {}

void TraceRecorder::observe(const Step& step) {
  Layer& layer = layers_[static_cast<size_t>(step.layer)];
  append(layer.q, step.q);
  append(layer.k, step.k);
  append(layer.v, step.v);
}

void TraceRecorder::write(const std::filesystem::path& path, const Votes* votes) const {
  const int64_t num_tokens = static_cast<int64_t>(layers_.front().q.size()) / (num_qo_heads_ * head_dim_);
  engine::SafetensorsWriter writer;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".";
    writer.add(prefix + "q", {num_tokens, num_qo_heads_, head_dim_}, std::span(layers_[i].q));
    writer.add(prefix + "k", {num_tokens, num_kv_heads_, head_dim_}, std::span(layers_[i].k));
    writer.add(prefix + "v", {num_tokens, num_kv_heads_, head_dim_}, std::span(layers_[i].v));
  }
  if (votes != nullptr) votes->add_to(writer);
  writer.write(path);
}

Retention follow(const Runtime& runtime, std::string_view policy, double budget, const Example& example, uint64_t seed,
                 const std::filesystem::path& trace) {
  const engine::ModelConfig& model = runtime.model.config();
  const std::vector<int32_t> prompt = sequence_tokens(model, example.prompt);
  const auto num_tokens = static_cast<int64_t>(prompt.size() + example.answer.size());
  Retention retention{std::string(policy), budget, Budget{true, 0, budget}.slots_for(num_tokens), {}, {}, {}};
  Config config = policy_config(policy, model, retention.slots, seed);
  divide_slots(runtime, config, num_tokens);
  for (int32_t layer = 0; layer < model.num_layers; ++layer) {
    retention.layer_slots.push_back(layer_capacity(config, layer));
  }
  engine::KvCache cache = make_cache(runtime, config);
  engine::Decoder decoder(runtime.model, cache, runtime.threads);
  RetentionRecorder recorder(model.num_layers, model.num_kv_heads);
  TraceRecorder tracer(model);
  cache.set_observer([&](const Step& step) {
    recorder.observe(step);
    if (!trace.empty()) tracer.observe(step);
  });
  std::vector<int32_t> answer;
  std::span<const float> logits = stream(decoder, prompt, engine::Logits::last);
  retention.heads = recorder.result();
  if (!trace.empty()) tracer.write(trace, takes_votes(cache.config()) ? runtime.votes : nullptr);
  cache.set_observer({});
  while (answer.size() < example.answer.size()) {
    answer.push_back(engine::greedy(logits));
    logits = decoder.stream(std::span(&answer.back(), 1), engine::Logits::last);
  }
  retention.answer = engine::ByteTokenizer::decode(answer);
  return retention;
}

}  // namespace hashevict::eval
