// SPDX-License-Identifier: Apache-2.0
#include "growth.hpp"

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <memory>
#include <thread>
#include <utility>

#include "ratio.hpp"
#include "workload.hpp"

namespace hashevict::bench {
namespace {

enum class What { evict, attend };

/// One size that grows: sets it in a shape.
struct Axis {
  What what;
  std::string name;
  std::string limit;
  std::vector<int64_t> sizes;
  std::function<void(Shape&, int32_t)> set;
};

/// One head and one thread; each axis changes one field.
Shape base_shape() {
  Shape shape;
  shape.num_sequences = 1;
  shape.num_kv_heads = 1;
  shape.num_threads = 1;
  return shape;
}

struct Point {
  double size;
  std::unique_ptr<Workload> load;
};

/// Seconds of one call. On one thread they are processor time, which other programs disturb little.
double step_seconds(What what, Workload& load) {
  constexpr double kLeastSeconds = 0.002;  // std::clock() counts microseconds
  const bool alone = load.shape().num_threads == 1;
  const std::clock_t start = std::clock();
  const auto cpu_seconds = [&] { return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC; };
  double wall = 0;
  int calls = 0;
  for (; calls == 0 || cpu_seconds() < kLeastSeconds; ++calls) {
    wall += seconds(
        [&] {
          if (what == What::evict) {
            load.cache().evict(of_step<EvictArgs>(load.step()), Stream{});
          } else {
            load.cache().attend(of_step<AttendArgs>(load.step()), Stream{});
          }
        },
        1);
  }
  return (alone ? cpu_seconds() : wall) / calls;
}

std::vector<Point> points_of(const Axis& axis) {
  std::vector<Point> points;
  for (const int64_t size : axis.sizes) {
    Shape shape = base_shape();
    axis.set(shape, static_cast<int32_t>(size));
    points.push_back({static_cast<double>(size), std::make_unique<Workload>(shape)});
    step_seconds(axis.what, *points.back().load);
  }
  return points;
}

/// Every round measures all sizes in turn and gives one exponent.
nlohmann::json measure(const Axis& axis, const std::string& name, int rounds) {
  const std::vector<Point> points = points_of(axis);
  std::vector<std::vector<double>> times(points.size());
  std::vector<double> exponents;
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::pair<double, double>> round_points;
    for (std::size_t i = 0; i < points.size(); ++i) {
      times[i].push_back(step_seconds(axis.what, *points[i].load));
      round_points.emplace_back(points[i].size, times[i].back());
    }
    exponents.push_back(fitted_exponent(round_points));
  }
  auto row = make_row({"growth: exponent of time", name, axis.limit, "itself at other sizes"}, figure_of(exponents));
  for (std::size_t i = 0; i < points.size(); ++i) {
    row["times_us"].push_back({axis.sizes[i], median(times[i]) * 1e6});
  }
  return row;
}

/// Threads share 64 heads.
void set_threads(Shape& shape, int32_t threads) {
  shape.num_sequences = shape.num_kv_heads = 8;
  shape.num_threads = threads;
}

std::vector<int64_t> thread_counts() {
  const auto most = std::max<int64_t>(std::thread::hardware_concurrency(), 1);
  std::vector<int64_t> counts;
  for (int64_t threads = 1; threads < most; threads *= 2) counts.push_back(threads);
  if (most > 1) counts.push_back(most);
  return counts;
}

std::vector<Axis> axes() {
  const std::vector<int64_t> capacities{256, 1024, 4096, 16384, 65536, 262144, 1048576};
  const auto capacity = [](Shape& shape, int32_t size) { shape.capacity = size; };
  const auto sequences = [](Shape& shape, int32_t size) {
    shape.num_sequences = size;
    shape.capacity = 16384;  // so that one sequence alone fills a second-level cache
  };
  const auto dim = [](Shape& shape, int32_t size) { shape.head_dim = size; };
  std::vector<Axis> all{
      {What::evict, "evict against slots, 256 to 1M", "<= 1.1", capacities, capacity},
      {What::attend, "attend against slots, 256 to 1M", "<= 1.1", capacities, capacity},
      {What::evict, "evict against sequences, 1 to 32", "<= 1.1", {1, 2, 4, 8, 16, 32}, sequences},
      {What::attend, "attend against sequences, 1 to 32", "<= 1.1", {1, 2, 4, 8, 16, 32}, sequences},
      {What::evict,
       "evict against bits, 8 to 128",
       "<= 1.1",
       {8, 16, 32, 64, 128},
       [](Shape& shape, int32_t size) { shape.hash_bits = size; }},
      {What::attend, "attend against head size, 64 to 256", "<= 1.1", {64, 128, 192, 256}, dim},
      {What::attend,
       "attend against query heads a KV head, 1 to 8",
       "<= 1.0",
       {1, 2, 4, 8},
       [](Shape& shape, int32_t size) { shape.group_size = size; }},
  };
  if (const std::vector<int64_t> counts = thread_counts(); counts.size() > 1 && !uses_processor_time()) {
    all.push_back({What::attend, "attend against threads, 64 heads", "<= -0.7", counts, set_threads});
  }
  return all;
}

}  // namespace

std::vector<Growth> all_growths() {
  std::vector<Growth> growths;
  for (const Axis& axis : axes()) {
    growths.push_back({axis.name, [axis](const std::string& name, int rounds) { return measure(axis, name, rounds); }});
  }
  return growths;
}

}  // namespace hashevict::bench
