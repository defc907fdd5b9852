// SPDX-License-Identifier: Apache-2.0
#include "core/stripes.hpp"

#include "core/rule.hpp"

namespace hashevict::core {

std::array<Stripe, kNumStripes> stripes_of(const Storage& storage, int32_t layer) {
  constexpr unsigned char kZero = 0;
  constexpr unsigned char kNoPosition = 0xFF;  // the bytes of -1
  constexpr int64_t kWord = sizeof(int32_t);
  const Settings& settings = storage.settings;
  const hashevict_config& c = settings.config;
  const LayerState& s = storage.layer_state(layer);
  const int64_t slots = settings.heads() * storage.layer_settings(layer).padded_capacity;
  const bool mean = c.policy == HASHEVICT_POLICY_MEAN;
  const bool majority = c.policy == HASHEVICT_POLICY_MAJORITY;
  const bool centered = settings.centered();
  return {{{s.codes, slots * settings.code_bytes, kZero},
           {s.positions, slots * kWord, kNoPosition},
           {s.accumulators, slots * accumulator_bytes(c), kZero},
           {s.key_sums, mean ? settings.heads() * c.head_dim * kWord : 0, kZero},
           {s.bit_counts, majority ? settings.heads() * c.hash_bits * kWord : 0, kZero},
           {s.key_centers, centered ? settings.heads() * c.head_dim * kWord : 0, kZero},
           {s.query_centers, centered ? int64_t{c.num_qo_heads} * c.head_dim * kWord : 0, kZero},
           {s.lengths, kWord, kZero},
           {s.tokens_seen, kWord, kZero},
           {s.prompt_lengths, kWord, kZero},
           {s.center_set, kWord, kZero}}};
}

}  // namespace hashevict::core
