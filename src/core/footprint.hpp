// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/bounds.hpp"
#include "hashevict/hashevict.h"

/// The bytes that a strided piece of memory covers, and whether two pieces are apart. No other code decides whether
/// arguments may share memory. Nothing here allocates, and a check that passes costs a few comparisons.
namespace hashevict::core {

/// Limit of a stride, and of stride times extent, in elements. Sums of a few of them, in bytes, stay within 64 bits.
inline constexpr int64_t kMaxSpan = int64_t{1} << 48;

/// The largest stride that keeps `count` elements within kMaxSpan.
constexpr int64_t max_stride(int64_t count) {
  return kMaxSpan / (count > 1 ? count - 1 : 1);
}

/// Bytes along up to three axes.
class Footprint {
 public:
  static constexpr std::size_t kAxes = 3;
  struct Axis {
    int64_t stride;  ///< bytes, at least 0
    int64_t count;
  };

  /// Covers no memory and is apart from everything.
  Footprint() = default;
  /// Covers `bytes` contiguous bytes.
  Footprint(Field name, const void* data, int64_t bytes);
  /// Covers runs of `run` bytes along `axes`. An axis of one element may have any stride; an axis of none covers no
  /// memory.
  Footprint(Field name, const void* data, int64_t run, std::array<Axis, kAxes> axes);

  [[nodiscard]] const Field& name() const { return name_; }
  [[nodiscard]] bool empty() const { return end_ == first_; }
  [[nodiscard]] const void* data() const { return data_; }
  [[nodiscard]] uintptr_t first() const { return first_; }
  [[nodiscard]] uintptr_t end() const { return end_; }  ///< end of the range that contains it
  /// Whether it shares no byte with `other`. The answer is exact if their ranges do not overlap, or if the footprints
  /// interleave with common strides. Footprints that interleave in other ways count as overlapping.
  [[nodiscard]] bool apart_from(const Footprint& other) const;

 private:
  Field name_{"", ""};
  const void* data_ = nullptr;
  uintptr_t first_ = 0, end_ = 0;
  int64_t run_ = 0;
  std::array<Axis, kAxes> axes_{};  ///< axes of more than one element, largest stride first; then {0, 1}
};

/// The bytes of a validated tensor.
Footprint footprint_of(const char* name, const hashevict_tensor& tensor);

/// Fails with INVALID_ARGUMENT if the two overlap: "a = pointer: expected memory apart from b".
void require_apart(const Footprint& a, const Footprint& b);

/// Fails if any two of `parts` overlap. Sorts `parts`.
void require_all_apart(std::span<Footprint> parts);

/// A set of memory ranges. A look-up takes time logarithmic in their number.
class Ranges {
 public:
  /// Adds the range that contains a footprint, gaps included.
  void add(const Footprint& part);
  /// Call it once, after the last add().
  void sort();
  [[nodiscard]] bool meets(const Footprint& part) const;

 private:
  struct Range {
    uintptr_t first, end;
  };
  std::vector<Range> ranges_;  ///< sorted, disjoint
};

}  // namespace hashevict::core
