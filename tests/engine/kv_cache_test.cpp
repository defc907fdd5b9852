// SPDX-License-Identifier: Apache-2.0
#include "engine/kv_cache.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/decoder.hpp"
#include "random_model.hpp"

namespace hashevict::engine {
namespace {

using Tokens = std::vector<std::int32_t>;

// What a layer was given during a run.
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

// Of all heads, one after the other.
Tokens positions(const KvCache& cache, std::int32_t layer, std::int32_t sequence = 0) {
  const hashevict::Tensor x = cache.cache().view(layer).positions;
  Tokens result;
  for (std::int64_t head = 0; head < x.shape[1]; ++head) {
    for (std::int64_t slot = 0; slot < x.shape[2]; ++slot) {
      result.push_back(
          x.data_as<const std::int32_t>()[sequence * x.stride[0] + head * x.stride[1] + slot * x.stride[2]]);
    }
  }
  return result;
}

TEST(KvCache, ObserverSeesEveryVictim) {
  const Model model = random_model(odd_config());
  ThreadPool threads(1);
  KvCache cache(KvCache::make_config(model.config(), 20), threads);
  Decoder decoder(model, cache, threads);
  std::vector<std::vector<bool>> evicted(4, std::vector<bool>(90));  // [layer * kv_heads + head][position]
  cache.set_observer([&](const hashevict::Step& step) {
    const auto* victims = step.victims.data_as<const std::int32_t>();
    for (std::int64_t i = 0; i < step.victims.shape[0] * 2; ++i) {
      if (victims[i] < 0) continue;
      evicted[static_cast<std::size_t>(step.layer * 2 + i % 2)][static_cast<std::size_t>(victims[i])] = true;
    }
  });
  const Tokens tokens = random_tokens(odd_config(), 90);
  for (std::size_t begin = 0; begin < 90; begin += 30) {
    decoder.stream(std::span(tokens).subspan(begin, 30), Logits::none);
  }
  for (std::int32_t layer = 0; layer < 2; ++layer) {
    const Tokens held = positions(cache, layer);
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
  ThreadPool threads(1);
  KvCache streamed(KvCache::make_config(model.config(), 24), threads);
  Decoder decoder(model, streamed, threads);
  std::vector<Recorded> layers(2);
  streamed.set_observer([&](const hashevict::Step& step) {
    Recorded& layer = layers[static_cast<std::size_t>(step.layer)];
    append(layer.q, copy(step.q));
    append(layer.k, copy(step.k));
    append(layer.v, copy(step.v));
  });
  for (std::size_t begin = 0; begin < 120; begin += 40) {
    decoder.stream(std::span(tokens).subspan(begin, 40), Logits::none);
  }

  KvCache replayed(KvCache::make_config(model.config(), 24), threads);
  hashevict::Cache& cache = replayed.cache();
  for (std::int32_t i = 0; i < 2; ++i) {
    const Recorded& layer = layers[static_cast<std::size_t>(i)];
    const Tokens cu_seqlens = {0, 120};
    hashevict::Step step;
    step.layer = i;
    step.cu_seqlens = Tensor{cu_seqlens.data(), {2}};
    step.q = Tensor{layer.q.data(), {120, 6, 24}};
    step.k = Tensor{layer.k.data(), {120, 2, 24}};
    step.v = Tensor{layer.v.data(), {120, 2, 24}};
    cache.prefill(step, Stream{});
    EXPECT_EQ(positions(replayed, i), positions(streamed, i)) << i;
  }
}

TEST(KvCache, ForkContinuesAsItsSource) {
  const Model model = random_model(odd_config());
  const Tokens tokens = random_tokens(odd_config(), 80);
  ThreadPool threads(1);
  KvCache cache(KvCache::make_config(model.config(), 24, 2), threads);
  Decoder decoder(model, cache, threads);
  decoder.stream(std::span(tokens).first(50), Logits::none, 0);
  cache.fork(0, 1);
  EXPECT_EQ(cache.tokens_seen(1), 50);
  const auto rest = std::span(tokens).subspan(50);
  const std::span<const float> logits = decoder.stream(rest, Logits::all, 0);
  const std::vector<float> original(logits.begin(), logits.end());
  const std::span<const float> again = decoder.stream(rest, Logits::all, 1);
  EXPECT_EQ(std::vector<float>(again.begin(), again.end()), original);
}

TEST(KvCache, ResetOfOneSequenceLeavesTheOther) {
  const Model model = random_model(odd_config());
  ThreadPool threads(1);
  KvCache cache(KvCache::make_config(model.config(), 24, 2), threads);
  Decoder decoder(model, cache, threads);
  const Tokens tokens = random_tokens(odd_config(), 40);
  decoder.stream(tokens, Logits::none, 0);
  decoder.stream(tokens, Logits::none, 1);
  cache.reset(0);
  EXPECT_EQ(cache.tokens_seen(0), 0);
  EXPECT_EQ(cache.tokens_seen(1), 40);
  const Tokens held = positions(cache, 0, 1);
  EXPECT_EQ(*std::max_element(held.begin(), held.end()), 39);
}

}  // namespace
}  // namespace hashevict::engine
