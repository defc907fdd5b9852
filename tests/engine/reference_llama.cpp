// SPDX-License-Identifier: Apache-2.0
#include "reference_llama.hpp"

#include <cmath>
#include <numbers>

namespace hashevict::engine {
namespace {

using Vector = std::vector<double>;

// y = W x, where W has x.size() columns.
Vector product(const std::vector<float>& weights, const Vector& x) {
  Vector y(weights.size() / x.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    for (std::size_t k = 0; k < x.size(); ++k) y[i] += static_cast<double>(weights[i * x.size() + k]) * x[k];
  }
  return y;
}

Vector norm(const Vector& x, const std::vector<float>& weights, double epsilon) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  Vector y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    y[i] = x[i] / std::sqrt(squares / static_cast<double>(x.size()) + epsilon) * static_cast<double>(weights[i]);
  }
  return y;
}

double frequency(const ModelConfig& config, std::size_t pair) {
  const double plain =
      std::pow(static_cast<double>(config.rope_theta), -2.0 * static_cast<double>(pair) / config.head_dim);
  const RopeScaling& s = config.rope_scaling;
  const auto factor = static_cast<double>(s.factor);
  if (s.kind == RopeScaling::Kind::none) return plain;
  if (s.kind == RopeScaling::Kind::linear) return plain / factor;
  const double turns = s.original_max_position_embeddings * plain / (2 * std::numbers::pi);
  const auto low = static_cast<double>(s.low_freq_factor);
  const auto high = static_cast<double>(s.high_freq_factor);
  if (turns > high) return plain;
  if (turns < low) return plain / factor;
  const double share = (turns - low) / (high - low);
  return plain * (share + (1 - share) / factor);
}

// Rotates every head of x.
void rotate_heads(const ModelConfig& config, std::size_t position, Vector& x) {
  const auto d = static_cast<std::size_t>(config.head_dim);
  for (std::size_t head = 0; head < x.size(); head += d) {
    for (std::size_t i = 0; i < d / 2; ++i) {
      const double angle = static_cast<double>(position) * frequency(config, i);
      const double low = x[head + i];
      const double high = x[head + i + d / 2];
      x[head + i] = low * std::cos(angle) - high * std::sin(angle);
      x[head + i + d / 2] = high * std::cos(angle) + low * std::sin(angle);
    }
  }
}

Vector attention(const ModelConfig& config, const Vector& q, const std::vector<Vector>& keys,
                 const std::vector<Vector>& values) {
  const auto d = static_cast<std::size_t>(config.head_dim);
  const auto group = static_cast<std::size_t>(config.num_qo_heads / config.num_kv_heads);
  Vector out(q.size());
  for (std::size_t head = 0; head * d < q.size(); ++head) {
    const std::size_t kv = head / group * d;
    double total = 0;
    Vector mixed(d);
    for (std::size_t t = 0; t < keys.size(); ++t) {
      double score = 0;
      for (std::size_t i = 0; i < d; ++i) score += q[head * d + i] * keys[t][kv + i];
      const double weight = std::exp(score / std::sqrt(static_cast<double>(d)));
      total += weight;
      for (std::size_t i = 0; i < d; ++i) mixed[i] += weight * values[t][kv + i];
    }
    for (std::size_t i = 0; i < d; ++i) out[head * d + i] = mixed[i] / total;
  }
  return out;
}

void add_to(Vector& x, const Vector& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

}  // namespace

std::vector<double> reference_logits(const ModelConfig& config, const RandomCheckpoint& checkpoint,
                                     const std::vector<std::int32_t>& tokens) {
  const auto weights = [&](const std::string& name) { return checkpoint.find(name)->to_floats(); };
  const auto epsilon = static_cast<double>(config.rms_norm_eps);
  const auto hidden_size = static_cast<std::size_t>(config.hidden_size);
  const std::vector<float> embedding = weights("model.embed_tokens.weight");
  std::vector<Vector> hidden;
  for (const std::int32_t token : tokens) {
    const float* row = embedding.data() + static_cast<std::size_t>(token) * hidden_size;
    hidden.emplace_back(row, row + hidden_size);
  }
  for (std::int32_t i = 0; i < config.num_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    std::vector<Vector> keys;
    std::vector<Vector> values;
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      const Vector x = norm(hidden[t], weights(layer + "input_layernorm.weight"), epsilon);
      Vector q = product(weights(layer + "self_attn.q_proj.weight"), x);
      keys.push_back(product(weights(layer + "self_attn.k_proj.weight"), x));
      values.push_back(product(weights(layer + "self_attn.v_proj.weight"), x));
      rotate_heads(config, t, q);
      rotate_heads(config, t, keys.back());
      add_to(hidden[t], product(weights(layer + "self_attn.o_proj.weight"), attention(config, q, keys, values)));
      const Vector y = norm(hidden[t], weights(layer + "post_attention_layernorm.weight"), epsilon);
      Vector gate = product(weights(layer + "mlp.gate_proj.weight"), y);
      const Vector up = product(weights(layer + "mlp.up_proj.weight"), y);
      for (std::size_t k = 0; k < gate.size(); ++k) gate[k] *= up[k] / (1 + std::exp(-gate[k]));
      add_to(hidden[t], product(weights(layer + "mlp.down_proj.weight"), gate));
    }
  }
  const std::vector<float> output = config.tie_word_embeddings ? embedding : weights("lm_head.weight");
  std::vector<double> logits;
  for (const Vector& x : hidden) {
    const Vector row = product(output, norm(x, weights("model.norm.weight"), epsilon));
    logits.insert(logits.end(), row.begin(), row.end());
  }
  return logits;
}

}  // namespace hashevict::engine
