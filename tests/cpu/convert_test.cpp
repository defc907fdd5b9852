// SPDX-License-Identifier: Apache-2.0
#include "cpu/convert.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "each_target.hpp"
#include "support/enum_name.hpp"

#if HWY_ARCH_X86
#include <xmmintrin.h>
#endif

namespace hashevict::cpu {
namespace {

using core::DType;

class Convert : public EachTarget {};
HASHEVICT_FOR_EACH_TARGET(Convert);

/// A 16-bit format: 10 mantissa bits make fp16, 7 make bf16.
struct Format {
  DType dtype;
  int mantissa_bits;
  int exponent_bias;

  [[nodiscard]] int exponent_mask() const { return (1 << (15 - mantissa_bits)) - 1; }
  [[nodiscard]] int mantissa_mask() const { return (1 << mantissa_bits) - 1; }
};
constexpr Format kHalf{DType::float16, 10, 15};
constexpr Format kFormats[] = {kHalf, {DType::bfloat16, 7, 127}};

/// The definition: the value of the fields in exact double arithmetic; NaN by its bits.
uint32_t widened(Format format, uint16_t bits) {
  const uint32_t sign = uint32_t{bits} >> 15 << 31;
  const int exponent = bits >> format.mantissa_bits & format.exponent_mask();
  const int mantissa = bits & format.mantissa_mask();
  if (exponent == format.exponent_mask()) {
    return sign | 0x7F800000U | static_cast<uint32_t>(mantissa) << (23 - format.mantissa_bits);
  }
  const int significand = exponent == 0 ? mantissa : mantissa | 1 << format.mantissa_bits;
  const double value = std::ldexp(significand, std::max(exponent, 1) - format.exponent_bias - format.mantissa_bits);
  return sign | std::bit_cast<uint32_t>(static_cast<float>(value));
}

/// The definition: the multiple of the last place that is nearest to the value, ties to even.
uint16_t narrowed(Format format, uint32_t bits) {
  const auto sign = static_cast<uint16_t>(bits >> 31 << 15);
  const double magnitude = std::bit_cast<float>(bits & 0x7FFFFFFFU);
  const int infinity = format.exponent_mask() << format.mantissa_bits;
  if (std::isnan(magnitude)) {
    const int payload = static_cast<int>(bits >> (23 - format.mantissa_bits)) & format.mantissa_mask();
    return static_cast<uint16_t>(sign | infinity | 1 << (format.mantissa_bits - 1) | payload);
  }
  if (std::isinf(magnitude)) return static_cast<uint16_t>(sign | infinity);
  const int smallest = 1 - format.exponent_bias;
  const int exponent = magnitude == 0 ? smallest : std::max(std::ilogb(magnitude), smallest);
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, format.mantissa_bits - exponent)));
  // Units that reach the next power of two carry into the exponent automatically.
  const int result = ((exponent - smallest) << format.mantissa_bits) + units;
  return static_cast<uint16_t>(sign | std::min(result, infinity));
}

std::vector<uint16_t> all_patterns() {
  std::vector<uint16_t> patterns(65536);
  for (size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<uint16_t>(i);
  return patterns;
}

/// Every sign, exponent and leading mantissa; the remaining bits are at, beside and between the ties.
std::vector<uint32_t> rounding_patterns(Format format) {
  const int rest_bits = 23 - format.mantissa_bits;
  const uint32_t half = uint32_t{1} << (rest_bits - 1);
  std::vector<uint32_t> patterns;
  for (uint32_t lead = 0; lead < uint32_t{1} << (32 - rest_bits); ++lead) {
    for (const uint32_t rest : {0U, 1U, half / 2, half - 1, half, half + 1, 2 * half - 1}) {
      patterns.push_back(lead << rest_bits | rest);
    }
  }
  return patterns;
}

void expect_widens(Format format) {
  const std::vector<uint16_t> source = all_patterns();
  std::vector<uint32_t> target(source.size());
  load_row(format.dtype, source.data(), 1, reinterpret_cast<float*>(target.data()), static_cast<int>(source.size()));
  for (size_t i = 0; i < source.size(); ++i) ASSERT_EQ(target[i], widened(format, source[i])) << std::hex << i;
}

void expect_narrows(Format format) {
  const std::vector<uint32_t> source = rounding_patterns(format);
  std::vector<uint16_t> target(source.size());
  store_row(format.dtype, reinterpret_cast<const float*>(source.data()), target.data(), 1,
            static_cast<int>(source.size()));
  for (size_t i = 0; i < source.size(); ++i) {
    ASSERT_EQ(target[i], narrowed(format, source[i])) << std::hex << source[i];
  }
}

TEST_P(Convert, WidensEveryValueExactly) {
  for (const Format& format : kFormats) {
    SCOPED_TRACE(testing::PrintToString(format.dtype));
    expect_widens(format);
  }
}

TEST_P(Convert, NarrowsToNearestEven) {
  for (const Format& format : kFormats) {
    SCOPED_TRACE(testing::PrintToString(format.dtype));
    expect_narrows(format);
  }
}

#if HWY_ARCH_X86
TEST_P(Convert, FlushToZeroModeChangesNothing) {
  const unsigned mode = _mm_getcsr();
  _mm_setcsr(mode | 0x8040);  // results and operands
  std::vector<uint32_t> wide(65536);
  const std::vector<uint16_t> patterns = all_patterns();
  load_row(DType::float16, patterns.data(), 1, reinterpret_cast<float*>(wide.data()), 65536);
  std::vector<uint16_t> back(65536);
  store_row(DType::float16, reinterpret_cast<const float*>(wide.data()), back.data(), 1, 65536);
  _mm_setcsr(mode);
  for (size_t i = 0; i < 65536; ++i) {
    ASSERT_EQ(wide[i], widened(kHalf, patterns[i])) << std::hex << i;
    ASSERT_EQ(back[i], narrowed(kHalf, wide[i])) << std::hex << i;
  }
}
#endif

/// Loads rows of any length and stride. `element(i)` is element i of the source, `value(i)` its value.
template <class Element, class Value>
void expect_loads(DType dtype, const Element& element, const Value& value) {
  for (const int64_t stride : {1, 2, 3, 7}) {
    for (int n = 0; n <= 300; n += n < 40 ? 1 : 13) {
      // Exactly as many elements as are read, so that a sanitizer detects any other access.
      std::vector<decltype(element(size_t{}))> source(static_cast<size_t>(n == 0 ? 0 : (n - 1) * stride + 1));
      for (size_t i = 0; i < source.size(); ++i) source[i] = element(i);
      std::vector<float> target(static_cast<size_t>(n) + 1, -1.0f);
      load_row(dtype, source.data(), stride, target.data(), n);
      for (int i = 0; i < n; ++i) {
        ASSERT_EQ(target[static_cast<size_t>(i)], value(static_cast<size_t>(i * stride)))
            << dtype << ", n " << n << ", stride " << stride;
      }
      ASSERT_EQ(target.back(), -1.0f);
    }
  }
}

TEST_P(Convert, LoadsAnyLengthAndStride) {
  const auto number = [](size_t i) { return static_cast<float>(i) + 0.25f; };
  expect_loads(DType::float32, number, number);
  for (const Format& format : kFormats) {
    const auto pattern = [](size_t i) { return static_cast<uint16_t>(0x3C00 + i); };
    expect_loads(format.dtype, pattern, [&](size_t i) { return std::bit_cast<float>(widened(format, pattern(i))); });
  }
}

TEST_P(Convert, StoresAnyLengthAndStrideAndNothingBetween) {
  for (const Format& format : kFormats) {
    for (const int64_t stride : {1, 2, 3, 7}) {
      for (int n = 0; n <= 300; n += n < 40 ? 1 : 13) {
        std::vector<float> source(static_cast<size_t>(n));
        for (int i = 0; i < n; ++i) source[static_cast<size_t>(i)] = 1.0f + static_cast<float>(i) / 7;
        std::vector<uint16_t> target(static_cast<size_t>(n * stride), 0xABCD);
        store_row(format.dtype, source.data(), target.data(), stride, n);
        for (size_t i = 0; i < target.size(); ++i) {
          const bool written = i % static_cast<size_t>(stride) == 0;
          const float value = source[i / static_cast<size_t>(stride)];
          ASSERT_EQ(target[i], written ? narrowed(format, std::bit_cast<uint32_t>(value)) : 0xABCD) << "n " << n;
        }
      }
    }
  }
}

TEST_P(Convert, FloatsKeepEveryBit) {
  const std::vector<uint32_t> source{0x7F800001U, 0xFFC12345U, 0x00000001U, 0x80000000U, 0x7F800000U, 0x3F800000U};
  for (const int64_t stride : {1, 3}) {
    std::vector<uint32_t> spread(source.size() * 3, 0x55555555U), back(source.size());
    store_row(DType::float32, reinterpret_cast<const float*>(source.data()), spread.data(), stride, 6);
    load_row(DType::float32, spread.data(), stride, reinterpret_cast<float*>(back.data()), 6);
    EXPECT_EQ(back, source);
  }
}

}  // namespace
}  // namespace hashevict::cpu
