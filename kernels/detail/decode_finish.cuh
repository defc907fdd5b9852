// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_fold.cuh"
#include "kernels/detail/attend_inputs.cuh"
#include "kernels/detail/clocks.cuh"
#include "kernels/detail/decode_step.cuh"

/// The work of a head's last block, once every split has left its partial result and its candidate.
///
/// Each lane of every warp takes a split, so all warps find the victim by themselves and nothing waits for a barrier.
/// The rows of the candidates that stay are then on their way to shared memory, each once and 16 bytes at a time, while
/// warps score the new token and find the factors of the merge (attend_fold.cuh).
namespace hashevict::kernels {

/// Shared memory of decode() beside the token's codes and attention.
struct DecodeShared {
  FoldShared fold;
  simt::SharedArray<uint32_t> losers;  ///< [kMostSplits, words of a row] values of the candidates that stay
  WarpCandidates candidates;
  simt::SharedArray<int32_t> is_last;
};

/// Words of a row of values.
template <class Shape>
HASHEVICT_HOST_DEVICE constexpr int32_t words_of_row(int32_t head_dim) {
  return head_dim * size_of(Shape::kDtype) / 4;
}

template <class Shape>
HASHEVICT_HOST_DEVICE constexpr int32_t decode_shared_bytes(int32_t head_dim) {
  return fold_bytes<Shape::kTile>() + simt::shared_bytes<uint32_t>(kMostSplits * words_of_row<Shape>(head_dim)) +
         simt::shared_bytes<uint64_t>(kAttendWarps) + simt::shared_bytes<int32_t>(kAttendWarps) +
         simt::shared_bytes<int32_t>(1);
}

template <class Shape>
HASHEVICT_DEVICE DecodeShared take_decode_shared(simt::SharedMemory& memory, int32_t head_dim) {
  const FoldShared fold = take_fold_shared<Shape::kTile>(memory);
  const auto keys = memory.take<uint64_t>(kAttendWarps);
  const auto slots = memory.take<int32_t>(kAttendWarps);
  const auto is_last = memory.take<int32_t>(1);
  return {fold, memory.take<uint32_t>(kMostSplits * words_of_row<Shape>(head_dim)), {keys, slots}, is_last};
}

/// Starts to copy the rows of all losers to shared memory; the rows of other splits become zeros. Before they are used,
/// each thread waits for its copies and the block meets. Four threads take a split.
/// @param offset of the row of the candidate of the split that the lane takes; -1: it is no loser
template <class Shape>
HASHEVICT_DEVICE void stage_losers(const Layer& layer, int32_t num_splits, int64_t offset,
                                   const simt::SharedArray<uint32_t>& losers) {
  constexpr int32_t kWords = Piece<Shape::kDtype>::kParts * 4;
  constexpr int32_t kThreads = kAttendThreads / kMostSplits;
  const int32_t pieces = layer.shape.head_dim / kPieceElements;
  const bool aligned = rows_are_aligned(layer);
  const int32_t split = simt::thread_index() / kThreads;
  const int64_t from = simt::shuffle(simt::kFullMask, offset, split);
  if (split >= num_splits) return;
  HASHEVICT_NO_UNROLL
  for (int32_t piece = simt::thread_index() % kThreads; piece < pieces; piece += kThreads) {
    const int32_t to = (split * pieces + piece) * kWords;
    const int32_t e = piece * kPieceElements;
    if (from >= 0 && aligned) {
      const auto* const row = static_cast<const unsigned char*>(layer.values) + from + e * size_of(Shape::kDtype);
      HASHEVICT_UNROLL
      for (int32_t k = 0; k < kWords; k += 4) losers.start_copy(to + k, row + 4 * k);
      continue;
    }
    Piece<Shape::kDtype> loaded{};
    if (from >= 0) loaded = load_piece<Shape::kDtype, false>(layer.values, from, e);
    HASHEVICT_UNROLL
    for (int32_t k = 0; k < kWords; k += 4) losers.store_many(to + k, loaded.parts[k / 4].words);
  }
}

/// Words of kQuad stored elements.
template <class Shape>
inline constexpr int32_t kQuadWords = kQuad* size_of(Shape::kDtype) / 4;

template <class Shape>
HASHEVICT_DEVICE void widen_quad(const uint32_t (&words)[kQuadWords<Shape>], float (&values)[kQuad]) {
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kQuad; ++i) {
    if constexpr (Shape::kDtype == DType::float32) {
      values[i] = simt::float_from_bits(words[i]);
    } else {
      values[i] = widen(static_cast<uint16_t>(i % 2 == 0 ? words[i / 2] & 0xFFFFU : words[i / 2] >> 16), Shape::kDtype);
    }
  }
}

/// Elements [e, e + 4) of a loser's value.
template <class Shape>
HASHEVICT_DEVICE void load_loser(const simt::SharedArray<uint32_t>& losers, int32_t split, int32_t head_dim, int32_t e,
                                 float (&values)[kQuad]) {
  uint32_t words[kQuadWords<Shape>];
  losers.load_many(split * words_of_row<Shape>(head_dim) + e * size_of(Shape::kDtype) / 4, words);
  widen_quad<Shape>(words, values);
}

/// A value of a type, rounded to the type of the cache.
HASHEVICT_DEVICE float as_stored(float value, DType from, DType dtype) {
  return dtype == from ? value : round_to(dtype, value);
}

/// An element of a token's vector, rounded to the type of the cache.
HASHEVICT_DEVICE float stored_element(const Vectors& x, DType dtype, const DecodeItem& item, int32_t e) {
  const int64_t place = item.token * x.stride[0] + item.kv_head * x.stride[1] + e * x.stride[2];
  const DType given = simt::varying(x.dtype);
  return as_stored(load_element(x.data, given, place), given, dtype);
}

/// Elements [e, e + 4) of a token's vector, rounded to the type of the cache.
HASHEVICT_DEVICE void load_stored_quad(const Vectors& x, DType dtype, const DecodeItem& item, int32_t e,
                                       float (&values)[kQuad]) {
  float eight[8];
  load_eight_of(x, item.token * x.stride[0] + item.kv_head * x.stride[1], e / 8 * 8, eight);
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kQuad; ++i) values[i] = e % 8 == 0 ? eight[i] : eight[4 + i];
  if (x.dtype == dtype) return;
  HASHEVICT_NO_UNROLL
  for (int32_t i = 0; i < kQuad; ++i) {  // in turn, for one copy of the code
    const float rounded = round_to(dtype, values[0]);
    HASHEVICT_UNROLL
    for (int32_t k = 0; k + 1 < kQuad; ++k) values[k] = values[k + 1];
    values[kQuad - 1] = rounded;
  }
}

/// A warp finds the new token's logit for a query; all lanes get it.
/// @param step has the token's key
/// @param load_query (e) an element of the query
template <class Shape, class LoadQuery>
HASHEVICT_DEVICE float score_token(const DecodeParams& p, const StepShared& step, const LoadQuery& load_query) {
  float dot = 0.0F;
  HASHEVICT_NO_UNROLL
  for (int32_t e = simt::lane(); e < p.evict.layer.shape.head_dim; e += simt::kWarpSize) {
    const DType given = simt::varying(p.evict.k.dtype);
    dot = simt::fma(load_query(e), as_stored(step.key.load(e), given, Shape::kDtype), dot);
  }
  HASHEVICT_UNROLL
  for (int32_t step = simt::kWarpSize / 2; step > 0; step /= 2) {
    dot = simt::add(dot, simt::shuffle_xor(simt::kFullMask, dot, step));
  }
  return logit_of(p.softmax, dot);
}

/// Chooses the token's slot, writes the results, then overwrites the slot. Begins and ends with a barrier.
template <class Shape>
HASHEVICT_DEVICE void finish_token(const DecodeParams& p, const DecodeItem& item, const SharedHead& head,
                                   const StepShared& step, const DecodeShared& shared) {
  const Layer& layer = p.evict.layer;
  const int32_t group_size = layer.shape.group_size;
  const int32_t head_dim = layer.shape.head_dim;
  const int32_t num_splits = item.num_splits();
  const HeadPartials partials = partials_of(p.partials, layer, item.sequence, item.first_split);
  simt::block_sync();
  const bool has_split = simt::lane() < num_splits;
  const int32_t num_losers = item.is_full() ? num_splits : 0;
  int32_t slot = item.position;
  bool loses = false;
  if (item.is_full()) {
    Candidate own{0, 0};
    if (has_split) {
      own =
          in_head({simt::load_relaxed(partials.keys + simt::lane()), simt::load_relaxed(partials.slots + simt::lane())},
                  item.capacity);
    }
    const Candidate best = best_of_warp(own);
    // No key at all: possible only if two rows name one sequence, or a forged state was loaded.
    slot = best.key == 0 ? head.load(layer).num_sink_tokens : best.slot;
    loses = own.key != 0 && own.slot != slot;
    stage_losers<Shape>(layer, num_splits, loses ? head.load(layer).address(own.slot) : int64_t{-1}, shared.losers);
  }
  mark(Phase::candidates);
  HASHEVICT_NO_UNROLL
  for (int32_t tile = 0; tile < group_size; tile += Shape::kTile) {
    const int32_t queries = group_size - tile < Shape::kTile ? group_size - tile : Shape::kTile;
    const int32_t first_head = item.kv_head * group_size + tile;
    HASHEVICT_NO_UNROLL
    for (int32_t q = simt::uniform_warp(); q < queries; q += kAttendWarps) {
      const int64_t n = int64_t{simt::lane()} * group_size + tile + q;
      const float maximum = has_split ? simt::load_relaxed(partials.maxima + n) : kNegativeInfinity;
      const float sum = has_split ? simt::load_relaxed(partials.sums + n) : 0.0F;
      const float logit = loses ? simt::load_relaxed(partials.logits + n) : kNegativeInfinity;
      const float of_token = score_token<Shape>(p, step, [&](int32_t e) {
        const Vectors& all = p.evict.q;
        const int64_t place = item.token * all.stride[0] + (first_head + q) * all.stride[1];
        return load_element(all.data, simt::varying(all.dtype), place + e * all.stride[2]);
      });
      store_factors(shared.fold, q, maximum, sum, logit, loses, of_token);
    }
    simt::wait_for_copies();
    simt::block_sync();
    for_quads(queries, head_dim, [&](int32_t q, int32_t e) {
      PartialQuad all = fold_splits(shared.fold, q, partials.values + (tile + q) * head_dim + e,
                                    int64_t{group_size} * head_dim, num_splits);
      float values[kQuad];
      HASHEVICT_NO_UNROLL
      for (int32_t split = 0; split < num_losers; ++split) {
        load_loser<Shape>(shared.losers, split, head_dim, e, values);
        fold(all, shared.fold.load(q, kMostSplits + split), values);
      }
      load_stored_quad(p.evict.v, Shape::kDtype, item, e, values);
      fold(all, shared.fold.load(q, 2 * kMostSplits), values);
      store_results({p.out, p.lse}, item.token, first_head + q, e, all);
    });
    simt::block_sync();
  }
  mark(Phase::merge);
  overwrite(p.evict, head.load(layer), item, slot, step);
  simt::block_sync();
  mark(Phase::results);
}

}  // namespace hashevict::kernels
