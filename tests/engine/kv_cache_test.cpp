// SPDX-License-Identifier: Apache-2.0
#include "engine/kv_cache.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "random_model.hpp"

namespace hashevict::engine {
namespace {

using Tokens = std::vector<std::int32_t>;

// The inputs and victims of a layer during a run.
struct Recorded {
  std::vector<float> q, k, v;
  Tokens victims;
};

std::vector<float> copy(const hashevict::Tensor& x) {
  std::vector<float> values;
  for (std::int64_t t = 0; t < x.shape[0]; ++t) {
    const float* token = x.data_as<const float>() + t * x.stride[0];
    values.insert(values.end(), token, token + x.shape[1] * x.shape[2]);
  }
  return values;
}

void append(std::vector<float>& to, const std::vector<float>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

// Returns the positions of all heads, head by head.
Tokens positions(const KvCache& cache, std::int32_t layer) {
  Tokens result;
  for (std::int32_t head = 0; head < cache.cache().config().shape.num_kv_heads; ++head) {
    const hashevict::Tensor x = cache.cache().view(layer, head).positions;
    for (std::int64_t slot = 0; slot < x.shape[1]; ++slot) {
      result.push_back(x.data_as<const std::int32_t>()[slot * x.stride[1]]);
    }
  }
  return result;
}

TEST(KvCache, ObserverSeesEveryVictim) {
  const Model model = random_model(odd_config());
  Engine engine(model, 20);
  std::vector<std::vector<bool>> evicted(4, std::vector<bool>(90));  // [layer * kv_heads + head][position]
  engine.cache.set_observer([&](const KvCache::Observation& step) {
    const auto* victims = step.victims.data_as<const std::int32_t>();
    for (std::int64_t i = 0; i < step.victims.shape[0] * 2; ++i) {
      if (victims[i] < 0) continue;
      evicted[static_cast<std::size_t>(step.layer * 2 + i % 2)][static_cast<std::size_t>(victims[i])] = true;
    }
  });
  const Tokens tokens = random_tokens(odd_config(), 90);
  engine.stream(tokens, 30);
  for (std::int32_t layer = 0; layer < 2; ++layer) {
    const Tokens held = positions(engine.cache, layer);
    for (std::size_t head = 0; head < 2; ++head) {
      for (std::int32_t p = 0; p < 90; ++p) {
        const auto begin = held.begin() + static_cast<std::ptrdiff_t>(head * 20);
        const bool kept = std::find(begin, begin + 20, p) != begin + 20;
        EXPECT_NE(kept, evicted[static_cast<std::size_t>(layer) * 2 + head][static_cast<std::size_t>(p)]);
      }
    }
  }
}

// Random activations of one layer, as a decoder hands them over: q, k and v of a token side by side.
struct Inputs {
  explicit Inputs(const ModelConfig& model, std::size_t count, std::uint64_t seed)
      : heads(static_cast<std::size_t>(model.num_qo_heads + 2 * model.num_kv_heads)),
        width(heads * static_cast<std::size_t>(model.head_dim)),
        queries(static_cast<std::size_t>(model.num_qo_heads * model.head_dim)),
        keys(static_cast<std::size_t>(model.num_kv_heads * model.head_dim)),
        values(count * width) {
    std::mt19937_64 generator(seed);
    for (float& value : values) value = static_cast<float>(generator() % 2001) / 1000.0F - 1.0F;
  }

  AttentionCache::Activations from(std::size_t token, float* out) const {
    const float* x = values.data() + token * width;
    return {x, x + queries, x + queries + keys, static_cast<std::int64_t>(width), out};
  }

  std::size_t heads, width, queries, keys;
  std::vector<float> values;
};

// Takes the inputs in calls of this size. Appends the victims of every token to `victims`, the attention to `out`.
void take(KvCache& cache, const Inputs& inputs, std::size_t count, std::size_t call, Tokens& victims,
          std::vector<float>& out) {
  out.assign(count * inputs.queries, NAN);
  cache.set_observer([&](const KvCache::Observation& step) {
    const auto* all = step.victims.data_as<const std::int32_t>();
    victims.insert(victims.end(), all, all + step.victims.shape[0] * step.victims.shape[1]);
  });
  for (std::size_t at = 0; at < count; at += call) {
    const Tokens ids(std::min(call, count - at));
    const AttentionCache::Activations x = inputs.from(at, out.data() + at * inputs.queries);
    if (call == 1) cache.decode(0, ids, x);
    if (call > 1) cache.stream(0, ids, x);
    cache.advance(static_cast<std::int32_t>(ids.size()));
  }
}

hashevict::Config config_of(const Model& model, Policy policy) {
  hashevict::Config config = KvCache::make_config(model.config(), 20);
  config.shape.num_layers = 1;
  config.shape.capacities = {17, 45};
  config.rule.policy = policy;
  config.rule.recent_window = 5;
  return config;
}

TEST(KvCache, StreamEvictsWhatDecodeEvicts) {
  const Model model = random_model(odd_config());
  constexpr std::size_t kCount = 130;
  ThreadPool threads(2);
  std::uint64_t seed = 0;
  for (const Policy policy :
       {Policy::hash, Policy::window, Policy::random, Policy::mean, Policy::votes, Policy::superseded}) {
    const Inputs inputs(model.config(), kCount, ++seed);
    const hashevict::Config config = config_of(model, policy);
    KvCache decoded(config, threads);
    Tokens victims;
    std::vector<float> out;
    take(decoded, inputs, kCount, 1, victims, out);
    for (const std::size_t call : {2U, 33U, 130U}) {
      SCOPED_TRACE("policy " + std::to_string(static_cast<int>(policy)) + ", " + std::to_string(call) + " a call");
      KvCache streamed(config, threads);
      Tokens others;
      std::vector<float> other_out;
      take(streamed, inputs, kCount, call, others, other_out);
      EXPECT_EQ(others, victims);
      EXPECT_EQ(positions(streamed, 0), positions(decoded, 0));
      for (std::size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(other_out[i], out[i], 2e-6) << i;
    }
  }
}

// Rules to which the library refuses streamed attention go token by token.
TEST(KvCache, StreamOfARuleThatPinsPromptsIsDecode) {
  const Model model = random_model(odd_config());
  ThreadPool threads(1);
  const Inputs inputs(model.config(), 90, 4);
  hashevict::Config config = config_of(model, Policy::hash);
  config.rule.pin_prompt = 1;
  KvCache decoded(config, threads);
  KvCache streamed(config, threads);
  Tokens victims;
  Tokens others;
  std::vector<float> out;
  std::vector<float> other_out;
  take(decoded, inputs, 90, 1, victims, out);
  take(streamed, inputs, 90, 30, others, other_out);
  EXPECT_EQ(others, victims);
  EXPECT_EQ(other_out, out);
}

TEST(KvCache, ReplayOfStreamedInputsLeavesTheStreamedState) {
  const Model model = random_model(odd_config());
  const Tokens tokens = random_tokens(odd_config(), 120);
  Engine streamed(model, 24);
  std::vector<Recorded> layers(2);
  streamed.cache.set_observer([&](const KvCache::Observation& step) {
    Recorded& layer = layers[static_cast<std::size_t>(step.layer)];
    append(layer.q, copy(step.q));
    append(layer.k, copy(step.k));
    append(layer.v, copy(step.v));
  });
  streamed.stream(tokens, 40);

  Engine replayed(model, 24);
  for (std::int32_t i = 0; i < 2; ++i) {
    const Recorded& layer = layers[static_cast<std::size_t>(i)];
    const Tokens cu_seqlens = {0, 120};
    PrefillArgs args;
    args.layer = i;
    args.batch.cu_seqlens = Tensor{cu_seqlens.data(), {2}};
    args.q = Tensor{layer.q.data(), {120, 6, 24}};
    args.k = Tensor{layer.k.data(), {120, 2, 24}};
    args.v = Tensor{layer.v.data(), {120, 2, 24}};
    replayed.cache.cache().prefill(args, Stream{});
    EXPECT_EQ(positions(replayed.cache, i), positions(streamed.cache, i)) << i;
  }
}

}  // namespace
}  // namespace hashevict::engine
