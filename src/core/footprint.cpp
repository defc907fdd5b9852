// SPDX-License-Identifier: Apache-2.0
#include "core/footprint.hpp"

#include <algorithm>

#include "core/dtype.hpp"
#include "core/failure.hpp"

namespace hashevict::core {
namespace {

using Axis = Footprint::Axis;

/// The axes of a footprint from `axis` on, relative to the start of the other part.
struct Part {
  const std::array<Axis, Footprint::kAxes>& axes;
  std::size_t axis;
  int64_t run;

  /// Bytes from its first byte to behind its last one.
  [[nodiscard]] int64_t span() const {
    int64_t bytes = run;
    for (std::size_t i = axis; i < axes.size(); ++i) bytes += axes[i].stride * (axes[i].count - 1);
    return bytes;
  }
  [[nodiscard]] Axis outer() const { return axis < axes.size() ? axes[axis] : Axis{0, 1}; }
  [[nodiscard]] Part within(int64_t stride) const {
    return outer().stride == stride ? Part{axes, axis + 1, run} : *this;
  }
  [[nodiscard]] int64_t steps(int64_t stride) const { return outer().stride == stride ? outer().count - 1 : 0; }
};

int64_t floor_div(int64_t a, int64_t b) {
  return a / b - (a % b < 0 ? 1 : 0);
}

/// Whether `a` is apart from `b`, which starts `offset` bytes after it. The larger of their outermost strides is peeled
/// off. The remaining parts can overlap only in the few steps of that stride in which their ranges overlap.
bool apart(const Part& a, const Part& b, int64_t offset) {
  const int64_t span_a = a.span();
  const int64_t span_b = b.span();
  if (offset >= span_a || offset + span_b <= 0) return true;
  const int64_t stride = std::max(a.outer().stride, b.outer().stride);
  if (stride == 0) return false;
  const Part inner_a = a.within(stride);
  const Part inner_b = b.within(stride);
  // Steps k of b against a: offset + k * stride < span of a, and offset + k * stride + span of b > 0.
  const int64_t low = std::max(-a.steps(stride), floor_div(-offset - inner_b.span(), stride) + 1);
  const int64_t high = std::min(b.steps(stride), -floor_div(offset - inner_a.span(), stride) - 1);
  constexpr int64_t kMostMeetings = 4;  // nested strides leave three at most
  if (high - low >= kMostMeetings) return false;
  for (int64_t k = low; k <= high; ++k) {
    if (!apart(inner_a, inner_b, offset + k * stride)) return false;
  }
  return true;
}

}  // namespace

Footprint::Footprint(Field name, const void* data, int64_t bytes)
    : Footprint{name, data, bytes, {{{0, 1}, {0, 1}, {0, 1}}}} {}

Footprint::Footprint(Field name, const void* data, int64_t run, std::array<Axis, kAxes> axes)
    : name_{name}, data_{data}, first_{reinterpret_cast<uintptr_t>(data)}, end_{first_}, run_{run}, axes_{axes} {
  if (data == nullptr || run == 0) return;
  for (Axis& axis : axes_) {
    if (axis.count == 0) return;
    if (axis.count == 1) axis.stride = 0;
    if (axis.stride == 0) axis.count = 1;  // every element has the same bytes
  }
  std::sort(axes_.begin(), axes_.end(), [](const Axis& a, const Axis& b) { return a.stride > b.stride; });
  end_ = first_ + static_cast<uintptr_t>(Part{axes_, 0, run_}.span());
}

bool Footprint::apart_from(const Footprint& other) const {
  if (empty() || other.empty() || first_ >= other.end_ || other.first_ >= end_) return true;
  const auto offset =
      static_cast<int64_t>(other.first_ - first_);  // the ranges overlap, so the offset is below both spans
  return apart({axes_, 0, run_}, {other.axes_, 0, other.run_}, offset);
}

Footprint footprint_of(const char* name, const hashevict_tensor& tensor) {
  const int64_t element = size_of(static_cast<DType>(tensor.dtype));
  std::array<Axis, Footprint::kAxes> axes{{{0, 1}, {0, 1}, {0, 1}}};
  for (std::size_t i = 0; i < static_cast<std::size_t>(tensor.rank); ++i) {
    // An axis of one element may have any stride, such as that of an index array of one row.
    axes[i] = {tensor.shape[i] > 1 ? tensor.stride[i] * element : 0, tensor.shape[i]};
  }
  return {{name, ""}, tensor.data, element, axes};
}

void require_apart(const Footprint& a, const Footprint& b) {
  if (a.apart_from(b)) return;
  fail(HASHEVICT_INVALID_ARGUMENT, "{} = {}: expected memory apart from {} = {}", text_of(a.name()), a.data(),
       text_of(b.name()), b.data());
}

void require_all_apart(std::span<Footprint> parts) {
  std::sort(parts.begin(), parts.end(), [](const Footprint& a, const Footprint& b) { return a.first() < b.first(); });
  for (std::size_t i = 0; i < parts.size(); ++i) {
    for (std::size_t j = i + 1; j < parts.size() && parts[j].first() < parts[i].end(); ++j) {
      require_apart(parts[i], parts[j]);
    }
  }
}

void Ranges::add(const Footprint& part) {
  if (!part.empty()) ranges_.push_back({part.first(), part.end()});
}

void Ranges::sort() {
  std::sort(ranges_.begin(), ranges_.end(), [](const Range& a, const Range& b) { return a.first < b.first; });
  std::size_t last = 0;
  for (std::size_t i = 1; i < ranges_.size(); ++i) {
    if (ranges_[i].first <= ranges_[last].end) {
      ranges_[last].end = std::max(ranges_[last].end, ranges_[i].end);
    } else {
      ranges_[++last] = ranges_[i];
    }
  }
  if (!ranges_.empty()) ranges_.resize(last + 1);
}

bool Ranges::meets(const Footprint& part) const {
  if (part.empty()) return false;
  const auto after = std::partition_point(ranges_.begin(), ranges_.end(),
                                          [&](const Range& range) { return range.end <= part.first(); });
  return after != ranges_.end() && after->first < part.end();
}

}  // namespace hashevict::core
