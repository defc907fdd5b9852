// SPDX-License-Identifier: Apache-2.0
#include "support/twins.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "support/element.hpp"

namespace hashevict::test {
namespace {

reference::AttentionOptions attention_options(const Options& options) {
  return {static_cast<double>(options.softmax_scale), static_cast<double>(options.logit_soft_cap)};
}

/// Relative error of the softmax weights of an fp32 implementation, to first order, in units of 2^-24. A logit is a sum
/// of head_dim products and a scaling, so its error is (head_dim + 3) times the sum L of their magnitudes. An online
/// softmax takes the exponential of logit minus maximum (error of 4 L more, and of 8 for the exponential itself) and
/// multiplies by such a factor at most once per slot. A soft cap contracts the error and adds that of tanh.
double weight_error(const reference::Attention& attention, std::size_t head_dim, double logit_soft_cap) {
  const auto dim = static_cast<double>(head_dim);
  const auto slots = static_cast<double>(attention.num_slots);
  return (dim + 8.0) * attention.logit_magnitude + 8.0 * logit_soft_cap + 10.0 * slots + 16.0;
}

reference::PromptAttention prompt_attention(const Options& options) {
  if (!options.attention) return reference::PromptAttention::none;
  return *options.attention == PrefillAttention::full ? reference::PromptAttention::full
                                                      : reference::PromptAttention::streamed;
}

constexpr double kUnit = 0x1p-24;  // unit roundoff of fp32

}  // namespace

double attention_bound(const reference::Attention& attention, std::size_t e, std::size_t head_dim,
                       double logit_soft_cap, DType output) {
  // Numerator and denominator each have the weights' error.
  const double arithmetic = 2.0 * weight_error(attention, head_dim, logit_soft_cap) * kUnit;
  const double bound = arithmetic * attention.out_magnitude[e] + 0x1p-120;
  const double magnitude = std::abs(attention.out[e]) + bound;
  if (output == DType::float16) return bound + magnitude * 0x1p-11 + 0x1p-25;
  if (output == DType::bfloat16) return bound + magnitude * 0x1p-8;
  return bound + magnitude * kUnit;
}

double lse_bound(const reference::Attention& attention, std::size_t head_dim, double logit_soft_cap) {
  return (weight_error(attention, head_dim, logit_soft_cap) + std::abs(attention.lse)) * kUnit;
}

reference::Settings settings_of(const Config& config, int32_t layer, int32_t kv_head) {
  const Rule& rule = rule_of(config, layer);
  reference::Settings settings;
  settings.num_qo_heads = static_cast<std::size_t>(config.shape.num_qo_heads);
  settings.num_kv_heads = static_cast<std::size_t>(config.shape.num_kv_heads);
  settings.head_dim = static_cast<std::size_t>(config.shape.head_dim);
  settings.capacity = static_cast<std::size_t>(capacity_of(config, layer, kv_head));
  settings.layer = layer;
  settings.kv_head_offset = config.shape.kv_head_offset;
  settings.storage = storage_of(config.shape.dtype);
  settings.policy = static_cast<reference::Policy>(rule.policy);
  settings.hash_bits = static_cast<std::size_t>(rule.hash_bits);
  settings.probe_new_key = rule.hash_source == HashSource::key;
  settings.lowest_slot_first = rule.tie == Tie::lowest_slot;
  settings.num_sink_tokens = rule.sink_fraction < 0.0F
                                 ? rule.num_sink_tokens
                                 : reference::slots_of_fraction(rule.sink_fraction, settings.capacity);
  settings.recent_window = rule.recent_fraction < 0.0F
                               ? rule.recent_window
                               : reference::slots_of_fraction(rule.recent_fraction, settings.capacity);
  settings.pin_prompt = rule.pin_prompt != 0;
  settings.importance_slopes = rule.importance_slopes != 0;
  settings.importance_of_key = rule.importance_source == ImportanceSource::key;
  settings.seed = rule.seed;
  settings.centering = static_cast<reference::Centering>(rule.centering);
  settings.orthogonal = rule.projection_kind == ProjectionKind::orthogonal;
  settings.projection_per_head = rule.projection_per_head != 0;
  return settings;
}

std::vector<reference::Settings> settings_of_heads(const Config& config, int32_t layer) {
  std::vector<reference::Settings> heads;
  for (int32_t h = 0; h < config.shape.num_kv_heads; ++h) heads.push_back(settings_of(config, layer, h));
  return heads;
}

Twins::Twins(Backend backend, const Config& config, Arrangement arrangement) : cache{backend, config, arrangement} {}

reference::Sequence& Twins::oracle(int32_t layer, int32_t sequence) {
  const std::pair key{layer, sequence};
  const auto found = oracles_.find(key);
  if (found != oracles_.end()) return found->second;
  reference::Sequence& made =
      oracles_.emplace(key, reference::Sequence{settings_of_heads(cache.config(), layer)}).first->second;
  const ImportanceWeights weights = importance_weights(cache.config(), layer);
  const auto dim = static_cast<std::size_t>(cache.config().shape.head_dim);
  for (std::size_t h = 0; h < weights.bias.size(); ++h) {
    made.set_importance_weights(h, reference::row(weights.weight, h, dim), weights.bias[h]);
  }
  return made;
}

void Twins::reset_oracle(int32_t sequence) {
  std::erase_if(oracles_, [&](const auto& entry) { return entry.first.second == sequence; });
}

void Twins::fork_oracle(int32_t source, int32_t target) {
  for (int32_t layer = 0; layer < cache.config().shape.num_layers; ++layer)
    oracle(layer, target) = oracle(layer, source);
}

std::vector<Outcome> Twins::run(Operation operation, const Batch& batch, const Options& options) {
  const std::vector<Outcome> outcomes = cache.run(operation, batch, options);
  if (operation == Operation::evict) keys_are_stored_ = false;
  for (std::size_t r = 0; r < batch.size(); ++r) {
    const Row& row = batch[r];
    if (row.sequence < 0) continue;
    reference::Sequence& sequence = oracle(options.layer, row.sequence);
    reference::Taken taken;
    switch (operation) {
      case Operation::prefill:
        taken = sequence.prefill(row.tokens, static_cast<reference::PrefillMode>(options.mode), options.window,
                                 prompt_attention(options), attention_options(options));
        break;
      case Operation::evict:
      case Operation::append:
        taken = sequence.append(row.tokens);
        break;
      case Operation::attend:
        taken.attention =
            sequence.attend(row.tokens, attention_options(options), options.queries == AttendQueries::after);
        break;
      case Operation::decode:
        taken = sequence.decode(row.tokens, attention_options(options));
        break;
    }
    SCOPED_TRACE("row " + std::to_string(r) + ", sequence " + std::to_string(row.sequence));
    compare(row, taken, outcomes[r], operation, options);
  }
  return outcomes;
}

void Twins::compare(const Row& row, const reference::Taken& taken, const Outcome& outcome, Operation operation,
                    const Options& options) const {
  if (operation != Operation::attend) {
    EXPECT_EQ(outcome.slots, taken.slots);
    EXPECT_EQ(outcome.victims, taken.victims);
  }
  if (taken.attention.empty()) return;
  if (operation == Operation::prefill && !attends_prompts(cache.backend())) return;
  const auto dim = static_cast<std::size_t>(cache.config().shape.head_dim);
  const auto cap = static_cast<double>(options.logit_soft_cap);
  ASSERT_EQ(outcome.lse.size(), taken.attention.size());
  for (std::size_t i = 0; i < taken.attention.size(); ++i) {  // token by token, query head by query head
    const reference::Attention& expected = taken.attention[i];
    SCOPED_TRACE("query vector " + std::to_string(i) + " of " + std::to_string(row.tokens.count) + " tokens");
    for (std::size_t e = 0; e < dim; ++e) {
      ASSERT_NEAR(static_cast<double>(outcome.out[i * dim + e]), expected.out[e],
                  attention_bound(expected, e, dim, cap, options.output))
          << "element " << e;
    }
    if (expected.num_slots == 0) {
      EXPECT_EQ(static_cast<double>(outcome.lse[i]), expected.lse);
    } else {
      EXPECT_NEAR(static_cast<double>(outcome.lse[i]), expected.lse, lse_bound(expected, dim, cap));
    }
  }
}

void Twins::expect_same_state() const {
  const Config& config = cache.config();
  const std::size_t element = size_of(config.shape.dtype);
  for (const auto& [key, sequence] : oracles_) {
    SCOPED_TRACE("layer " + std::to_string(key.first) + ", sequence " + std::to_string(key.second));
    State expected;
    for (const reference::Head& head : sequence.heads()) {
      expected.lengths.push_back(static_cast<int32_t>(head.slots.size()));
      expected.tokens_seen = head.tokens_seen;
      std::vector<int32_t> positions(head.settings.capacity, -1);
      for (std::size_t j = 0; j < head.slots.size(); ++j) {
        const reference::Slot& slot = head.slots[j];
        positions[j] = slot.position;
        for (const uint8_t byte : slot.code) expected.codes.push_back(std::byte{byte});
        for (std::size_t e = 0; e < slot.key.size(); ++e) {
          expected.keys.resize(expected.keys.size() + element);
          store(config.shape.dtype, slot.key[e], &*(expected.keys.end() - static_cast<std::ptrdiff_t>(element)));
          expected.values.resize(expected.values.size() + element);
          store(config.shape.dtype, slot.value[e], &*(expected.values.end() - static_cast<std::ptrdiff_t>(element)));
        }
      }
      expected.positions.insert(expected.positions.end(), positions.begin(), positions.end());
    }
    State actual = cache.state(key.first, key.second);
    if (!keys_are_stored_) {
      actual.keys = expected.keys;
      actual.values = expected.values;
    }
    expect_same(actual, expected);
  }
}

}  // namespace hashevict::test
