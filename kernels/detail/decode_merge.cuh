// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_ring.cuh"
#include "kernels/detail/decode_finish.cuh"

/// What the blocks of a cluster push into each other's shared memory, and the merge of it.
///
/// Block r takes splits r, r + size, .., and merges a share of the outputs: some neighbouring elements of every query.
/// It pushes the candidate of each of its splits to all blocks before the softmax, so each finds the victim by itself,
/// and starts to copy its share of the rows of the candidates that stay. Behind the softmax it pushes to each block
/// that block's share of a split's result. An mbarrier tells each block when all has come, so that it reads nothing but
/// its own memory, and may end once it has waited. Every sender says how many bytes it sends, since blocks may disagree
/// on the number of splits where two rows name one sequence. Parts are folded in the order of finish_token(), with the
/// same factors, so a cluster of any size gives the bits of the kernel without clusters.
namespace hashevict::kernels {

inline constexpr int32_t kPushed = 4;  ///< numbers of a push

/// What the mbarriers of a block wait for: first all candidates of a token, then all results of a tile of queries.
enum Exchange : int32_t { kCandidates, kResults, kExchanges };

/// Elements of a head's outputs that a block merges at most. Shares are whole pieces.
/// @param log_size binary logarithm of the blocks of the cluster
HASHEVICT_HOST_DEVICE constexpr int32_t share_elements(int32_t head_dim, int32_t log_size) {
  const int32_t pieces = head_dim / kPieceElements;
  return ((pieces - 1) >> log_size) * kPieceElements + kPieceElements;
}

/// Binary logarithm of the blocks of the cluster.
HASHEVICT_DEVICE int32_t log_cluster_size() {
  return simt::popcount(static_cast<uint32_t>(simt::cluster_size() - 1));
}

/// The elements that a block merges.
struct Share {
  int32_t first;
  int32_t count;  ///< 0: the other blocks have them all

  static HASHEVICT_DEVICE Share of(int32_t rank, int32_t head_dim) {
    const int32_t each = share_elements(head_dim, log_cluster_size());
    const int32_t first = rank * each;
    const int32_t left = first < head_dim ? head_dim - first : 0;
    return {first, left < each ? left : each};
  }
};

/// One block's part of a token. Other blocks push into the first three arrays.
struct ClusterShared {
  simt::SharedArray<uint32_t> candidates;  ///< [kMostSplits, kPushed] key and slot of each
  simt::SharedArray<float> sums;           ///< [splits, kTile, kPushed] maximum, sum, logit of the candidate
  simt::SharedArray<float> values;         ///< [splits, kTile, elements of a share], weighted
  simt::SharedArray<uint32_t> losers;      ///< [splits, words of a share] values of the candidates that stay
  simt::SharedArray<float> logits;         ///< [2, kTile] of a split's candidate, of the new token
  WarpCandidates warps;
  simt::Mbarriers barriers;  ///< [kExchanges]

  /// One thread calls it; then the cluster meets.
  HASHEVICT_DEVICE void init() const {
    HASHEVICT_NO_UNROLL
    for (int32_t i = 0; i < kExchanges; ++i) barriers.init(i, simt::cluster_size());
  }
  HASHEVICT_DEVICE void push_candidate(int32_t rank, int32_t split, const Candidate& own) const {
    const uint32_t numbers[kPushed] = {static_cast<uint32_t>(own.key), static_cast<uint32_t>(own.key >> 32),
                                       static_cast<uint32_t>(own.slot), 0};
    simt::push(candidates, rank, split * kPushed, numbers, barriers, kCandidates);
  }
  [[nodiscard]] HASHEVICT_DEVICE Candidate candidate(int32_t split) const {
    uint32_t numbers[kPushed];
    candidates.load_many(split * kPushed, numbers);
    return {uint64_t{numbers[1]} << 32 | numbers[0], static_cast<int32_t>(numbers[2])};
  }
};

/// Words of stored elements.
template <class Shape>
HASHEVICT_HOST_DEVICE constexpr int32_t words_of(int32_t elements) {
  return elements * size_of(Shape::kDtype) / 4;
}

/// @param share elements of a share
template <class Shape>
HASHEVICT_HOST_DEVICE constexpr int32_t cluster_shared_bytes(int32_t share, int32_t splits) {
  return simt::shared_bytes<uint32_t>(kMostSplits * kPushed) +
         simt::shared_bytes<float>(splits * Shape::kTile * kPushed) +
         simt::shared_bytes<float>(splits * Shape::kTile * share) +
         simt::shared_bytes<uint32_t>(splits * words_of<Shape>(share)) + simt::shared_bytes<float>(2 * Shape::kTile) +
         simt::shared_bytes<uint64_t>(kAttendWarps) + simt::shared_bytes<int32_t>(kAttendWarps) +
         simt::Mbarriers::bytes(kExchanges);
}

template <class Shape>
HASHEVICT_DEVICE ClusterShared take_cluster_shared(simt::SharedMemory& memory, int32_t share, int32_t splits) {
  const auto candidates = memory.take<uint32_t>(kMostSplits * kPushed);
  const auto logits = memory.take<float>(2 * Shape::kTile);
  const auto keys = memory.take<uint64_t>(kAttendWarps);
  const auto slots = memory.take<int32_t>(kAttendWarps);
  const simt::Mbarriers barriers{memory, kExchanges};
  const auto sums = memory.take<float>(splits * Shape::kTile * kPushed);
  const auto values = memory.take<float>(splits * Shape::kTile * share);
  const auto losers = memory.take<uint32_t>(splits * words_of<Shape>(share));
  return {candidates, sums, values, losers, logits, {keys, slots}, barriers};
}

/// What a lane knows of the choice: it takes the split of its number.
struct Choice {
  int32_t slot;  ///< of the new token
  bool loses;    ///< the lane's split has a candidate that stays
};

/// All warps choose the token's slot. Comes behind the wait for the candidates.
HASHEVICT_DEVICE Choice choose(const DecodeItem& item, int32_t num_sink_tokens, const ClusterShared& shared) {
  if (!item.is_full()) return {item.position, false};
  const int32_t lane = simt::lane();
  Candidate own{0, 0};
  if (lane < item.num_splits()) own = in_head(shared.candidate(lane), item.capacity);
  const Candidate best = best_of_warp(own);
  // No key at all: possible only if two rows name one sequence, or a forged state was loaded.
  const int32_t slot = best.key == 0 ? num_sink_tokens : best.slot;
  return {slot, own.key != 0 && own.slot != slot};
}

/// Starts to copy the block's share of the rows of all losers to shared memory; other rows become zeros. Before they
/// are used, each thread waits for its copies and the block meets. Four threads take a split.
template <class Shape>
HASHEVICT_DEVICE void stage_losers_of_share(const Layer& layer, const core::SlotAddress& address,
                                            const DecodeItem& item, const Choice& choice, const ClusterShared& shared) {
  constexpr int32_t kWords = Piece<Shape::kDtype>::kParts * 4;
  constexpr int32_t kThreads = kAttendThreads / kMostSplits;
  const Share share = Share::of(simt::cluster_rank(), layer.shape.head_dim);
  const int32_t stride = words_of<Shape>(share_elements(layer.shape.head_dim, log_cluster_size()));
  const uint32_t losers = simt::ballot(simt::kFullMask, choice.loses);
  const int32_t split = simt::thread_index() / kThreads;
  if (split >= item.num_splits()) return;
  const bool loses = (losers >> split & 1U) != 0;
  const int64_t row = loses ? address(in_head(shared.candidate(split), item.capacity).slot) : 0;
  HASHEVICT_NO_UNROLL
  for (int32_t e = simt::thread_index() % kThreads * kPieceElements; e < share.count; e += kThreads * kPieceElements) {
    const auto* const from =
        static_cast<const unsigned char*>(layer.values) + row + (share.first + e) * size_of(Shape::kDtype);
    const int32_t to = split * stride + words_of<Shape>(e);
    HASHEVICT_UNROLL
    for (int32_t k = 0; k < kWords; k += 4) {
      if (loses) {
        shared.losers.start_copy(to + k, from + 4 * k);
      } else {
        shared.losers.store_many(to + k, {0U, 0U, 0U, 0U});
      }
    }
  }
}

/// Bytes that a block pushes to block `rank` for a tile of its splits.
HASHEVICT_DEVICE int32_t pushed_bytes(int32_t rank, int32_t num_splits, int32_t queries, int32_t head_dim) {
  const int32_t own = (num_splits - simt::cluster_rank() + simt::cluster_size() - 1) >> log_cluster_size();
  return own * queries * (kPushed + Share::of(rank, head_dim).count) * static_cast<int32_t>(sizeof(float));
}

/// Pushes elements [e, e + 4) of a split's result for a query to the block that merges them, and with them the sums to
/// some of the blocks.
template <class Shape>
HASHEVICT_DEVICE void push_partial(const ClusterShared& shared, int32_t split, int32_t query, int32_t head_dim,
                                   int32_t e, const PartialQuad& partial, float logit) {
  const int32_t row = split * Shape::kTile + query;
  const int32_t each = share_elements(head_dim, log_cluster_size());
  const auto owner = static_cast<int32_t>(static_cast<uint32_t>(e) / static_cast<uint32_t>(each));
  simt::push(shared.values, owner, row * each + e - owner * each, partial.values, shared.barriers, kResults);
  const float sums[kPushed] = {partial.maximum, partial.sum, logit, 0.0F};
  HASHEVICT_NO_UNROLL
  for (int32_t rank = e / kQuad; rank < simt::cluster_size(); rank += head_dim / kQuad) {
    simt::push(shared.sums, rank, row * kPushed, sums, shared.barriers, kResults);
  }
}

/// A warp finds the factors of a query's parts.
template <class Shape>
HASHEVICT_DEVICE void find_factors(const DecodeItem& item, const Choice& choice, int32_t query,
                                   const ClusterShared& shared, const FoldShared& steps) {
  float sums[kPushed] = {kNegativeInfinity, 0.0F, kNegativeInfinity, 0.0F};
  if (simt::lane() < item.num_splits()) {
    shared.sums.load_many((simt::lane() * Shape::kTile + query) * kPushed, sums);
    if (!choice.loses) sums[2] = kNegativeInfinity;
  }
  const float of_token = shared.logits.load(Shape::kTile + query);
  store_factors(steps, query, sums[0], sums[1], sums[2], choice.loses, of_token);
}

/// An element of a loser's value. `e` counts from the block's share on.
template <class Shape>
HASHEVICT_DEVICE float loser_element(const simt::SharedArray<uint32_t>& losers, int32_t row, int32_t e) {
  if constexpr (Shape::kDtype == DType::float32) {
    return simt::float_from_bits(losers.load(row + e));
  } else {
    const uint32_t word = losers.load(row + e / 2);
    return widen(static_cast<uint16_t>(e % 2 == 0 ? word & 0xFFFFU : word >> 16), Shape::kDtype);
  }
}

/// Folds the parts of a query: the splits, then their candidates.
/// @param load (is_split, i) an element of part i
template <class Load>
HASHEVICT_DEVICE void fold_parts(Partial& all, const FoldShared& steps, int32_t query, int32_t num_splits,
                                 int32_t num_losers, const Load& load) {
  constexpr int32_t kTogether = 4;  // parts whose loads are in flight together
  const int32_t end = num_losers == 0 ? num_splits : kMostSplits + num_losers;
  HASHEVICT_NO_UNROLL
  for (int32_t first = 0; first < end; first += kTogether) {
    const bool is_split = first < kMostSplits;
    const int32_t last = (is_split ? num_splits : end) - 1;
    float parts[kTogether];
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kTogether; ++i)
      parts[i] = load(is_split, (first + i < last ? first + i : last) % kMostSplits);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kTogether; ++i) {
      if (first + i <= last) fold(all, steps.load(query, first + i), parts[i]);
    }
    if (first + kTogether > last && is_split) first = kMostSplits - kTogether;  // the candidates are next
  }
}

/// Merges the block's share of a tile, once the block's own results have been pushed.
/// @param parity of the tile's results
template <class Shape>
HASHEVICT_DEVICE void merge_share(const DecodeParams& p, const DecodeItem& item, const Choice& choice, int32_t tile,
                                  int32_t queries, uint32_t parity, const StepShared& step, const ClusterShared& shared,
                                  const AttendShared& attend, const FoldShared& steps) {
  const Layer& layer = p.evict.layer;
  const int32_t head_dim = layer.shape.head_dim;
  const int32_t num_splits = item.num_splits();
  HASHEVICT_NO_UNROLL
  for (int32_t q = simt::uniform_warp(); q < queries; q += kAttendWarps) {
    // Queries are staged, since other blocks may write results over them.
    const float of_token =
        score_token<Shape>(p, step, [&](int32_t e) { return attend.queries.load(q * head_dim + e); });
    if (simt::lane() == 0) shared.logits.store(Shape::kTile + q, of_token);
  }
  simt::wait_for_copies();
  simt::block_sync();
  shared.barriers.wait_for_cluster(kResults, parity);
  HASHEVICT_NO_UNROLL
  for (int32_t q = simt::uniform_warp(); q < queries; q += kAttendWarps)
    find_factors<Shape>(item, choice, q, shared, steps);
  simt::block_sync();
  const Share share = Share::of(simt::cluster_rank(), head_dim);
  const int32_t each = share_elements(head_dim, log_cluster_size());
  HASHEVICT_NO_UNROLL
  for (int32_t i = simt::thread_index(); i < queries * share.count; i += kAttendThreads) {
    const auto q = static_cast<int32_t>(static_cast<uint32_t>(i) / static_cast<uint32_t>(share.count));
    const int32_t e = i - q * share.count;
    Partial all{kNegativeInfinity, 0.0F, 0.0F};
    fold_parts(all, steps, q, num_splits, item.is_full() ? num_splits : 0, [&](bool is_split, int32_t split) {
      if (!is_split) return loser_element<Shape>(shared.losers, split * words_of<Shape>(each), e);
      return shared.values.load((split * Shape::kTile + q) * each + e);
    });
    fold(all, steps.load(q, 2 * kMostSplits), stored_element(p.evict.v, Shape::kDtype, item, share.first + e));
    store_result({p.out, p.lse}, item.token, item.kv_head * layer.shape.group_size + tile + q, share.first + e, all);
  }
}

}  // namespace hashevict::kernels
