// SPDX-License-Identifier: Apache-2.0
#include "read_bandwidth.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <new>
#include <numeric>
#include <thread>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "read_bandwidth.cpp"
#include <hwy/foreach_target.h>
// This comment keeps clang-format from sorting: Highway requires this order
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hashevict::bench::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// `first` aligned to a vector, `num_words` a multiple of kUnit.
uint64_t SumOf(const uint64_t* HWY_RESTRICT first, std::size_t num_words) {
  const hn::ScalableTag<uint64_t> d;
  const std::size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(d), b = a, c = a, e = a;  // four, so that no addition waits for the previous one
  for (std::size_t i = 0; i < num_words; i += 4 * lanes) {
    a = hn::Add(a, hn::Load(d, first + i));
    b = hn::Add(b, hn::Load(d, first + i + lanes));
    c = hn::Add(c, hn::Load(d, first + i + 2 * lanes));
    e = hn::Add(e, hn::Load(d, first + i + 3 * lanes));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e))));
}

}  // namespace hashevict::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace hashevict::bench {
namespace {

HWY_EXPORT(SumOf);

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kUnit = kHugePage / sizeof(uint64_t);  // a multiple of four vectors on any machine

std::size_t count_threads(int32_t wanted) {
  return wanted > 0 ? static_cast<std::size_t>(wanted) : std::max(1U, std::thread::hardware_concurrency());
}

}  // namespace

ReadBandwidth::ReadBandwidth(int64_t bytes, int32_t num_threads)
    : num_threads_{count_threads(num_threads)},
      num_words_{static_cast<std::size_t>(bytes) / sizeof(uint64_t) / (kUnit * num_threads_) * (kUnit * num_threads_)},
      words_{static_cast<uint64_t*>(std::aligned_alloc(kHugePage, num_words_ * sizeof(uint64_t)))} {
  if (words_ == nullptr) throw std::bad_alloc();
#if defined(__linux__)
  static_cast<void>(madvise(words_.get(), num_words_ * sizeof(uint64_t), MADV_HUGEPAGE));
#endif
  std::fill_n(words_.get(), num_words_, uint64_t{1});
}

uint64_t ReadBandwidth::read_once() {
  const std::size_t share = num_words_ / num_threads_;
  std::vector<uint64_t> sums(num_threads_);
  const auto read_share = [&](std::size_t index) {
    sums[index] = HWY_DYNAMIC_DISPATCH(SumOf)(words_.get() + index * share, share);
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < num_threads_; ++i) threads.emplace_back(read_share, i);
  read_share(0);
  for (std::thread& thread : threads) thread.join();
  return std::accumulate(sums.begin(), sums.end(), uint64_t{0});
}

}  // namespace hashevict::bench

#endif  // HWY_ONCE
