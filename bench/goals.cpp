// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "binary_flat.hpp"
#include "core/rule.hpp"
#include "cpu/scan_kernel.hpp"
#include "cpu/select_kernel.hpp"
#include "read_bandwidth.hpp"
#include "workload.hpp"

/// The ratios for which docs/performance.md states goals. Both sides of a ratio are measured in turn in one run, since
/// no other comparison is valid on a machine that others share. The figure is the median of the rounds' ratios.
///
/// `hashevict_goals [--only TEXT] [FILE [ROUNDS]]` also writes them to FILE as JSON. `--only attend` measures only
/// those whose names contain the text.
namespace hashevict::bench {
namespace {

using Action = std::function<void()>;

constexpr const char* kUsage = "usage: hashevict_goals [--only TEXT] [FILE [ROUNDS]]";

struct Options {
  std::string only;
  const char* file = nullptr;
  int rounds = 21;
};

/// nullopt for invalid arguments.
std::optional<Options> parse(std::vector<std::string_view> arguments, Options options = {}) {
  if (arguments.size() >= 2 && arguments[0] == "--only") {
    options.only = arguments[1];
    arguments.erase(arguments.begin(), arguments.begin() + 2);
  }
  for (const std::string_view argument : arguments) {
    if (argument.empty() || argument.front() == '-') return std::nullopt;
  }
  if (arguments.size() > 2) return std::nullopt;
  if (!arguments.empty()) options.file = arguments[0].data();
  if (arguments.size() < 2) return options;
  const std::string_view rounds = arguments[1];
  const auto [end, error] = std::from_chars(rounds.data(), rounds.data() + rounds.size(), options.rounds);
  if (error != std::errc{} || end != rounds.data() + rounds.size() || options.rounds < 1) return std::nullopt;
  return options;
}

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

/// A ratio to measure.
struct Goal {
  std::string name;
  std::function<nlohmann::json(const std::string& name, int rounds)> measure;
};

nlohmann::json goal(const std::string& name, double value, const std::string& wanted, bool met) {
  std::printf("%-62s %8.3f   goal %-8s %s\n", name.c_str(), value, wanted.c_str(), met ? "met" : "NOT met");
  return {{"name", name}, {"value", value}, {"goal", wanted}, {"met", met}};
}

nlohmann::json evict_over_attend(const std::string& name, int rounds, Preset preset, bool ragged) {
  Shape shape;
  shape.preset = preset;
  shape.ragged = ragged;
  if (preset == Preset::recall) shape.hash_bits = 32;
  Workload load{shape};
  const Ratio r = compare([&] { load.cache().append(of_step<AppendArgs>(load.step()), Stream{}); },
                          [&] { load.cache().attend(of_step<AttendArgs>(load.step()), Stream{}); }, rounds, 4, 1);
  auto result = goal(name, r.ratio, "<= 0.02", r.ratio <= 0.02);
  result["evict_us"] = r.first * 1e6;
  result["attend_us"] = r.second * 1e6;
  return result;
}

/// @param threads 0: all
nlohmann::json attend_over_bandwidth(const std::string& name, int rounds, int32_t threads, int32_t group, DType dtype) {
  Shape shape;
  shape.num_threads = threads;
  shape.group_size = group;
  shape.dtype = dtype;
  Workload load{shape};
  ReadBandwidth memory{load.kv_bytes(), threads};
  uint64_t sum = 0;
  const Ratio r = compare([&] { sum += memory.read_once(); },
                          [&] { load.cache().attend(of_step<AttendArgs>(load.step()), Stream{}); }, rounds, 1, 1);
  auto result = goal(name, r.ratio, ">= 0.85", r.ratio >= 0.85);
  result["attend_gb_per_s"] = static_cast<double>(load.kv_bytes()) / r.second * 1e-9;
  result["read_gb_per_s"] = static_cast<double>(load.kv_bytes()) / r.first * 1e-9;
  result["checksum"] = sum;
  return result;
}

/// The codes of a head, and one query code.
struct Codes {
  std::vector<uint8_t> codes, probe;
  std::vector<int32_t> positions;
  std::vector<uint32_t> scores, maxima;
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
    maxima.resize(static_cast<std::size_t>(cpu::num_blocks(num_codes)));
    for (int32_t i = 0; i < num_codes; ++i) positions[static_cast<std::size_t>(i)] = i;
  }

  /// Finds the farthest code by the library's scan.
  int32_t scan() {
    const cpu::PositionRange all{0, num_slots};
    cpu::score_slots({.rule = core::RuleKind::farthest_from_key,
                      .facts = {.token_position = num_slots, .hash_bits = 8 * bytes, .draw = 0},
                      .codes = codes.data(),
                      .positions = positions.data(),
                      .accumulators = nullptr,
                      .importances = nullptr,
                      .importance_slopes = nullptr,
                      .num_slots = num_slots,
                      .code_bytes = bytes,
                      .probes = probe.data(),
                      .num_probes = 1,
                      .scores = scores.data(),
                      .block_maxima = maxima.data(),
                      .evictable = all,
                      .many_protected = false});
    return cpu::select_slot({scores.data(), maxima.data(), positions.data(), num_slots, all, true});
  }
};

nlohmann::json scan_over_faiss(const std::string& name, int rounds, int32_t bits, int32_t num_codes) {
  Codes ours{num_codes, bits};
  BinaryFlat faiss{bits, num_codes, ours.codes.data()};
  int64_t sum = 0;
  const int repeats = 4 * 65536 / num_codes;
  const Ratio r =
      compare([&] { sum += faiss.nearest(ours.probe.data()); }, [&] { sum += ours.scan(); }, rounds, repeats, repeats);
  auto result = goal(name, r.ratio, ">= 1.0", r.ratio >= 1.0);
  result["checksum"] = sum;
  return result;
}

void add_evict(std::vector<Goal>& goals) {
  for (const bool ragged : {false, true}) {
    for (const Preset preset : {Preset::paper, Preset::recall}) {
      const std::string rule = preset == Preset::recall ? "recall, 32 bits" : "16 bits";
      goals.push_back(
          {"evict / attend (4096 slots, dim 128, group 4, bf16), " + rule + (ragged ? ", ragged" : ""),
           [=](const std::string& name, int rounds) { return evict_over_attend(name, rounds, preset, ragged); }});
    }
  }
}

void add_attend(std::vector<Goal>& goals, int32_t threads, int32_t group, DType dtype) {
  const std::string what = "group " + std::to_string(group) + (dtype == DType::float32 ? ", fp32" : ", bf16") +
                           (threads == 1 ? ", one thread" : ", all threads");
  goals.push_back({"attend: bytes/s over read bandwidth, " + what, [=](const std::string& name, int rounds) {
                     return attend_over_bandwidth(name, rounds, threads, group, dtype);
                   }});
}

void add_scan(std::vector<Goal>& goals) {
  if (!BinaryFlat::available()) {
    std::printf("code scan / FAISS binary flat: FAISS was not found at build time\n");
    return;
  }
  for (const int32_t bits : {16, 32, 64, 128}) {
    for (const int32_t num_codes : {4096, 65536}) {
      goals.push_back(
          {"code scan: speed over FAISS binary flat, " + std::to_string(num_codes) + " codes of " +
               std::to_string(bits) + " bits",
           [=](const std::string& name, int rounds) { return scan_over_faiss(name, rounds, bits, num_codes); }});
    }
  }
}

std::vector<Goal> all_goals() {
  std::vector<Goal> goals;
  add_evict(goals);
  for (const int32_t threads : {0, 1}) {
    for (const int32_t group : {4, 2, 1}) add_attend(goals, threads, group, DType::bfloat16);
    add_attend(goals, threads, 4, DType::float32);
  }
  add_scan(goals);
  return goals;
}

int refuse(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  return 2;
}

int run(const Options& options) {
  std::vector<Goal> goals = all_goals();
  std::erase_if(goals, [&](const Goal& item) { return item.name.find(options.only) == std::string::npos; });
  if (goals.empty()) return refuse("goals: no name holds '" + options.only + "'");
  std::FILE* const file = options.file == nullptr ? nullptr : std::fopen(options.file, "w");
  if (options.file != nullptr && file == nullptr) return refuse(std::string("goals: cannot write ") + options.file);
  nlohmann::json results = nlohmann::json::array();
  for (const Goal& item : goals) results.push_back(item.measure(item.name, options.rounds));
  if (file == nullptr) return 0;
  std::fputs(results.dump(2).c_str(), file);
  return std::fclose(file) == 0 ? 0 : refuse(std::string("goals: cannot write ") + options.file);
}

}  // namespace
}  // namespace hashevict::bench

int main(int argc, char** argv) {
  using namespace hashevict::bench;
  if (argc == 2 && (std::string_view(argv[1]) == "--help" || std::string_view(argv[1]) == "-h")) {
    std::puts(kUsage);
    return 0;
  }
  const std::optional<Options> options = parse({argv + 1, argv + argc});
  return options ? run(*options) : refuse(kUsage);
}
