// SPDX-License-Identifier: Apache-2.0
#include "decoder.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "elementwise.hpp"
#include "rope.hpp"

namespace hashevict::engine {
namespace {

constexpr std::int64_t kTokensPerTask = 16;  // of the work between matrix products

[[noreturn]] void refuse(const std::string& message) {
  throw Error{Status::invalid_argument, message};
}

// Compares bits, so that NaN is larger than infinity.
float largest_magnitude(std::span<const float> values) {
  std::uint32_t largest = 0;
  for (const float value : values) largest = std::max(largest, std::bit_cast<std::uint32_t>(value) & 0x7fffffffU);
  return std::bit_cast<float>(largest);
}

HeadShape head_shape(const ModelConfig& config) {
  return {config.num_qo_heads, config.num_kv_heads, config.head_dim};
}

}  // namespace

Decoder::Decoder(const Model& model, AttentionCache& cache, ThreadPool& threads)
    : model_(model), cache_(cache), threads_(threads), prompt_attention_(head_shape(model.config())) {
  if (cache.num_layers() != model.config().num_layers || cache.head_shape() != head_shape(model.config())) {
    refuse("cache: its layers and heads are not the model's");
  }
}

std::span<const float> Decoder::stream(std::span<const std::int32_t> tokens, Logits wanted) {
  return run(tokens, wanted, [&](std::int32_t layer) { cache_.stream(layer, tokens, activations()); });
}

std::span<const float> Decoder::prefill(std::span<const std::int32_t> tokens, const PrefillOptions& options,
                                        Logits wanted) {
  if (cache_.tokens_seen() > 0) refuse("cache: holds tokens, a prompt needs an empty one");
  return run(tokens, wanted, [&](std::int32_t layer) {
    const AttentionCache::Activations x = activations();
    prompt_attention_.compute(x.q, x.k, x.v, x.token_stride, num_tokens_, x.out, threads_);
    cache_.prefill(layer, tokens, x, options.mode, options.window);
  });
}

template <class Attention>
std::span<const float> Decoder::run(std::span<const std::int32_t> tokens, Logits wanted, const Attention& attend) {
  validate(tokens);
  prepare(tokens);
  for (std::int32_t i = 0; i < model_.config().num_layers; ++i) {
    const LayerWeights& layer = model_.layers()[static_cast<std::size_t>(i)];
    project_inputs(layer);
    attend(i);
    add_product(layer.attention_output);
    add_mlp(layer);
  }
  require_finite_states(tokens);
  const std::span<const float> logits = compute_logits(tokens, wanted);
  cache_.advance(static_cast<std::int32_t>(num_tokens_));
  return logits;
}

void Decoder::refuse_overflow(const char* what, std::span<const std::int32_t> tokens, std::int64_t t) const {
  throw Error{Status::invalid_data, "position " + std::to_string(cache_.tokens_seen() + t) + ", token " +
                                        std::to_string(tokens[static_cast<std::size_t>(t)]) + ": the model's " + what +
                                        " are not finite; its weights are too large or damaged"};
}

// An overflow or NaN of a layer stays in the residual stream to its end. A bounded cache might evict the token, and the
// last norm turns numbers too large to square into zeros, so every token is checked here.
void Decoder::require_finite_states(std::span<const std::int32_t> tokens) const {
  const auto hidden = static_cast<std::size_t>(model_.config().hidden_size);
  const float limit = std::sqrt(std::numeric_limits<float>::max() / static_cast<float>(hidden));
  for (std::int64_t t = 0; t < num_tokens_; ++t) {
    const auto state = std::span(hidden_).subspan(static_cast<std::size_t>(t) * hidden, hidden);
    if (!(largest_magnitude(state) <= limit)) refuse_overflow("states", tokens, t);
  }
}

void Decoder::validate(std::span<const std::int32_t> tokens) const {
  if (tokens.empty()) refuse("tokens: expected one or more");
  if (static_cast<std::int64_t>(tokens.size()) > cache_.max_batch_tokens()) {
    refuse("tokens: " + std::to_string(tokens.size()) + " exceed the cache's max_batch_tokens, " +
           std::to_string(cache_.max_batch_tokens()));
  }
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= model_.config().vocab_size) {
      refuse("tokens: " + std::to_string(token) +
             " is not below vocab_size = " + std::to_string(model_.config().vocab_size));
    }
  }
}

template <class Body>
void Decoder::for_each_token(const Body& body) {
  threads_.parallel_for((num_tokens_ + kTokensPerTask - 1) / kTokensPerTask, [&](std::int64_t task) {
    const std::int64_t end = std::min(num_tokens_, (task + 1) * kTokensPerTask);
    for (std::int64_t t = task * kTokensPerTask; t < end; ++t) body(t);
  });
}

// Sizes the buffers, looks up the embeddings, and computes the angles of all positions for every layer.
void Decoder::prepare(std::span<const std::int32_t> tokens) {
  const ModelConfig& config = model_.config();
  num_tokens_ = static_cast<std::int64_t>(tokens.size());
  const auto resize = [&](std::vector<float>& buffer, std::int64_t width) {
    buffer.resize(std::max(buffer.size(), static_cast<std::size_t>(num_tokens_ * width)));
  };
  const LayerWeights& layer = model_.layers().front();
  resize(hidden_, config.hidden_size);
  resize(normed_, config.hidden_size);
  resize(projected_, std::max(layer.query_key_value.outputs(), layer.gate_up.outputs()));
  resize(mixed_, std::max(layer.attention_output.inputs(), layer.down.inputs()));
  resize(rope_, config.head_dim);
  for (std::int32_t t = 0; t < num_tokens_; ++t) {
    float* angles = rope_.data() + std::int64_t{t} * config.head_dim;
    rope_angles(model_.rope_frequencies(), cache_.tokens_seen() + t, angles, angles + config.head_dim / 2);
    model_.embedding().copy_row(tokens[static_cast<std::size_t>(t)],
                                hidden_.data() + std::int64_t{t} * config.hidden_size);
  }
}

AttentionCache::Activations Decoder::activations() {
  const ModelConfig& config = model_.config();
  const std::int64_t keys = std::int64_t{config.num_qo_heads} * config.head_dim;
  const std::int64_t values = keys + std::int64_t{config.num_kv_heads} * config.head_dim;
  const float* x = projected_.data();
  return {x, x + keys, x + values, model_.layers().front().query_key_value.outputs(), mixed_.data()};
}

void Decoder::norm(const std::vector<float>& weights) {
  const std::int64_t hidden = model_.config().hidden_size;
  for_each_token([&](std::int64_t t) {
    rms_norm(hidden_.data() + t * hidden, weights.data(), hidden, model_.config().rms_norm_eps,
             normed_.data() + t * hidden);
  });
}

// hidden -> queries, keys and values, the first two rotated.
void Decoder::project_inputs(const LayerWeights& layer) {
  const ModelConfig& config = model_.config();
  const std::int64_t d = config.head_dim;
  norm(layer.attention_norm);
  multiply(layer.query_key_value, normed_.data(), num_tokens_, projected_.data(), threads_);
  for_each_token([&](std::int64_t t) {
    float* x = projected_.data() + t * layer.query_key_value.outputs();
    const float* angles = rope_.data() + t * d;
    for (std::int64_t head = 0; head < config.num_qo_heads + config.num_kv_heads; ++head) {
      rotate(x + head * d, angles, angles + d / 2, d / 2);
    }
  });
}

void Decoder::add_product(const PackedMatrix& weights) {
  multiply(weights, mixed_.data(), num_tokens_, normed_.data(), threads_);
  add(normed_.data(), num_tokens_ * model_.config().hidden_size, hidden_.data());
}

void Decoder::add_mlp(const LayerWeights& layer) {
  const std::int64_t width = model_.config().intermediate_size;
  norm(layer.mlp_norm);
  multiply(layer.gate_up, normed_.data(), num_tokens_, projected_.data(), threads_);
  for_each_token([&](std::int64_t t) {
    const float* gate = projected_.data() + t * 2 * width;
    silu_multiply(gate, gate + width, width, mixed_.data() + t * width);
  });
  add_product(layer.down);
}

std::span<const float> Decoder::compute_logits(std::span<const std::int32_t> tokens, Logits wanted) {
  if (wanted == Logits::none) return {};
  norm(model_.final_norm());
  const std::int64_t first = wanted == Logits::all ? 0 : num_tokens_ - 1;
  const auto vocab = static_cast<std::size_t>(model_.config().vocab_size);
  const std::size_t size = static_cast<std::size_t>(num_tokens_ - first) * vocab;
  logits_.resize(std::max(logits_.size(), size));
  multiply(model_.output(), normed_.data() + first * model_.config().hidden_size, num_tokens_ - first, logits_.data(),
           threads_);
  for (std::int64_t t = first; t < num_tokens_; ++t) {
    const auto row = std::span(logits_).subspan(static_cast<std::size_t>(t - first) * vocab, vocab);
    if (!std::isfinite(largest_magnitude(row))) refuse_overflow("logits", tokens, t);
  }
  return std::span<const float>(logits_).first(size);
}

}  // namespace hashevict::engine
