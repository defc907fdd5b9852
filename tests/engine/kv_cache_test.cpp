// SPDX-License-Identifier: Apache-2.0
#include "engine/kv_cache.hpp"

#include <gtest/gtest.h>

#include <algorithm>

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
