// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_row.cuh"
#include "kernels/detail/prefill_slots.cuh"

/// What the steps of a few tokens of a prompt look at, laid down in shared memory before they run.
namespace hashevict::kernels {

inline constexpr int32_t kChunkTokens = 8;   ///< at most
inline constexpr int32_t kChunkCodes = 264;  ///< at most, unless one token has more

/// Codes that a step looks at: the key's, then the queries', or the one that stands for all keys.
HASHEVICT_HOST_DEVICE inline int32_t codes_of_token(core::Probe probe, int32_t group_size) {
  if (probe == core::Probe::queries) return 1 + group_size;
  return probe == core::Probe::mean_key || probe == core::Probe::majority ? 2 : 1;
}

/// Extents of a chunk.
struct ChunkShape {
  int32_t tokens;
  int32_t codes_of_token;
  int32_t words;   ///< of all codes
  int32_t floats;  ///< of the means
};

template <int32_t kBits>
HASHEVICT_HOST_DEVICE inline ChunkShape chunk_shape(const Layer& layer, core::Probe probe) {
  const int32_t codes = codes_of_token(probe, layer.group_size);
  const int32_t most = codes < kChunkCodes ? kChunkCodes / codes : 1;
  const int32_t tokens = most < kChunkTokens ? most : kChunkTokens;
  const int32_t floats = probe == core::Probe::mean_key ? tokens * layer.head_dim : 0;
  return {tokens, codes, tokens * codes * kCodeWords<kBits>, floats};
}

/// A row of a prompt as one head's block takes it in.
struct Prompt {
  const PrefillParams& params;
  const PrefillRow& row;
  const Head& head;
  RuleFacts rule;

  [[nodiscard]] HASHEVICT_DEVICE const Layer& layer() const { return params.evict.layer; }
  [[nodiscard]] HASHEVICT_DEVICE int64_t token(int32_t index) const { return int64_t{row.first_token} + index; }
};

/// Element of the key of the `index`-th token.
HASHEVICT_DEVICE float key_element(const Prompt& prompt, int32_t index, int32_t e) {
  const Vectors& k = prompt.params.evict.k;
  const int64_t vector = prompt.token(index) * k.stride[0] + prompt.head.kv_head * k.stride[1];
  return load_element(k.data, k.dtype, vector + e * k.stride[2]);
}

template <int32_t kBits>
HASHEVICT_DEVICE Code<kBits> key_code(const Prompt& prompt, int32_t index) {
  return load_code<kBits>(encoded_key(prompt.params, prompt.token(index), prompt.head.kv_head), 0);
}

template <int32_t kBits>
HASHEVICT_DEVICE Code<kBits> query_code(const Prompt& prompt, int32_t index, int32_t query) {
  return load_code<kBits>(encoded_query(prompt.params, prompt.token(index), prompt.head.kv_head, query), 0);
}

/// What a new token's accumulator depends on.
template <class Rule, int32_t kBits>
HASHEVICT_DEVICE core::NewToken new_token_of(const Prompt& prompt, int32_t index) {
  core::NewToken token{0, 0.0F};
  if constexpr (Rule::kAccumulates && Rule::kProbe == core::Probe::queries) {
    const Code<kBits> own = key_code<kBits>(prompt, index);
    for (int32_t g = 0; g < prompt.layer().group_size; ++g) {
      token.own_distance += hamming_distance(own, query_code<kBits>(prompt, index, g));
    }
  }
  if constexpr (Rule::kNeedsNorm) {
    for (int32_t e = 0; e < prompt.layer().head_dim; ++e) {
      const float x = key_element(prompt, index, e);
      token.squared_norm = simt::fma(x, x, token.squared_norm);
    }
  }
  return token;
}

/// What the accumulator of a new token starts from, of any type.
template <int32_t kBits>
HASHEVICT_DEVICE uint32_t start_of(const Prompt& prompt, int32_t index) {
  return core::visit_rule(prompt.layer().rule, [&](auto example) -> uint32_t {
    using Rule = decltype(example);
    if constexpr (core::kHasAccumulator<Rule>) {
      return Rule::start(new_token_of<Rule, kBits>(prompt, index));
    } else {
      return 0;
    }
  });
}

/// What a block holds in shared memory of a chunk of tokens.
struct Chunk {
  simt::SharedArray<uint32_t> codes;  ///< [tokens, codes_of_token, code words]
  simt::SharedArray<float> means;     ///< [tokens, head_dim], centred; probe mean_key only
  int32_t tokens;                     ///< at most
  int32_t codes_of_token;
};

template <int32_t kBits>
HASHEVICT_DEVICE Chunk take_chunk(simt::SharedMemory& memory, const Layer& layer, core::Probe probe) {
  const ChunkShape shape = chunk_shape<kBits>(layer, probe);
  const auto codes = memory.take<uint32_t>(shape.words);
  return {codes, memory.take<float>(shape.floats), shape.tokens, shape.codes_of_token};
}

/// Adds the chunk's keys to the running sum, one after the other, and encodes the mean after each that needs it.
template <int32_t kBits>
HASHEVICT_DEVICE void stage_means(const Prompt& prompt, const Chunk& chunk, int32_t first, int32_t count) {
  const Layer& layer = prompt.layer();
  const int32_t e = simt::thread_index();
  if (e < layer.head_dim) {
    float sum = simt::load(prompt.head.key_sum + e);
    for (int32_t i = 0; i < count; ++i) {
      sum = simt::add(sum, key_element(prompt, first + i, e));
      const float mean = simt::divide(sum, static_cast<float>(prompt.row.before + first + i + 1));
      chunk.means.store(i * layer.head_dim + e, centered(layer, prompt.head, 0, e, mean));
    }
    simt::store(prompt.head.key_sum + e, sum);
  }
  simt::block_sync();
  if (prompt.row.plan != Plan::by_rule) return;
  for (int32_t unit = simt::warp(); unit < count * kCodeWords<kBits>; unit += kChooseWarps) {
    const int32_t i = unit / kCodeWords<kBits>;
    const int32_t word = unit % kCodeWords<kBits>;
    if (prompt.row.before + first + i < layer.capacity) continue;
    const uint32_t bits =
        project_word<kBits>(chunk.means, i * layer.head_dim, layer.head_dim, prompt.head.projection, word);
    if (simt::lane() == 0) chunk.codes.store((i * chunk.codes_of_token + 1) * kCodeWords<kBits> + word, bits);
  }
}

/// Counts the bits of the chunk's keys, and makes the majority after each. A warp counts 32 bits.
template <int32_t kBits>
HASHEVICT_DEVICE void stage_majorities(const Prompt& prompt, const Chunk& chunk, int32_t first, int32_t count) {
  simt::block_sync();
  const int32_t word = simt::warp();
  const int32_t bit = simt::thread_index();
  if (word >= kCodeWords<kBits>) return;
  int32_t ones = bit < kBits ? simt::load(prompt.head.bit_counts + bit) : 0;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t key = i * chunk.codes_of_token * kCodeWords<kBits> + word;
    ones += static_cast<int32_t>(chunk.codes.load(key) >> simt::lane() & 1U);
    const bool set = bit < kBits && 2 * int64_t{ones} >= int64_t{prompt.row.before} + first + i + 1;
    const uint32_t bits = simt::ballot(simt::kFullMask, set);
    if (simt::lane() == 0) chunk.codes.store(key + kCodeWords<kBits>, bits);
  }
  if (bit < kBits) simt::store(prompt.head.bit_counts + bit, ones);
}

/// All threads lay down tokens [first, first + count) of the prompt. Ends with a barrier.
template <int32_t kBits>
HASHEVICT_DEVICE void stage_chunk(const Prompt& prompt, const Chunk& chunk, int32_t first, int32_t count) {
  const int32_t given = prompt.rule.probe == core::Probe::queries ? chunk.codes_of_token : 1;
  for (int32_t i = simt::thread_index(); i < count * given; i += kChooseThreads) {
    const int32_t index = i / given;
    const int32_t n = i % given;
    const Code<kBits> code =
        n == 0 ? key_code<kBits>(prompt, first + index) : query_code<kBits>(prompt, first + index, n - 1);
    chunk.codes.store_many((index * chunk.codes_of_token + n) * kCodeWords<kBits>, code.words);
  }
  if (prompt.rule.probe == core::Probe::mean_key) stage_means<kBits>(prompt, chunk, first, count);
  if (prompt.rule.probe == core::Probe::majority) stage_majorities<kBits>(prompt, chunk, first, count);
  simt::block_sync();
}

/// The n-th code of a chunk's token.
template <int32_t kBits>
HASHEVICT_DEVICE Code<kBits> staged_code(const Chunk& chunk, int32_t index, int32_t n) {
  Code<kBits> code;
  chunk.codes.load_many((index * chunk.codes_of_token + n) * kCodeWords<kBits>, code.words);
  return code;
}

}  // namespace hashevict::kernels
