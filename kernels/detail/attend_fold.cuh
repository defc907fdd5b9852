// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_partials.cuh"
#include "kernels/detail/attend_shape.cuh"

/// Merges the partial results of a query in a fixed order, in two phases. First a warp takes a query and each lane a
/// part: the lanes find the factors with which merge() would scale both sides. Then threads take four elements of a
/// query and apply them, with nothing to compute between two loads. The bits are those of merge(), one part after the
/// other.
namespace hashevict::kernels {

inline constexpr int32_t kQuad = 4;                         ///< elements that a thread merges: 16 bytes of fp32
inline constexpr int32_t kFoldParts = 2 * kMostSplits + 1;  ///< splits, their candidates and the new token
inline constexpr int32_t kFoldNumbers = 4;                  ///< of a FoldStep
inline constexpr int32_t kFoldBatch = 8;                    ///< parts whose loads are in flight together
static_assert(kMostSplits == simt::kWarpSize && kMostSplits % kFoldBatch == 0);

/// The factors of one part: all = rescale * all + weight * part.
struct FoldStep {
  float rescale;
  float weight;
  float sum;      ///< of the part's weights, times `weight`
  float maximum;  ///< of this part and those before it
};

/// [queries of a tile, kFoldParts] steps in shared memory.
struct FoldShared {
  simt::SharedArray<float> numbers;

  HASHEVICT_DEVICE void store(int32_t query, int32_t part, const FoldStep& step) const {
    numbers.store_many((query * kFoldParts + part) * kFoldNumbers, {step.rescale, step.weight, step.sum, step.maximum});
  }
  HASHEVICT_DEVICE FoldStep load(int32_t query, int32_t part) const {
    float step[kFoldNumbers];
    numbers.load_many((query * kFoldParts + part) * kFoldNumbers, step);
    return {step[0], step[1], step[2], step[3]};
  }
};

template <int32_t kTile>
HASHEVICT_HOST_DEVICE constexpr int32_t fold_bytes() {
  return simt::shared_bytes<float>(kTile * kFoldParts * kFoldNumbers);
}

template <int32_t kTile>
HASHEVICT_DEVICE FoldShared take_fold_shared(simt::SharedMemory& memory) {
  return {memory.take<float>(kTile * kFoldParts * kFoldNumbers)};
}

/// The step of a part with these sums, behind parts whose largest logit is `before`.
HASHEVICT_DEVICE FoldStep fold_step(float before, float upto, float maximum, float sum) {
  const float reference = reference_of(upto);
  const float weight = weight_of(maximum, reference);
  return {weight_of(before, reference), weight, simt::multiply(sum, weight), upto};
}

/// A warp finds the steps of 32 parts from `first_part` on, a lane each. A lane without a part passes the maximum
/// -infinity and the sum 0. @return the largest logit so far
HASHEVICT_DEVICE float find_steps(const FoldShared& shared, int32_t query, int32_t first_part, float before,
                                  float maximum, float sum) {
  const int32_t lane = simt::lane();
  float upto = simt::maximum(before, maximum);
  HASHEVICT_UNROLL
  for (int32_t step = 1; step < simt::kWarpSize; step *= 2) {
    upto = simt::maximum(upto, simt::shuffle(simt::kFullMask, upto, lane >= step ? lane - step : lane));
  }
  const float previous = simt::shuffle(simt::kFullMask, upto, lane > 0 ? lane - 1 : 0);
  shared.store(query, first_part + lane, fold_step(lane > 0 ? previous : before, upto, maximum, sum));
  return simt::shuffle(simt::kFullMask, upto, simt::kWarpSize - 1);
}

/// Applies a step.
HASHEVICT_DEVICE void fold(PartialQuad& all, const FoldStep& step, const float (&part)[kQuad]) {
  all.maximum = step.maximum;
  all.sum = simt::fma(all.sum, step.rescale, step.sum);
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kQuad; ++i) {
    all.values[i] = simt::fma(all.values[i], step.rescale, simt::multiply(part[i], step.weight));
  }
}

HASHEVICT_DEVICE void fold(Partial& all, const FoldStep& step, float part) {
  all.maximum = step.maximum;
  all.sum = simt::fma(all.sum, step.rescale, step.sum);
  all.value = simt::fma(all.value, step.rescale, simt::multiply(part, step.weight));
}

/// A warp finds the steps of all parts of a query: the splits and their candidates, one of each a lane, and the token.
HASHEVICT_DEVICE void store_factors(const FoldShared& shared, int32_t query, float maximum, float sum, float logit,
                                    bool loses, float of_token) {
  float before = kNegativeInfinity;
  HASHEVICT_NO_UNROLL
  for (int32_t first_part = 0; first_part < 2 * kMostSplits; first_part += kMostSplits) {
    const bool are_splits = first_part == 0;
    before = find_steps(shared, query, first_part, before, are_splits ? maximum : logit,
                        are_splits ? sum : (loses ? 1.0F : 0.0F));
  }
  if (simt::lane() == 0) {
    shared.store(query, 2 * kMostSplits, fold_step(before, simt::maximum(before, of_token), of_token, 1.0F));
  }
}

/// Folds the splits of a query: elements [e, e + kQuad).
HASHEVICT_DEVICE PartialQuad fold_splits(const FoldShared& shared, int32_t query, const float* values, int64_t stride,
                                         int32_t num_splits) {
  PartialQuad all = empty_quad();
  HASHEVICT_NO_UNROLL
  for (int32_t first = 0; first < num_splits; first += kFoldBatch) {
    simt::Bytes16 parts[kFoldBatch];
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kFoldBatch; ++i) {
      parts[i] = simt::load16_relaxed(values);
      if (first + i + 1 < num_splits) values += stride;  // else the last one is loaded again
    }
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kFoldBatch; ++i) {
      if (first + i >= num_splits) break;
      float part[kQuad];
      HASHEVICT_UNROLL
      for (int32_t k = 0; k < kQuad; ++k) part[k] = simt::float_from_bits(parts[i].words[k]);
      fold(all, shared.load(query, first + i), part);
    }
  }
  return all;
}

}  // namespace hashevict::kernels
