// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "core/rule.hpp"
#include "cpu/cpu_backend.hpp"

namespace hashevict::cpu {
namespace {

/// Part of an array over sequences: `bytes` bytes a sequence.
struct Stripe {
  void* base;
  int64_t bytes;
  [[nodiscard]] unsigned char* of(int32_t sequence) const {
    return static_cast<unsigned char*>(base) + sequence * bytes;
  }
};

/// Everything of a layer's state that belongs to single sequences, but for positions.
std::array<Stripe, 10> stripes_of(const core::Storage& storage, int32_t layer) {
  const core::Settings& settings = storage.settings;
  const hashevict_config& c = settings.config;
  const core::LayerState& s = storage.layer_state(layer);
  const int64_t slots = settings.heads() * storage.layer_settings(layer).padded_capacity;
  const int64_t floats = sizeof(float);
  const bool mean = c.policy == HASHEVICT_POLICY_MEAN;
  const bool majority = c.policy == HASHEVICT_POLICY_MAJORITY;
  const bool centered = settings.centered();
  return {{{s.codes, slots * settings.code_bytes},
           {s.accumulators, slots * core::accumulator_bytes(c)},
           {s.key_sums, mean ? settings.heads() * c.head_dim * floats : 0},
           {s.bit_counts, majority ? settings.heads() * c.hash_bits * floats : 0},
           {s.key_centers, centered ? settings.heads() * c.head_dim * floats : 0},
           {s.query_centers, centered ? int64_t{c.num_qo_heads} * c.head_dim * floats : 0},
           {s.lengths, sizeof(int32_t)},
           {s.tokens_seen, sizeof(int32_t)},
           {s.prompt_lengths, sizeof(int32_t)},
           {s.center_set, sizeof(int32_t)}}};
}

int64_t position_slots(const core::Storage& storage, int32_t layer) {
  return storage.settings.heads() * storage.layer_settings(layer).padded_capacity;
}

}  // namespace

void CpuBackend::reset_layer(int32_t layer, int32_t sequence) {
  for (const Stripe& stripe : stripes_of(storage_, layer)) {
    std::fill_n(stripe.of(sequence), stripe.bytes, static_cast<unsigned char>(0));
  }
  const int64_t slots = position_slots(storage_, layer);
  std::fill_n(storage_.layer_state(layer).positions + sequence * slots, slots, -1);
}

void CpuBackend::fork_layer(int32_t layer, int32_t source, int32_t target) {
  for (const Stripe& stripe : stripes_of(storage_, layer)) {
    std::memcpy(stripe.of(target), stripe.of(source), static_cast<std::size_t>(stripe.bytes));
  }
  const int64_t slots = position_slots(storage_, layer);
  int32_t* const positions = storage_.layer_state(layer).positions;
  std::copy_n(positions + source * slots, slots, positions + target * slots);
  const int32_t length = storage_.layer_state(layer).lengths[source];
  const int64_t element = core::size_of(storage_.settings.dtype);
  const auto row_bytes = static_cast<std::size_t>(storage_.settings.config.head_dim * element);
  for (int32_t kv_head = 0; kv_head < storage_.settings.config.num_kv_heads; ++kv_head) {
    const Head from = make_head(storage_, layer, source, kv_head);
    const Head to = make_head(storage_, layer, target, kv_head);
    for (int32_t slot = 0; slot < length; ++slot) {
      for (void* const base : {from.keys, from.values}) {
        auto* const bytes = static_cast<unsigned char*>(base);
        std::memcpy(bytes + to.address(slot) * element, bytes + from.address(slot) * element, row_bytes);
      }
    }
  }
}

void CpuBackend::reset(int32_t sequence, hashevict_stream /*stream*/) {
  for (int32_t layer = 0; layer < storage_.settings.config.num_layers; ++layer) reset_layer(layer, sequence);
}

void CpuBackend::fork(int32_t source, int32_t target, hashevict_stream /*stream*/) {
  const int32_t num_layers = storage_.settings.config.num_layers;
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    const int32_t length = storage_.layer_state(layer).lengths[source];
    core::validate_pages(storage_.settings, storage_.memory, source, length);
    core::validate_pages(storage_.settings, storage_.memory, target, length);
  }
  executor_.for_each(
      num_layers, [&](int64_t layer, int32_t /*worker*/) { fork_layer(static_cast<int32_t>(layer), source, target); });
}

}  // namespace hashevict::cpu
