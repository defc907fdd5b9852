// SPDX-License-Identifier: Apache-2.0
#include "cpu/convert.hpp"

#include <cstring>

#include "cpu/highway_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/convert.cpp"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include "cpu/half-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Words = hn::Rebind<uint32_t, Floats>;
using Halves = hn::Rebind<uint16_t, Floats>;

template <core::DType kDtype>
HWY_INLINE hn::Vec<Floats> widen(hn::Vec<Halves> bits) {
  if constexpr (kDtype == core::DType::float16) return half_to_float(Floats(), bits);
  return hn::BitCast(Floats(), hn::ShiftLeft<16>(hn::PromoteTo(Words(), bits)));
}

template <core::DType kDtype>
HWY_INLINE hn::Vec<Halves> narrow(hn::Vec<Floats> values) {
  hn::Vec<Words> bits;
  if constexpr (kDtype == core::DType::float16) {
    bits = float_to_half_bits(Floats(), values);
  } else {
    bits = float_to_bfloat_bits(Floats(), values);
  }
  // No lane exceeds 16 bits.
  return hn::TruncateTo(Halves(), bits);
}

/// Converts one vector at a time; the last few elements go through a full-sized buffer.
template <core::DType kDtype>
void load_dense(const uint16_t* source, float* target, int n) {
  constexpr Floats d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  int i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(widen<kDtype>(hn::LoadU(Halves(), source + i)), d, target + i);
  if (i >= n) return;
  uint16_t tail_in[hn::MaxLanes(Halves())] = {};
  float tail_out[hn::MaxLanes(Floats())];
  std::memcpy(tail_in, source + i, static_cast<size_t>(n - i) * sizeof(uint16_t));
  hn::StoreU(widen<kDtype>(hn::LoadU(Halves(), tail_in)), d, tail_out);
  std::memcpy(target + i, tail_out, static_cast<size_t>(n - i) * sizeof(float));
}

template <core::DType kDtype>
void store_dense(const float* source, uint16_t* target, int n) {
  constexpr Floats d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  int i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(narrow<kDtype>(hn::LoadU(d, source + i)), Halves(), target + i);
  if (i >= n) return;
  float tail_in[hn::MaxLanes(Floats())] = {};
  uint16_t tail_out[hn::MaxLanes(Halves())];
  std::memcpy(tail_in, source + i, static_cast<size_t>(n - i) * sizeof(float));
  hn::StoreU(narrow<kDtype>(hn::LoadU(d, tail_in)), Halves(), tail_out);
  std::memcpy(target + i, tail_out, static_cast<size_t>(n - i) * sizeof(uint16_t));
}

void load_narrow(core::DType dtype, const uint16_t* source, float* target, int n) {
  if (dtype == core::DType::float16) return load_dense<core::DType::float16>(source, target, n);
  load_dense<core::DType::bfloat16>(source, target, n);
}

void store_narrow(core::DType dtype, const float* source, uint16_t* target, int n) {
  if (dtype == core::DType::float16) return store_dense<core::DType::float16>(source, target, n);
  store_dense<core::DType::bfloat16>(source, target, n);
}

}  // namespace
}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hashevict::cpu {
namespace {

HWY_EXPORT(load_narrow);
HWY_EXPORT(store_narrow);

/// Strided rows are converted through a dense buffer of this many elements.
constexpr int kBuffer = 256;

}  // namespace

void load_row(core::DType dtype, const void* source, int64_t stride, float* target, int n) {
  if (n == 0) return;  // memcpy forbids null even with a length of zero
  if (dtype == core::DType::float32) {
    const auto* from = static_cast<const float*>(source);
    if (stride == 1) {
      std::memcpy(target, from, static_cast<size_t>(n) * sizeof(float));
    } else {
      // Copied as words: an fp32 register may quiet a signalling NaN on some machines.
      for (int i = 0; i < n; ++i) std::memcpy(target + i, from + i * stride, sizeof(float));
    }
    return;
  }
  const auto* from = static_cast<const uint16_t*>(source);
  const auto load = [&](const uint16_t* dense, float* to, int count) {
    HWY_DYNAMIC_DISPATCH(load_narrow)(dtype, dense, to, count);
  };
  if (stride == 1) return load(from, target, n);
  uint16_t dense[kBuffer];
  for (int first = 0; first < n; first += kBuffer) {
    const int count = n - first < kBuffer ? n - first : kBuffer;
    for (int i = 0; i < count; ++i) dense[i] = from[(first + i) * stride];
    load(dense, target + first, count);
  }
}

void store_row(core::DType dtype, const float* source, void* target, int64_t stride, int n) {
  if (dtype == core::DType::float32) {
    auto* to = static_cast<float*>(target);
    if (stride == 1) {
      std::memcpy(to, source, static_cast<size_t>(n) * sizeof(float));
    } else {
      for (int i = 0; i < n; ++i) std::memcpy(to + i * stride, source + i, sizeof(float));
    }
    return;
  }
  auto* to = static_cast<uint16_t*>(target);
  const auto store = [&](const float* from, uint16_t* dense, int count) {
    HWY_DYNAMIC_DISPATCH(store_narrow)(dtype, from, dense, count);
  };
  if (stride == 1) return store(source, to, n);
  uint16_t dense[kBuffer];
  for (int first = 0; first < n; first += kBuffer) {
    const int count = n - first < kBuffer ? n - first : kBuffer;
    store(source + first, dense, count);
    for (int i = 0; i < count; ++i) to[(first + i) * stride] = dense[i];
  }
}

}  // namespace hashevict::cpu
#endif  // HWY_ONCE
