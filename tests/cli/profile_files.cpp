// SPDX-License-Identifier: Apache-2.0
#include "profile_files.hpp"

#include <algorithm>
#include <numeric>

#include "engine/safetensors.hpp"
#include "support/inputs.hpp"

namespace hashevict::test {
namespace {

std::string quantiles_of(int32_t layer) {
  return "layers." + std::to_string(layer) + ".quantiles";
}

// The quantile of the key of a head that `rank` keys of `length` surpass: straight lines between the entries.
double importance(const float* quantiles, int64_t count, int32_t rank, int32_t length) {
  if (length == 1) return quantiles[count - 1];
  const int64_t place = int64_t{length - 1 - rank} * (count - 1);
  const int64_t below = place / (length - 1);
  if (below == count - 1) return quantiles[below];
  const double part = static_cast<double>(place % (length - 1)) / (length - 1);
  return quantiles[below] + (static_cast<double>(quantiles[below + 1]) - quantiles[below]) * part;
}

}  // namespace

FloatTensor filled(const std::vector<int64_t>& shape, float value) {
  int64_t size = 1;
  for (const int64_t extent : shape) size *= extent;
  return {shape, std::vector<float>(static_cast<std::size_t>(size), value)};
}

FloatTensors draw_profile(const Config& config, int64_t num_quantiles, uint32_t seed) {
  Inputs inputs(seed);
  FloatTensors tensors;
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
    std::vector<float> values;
    for (int32_t head = 0; head < config.shape.num_kv_heads; ++head) {
      std::vector<float> of_head = inputs.floats(static_cast<std::size_t>(num_quantiles));
      std::sort(of_head.begin(), of_head.end());
      const bool retrieves = layer == config.shape.num_layers - 1 && head == 0;
      for (float& value : of_head) value += retrieves ? 1.5F : 0.0F;
      values.insert(values.end(), of_head.begin(), of_head.end());
    }
    tensors[quantiles_of(layer)] = {{config.shape.num_kv_heads, num_quantiles}, std::move(values)};
  }
  return tensors;
}

void write_tensors(const std::string& path, const FloatTensors& tensors) {
  engine::SafetensorsWriter writer;
  for (const auto& [name, tensor] : tensors) {
    writer.add(name, std::vector<int64_t>(tensor.shape), std::span(tensor.values));
  }
  writer.write(path);
}

std::vector<int32_t> divided_by_hand(const FloatTensors& profile, const Config& config, int64_t total, int32_t length,
                                     int32_t floor) {
  const auto heads = static_cast<std::size_t>(config.shape.num_kv_heads);
  std::vector<int32_t> slots(heads * static_cast<std::size_t>(config.shape.num_layers), floor);
  const auto next = [&](std::size_t i) {
    const FloatTensor& tensor = profile.at(quantiles_of(static_cast<int32_t>(i / heads)));
    const int64_t count = tensor.shape.at(1);
    return importance(tensor.values.data() + static_cast<int64_t>(i % heads) * count, count, slots[i], length);
  };
  while (std::accumulate(slots.begin(), slots.end(), int64_t{0}) < total) {
    std::size_t best = slots.size();
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (slots[i] < length && (best == slots.size() || next(i) > next(best))) best = i;
    }
    ++slots.at(best);
  }
  return slots;
}

}  // namespace hashevict::test
