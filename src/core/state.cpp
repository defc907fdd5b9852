// SPDX-License-Identifier: Apache-2.0
#include "core/state.hpp"

#include "core/carver.hpp"
#include "core/rule.hpp"

namespace hashevict::core {

namespace {
constexpr int64_t kNumCounters = 4;  // per sequence: lengths, tokens_seen, prompt_lengths, center_set
}  // namespace

StateLayout lay_out_state(const Settings& settings) {
  const hashevict_config& config = settings.config;
  const int64_t pairs = settings.sequences() * settings.heads();  // validated to fit
  const int64_t dim = config.head_dim;
  const bool mean = config.policy == HASHEVICT_POLICY_MEAN;
  const bool majority = config.policy == HASHEVICT_POLICY_MAJORITY;
  const bool on_device = config.backend == HASHEVICT_BACKEND_CUDA;
  StateLayout layout;
  Carver carver;
  for (const LayerSettings& layer : settings.layers) {
    const int64_t slots = layer.padded_capacity;
    StateLayout::Layer part{};
    part.codes = carver.take<uint8_t>({pairs, slots, settings.code_bytes});
    part.positions = carver.take<int32_t>({pairs, slots});
    part.accumulators = carver.take<uint8_t>({pairs, slots, accumulator_bytes(config)});
    part.key_sums = carver.take<float>({mean ? pairs : 0, dim});
    part.bit_counts = carver.take<int32_t>({majority ? pairs : 0, config.hash_bits});
    part.key_centers = carver.take<float>({settings.centered() ? pairs : 0, dim});
    part.query_centers = carver.take<float>({settings.centered() ? settings.sequences() : 0, config.num_qo_heads, dim});
    part.counters = carver.take<int32_t>({kNumCounters, settings.sequences()});
    part.tickets = carver.take<uint32_t>({on_device ? settings.sequences() : 0, settings.heads() + 1});
    part.projection = carver.take<float>({settings.num_projections, dim, config.hash_bits});
    layout.layers.push_back(part);
    layout.code_bytes += checked_product({pairs, slots, settings.code_bytes});  // as parts of the carver's sum, checked
    layout.position_bytes += checked_product({pairs, slots, 4});
  }
  layout.total_bytes = carver.end();
  return layout;
}

LayerState layer_state(const Settings& settings, const StateLayout& layout, int32_t layer, void* state) {
  const StateLayout::Layer& part = layout.layers[static_cast<std::size_t>(layer)];
  const int64_t sequences = settings.sequences();
  auto* const counters = part_at<int32_t>(state, part.counters);
  return LayerState{
      .codes = part_at<uint8_t>(state, part.codes),
      .positions = part_at<int32_t>(state, part.positions),
      .accumulators = part_at<uint8_t>(state, part.accumulators),
      .key_sums = part_at<float>(state, part.key_sums),
      .bit_counts = part_at<int32_t>(state, part.bit_counts),
      .key_centers = part_at<float>(state, part.key_centers),
      .query_centers = part_at<float>(state, part.query_centers),
      .lengths = counters,
      .tokens_seen = counters + sequences,
      .prompt_lengths = counters + 2 * sequences,
      .center_set = counters + 3 * sequences,
      .tickets = part_at<uint32_t>(state, part.tickets),
      .projection = part_at<float>(state, part.projection),
  };
}

uint64_t dense_kv_bytes(const Settings& settings, int32_t layer) {
  const LayerSettings& shape = settings.layers[static_cast<std::size_t>(layer)];
  return checked_product(
      {settings.sequences(), settings.heads(), shape.capacity, settings.config.head_dim, size_of(settings.dtype)});
}

}  // namespace hashevict::core
