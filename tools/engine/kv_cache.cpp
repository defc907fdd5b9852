// SPDX-License-Identifier: Apache-2.0
#include "kv_cache.hpp"

#include <algorithm>

namespace hashevict::engine {
namespace {

constexpr std::int64_t kDefaultBatchTokens = 8192;  // see hashevict_config::max_batch_tokens

std::int64_t batch_tokens(const hashevict::Config& config) {
  if (config.max_batch_tokens > 0) return config.max_batch_tokens;
  return std::max<std::int64_t>(config.num_sequences, kDefaultBatchTokens);
}

hashevict::Config with_threads(hashevict::Config config, ThreadPool& threads) {
  if (config.parallel_for == nullptr) {
    config.parallel_for = ThreadPool::run;
    config.parallel_for_context = &threads;
  }
  config.max_batch_tokens = batch_tokens(config);
  return config;
}

}  // namespace

hashevict::Config KvCache::make_config(const ModelConfig& model, std::int32_t capacity, std::int32_t num_sequences) {
  hashevict::Config config;
  config.backend = Backend::cpu;
  config.num_layers = model.num_layers;
  config.num_sequences = num_sequences;
  config.num_qo_heads = model.num_qo_heads;
  config.num_kv_heads = model.num_kv_heads;
  config.head_dim = model.head_dim;
  config.dtype = DType::float32;
  config.capacity = capacity;
  return config;
}

KvCache::KvCache(hashevict::Config config, ThreadPool& threads)
    : config_(with_threads(std::move(config), threads)), cache_(config_) {
  tokens_seen_.resize(static_cast<std::size_t>(config_.num_sequences));
}

std::int32_t KvCache::tokens_seen(std::int32_t sequence) const {
  return tokens_seen_.at(static_cast<std::size_t>(sequence));
}

void KvCache::reset() {
  cache_.reset(Stream{});
  std::fill(tokens_seen_.begin(), tokens_seen_.end(), 0);
}

void KvCache::reset(std::int32_t sequence) {
  cache_.reset(sequence, Stream{});
  tokens_seen_.at(static_cast<std::size_t>(sequence)) = 0;
}

void KvCache::fork(std::int32_t source, std::int32_t target) {
  cache_.fork(source, target, Stream{});
  tokens_seen_.at(static_cast<std::size_t>(target)) = tokens_seen(source);
}

hashevict::Step KvCache::make_step(std::int32_t layer, const TokenBatch& batch, const Activations& x) {
  const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
  const auto rows = static_cast<std::int64_t>(batch.sequences.size());
  const std::int64_t qo_heads = config_.num_qo_heads;
  const std::int64_t kv_heads = config_.num_kv_heads;
  const std::int64_t d = config_.head_dim;
  hashevict::Step step;
  step.layer = layer;
  step.row_to_sequence = Tensor{batch.sequences.data(), {rows}};
  step.cu_seqlens = Tensor{batch.cu_seqlens.data(), {rows + 1}};
  step.q = Tensor{x.q, {tokens, qo_heads, d}, {x.token_stride, d, 1}};
  step.k = Tensor{x.k, {tokens, kv_heads, d}, {x.token_stride, d, 1}};
  step.v = Tensor{x.v, {tokens, kv_heads, d}, {x.token_stride, d, 1}};
  if (observer_) {
    slots_.resize(static_cast<std::size_t>(tokens * kv_heads));
    victims_.resize(slots_.size());
    step.slots = Tensor{slots_.data(), {tokens, kv_heads}};
    step.victims = Tensor{victims_.data(), {tokens, kv_heads}};
  }
  return step;
}

void KvCache::decode(std::int32_t layer, const TokenBatch& batch, const Activations& x) {
  hashevict::Step step = make_step(layer, batch, x);
  step.out = Tensor{x.out, {static_cast<std::int64_t>(batch.tokens.size()), config_.num_qo_heads, config_.head_dim}};
  cache_.decode(step, Stream{});
  if (observer_) observer_(step);
}

void KvCache::prefill(std::int32_t layer, const TokenBatch& batch, const Activations& x, hashevict::PrefillMode mode,
                      std::int32_t prefill_window) {
  hashevict::Step step = make_step(layer, batch, x);
  step.prefill_mode = mode;
  step.prefill_window = prefill_window;
  cache_.prefill(step, Stream{});
  if (observer_) observer_(step);
}

void KvCache::advance(const TokenBatch& batch) {
  for (std::size_t row = 0; row < batch.sequences.size(); ++row) {
    tokens_seen_.at(static_cast<std::size_t>(batch.sequences[row])) +=
        batch.cu_seqlens[row + 1] - batch.cu_seqlens[row];
  }
}

}  // namespace hashevict::engine
