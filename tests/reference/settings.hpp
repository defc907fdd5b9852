// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "reference/rounding.hpp"

/// The oracle: docs/algorithm.md as plain loops over vectors. It shares no code with the library and includes none of
/// its headers. It is written to be checked by reading; speed does not matter.
namespace hashevict::reference {

enum class Policy { hash, window, random, superseded, mean, votes, importance };
enum class Centering { none, prompt, fixed };

/// The settings of one KV head and its layer, with every fraction resolved to slots.
struct Settings {
  std::size_t num_qo_heads = 1;
  std::size_t num_kv_heads = 1;
  std::size_t head_dim = 8;
  std::size_t capacity = 16;
  std::int32_t layer = 0;
  std::int32_t kv_head_offset = 0;  ///< global index of the first KV head
  Storage storage = Storage::float32;

  Policy policy = Policy::hash;
  std::size_t hash_bits = 16;
  bool probe_new_key = false;      ///< policy hash: the probe is the new key's code instead of the queries'
  bool lowest_slot_first = false;  ///< ties go to the lowest slot instead of the oldest position
  std::int32_t num_sink_tokens = 4;
  std::int32_t recent_window = 10;
  bool pin_prompt = false;

  bool importance_slopes = false;  ///< policy importance: the token brings a slope
  bool importance_of_key = false;  ///< policy importance: linear in the key; else the token brings it

  std::uint64_t seed = 0;
  Centering centering = Centering::none;
  bool orthogonal = false;
  bool projection_per_head = false;

  [[nodiscard]] std::size_t group_size() const { return num_qo_heads / num_kv_heads; }
};

}  // namespace hashevict::reference
