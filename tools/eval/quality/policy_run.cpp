// SPDX-License-Identifier: Apache-2.0
#include "policy_run.hpp"

#include <algorithm>

namespace hashevict::eval {
namespace {

using baselines::ScoredCache;
using baselines::ScoredConfig;
using baselines::Scorer;

// Scores nothing, for a cache that never evicts.
class NoScorer : public Scorer {
 public:
  void score(const baselines::Head& /*head*/, const baselines::Token& /*token*/, std::span<float> /*scores*/) override {
  }
};

std::unique_ptr<ScoredCache> make_scored(const engine::ModelConfig& model, const PolicyChoice& choice, int32_t capacity,
                                         const Futures* futures) {
  const Zones zones = choice.zones(capacity);
  const ScoredConfig config{model.num_layers,
                            {model.num_qo_heads, model.num_kv_heads, model.head_dim},
                            capacity,
                            zones.num_sink_tokens,
                            zones.recent_window};
  return std::make_unique<ScoredCache>(config, [&](int32_t layer, int32_t head) {
    const bool knows = futures != nullptr;
    return choice.row->make_scorer(
        {capacity, layer, head, knows ? &futures->sum : nullptr, knows ? &futures->largest : nullptr});
  });
}

}  // namespace

Config harness_shape(const engine::ModelConfig& model) {
  Config config = engine::KvCache::make_config(model, 0);
  config.dtype = DType::bfloat16;
  return config;
}

Config library_config(const Runtime& runtime, const PolicyChoice& choice, int32_t capacity, int64_t num_tokens) {
  Config config = choice.config(harness_shape(runtime.model.config()));
  config.capacity = capacity;
  if (!choice.row->even) divide_slots(runtime, config, num_tokens);
  return config;
}

PolicyRun::PolicyRun(const Runtime& runtime, const PolicyChoice& choice, int32_t capacity, int64_t max_tokens,
                     uint64_t seed, const Futures* futures) {
  const engine::ModelConfig& model = runtime.model.config();
  if (choice.row->make_scorer != nullptr) {
    scored_ = make_scored(model, choice, capacity, futures);
    decoder_.emplace(runtime.model, *scored_, runtime.threads);
    return;
  }
  Config config = library_config(runtime, choice, capacity, max_tokens);
  config.seed = seed;
  config.max_batch_tokens = max_tokens;
  library_ = std::make_unique<engine::KvCache>(make_cache(runtime, config));
  prefill_ = {choice.row->prefill, kQuestionWindow};
  decoder_.emplace(runtime.model, *library_, runtime.threads);
}

void PolicyRun::prefill(std::span<const int32_t> tokens) {
  decoder_->prefill(tokens, prefill_, engine::Logits::none);
}

std::vector<std::vector<int32_t>> PolicyRun::held() const {
  std::vector<std::vector<int32_t>> held;
  if (scored_) {
    for (int32_t layer = 0; layer < scored_->num_layers(); ++layer) {
      for (int32_t head = 0; head < scored_->head_shape().num_kv_heads; ++head) {
        const std::span<const int32_t> positions = scored_->head(layer, head).positions();
        held.emplace_back(positions.begin(), positions.end());
      }
    }
    return held;
  }
  for (int32_t layer = 0; layer < library_->num_layers(); ++layer) {
    const Tensor positions = library_->cache().view(layer).positions;
    for (int64_t head = 0; head < positions.shape[1]; ++head) {
      const int32_t* first = positions.data_as<int32_t>() + head * positions.stride[1];
      auto& list = held.emplace_back(first, first + positions.shape[2]);
      std::erase(list, -1);
    }
  }
  return held;
}

baselines::FullAttention record_full_attention(const Runtime& runtime, std::span<const int32_t> tokens) {
  const engine::ModelConfig& model = runtime.model.config();
  const ScoredConfig config{model.num_layers,
                            {model.num_qo_heads, model.num_kv_heads, model.head_dim},
                            static_cast<int32_t>(tokens.size()),
                            0,
                            0};
  ScoredCache cache(config, [](int32_t, int32_t) { return std::make_unique<NoScorer>(); });
  baselines::FullAttention attention(model.num_layers, model.num_kv_heads);
  cache.set_observer([&](int32_t layer, int32_t head, const baselines::Token& token, const baselines::Head& /*state*/,
                         std::span<const float> weights) { attention.observe(layer, head, token, weights); });
  engine::Decoder decoder(runtime.model, cache, runtime.threads);
  stream(decoder, tokens, engine::Logits::none);
  return attention;
}

}  // namespace hashevict::eval
