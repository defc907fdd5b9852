// SPDX-License-Identifier: Apache-2.0
#include "replay.hpp"

#include <algorithm>

#include "ratio.hpp"

namespace hashevict::bench {
namespace {

constexpr int kSteps = 256;  ///< measured of the tokens' steps; all take the same time once the cache is full
constexpr int kMostRounds = 7;

Shape shape_of(Preset preset, std::optional<Policy> policy = {}) {
  Shape shape;
  shape.preset = preset;
  shape.policy = policy;
  shape.hash_bits = Rule{preset}.hash_bits;
  shape.num_sequences = 1;
  shape.num_kv_heads = 2;
  return shape;
}

}  // namespace

std::vector<std::pair<std::string, Shape>> replay_shapes() {
  return {{"hash", shape_of(Preset::paper)},
          {"window", shape_of(Preset::paper, Policy::window)},
          {"random", shape_of(Preset::paper, Policy::random)},
          {"superseded", shape_of(Preset::superseded)},
          {"mean", shape_of(Preset::paper, Policy::mean)},
          {"votes", shape_of(Preset::recall)},
          {"importance", shape_of(Preset::paper, Policy::importance)}};
}

nlohmann::json replay_over_steps(const std::string& name, int rounds, Shape shape, int32_t tokens) {
  shape.capacity = tokens * 3 / 10;
  if (uses_processor_time()) shape.num_threads = 1;
  Workload load{shape, tokens};
  Ratio r = compare(
      [&] {
        load.cache().reset(Stream{});
        load.cache().prefill(load.prompt(), Stream{});
      },
      [&] { load.cache().append(of_step<AppendArgs>(load.step()), Stream{}); }, std::min(rounds, kMostRounds), 1,
      kSteps);
  for (double* const part : {&r.ratio.value, &r.ratio.low, &r.ratio.high}) *part /= tokens;
  auto row = make_row({"a prompt's replay over its steps", name, "<= 1.0", "a step for each token"}, r.ratio);
  row["replay_us_per_token"] = r.first / tokens * 1e6;
  row["step_us"] = r.second * 1e6;
  return row;
}

}  // namespace hashevict::bench
