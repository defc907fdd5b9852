// SPDX-License-Identifier: Apache-2.0
#include "kv_cache.hpp"

namespace hashevict::engine {
namespace {

constexpr std::int64_t kDefaultBatchTokens = 8192;  // see hashevict_config::max_batch_tokens

hashevict::Config with_threads(hashevict::Config config, ThreadPool& threads) {
  if (config.execution.parallel_for == nullptr) {
    config.execution.parallel_for = ThreadPool::run;
    config.execution.parallel_for_context = &threads;
  }
  if (config.execution.max_batch_tokens == 0) config.execution.max_batch_tokens = kDefaultBatchTokens;
  return config;
}

}  // namespace

hashevict::Config KvCache::make_config(const ModelConfig& model, std::int32_t capacity) {
  hashevict::Config config;
  config.placement.backend = Backend::cpu;
  config.shape.num_layers = model.num_layers;
  config.shape.num_sequences = 1;
  config.shape.num_qo_heads = model.num_qo_heads;
  config.shape.num_kv_heads = model.num_kv_heads;
  config.shape.head_dim = model.head_dim;
  config.shape.dtype = DType::float32;
  config.shape.capacity = capacity;
  return config;
}

KvCache::KvCache(hashevict::Config config, ThreadPool& threads)
    : config_(with_threads(std::move(config), threads)), cache_(config_) {}

void KvCache::reset() {
  cache_.reset(Stream{});
  tokens_seen_ = 0;
}

template <class Args>
void KvCache::set_common(Args& args, std::int32_t layer, std::span<const std::int32_t> ids, const Activations& x) {
  const auto tokens = static_cast<std::int64_t>(ids.size());
  const std::int64_t qo_heads = config_.shape.num_qo_heads;
  const std::int64_t kv_heads = config_.shape.num_kv_heads;
  const std::int64_t d = config_.shape.head_dim;
  args.layer = layer;
  cu_seqlens_[1] = static_cast<std::int32_t>(tokens);
  args.batch.cu_seqlens = Tensor{cu_seqlens_.data(), {2}};
  args.q = Tensor{x.q, {tokens, qo_heads, d}, {x.token_stride, d, 1}};
  args.k = Tensor{x.k, {tokens, kv_heads, d}, {x.token_stride, d, 1}};
  args.v = Tensor{x.v, {tokens, kv_heads, d}, {x.token_stride, d, 1}};
  if (observer_) {
    slots_.resize(static_cast<std::size_t>(tokens * kv_heads));
    victims_.resize(slots_.size());
    args.slots = Tensor{slots_.data(), {tokens, kv_heads}};
    args.victims = Tensor{victims_.data(), {tokens, kv_heads}};
  }
}

template <class Args>
void KvCache::set_out(Args& args, const Activations& x) const {
  args.out = Tensor{x.out, {args.q.shape[0], config_.shape.num_qo_heads, config_.shape.head_dim}};
}

template <class Args>
void KvCache::tell_observer(const Args& args) const {
  if (observer_) observer_({args.layer, args.q, args.k, args.v, args.slots, args.victims});
}

void KvCache::decode(std::int32_t layer, std::span<const std::int32_t> tokens, const Activations& x) {
  DecodeArgs args;
  set_common(args, layer, tokens, x);
  set_out(args, x);
  cache_.decode(args, Stream{});
  tell_observer(args);
}

void KvCache::stream(std::int32_t layer, std::span<const std::int32_t> tokens, const Activations& x) {
  const bool has_one_pass = config_.rule.pin_prompt == 0 && config_.rule.centering != Centering::prompt;
  if (tokens.size() == 1 || !has_one_pass) return decode(layer, tokens, x);
  PrefillArgs args;
  set_common(args, layer, tokens, x);
  set_out(args, x);
  args.attention = PrefillAttention::streamed;
  cache_.prefill(args, Stream{});
  tell_observer(args);
}

void KvCache::prefill(std::int32_t layer, std::span<const std::int32_t> tokens, const Activations& x,
                      hashevict::PrefillMode mode, std::int32_t prefill_window) {
  PrefillArgs args;
  set_common(args, layer, tokens, x);
  args.mode = mode;
  args.window = prefill_window;
  cache_.prefill(args, Stream{});
  tell_observer(args);
}

}  // namespace hashevict::engine
