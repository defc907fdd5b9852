// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_ring.cuh"
#include "kernels/detail/decode_finish.cuh"

/// What the blocks of a cluster leave each other in shared memory, and the merge of it.
///
/// Block r takes splits r, r + size, .. Candidates go to every block before the softmax, so each finds the victim by
/// itself. Partial results, the logits of candidates and the rows of those that stay remain where they are: the others
/// read them from there, each block for its share of the outputs. Parts are folded in the order of finish_token(), with
/// the same factors, so a cluster of any size gives the bits of the kernel without clusters.
namespace hashevict::kernels {

/// One block's part of a token.
struct ClusterShared {
  simt::SharedArray<uint64_t> keys;    ///< [kMostSplits] of all candidates; 0: no candidate
  simt::SharedArray<int32_t> slots;    ///< [kMostSplits] of all candidates
  simt::SharedArray<float> maxima;     ///< [own splits, kTile]
  simt::SharedArray<float> sums;       ///< [own splits, kTile]
  simt::SharedArray<float> logits;     ///< [own splits, kTile] of the own candidates
  simt::SharedArray<float> values;     ///< [own splits, kTile, head_dim], weighted
  simt::SharedArray<uint32_t> losers;  ///< [own splits, words of a row] values of the own candidates that stay
  WarpCandidates candidates;
};

/// Splits that a block of a cluster takes at most.
HASHEVICT_HOST_DEVICE constexpr int32_t own_splits(int32_t num_splits, int32_t cluster_size) {
  return (num_splits + cluster_size - 1) / cluster_size;
}

template <class Shape>
HASHEVICT_HOST_DEVICE constexpr int32_t cluster_shared_bytes(int32_t head_dim, int32_t splits) {
  return simt::shared_bytes<uint64_t>(kMostSplits) + simt::shared_bytes<int32_t>(kMostSplits) +
         3 * simt::shared_bytes<float>(splits * Shape::kTile) +
         simt::shared_bytes<float>(splits * Shape::kTile * head_dim) +
         simt::shared_bytes<uint32_t>(splits * words_of_row<Shape>(head_dim)) +
         simt::shared_bytes<uint64_t>(kAttendWarps) + simt::shared_bytes<int32_t>(kAttendWarps);
}

template <class Shape>
HASHEVICT_DEVICE ClusterShared take_cluster_shared(simt::SharedMemory& memory, int32_t head_dim, int32_t splits) {
  const auto keys = memory.take<uint64_t>(kMostSplits);
  const auto slots = memory.take<int32_t>(kMostSplits);
  const auto maxima = memory.take<float>(splits * Shape::kTile);
  const auto sums = memory.take<float>(splits * Shape::kTile);
  const auto logits = memory.take<float>(splits * Shape::kTile);
  const auto values = memory.take<float>(splits * Shape::kTile * head_dim);
  const auto losers = memory.take<uint32_t>(splits * words_of_row<Shape>(head_dim));
  const auto warp_keys = memory.take<uint64_t>(kAttendWarps);
  return {keys, slots, maxima, sums, logits, values, losers, {warp_keys, memory.take<int32_t>(kAttendWarps)}};
}

/// What a lane knows of the choice: it takes the split of its number.
struct Choice {
  int32_t slot;  ///< of the new token
  bool loses;    ///< the lane's split has a candidate that stays
};

/// All warps choose the token's slot. Comes behind the barrier of the cluster that follows the candidates.
HASHEVICT_DEVICE Choice choose(const DecodeItem& item, int32_t num_sink_tokens, const ClusterShared& shared) {
  if (!item.is_full()) return {item.position, false};
  const int32_t lane = simt::lane();
  Candidate own{0, 0};
  if (lane < item.num_splits()) {
    // Where two rows name one sequence, blocks may disagree on the number of splits, and any number may lie here.
    const int32_t slot = shared.slots.load(lane);
    own = {shared.keys.load(lane), slot >= 0 && slot < item.capacity ? slot : 0};
  }
  const Candidate best = best_of_warp(own);
  // No key at all: possible only if two rows name one sequence, or a forged state was loaded.
  const int32_t slot = best.key == 0 ? num_sink_tokens : best.slot;
  return {slot, own.key != 0 && own.slot != slot};
}

/// Starts to copy the rows of the block's own losers to shared memory; other rows become zeros. Before they are used,
/// each thread waits for its copies.
template <class Shape>
HASHEVICT_DEVICE void stage_own_losers(const Layer& layer, const core::SlotAddress& address, int32_t num_splits,
                                       const Choice& choice, const ClusterShared& shared) {
  constexpr int32_t kWords = Piece<Shape::kDtype>::kParts * 4;
  const int32_t pieces = layer.shape.head_dim / kPieceElements;
  const int32_t size = simt::cluster_size();
  const uint32_t losers = simt::ballot(simt::kFullMask, choice.loses);
  HASHEVICT_NO_UNROLL
  for (int32_t unit = simt::thread_index();; unit += kAttendThreads) {
    const int32_t split = simt::cluster_rank() + unit / pieces * size;
    if (split >= num_splits) break;
    if ((losers >> split & 1U) == 0) {
      HASHEVICT_UNROLL
      for (int32_t k = 0; k < kWords; k += 4) shared.losers.store_many(unit * kWords + k, {0U, 0U, 0U, 0U});
      continue;
    }
    const int64_t row = address(shared.slots.load(split)) + unit % pieces * kPieceElements * size_of(Shape::kDtype);
    HASHEVICT_UNROLL
    for (int32_t k = 0; k < kWords; k += 4) {
      shared.losers.start_copy(unit * kWords + k, static_cast<const unsigned char*>(layer.values) + row + 4 * k);
    }
  }
}

/// Where a part of a split lies in the cluster.
struct SplitPlace {
  int32_t rank;
  int32_t index;  ///< among the block's own splits

  /// @param cluster_size a power of two
  static HASHEVICT_DEVICE SplitPlace of(int32_t split, int32_t cluster_size) {
    return {split & (cluster_size - 1), split >> simt::popcount(static_cast<uint32_t>(cluster_size - 1))};
  }
};

/// A warp finds the factors of a query's parts.
template <class Shape>
HASHEVICT_DEVICE void find_factors(const DecodeParams& p, const DecodeItem& item, const Choice& choice, int32_t query,
                                   const ClusterShared& shared, const AttendShared& attend, const FoldShared& steps) {
  const SplitPlace place = SplitPlace::of(simt::lane(), simt::cluster_size());
  const int32_t n = place.index * Shape::kTile + query;
  float maximum = kNegativeInfinity;
  float sum = 0.0F;
  float logit = kNegativeInfinity;
  if (simt::lane() < item.num_splits()) {
    maximum = simt::load_from(shared.maxima, place.rank, n);
    sum = simt::load_from(shared.sums, place.rank, n);
    if (choice.loses) logit = simt::load_from(shared.logits, place.rank, n);
  }
  const int32_t row = query * p.evict.layer.shape.head_dim;  // staged, since other blocks may write results over q
  const float of_token = score_token(p, item, [&](int32_t e) { return attend.queries.load(row + e); });
  const float of_splits = find_steps(steps, query, 0, kNegativeInfinity, maximum, sum);
  const float before = find_steps(steps, query, kMostSplits, of_splits, logit, choice.loses ? 1.0F : 0.0F);
  if (simt::lane() == 0) {
    steps.store(query, 2 * kMostSplits, fold_step(before, simt::maximum(before, of_token), of_token, 1.0F));
  }
}

/// Folds the losers of a query: elements [e, e + kQuad).
template <class Shape>
HASHEVICT_DEVICE void fold_losers(PartialQuad& all, const FoldShared& steps, const ClusterShared& shared, int32_t query,
                                  int32_t num_splits, int32_t head_dim, int32_t e) {
  const int32_t size = simt::cluster_size();
  HASHEVICT_NO_UNROLL
  for (int32_t first = 0; first < num_splits; first += kFoldBatch) {
    uint32_t words[kFoldBatch][kQuadWords<Shape>];
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kFoldBatch; ++i) {
      const SplitPlace place = SplitPlace::of(first + i < num_splits ? first + i : num_splits - 1, size);
      const int32_t row = place.index * words_of_row<Shape>(head_dim);
      simt::load_many_from(shared.losers, place.rank, row + e * size_of(Shape::kDtype) / 4, words[i]);
    }
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kFoldBatch; ++i) {
      if (first + i >= num_splits) break;
      float values[kQuad];
      widen_quad<Shape>(words[i], values);
      fold(all, steps.load(query, kMostSplits + first + i), values);
    }
  }
}

/// Folds the splits of a query.
template <class Shape>
HASHEVICT_DEVICE PartialQuad fold_remote_splits(const FoldShared& steps, const ClusterShared& shared, int32_t query,
                                                int32_t num_splits, int32_t head_dim, int32_t e) {
  const int32_t size = simt::cluster_size();
  PartialQuad all = empty_quad();
  HASHEVICT_NO_UNROLL
  for (int32_t first = 0; first < num_splits; first += kFoldBatch) {
    float parts[kFoldBatch][kQuad];
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kFoldBatch; ++i) {
      const SplitPlace place = SplitPlace::of(first + i < num_splits ? first + i : num_splits - 1, size);
      const int32_t row = place.index * Shape::kTile + query;
      simt::load_many_from(shared.values, place.rank, row * head_dim + e, parts[i]);
    }
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kFoldBatch; ++i) {
      if (first + i < num_splits) fold(all, steps.load(query, first + i), parts[i]);
    }
  }
  return all;
}

/// The block's share of a tile's outputs: quads [first, end), a query after the other.
struct Share {
  int32_t first;
  int32_t end;
};

HASHEVICT_DEVICE Share share_of(int32_t queries, int32_t head_dim) {
  const int32_t quads = queries * (head_dim / kQuad);
  const int32_t each = (quads + simt::cluster_size() - 1) / simt::cluster_size();
  const int32_t first = simt::cluster_rank() * each;
  return {first, first + each < quads ? first + each : quads};
}

/// Merges the block's share of a tile. Comes behind the barrier of the cluster that follows the partial results.
template <class Shape>
HASHEVICT_DEVICE void merge_share(const DecodeParams& p, const DecodeItem& item, const Choice& choice, int32_t tile,
                                  int32_t queries, const ClusterShared& shared, const AttendShared& attend,
                                  const FoldShared& steps) {
  const Layer& layer = p.evict.layer;
  const int32_t head_dim = layer.shape.head_dim;
  const int32_t quads = head_dim / kQuad;
  const Share share = share_of(queries, head_dim);
  const int32_t num_splits = item.num_splits();
  HASHEVICT_NO_UNROLL
  for (int32_t q = share.first / quads + simt::warp(); q * quads < share.end; q += kAttendWarps) {
    find_factors<Shape>(p, item, choice, q, shared, attend, steps);
  }
  simt::block_sync();
  HASHEVICT_NO_UNROLL
  for (int32_t i = share.first + simt::thread_index(); i < share.end; i += kAttendThreads) {
    const int32_t q = i / quads;
    const int32_t e = i % quads * kQuad;
    PartialQuad all = fold_remote_splits<Shape>(steps, shared, q, num_splits, head_dim, e);
    if (item.is_full()) fold_losers<Shape>(all, steps, shared, q, num_splits, head_dim, e);
    float values[kQuad];
    HASHEVICT_UNROLL
    for (int32_t k = 0; k < kQuad; ++k) values[k] = stored_element(p.evict.v, Shape::kDtype, item, e + k);
    fold(all, steps.load(q, 2 * kMostSplits), values);
    store_results({p.out, p.lse}, item.token, item.kv_head * layer.shape.group_size + tile + q, e, all);
  }
}

}  // namespace hashevict::kernels
