// SPDX-License-Identifier: Apache-2.0
#include "correlation.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "eval/retention.hpp"
#include "running_text.hpp"
#include "statistics.hpp"

namespace hashevict::eval {
namespace {

constexpr std::array kBits = {8, 16, 32, 64, 128};
constexpr std::array<const char*, 3> kExact = {"exact angle", "exact product", "attention so far, per step"};
constexpr size_t kNumScores = kBits.size() + kExact.size();
constexpr int32_t kEvery = 32;   // steps between those looked at
constexpr int32_t kFirst = 128;  // the first of them, so that there is something to rank

// Everything that one layer computed for a text.
struct Layer {
  std::vector<float> q, k;                                          // [tokens, heads, head_dim]
  std::array<std::vector<uint8_t>, kBits.size()> q_codes, k_codes;  // [tokens, heads, bits / 8]
};

struct Recording {
  baselines::FullAttention attention;
  std::vector<Layer> layers;
};

Recording record(const Runtime& runtime, const Sequence& text, uint64_t seed) {
  const engine::ModelConfig& model = runtime.model.config();
  Recording recording{record_full_attention(runtime, text.tokens), {}};
  const auto num_tokens = static_cast<int32_t>(text.tokens.size());
  for (size_t b = 0; b < kBits.size(); ++b) {
    Config config = harness_shape(model);
    config.capacity = num_tokens;
    config.hash_bits = kBits[b];
    config.seed = seed;
    engine::KvCache cache(config, runtime.threads);
    TraceRecorder trace(model);
    cache.set_observer([&](const Step& step) { trace.observe(step); });
    engine::Decoder decoder(runtime.model, cache, runtime.threads);
    stream(decoder, text.tokens, engine::Logits::none);
    recording.layers.resize(static_cast<size_t>(model.num_layers));
    for (int32_t l = 0; l < model.num_layers; ++l) {
      Layer& layer = recording.layers[static_cast<size_t>(l)];
      layer.q = trace.queries(l);
      layer.k = trace.keys(l);
      const auto encode = [&](EncodeAs as, std::vector<float>& x, int64_t heads, std::vector<uint8_t>& codes) {
        codes.resize(static_cast<size_t>(num_tokens * heads * kBits[b] / 8));
        cache.cache().encode(l, 0, as, Tensor{x.data(), {num_tokens, heads, model.head_dim}},
                             Tensor{codes.data(), {num_tokens, heads, kBits[b] / 8}}, Stream{});
      };
      encode(EncodeAs::queries, layer.q, model.num_qo_heads, layer.q_codes[b]);
      encode(EncodeAs::keys, layer.k, model.num_kv_heads, layer.k_codes[b]);
    }
  }
  return recording;
}

// The heads that one correlation is about.
struct Place {
  int32_t layer, kv_head;
};

// Scores of the positions up to `step`, larger where the score would keep the token.
class Scores {
 public:
  Scores(const Recording& recording, const engine::ModelConfig& model, Place place)
      : recording_(recording),
        layer_(recording.layers[static_cast<size_t>(place.layer)]),
        place_(place),
        d_(static_cast<size_t>(model.head_dim)),
        qo_heads_(static_cast<size_t>(model.num_qo_heads)),
        kv_heads_(static_cast<size_t>(model.num_kv_heads)),
        group_(qo_heads_ / kv_heads_),
        sums_(static_cast<size_t>(recording.attention.num_tokens())) {}

  std::vector<float> of(size_t score, int32_t step) {
    std::vector<float> values(static_cast<size_t>(step) + 1);
    for (size_t p = 0; p < values.size(); ++p) {
      values[p] = score < kBits.size()     ? -distance(score, static_cast<size_t>(step), p)
                  : score < kNumScores - 1 ? exact(static_cast<size_t>(step), p, score == kBits.size())
                                           : sums_[p] / static_cast<float>(static_cast<size_t>(step) + 1 - p);
    }
    return values;
  }

  // To be called for every step in order.
  void advance(int32_t step) {
    const std::span<const float> row = recording_.attention.row(place_.layer, place_.kv_head, step);
    for (size_t p = 0; p < row.size(); ++p) sums_[p] += row[p];
  }

 private:
  float distance(size_t bits_index, size_t step, size_t position) const {
    const auto bytes = static_cast<size_t>(kBits[bits_index] / 8);
    const auto head = static_cast<size_t>(place_.kv_head);
    const uint8_t* key = layer_.k_codes[bits_index].data() + (position * kv_heads_ + head) * bytes;
    const uint8_t* query = layer_.q_codes[bits_index].data() + (step * qo_heads_ + head * group_) * bytes;
    int sum = 0;
    for (size_t i = 0; i < group_ * bytes; ++i) {
      sum += std::popcount(static_cast<uint8_t>(query[i] ^ key[i % bytes]));
    }
    return static_cast<float>(sum);
  }

  float exact(size_t step, size_t position, bool angle) const {
    const auto head = static_cast<size_t>(place_.kv_head);
    const float* key = layer_.k.data() + (position * kv_heads_ + head) * d_;
    float sum = 0.0F;
    for (size_t g = 0; g < group_; ++g) {
      const float* query = layer_.q.data() + (step * qo_heads_ + head * group_ + g) * d_;
      float product = 0.0F, query_square = 0.0F, key_square = 0.0F;
      for (size_t i = 0; i < d_; ++i) {
        product += query[i] * key[i];
        query_square += query[i] * query[i];
        key_square += key[i] * key[i];
      }
      sum += angle ? -std::acos(std::clamp(product / std::sqrt(query_square * key_square), -1.0F, 1.0F)) : product;
    }
    return sum;
  }

  const Recording& recording_;
  const Layer& layer_;
  Place place_;
  size_t d_, qo_heads_, kv_heads_, group_;
  std::vector<float> sums_;  // of the attention so far
};

struct Mean {
  double sum = 0.0;
  int64_t count = 0;
};
using Means = std::array<std::array<Mean, kLags.size()>, kNumScores>;

void correlate_head(const Recording& recording, const engine::ModelConfig& model, Place place, Means& means) {
  Scores scores(recording, model, place);
  const int32_t num_tokens = recording.attention.num_tokens();
  for (int32_t step = 0; step < num_tokens; ++step) {
    scores.advance(step);
    if (step < kFirst || step % kEvery != 0) continue;
    for (size_t s = 0; s < kNumScores; ++s) {
      const std::vector<float> values = scores.of(s, step);
      for (size_t l = 0; l < kLags.size(); ++l) {
        if (step + kLags[l] >= num_tokens) continue;
        const auto row = recording.attention.row(place.layer, place.kv_head, step + kLags[l]);
        means[s][l].sum += rank_correlation(values, row.first(values.size()));
        ++means[s][l].count;
      }
    }
  }
}

Means correlate_text(const Runtime& runtime, const RunningText& texts, uint64_t seed, int32_t index) {
  const engine::ModelConfig& model = runtime.model.config();
  Random random(seed * 1000003 + static_cast<uint64_t>(index));
  const Recording recording = record(runtime, texts.sequence(seed, index), random.next());
  Means means{};
  for (int32_t layer = 0; layer < model.num_layers; ++layer) {
    for (int32_t head = 0; head < model.num_kv_heads; ++head) correlate_head(recording, model, {layer, head}, means);
  }
  return means;
}

}  // namespace

std::vector<Correlation> correlate(const Runtime& runtime, const EvalOptions& options) {
  const std::span<const uint64_t> all_seeds = seeds(options.seed_set);
  const auto num_seeds = static_cast<int64_t>(all_seeds.size());
  const RunningText pieces(runtime.model.config(), options.text, options.seed_set, options.length);
  const int32_t num_examples = std::min(options.num_examples, pieces.num_examples());
  if (num_examples == 0) return {};
  std::vector<Means> texts(static_cast<size_t>(num_seeds * num_examples));
  std::vector<std::string> failures(texts.size());
  runtime.threads.parallel_for(static_cast<int64_t>(texts.size()), [&](int64_t i) {
    try {
      texts[static_cast<size_t>(i)] = correlate_text(runtime, pieces, all_seeds[static_cast<size_t>(i % num_seeds)],
                                                     static_cast<int32_t>(i / num_seeds));
    } catch (const std::exception& error) {
      failures[static_cast<size_t>(i)] = error.what();
    }
  });
  for (const std::string& failure : failures) {
    if (!failure.empty()) throw Error(Status::invalid_argument, failure);
  }
  std::vector<Correlation> correlations;
  for (size_t s = 0; s < kNumScores; ++s) {
    Correlation& correlation = correlations.emplace_back();
    correlation.score = s < kBits.size() ? std::to_string(kBits[s]) + " bits" : kExact[s - kBits.size()];
    for (size_t l = 0; l < kLags.size(); ++l) {
      std::vector<double> samples;
      for (const Means& text : texts) {
        if (text[s][l].count > 0) samples.push_back(text[s][l].sum / static_cast<double>(text[s][l].count));
      }
      correlation.by_lag.push_back(estimate(samples));
    }
  }
  return correlations;
}

}  // namespace hashevict::eval
