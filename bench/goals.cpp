// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "binary_flat.hpp"
#include "core/rule.hpp"
#include "cpu/scan_kernel.hpp"
#include "read_bandwidth.hpp"
#include "workload.hpp"

/// The ratios that docs/performance.md states goals for. Both sides of a ratio are measured in turn, in one run, since
/// only that means anything on a machine that others share: the figure is the median over rounds of the rounds' ratios.
namespace hashevict::bench {
namespace {

using Action = std::function<void()>;

double seconds(const Action& action, int repeats) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < repeats; ++i) action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / repeats;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

struct Ratio {
  double ratio;          ///< median of first / second
  double first, second;  ///< medians, in seconds
};

Ratio compare(const Action& first, const Action& second, int rounds, int repeats_first, int repeats_second) {
  std::vector<double> ratios, firsts, seconds_;
  seconds(first, 1);
  seconds(second, 1);
  for (int round = 0; round < rounds; ++round) {
    firsts.push_back(seconds(first, repeats_first));
    seconds_.push_back(seconds(second, repeats_second));
    ratios.push_back(firsts.back() / seconds_.back());
  }
  return {median(ratios), median(firsts), median(seconds_)};
}

nlohmann::json goal(const std::string& name, double value, const std::string& wanted, bool met) {
  std::printf("%-62s %8.3f   goal %-8s %s\n", name.c_str(), value, wanted.c_str(), met ? "met" : "NOT met");
  return {{"name", name}, {"value", value}, {"goal", wanted}, {"met", met}};
}

nlohmann::json evict_over_attend(int rounds, Preset preset) {
  Shape shape;
  shape.preset = preset;
  if (preset == Preset::recall) shape.hash_bits = 32;
  Workload load{shape};
  const Ratio r = compare([&] { load.cache().append(load.step(), Stream{}); },
                          [&] { load.cache().attend(load.step(), Stream{}); }, rounds, 4, 1);
  const std::string rule = preset == Preset::recall ? "preset recall, 32 bits" : "16 bits";
  auto result =
      goal("evict / attend (4096 slots, dim 128, group 4, bf16), " + rule, r.ratio, "<= 0.02", r.ratio <= 0.02);
  result["evict_us"] = r.first * 1e6;
  result["attend_us"] = r.second * 1e6;
  return result;
}

/// @param threads 0: all
nlohmann::json attend_over_bandwidth(int rounds, int32_t threads, int32_t group, DType dtype) {
  Shape shape;
  shape.num_threads = threads;
  shape.group_size = group;
  shape.dtype = dtype;
  Workload load{shape};
  ReadBandwidth memory{load.kv_bytes(), threads};
  uint64_t sum = 0;
  const Ratio r =
      compare([&] { sum += memory.read_once(); }, [&] { load.cache().attend(load.step(), Stream{}); }, rounds, 1, 1);
  const std::string what = "group " + std::to_string(group) + (dtype == DType::float32 ? ", fp32" : ", bf16") +
                           (threads == 1 ? ", one thread" : ", all threads");
  auto result = goal("attend: bytes/s over read bandwidth, " + what, r.ratio, ">= 0.85", r.ratio >= 0.85);
  result["attend_gb_per_s"] = static_cast<double>(load.kv_bytes()) / r.second * 1e-9;
  result["read_gb_per_s"] = static_cast<double>(load.kv_bytes()) / r.first * 1e-9;
  result["checksum"] = sum;
  return result;
}

/// Codes as a head holds them, and one query code.
struct Codes {
  std::vector<uint8_t> codes, probe;
  std::vector<int32_t> positions;
  std::vector<uint32_t> scores;
  int32_t bytes, num_slots;

  Codes(int32_t num_codes, int32_t bits) : bytes{bits / 8}, num_slots{num_codes} {
    std::mt19937 generator{7};
    const auto size = static_cast<std::size_t>(num_codes);
    codes.resize(size * static_cast<std::size_t>(bytes));
    probe.resize(static_cast<std::size_t>(bytes));
    for (uint8_t& byte : codes) byte = static_cast<uint8_t>(generator());
    for (uint8_t& byte : probe) byte = static_cast<uint8_t>(generator());
    positions.resize(size);
    scores.resize(size);
    for (int32_t i = 0; i < num_codes; ++i) positions[static_cast<std::size_t>(i)] = i;
  }

  /// The farthest code, by the library's scan.
  int32_t scan() {
    cpu::hamming_distances(codes.data(), bytes, num_slots, probe.data(), 1, scores.data());
    return cpu::select_slot({scores.data(), positions.data(), num_slots, 0, num_slots, true, false});
  }
};

std::vector<nlohmann::json> scan_over_faiss(int rounds) {
  std::vector<nlohmann::json> results;
  if (!BinaryFlat::available()) {
    std::printf("code scan / FAISS binary flat: FAISS was not found at build time\n");
    return results;
  }
  for (const int32_t bits : {16, 32, 64, 128}) {
    for (const int32_t num_codes : {4096, 65536}) {
      Codes ours{num_codes, bits};
      BinaryFlat faiss{bits, num_codes, ours.codes.data()};
      int64_t sum = 0;
      const int repeats = 4 * 65536 / num_codes;
      const Ratio r = compare([&] { sum += faiss.nearest(ours.probe.data()); }, [&] { sum += ours.scan(); }, rounds,
                              repeats, repeats);
      results.push_back(goal("code scan: speed over FAISS binary flat, " + std::to_string(num_codes) + " codes of " +
                                 std::to_string(bits) + " bits",
                             r.ratio, ">= 1.0", r.ratio >= 1.0));
      results.back()["checksum"] = sum;
    }
  }
  return results;
}

}  // namespace
}  // namespace hashevict::bench

int main(int argc, char** argv) {
  using namespace hashevict::bench;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 21;
  nlohmann::json goals = nlohmann::json::array();
  for (const hashevict::Preset preset : {hashevict::Preset::paper, hashevict::Preset::recall}) {
    goals.push_back(evict_over_attend(rounds, preset));
  }
  for (const int32_t threads : {0, 1}) {
    for (const int32_t group : {4, 2, 1}) {
      goals.push_back(attend_over_bandwidth(rounds, threads, group, hashevict::DType::bfloat16));
    }
    goals.push_back(attend_over_bandwidth(rounds, threads, 4, hashevict::DType::float32));
  }
  for (auto& result : scan_over_faiss(rounds)) goals.push_back(std::move(result));
  if (argc > 1) {
    std::FILE* const file = std::fopen(argv[1], "w");
    if (file == nullptr) {
      std::fprintf(stderr, "goals: cannot write %s\n", argv[1]);
      return 2;
    }
    std::fputs(goals.dump(2).c_str(), file);
    std::fclose(file);
  }
  return 0;
}
