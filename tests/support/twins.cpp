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

/// Relative error of the softmax weights of an fp32 implementation, to first order, in units of 2^-24. A logit is a
/// sum of head_dim products and a scaling, so it is off by (head_dim + 3) of the sum of their magnitudes L. An online
/// softmax takes the exponential of logit minus maximum (off by 4 L more, and by 8 for the exponential itself) and
/// multiplies by such a factor at most once a slot. A soft cap contracts the error and adds that of tanh.
double weight_error(const reference::Attention& attention, std::size_t head_dim, double logit_soft_cap) {
  const auto dim = static_cast<double>(head_dim);
  const auto slots = static_cast<double>(attention.num_slots);
  return (dim + 8.0) * attention.logit_magnitude + 8.0 * logit_soft_cap + 10.0 * slots + 16.0;
}

constexpr double kUnit = 0x1p-24;  // of fp32

}  // namespace

double attention_bound(const reference::Attention& attention, std::size_t e, std::size_t head_dim,
                       double logit_soft_cap, DType output) {
  // The weighted sum and the sum it is divided by are off by the weights' error each.
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

reference::Settings settings_of(const Config& config, int32_t layer) {
  reference::Settings settings;
  settings.num_qo_heads = static_cast<std::size_t>(config.num_qo_heads);
  settings.num_kv_heads = static_cast<std::size_t>(config.num_kv_heads);
  settings.head_dim = static_cast<std::size_t>(config.head_dim);
  settings.capacity = static_cast<std::size_t>(
      config.layer_capacities.empty() ? config.capacity : config.layer_capacities[static_cast<std::size_t>(layer)]);
  settings.layer = layer;
  settings.kv_head_offset = config.kv_head_offset;
  settings.storage = storage_of(config.dtype);
  settings.policy = static_cast<reference::Policy>(config.policy);
  settings.hash_bits = static_cast<std::size_t>(config.hash_bits);
  settings.probe_new_key = config.hash_source == HashSource::key;
  settings.lowest_slot_first = config.tie == Tie::lowest_slot;
  settings.num_sink_tokens = config.sink_fraction < 0.0F
                                 ? config.num_sink_tokens
                                 : reference::slots_of_fraction(config.sink_fraction, settings.capacity);
  settings.recent_window = config.recent_fraction < 0.0F
                               ? config.recent_window
                               : reference::slots_of_fraction(config.recent_fraction, settings.capacity);
  settings.pin_prompt = config.pin_prompt;
  settings.score_decay_shift = config.score_decay_shift;
  settings.seed = config.seed;
  settings.centering = static_cast<reference::Centering>(config.centering);
  settings.orthogonal = config.projection_kind == ProjectionKind::orthogonal;
  settings.projection_per_head = config.projection_per_head;
  return settings;
}

Twins::Twins(Backend backend, const Config& config, Arrangement arrangement) : cache{backend, config, arrangement} {}

reference::Sequence& Twins::oracle(int32_t layer, int32_t sequence) {
  const std::pair key{layer, sequence};
  const auto found = oracles_.find(key);
  if (found != oracles_.end()) return found->second;
  return oracles_.emplace(key, reference::Sequence{settings_of(cache.config(), layer)}).first->second;
}

void Twins::reset_oracle(int32_t sequence) {
  std::erase_if(oracles_, [&](const auto& entry) { return entry.first.second == sequence; });
}

void Twins::fork_oracle(int32_t source, int32_t target) {
  for (int32_t layer = 0; layer < cache.config().num_layers; ++layer) oracle(layer, target) = oracle(layer, source);
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
        taken = sequence.prefill(row.tokens, static_cast<reference::PrefillMode>(options.mode), options.window);
        break;
      case Operation::evict:
      case Operation::append:
        taken = sequence.append(row.tokens);
        break;
      case Operation::attend:
        taken.attention = sequence.attend(row.tokens, attention_options(options));
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
  if (operation != Operation::attend && operation != Operation::decode) return;
  const auto dim = static_cast<std::size_t>(cache.config().head_dim);
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
  const std::size_t element = size_of(config.dtype);
  for (const auto& [key, sequence] : oracles_) {
    SCOPED_TRACE("layer " + std::to_string(key.first) + ", sequence " + std::to_string(key.second));
    State expected;
    for (const reference::Head& head : sequence.heads()) {
      expected.length = static_cast<int32_t>(head.slots.size());
      expected.tokens_seen = head.tokens_seen;
      std::vector<int32_t> positions(head.settings.capacity, -1);
      for (std::size_t j = 0; j < head.slots.size(); ++j) {
        const reference::Slot& slot = head.slots[j];
        positions[j] = slot.position;
        for (const uint8_t byte : slot.code) expected.codes.push_back(std::byte{byte});
        for (std::size_t e = 0; e < slot.key.size(); ++e) {
          expected.keys.resize(expected.keys.size() + element);
          store(config.dtype, slot.key[e], &*(expected.keys.end() - static_cast<std::ptrdiff_t>(element)));
          expected.values.resize(expected.values.size() + element);
          store(config.dtype, slot.value[e], &*(expected.values.end() - static_cast<std::ptrdiff_t>(element)));
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
