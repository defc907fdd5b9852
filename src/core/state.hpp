// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "core/center.hpp"
#include "core/settings.hpp"

namespace hashevict::core {

/// One layer's state: pointers into the state memory. S sequences, H KV heads, C padded capacity.
struct LayerState {
  uint8_t* codes;           ///< [S, H, C, code_bytes]
  int32_t* positions;       ///< [S, H, C], -1 where empty
  uint8_t* accumulators;    ///< [S, H, C, accumulator_bytes] or unused
  float* key_sums;          ///< [S, H, head_dim], policy MEAN only
  int32_t* bit_counts;      ///< [S, H, hash_bits], policy MAJORITY only: how many codes had the bit set
  float* key_centers;       ///< [S, H, head_dim], with centring only
  float* query_centers;     ///< [S, num_qo_heads, head_dim], with centring only
  int32_t* lengths;         ///< [S] valid slots
  int32_t* tokens_seen;     ///< [S] the position of the next token
  int32_t* prompt_lengths;  ///< [S] tokens seen when the last prefill ended
  int32_t* center_set;      ///< [S] a CenterOrigin
  uint32_t* tickets;        ///< [S, H + 1] CUDA only: which block of a launch is the last one; zero between launches
  float* projection;        ///< [num_projections, head_dim, hash_bits]: transposed, bits contiguous
};

/// Where everything lies within the state memory. Offsets are in bytes and multiples of HASHEVICT_ALIGNMENT.
struct StateLayout {
  struct Layer {
    uint64_t codes, positions, accumulators, key_sums, bit_counts, key_centers, query_centers, counters, tickets,
        projection;
  };
  std::vector<Layer> layers;
  uint64_t total_bytes = 0;
  uint64_t code_bytes = 0;      ///< of all codes
  uint64_t position_bytes = 0;  ///< of all positions
};

/// Measures the state. Fails with INVALID_ARGUMENT if a size leaves 62 bits.
StateLayout lay_out_state(const Settings& settings);

/// Pointers of layer `layer` within `state`.
LayerState layer_state(const Settings& settings, const StateLayout& layout, int32_t layer, void* state);

/// Bytes of one layer's keys (or values) in dense storage.
uint64_t dense_kv_bytes(const Settings& settings, int32_t layer);

}  // namespace hashevict::core
