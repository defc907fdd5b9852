// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>

#include "kernels/detail/element.cuh"
#include "kernels/params.hpp"

/// Partial softmax: maximum logit, sum of weights, weighted sum of values. Logits are kept in units of ln 2, so that
/// weights are powers of two, one instruction each.
namespace hashevict::kernels {

inline constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();
inline constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kLogTwo = 0.693147181F;
inline constexpr float kOverLogTwo = 1.44269504F;

HASHEVICT_NOINLINE float capped(float logit, float cap) {
  return simt::multiply(cap, simt::tanh(simt::divide(logit, cap)));
}

HASHEVICT_DEVICE float logit_of(const Softmax& softmax, float dot) {
  float logit = simt::multiply(dot, softmax.scale);
  if (softmax.soft_cap != 0.0F) {
    logit = capped(logit, softmax.soft_cap);
  }
  return simt::multiply(logit, kOverLogTwo);
}

/// The logit that weights are relative to. If all logits so far are -infinity, any finite reference gives weight 0.
HASHEVICT_DEVICE float reference_of(float maximum) {
  return maximum == kNegativeInfinity ? 0.0F : maximum;
}

/// 2^(logit - reference).
HASHEVICT_DEVICE float weight_of(float logit, float reference) {
  return simt::exp2(simt::subtract(logit, reference));
}

/// Attention of one query over some slots, for one element of its output.
struct Partial {
  float maximum;  ///< the largest logit
  float sum;      ///< of the weights relative to it
  float value;    ///< weighted sum of the values' element
};

/// The same for four neighbouring elements.
struct PartialQuad {
  float maximum;
  float sum;
  float values[4];
};

/// The result over no slots.
HASHEVICT_DEVICE PartialQuad empty_quad() {
  return {kNegativeInfinity, 0.0F, {}};
}

/// The result over the slots of both. Merging the same parts in the same order gives the same bits.
HASHEVICT_DEVICE PartialQuad merge(const PartialQuad& a, const PartialQuad& b) {
  const float maximum = simt::maximum(a.maximum, b.maximum);
  const float reference = reference_of(maximum);
  const float of_a = weight_of(a.maximum, reference);
  const float of_b = weight_of(b.maximum, reference);
  PartialQuad all{maximum, simt::fma(a.sum, of_a, simt::multiply(b.sum, of_b)), {}};
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 4; ++i) all.values[i] = simt::fma(a.values[i], of_a, simt::multiply(b.values[i], of_b));
  return all;
}

/// The outputs of attention.
struct Results {
  MutableVectors out;
  Numbers<float> lse;
};

/// Element of an output. Without slots it is zero.
HASHEVICT_DEVICE float result_of(const Partial& all) {
  return all.sum == 0.0F ? 0.0F : simt::divide(all.value, all.sum);
}

/// Writes the log of a query head's softmax sum, if the caller asked for it.
HASHEVICT_DEVICE void store_lse(const Numbers<float>& lse, int64_t token, int32_t query_head, const Partial& all) {
  if (simt::varying(lse.data == nullptr)) return;
  const float log_sum = simt::multiply(simt::add(all.maximum, simt::log2(all.sum)), kLogTwo);
  simt::store(lse.data + token * lse.stride[0] + query_head * lse.stride[1],
              all.sum == 0.0F ? kNegativeInfinity : log_sum);
}

/// Writes element `e` of a query head's output and, with element 0, the log of its softmax sum.
HASHEVICT_DEVICE void store_result(const Results& to, int64_t token, int32_t query_head, int32_t e,
                                   const Partial& all) {
  store_element(to.out.data, simt::varying(to.out.dtype),
                token * to.out.stride[0] + query_head * to.out.stride[1] + e * to.out.stride[2], result_of(all));
  if (e == 0) store_lse(to.lse, token, query_head, all);
}

/// Writes elements [e, e + 4), which a loop takes in turn to have its code once.
HASHEVICT_DEVICE void store_results(const Results& to, int64_t token, int32_t query_head, int32_t e,
                                    const PartialQuad& all) {
  float values[4] = {all.values[0], all.values[1], all.values[2], all.values[3]};
  HASHEVICT_NO_UNROLL
  for (int32_t i = 0; i < 4; ++i) {
    store_result(to, token, query_head, e + i, {all.maximum, all.sum, values[0]});
    HASHEVICT_UNROLL
    for (int32_t k = 0; k < 3; ++k) values[k] = values[k + 1];
  }
}

}  // namespace hashevict::kernels
