// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "cpu/convert.hpp"
#include "cpu/prefill_attend_kernel.hpp"
#include "cpu/prefill_head.hpp"

namespace hashevict::cpu {
namespace {

constexpr int32_t kNever = INT32_MAX;

/// Tokens [first, end) of a prompt, whose queries attend together.
struct TileTokens {
  int32_t first, end;
};

TileTokens tile_tokens(const HeadTokens& prompt, int32_t tile) {
  const int32_t most = prompt_tile_tokens(prompt.head.layer->shape.group_size);
  return {tile * most, std::min(tile * most + most, prompt.count)};
}

// A key is the index of its token in the prompt, or a slot that the cache held before the prompt.
constexpr int32_t key_of_slot(int32_t slot) {
  return ~slot;
}
constexpr bool is_slot(int32_t key) {
  return key < 0;
}
constexpr int32_t slot_of(int32_t key) {
  return ~key;
}

/// The keys that some query of a tile sees: those that die within the tile, in order of their deaths; those that live
/// through it, by slot; its own, in order of their births. So each query's keys are nearly a contiguous range.
struct TileKeys {
  int32_t* keys;        ///< [count]
  int32_t* deaths;      ///< [num_mortal] tokens of the tile whose steps evict the first keys
  int32_t* own_deaths;  ///< [count - first_own] likewise of its own keys, or kNever
  int32_t num_mortal = 0;
  int32_t first_own = 0;
  int32_t count = 0;

  void add(int32_t key) { keys[count++] = key; }
};

TileKeys no_keys(const HeadTokens& prompt, const Scratch& scratch) {
  const int32_t most = prompt_tile_tokens(prompt.head.layer->shape.group_size);
  return {.keys = scratch.prompt_keys, .deaths = scratch.prompt_deaths, .own_deaths = scratch.prompt_deaths + most};
}

void add_own(TileTokens tile, TileKeys& keys) {
  keys.first_own = keys.count;
  for (int32_t token = tile.first; token < tile.end; ++token) keys.add(token);
}

/// FULL: everything that the cache held before, and all earlier tokens of the prompt.
TileKeys all_keys(const HeadTokens& prompt, TileTokens tile, const Scratch& scratch) {
  TileKeys keys = no_keys(prompt, scratch);
  const int32_t length = *prompt.head.lengths;
  for (int32_t slot = 0; slot < length; ++slot) keys.add(key_of_slot(slot));
  for (int32_t token = 0; token < tile.first; ++token) keys.add(token);
  add_own(tile, keys);
  std::fill_n(keys.own_deaths, tile.end - tile.first, kNever);
  return keys;
}

/// STREAMED: what the slots hold after the steps up to the tile, then step by step.
TileKeys held_keys(const HeadTokens& prompt, TileTokens tile, const Scratch& scratch, const int32_t* taken) {
  TileKeys keys = no_keys(prompt, scratch);
  const int32_t length = *prompt.head.lengths;
  const int32_t capacity = prompt.head.capacity;
  int32_t* const holders = scratch.sources;  // the key in each slot
  for (int32_t slot = 0; slot < length; ++slot) holders[slot] = key_of_slot(slot);
  std::fill(holders + length, holders + capacity, kNever);
  for (int32_t token = 0; token < tile.first; ++token) holders[taken[token]] = token;
  for (int32_t token = tile.first; token < tile.end; ++token) {
    int32_t& holder = holders[taken[token]];
    if (holder < tile.first) {
      keys.deaths[keys.num_mortal++] = token - tile.first;
      keys.add(holder);
    } else if (holder != kNever) {
      keys.own_deaths[holder - tile.first] = token - tile.first;
    }
    keys.own_deaths[token - tile.first] = kNever;
    holder = token;
  }
  for (int32_t slot = 0; slot < capacity; ++slot) {
    if (holders[slot] < tile.first) keys.add(holders[slot]);
  }
  add_own(tile, keys);
  return keys;
}

/// A key or a value of the prompt as fp32, rounded to the storage type.
void load_rounded(const core::TensorView& input, const HeadTokens& prompt, int32_t token, float* row,
                  const Scratch& scratch) {
  const core::RowFormat& format = prompt.head.layer->shape.format;
  const int32_t dim = format.head_dim;
  load_row(input.dtype, input.at(prompt.first + token, prompt.head.kv_head), input.stride[2], row, dim);
  if (format.dtype == core::DType::float32 || format.dtype == input.dtype) return;
  store_row(format.dtype, row, scratch.vector, 1, dim);
  load_row(format.dtype, scratch.vector, 1, row, dim);
}

/// The fp32 row of a key (or value): where it lies, or a copy in `room`.
/// @param input of the prompt's keys (or values)
/// @param base of the cache's
const float* row_of(int32_t key, const core::TensorView& input, const void* base, const HeadTokens& prompt, float* room,
                    const Scratch& scratch) {
  const core::RowFormat& format = prompt.head.layer->shape.format;
  const bool stored_wide = format.dtype == core::DType::float32;
  if (is_slot(key)) {
    const auto* const row = static_cast<const unsigned char*>(base) + prompt.head.address(slot_of(key));
    if (stored_wide) return reinterpret_cast<const float*>(row);
    load_row(format.dtype, row, 1, room, format.head_dim);
    return room;
  }
  if (stored_wide && input.dtype == core::DType::float32 && input.stride[2] == 1) {
    return reinterpret_cast<const float*>(input.at(prompt.first + key, prompt.head.kv_head));
  }
  load_rounded(input, prompt, key, room, scratch);
  return room;
}

/// Adds keys [first, first + kPromptKeys) of the list to the tile's attention.
void add_keys(const HeadTokens& prompt, TileTokens tile, const TileKeys& keys, int32_t first, const PromptTile& result,
              const Scratch& scratch) {
  const core::Layer& layer = *prompt.head.layer;
  const int64_t dim = layer.shape.head_dim;
  const float *key_rows[kPromptKeys], *value_rows[kPromptKeys];
  int32_t births[kPromptKeys], deaths[kPromptKeys];
  const int32_t count = std::min(kPromptKeys, keys.count - first);
  for (int32_t i = 0; i < count; ++i) {
    const int32_t at = first + i;
    const int32_t key = keys.keys[at];
    float* const room = scratch.prompt_rows + i * dim;
    key_rows[i] = row_of(key, prompt.step->k, layer.keys, prompt, room, scratch);
    value_rows[i] = row_of(key, prompt.step->v, layer.values, prompt, room + kPromptKeys * dim, scratch);
    const bool own = at >= keys.first_own;
    births[i] = own ? key - tile.first : 0;
    deaths[i] = own ? keys.own_deaths[key - tile.first] : at < keys.num_mortal ? keys.deaths[at] : kNever;
  }
  std::fill(key_rows + count, key_rows + kPromptKeys, key_rows[count - 1]);
  const bool lifelong = first >= keys.num_mortal && first + count <= keys.first_own;
  add_prompt_block(result, {.num_keys = count,
                            .keys = key_rows,
                            .values = value_rows,
                            .births = lifelong ? nullptr : births,
                            .deaths = lifelong ? nullptr : deaths});
}

/// Loads the tile's queries, times the scale.
void load_queries(const HeadTokens& prompt, TileTokens tile, const Scratch& scratch) {
  const core::TensorView& q = prompt.step->q;
  const core::Shape& shape = prompt.head.layer->shape;
  float* row = scratch.prompt_out;
  for (int32_t token = tile.first; token < tile.end; ++token) {
    for (int32_t g = 0; g < shape.group_size; ++g, row += shape.head_dim) {
      load_row(q.dtype, q.at(prompt.first + token, int64_t{prompt.head.kv_head} * shape.group_size + g), q.stride[2],
               row, shape.head_dim);
      for (int32_t e = 0; e < shape.head_dim; ++e) row[e] *= prompt.step->softmax_scale;
    }
  }
}

void store_results(const HeadTokens& prompt, TileTokens tile, const Scratch& scratch) {
  const core::TensorView& out = prompt.step->out;
  const core::TensorView& lse = prompt.step->lse;
  const core::Shape& shape = prompt.head.layer->shape;
  int64_t query = 0;
  for (int32_t token = tile.first; token < tile.end; ++token) {
    for (int32_t g = 0; g < shape.group_size; ++g, ++query) {
      const int64_t head = int64_t{prompt.head.kv_head} * shape.group_size + g;
      const int64_t at = prompt.first + token;
      store_row(out.dtype, scratch.prompt_out + query * shape.head_dim, out.at(at, head), out.stride[2],
                shape.head_dim);
      if (lse) std::memcpy(lse.at(at, head), scratch.prompt_lse + query, sizeof(float));
    }
  }
}

}  // namespace

int32_t num_prompt_tiles(const core::Layer& layer, int32_t num_tokens) {
  return core::num_parts(num_tokens, prompt_tile_tokens(layer.shape.group_size));
}

void attend_prompt(const HeadTokens& prompt, int32_t tile, const Scratch& scratch, const int32_t* taken) {
  const core::Shape& shape = prompt.head.layer->shape;
  const TileTokens tokens = tile_tokens(prompt, tile);
  const PromptTile result{.num_queries = (tokens.end - tokens.first) * shape.group_size,
                          .group = shape.group_size,
                          .head_dim = shape.head_dim,
                          .logit_soft_cap = prompt.step->logit_soft_cap,
                          .queries = scratch.prompt_queries,
                          .sums = scratch.prompt_sums,
                          .maxima = scratch.prompt_maxima,
                          .weights = scratch.prompt_weights,
                          .tokens = scratch.prompt_tokens,
                          .logits = scratch.prompt_logits};
  load_queries(prompt, tokens, scratch);
  start_prompt_tile(result, scratch.prompt_out);
  const bool full = prompt.step->prefill_attention == HASHEVICT_PREFILL_FULL;
  const TileKeys keys = full ? all_keys(prompt, tokens, scratch) : held_keys(prompt, tokens, scratch, taken);
  for (int32_t first = 0; first < keys.count; first += kPromptKeys) {
    add_keys(prompt, tokens, keys, first, result, scratch);
  }
  finish_prompt_tile(result, scratch.prompt_out, scratch.prompt_lse);
  store_results(prompt, tokens, scratch);
}

}  // namespace hashevict::cpu
