// SPDX-License-Identifier: Apache-2.0
#include "decoder.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "elementwise.hpp"
#include "rope.hpp"

namespace hashevict::engine {
namespace {

constexpr std::int64_t kTokensPerTask = 16;  // of the work between matrix products

[[noreturn]] void refuse(const std::string& message) {
  throw Error{Status::invalid_argument, message};
}

HeadShape head_shape(const ModelConfig& config) {
  return {config.num_qo_heads, config.num_kv_heads, config.head_dim};
}

// A batch of one row.
struct SingleRow {
  std::array<std::int32_t, 1> sequences;
  std::array<std::int32_t, 2> cu_seqlens;
  TokenBatch batch;

  SingleRow(std::span<const std::int32_t> tokens, std::int32_t sequence)
      : sequences{sequence},
        cu_seqlens{0, static_cast<std::int32_t>(tokens.size())},
        batch{tokens, sequences, cu_seqlens} {}
  SingleRow(const SingleRow&) = delete;
  SingleRow& operator=(const SingleRow&) = delete;
};

}  // namespace

Decoder::Decoder(const Model& model, AttentionCache& cache, ThreadPool& threads)
    : model_(model), cache_(cache), threads_(threads), prompt_attention_(head_shape(model.config())) {
  if (cache.num_layers() != model.config().num_layers || cache.head_shape() != head_shape(model.config())) {
    refuse("cache: its layers and heads are not the model's");
  }
}

std::span<const float> Decoder::stream(const TokenBatch& batch, Logits wanted) {
  return run(batch, wanted, [&](std::int32_t layer) { cache_.decode(layer, batch, activations()); });
}

std::span<const float> Decoder::stream(std::span<const std::int32_t> tokens, Logits wanted, std::int32_t sequence) {
  return stream(SingleRow(tokens, sequence).batch, wanted);
}

std::span<const float> Decoder::prefill(const TokenBatch& batch, const PrefillOptions& options, Logits wanted) {
  validate(batch);
  for (const std::int32_t sequence : batch.sequences) {
    if (cache_.tokens_seen(sequence) > 0) {
      refuse("sequence " + std::to_string(sequence) + ": holds tokens, a prompt needs an empty one");
    }
  }
  return run(batch, wanted, [&](std::int32_t layer) {
    const AttentionCache::Activations x = activations();
    const std::int64_t out_stride = std::int64_t{model_.config().num_qo_heads} * model_.config().head_dim;
    for (std::size_t row = 0; row < batch.sequences.size(); ++row) {
      const std::int64_t first = batch.cu_seqlens[row];
      const std::int64_t offset = first * x.token_stride;
      prompt_attention_.compute(x.q + offset, x.k + offset, x.v + offset, x.token_stride,
                                batch.cu_seqlens[row + 1] - first, x.out + first * out_stride, threads_);
    }
    cache_.prefill(layer, batch, x, options.mode, options.window);
  });
}

std::span<const float> Decoder::prefill(std::span<const std::int32_t> tokens, const PrefillOptions& options,
                                        Logits wanted, std::int32_t sequence) {
  return prefill(SingleRow(tokens, sequence).batch, options, wanted);
}

template <class Attention>
std::span<const float> Decoder::run(const TokenBatch& batch, Logits wanted, const Attention& attend) {
  validate(batch);
  prepare(batch);
  for (std::int32_t i = 0; i < model_.config().num_layers; ++i) {
    const LayerWeights& layer = model_.layers()[static_cast<std::size_t>(i)];
    project_inputs(layer);
    attend(i);
    add_attention(layer);
    add_mlp(layer);
  }
  cache_.advance(batch);
  return compute_logits(batch, wanted);
}

void Decoder::validate(const TokenBatch& batch) const {
  const std::size_t rows = batch.sequences.size();
  const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
  if (rows == 0 || batch.cu_seqlens.size() != rows + 1) refuse("cu_seqlens: expected one more element than sequences");
  if (batch.cu_seqlens.front() != 0 || batch.cu_seqlens.back() != tokens) {
    refuse("cu_seqlens: expected to run from 0 to the number of tokens, " + std::to_string(tokens));
  }
  if (tokens > cache_.max_batch_tokens()) {
    refuse("tokens: " + std::to_string(tokens) + " exceed the cache's max_batch_tokens, " +
           std::to_string(cache_.max_batch_tokens()));
  }
  std::vector<bool> used(static_cast<std::size_t>(cache_.num_sequences()));
  for (std::size_t row = 0; row < rows; ++row) {
    const std::int32_t sequence = batch.sequences[row];
    if (batch.cu_seqlens[row + 1] <= batch.cu_seqlens[row])
      refuse("cu_seqlens: row " + std::to_string(row) + " is empty");
    if (sequence < 0 || sequence >= cache_.num_sequences() || used[static_cast<std::size_t>(sequence)]) {
      refuse("sequences: " + std::to_string(sequence) + " is out of range or occurs twice");
    }
    used[static_cast<std::size_t>(sequence)] = true;
  }
  for (const std::int32_t token : batch.tokens) {
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

// Sizes the buffers, looks the embeddings up and the angles of all positions, which every layer uses.
void Decoder::prepare(const TokenBatch& batch) {
  const ModelConfig& config = model_.config();
  num_tokens_ = static_cast<std::int64_t>(batch.tokens.size());
  const auto resize = [&](std::vector<float>& buffer, std::int64_t width) {
    buffer.resize(std::max(buffer.size(), static_cast<std::size_t>(num_tokens_ * width)));
  };
  const LayerWeights& layer = model_.layers().front();
  resize(hidden_, config.hidden_size);
  resize(normed_, config.hidden_size);
  resize(projected_, std::max(layer.query_key_value.outputs(), layer.gate_up.outputs()));
  resize(mixed_, std::max(layer.attention_output.inputs(), layer.down.inputs()));
  resize(rope_, config.head_dim);

  for (std::size_t row = 0; row < batch.sequences.size(); ++row) {
    for (std::int32_t t = batch.cu_seqlens[row]; t < batch.cu_seqlens[row + 1]; ++t) {
      const std::int32_t position = cache_.tokens_seen(batch.sequences[row]) + t - batch.cu_seqlens[row];
      float* angles = rope_.data() + std::int64_t{t} * config.head_dim;
      rope_angles(model_.rope_frequencies(), position, angles, angles + config.head_dim / 2);
      model_.embedding().copy_row(batch.tokens[static_cast<std::size_t>(t)],
                                  hidden_.data() + std::int64_t{t} * config.hidden_size);
    }
  }
}

AttentionCache::Activations Decoder::activations() {
  const ModelConfig& config = model_.config();
  const std::int64_t keys = std::int64_t{config.num_qo_heads} * config.head_dim;
  const std::int64_t values = keys + std::int64_t{config.num_kv_heads} * config.head_dim;
  const float* x = projected_.data();
  return {x, x + keys, x + values, model_.layers().front().query_key_value.outputs(), mixed_.data()};
}

// hidden -> queries, keys and values, the first two rotated.
void Decoder::project_inputs(const LayerWeights& layer) {
  const ModelConfig& config = model_.config();
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t d = config.head_dim;
  for_each_token([&](std::int64_t t) {
    rms_norm(hidden_.data() + t * hidden, layer.attention_norm.data(), hidden, config.rms_norm_eps,
             normed_.data() + t * hidden);
  });
  multiply(layer.query_key_value, normed_.data(), num_tokens_, projected_.data(), threads_);
  for_each_token([&](std::int64_t t) {
    float* x = projected_.data() + t * layer.query_key_value.outputs();
    const float* angles = rope_.data() + t * d;
    for (std::int64_t head = 0; head < config.num_qo_heads + config.num_kv_heads; ++head) {
      rotate(x + head * d, angles, angles + d / 2, d / 2);
    }
  });
}

void Decoder::add_attention(const LayerWeights& layer) {
  multiply(layer.attention_output, mixed_.data(), num_tokens_, normed_.data(), threads_);
  add(normed_.data(), num_tokens_ * model_.config().hidden_size, hidden_.data());
}

void Decoder::add_mlp(const LayerWeights& layer) {
  const ModelConfig& config = model_.config();
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t width = config.intermediate_size;
  for_each_token([&](std::int64_t t) {
    rms_norm(hidden_.data() + t * hidden, layer.mlp_norm.data(), hidden, config.rms_norm_eps,
             normed_.data() + t * hidden);
  });
  multiply(layer.gate_up, normed_.data(), num_tokens_, projected_.data(), threads_);
  for_each_token([&](std::int64_t t) {
    const float* gate = projected_.data() + t * 2 * width;
    silu_multiply(gate, gate + width, width, mixed_.data() + t * width);
  });
  multiply(layer.down, mixed_.data(), num_tokens_, normed_.data(), threads_);
  add(normed_.data(), num_tokens_ * hidden, hidden_.data());
}

std::span<const float> Decoder::compute_logits(const TokenBatch& batch, Logits wanted) {
  if (wanted == Logits::none) return {};
  const ModelConfig& config = model_.config();
  const std::int64_t hidden = config.hidden_size;
  const auto rows = wanted == Logits::all ? num_tokens_ : static_cast<std::int64_t>(batch.sequences.size());
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t t = wanted == Logits::all ? r : batch.cu_seqlens[static_cast<std::size_t>(r) + 1] - 1;
    rms_norm(hidden_.data() + t * hidden, model_.final_norm().data(), hidden, config.rms_norm_eps,
             normed_.data() + r * hidden);
  }
  const auto size = static_cast<std::size_t>(rows * config.vocab_size);
  logits_.resize(std::max(logits_.size(), size));
  multiply(model_.output(), normed_.data(), rows, logits_.data(), threads_);
  return std::span<const float>(logits_).first(size);
}

}  // namespace hashevict::engine
