// SPDX-License-Identifier: Apache-2.0
// highway_targets.hpp must come first
#include "cpu/highway_targets.hpp"

#include <hwy/targets.h>

#include <algorithm>
#include <charconv>
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
#include "growth.hpp"
#include "ratio.hpp"
#include "read_bandwidth.hpp"
#include "replay.hpp"
#include "workload.hpp"

/// The rows of the table that need no other program: eviction, attention and the scan beside their limits, and how time
/// grows. Both sides of a ratio are measured in turn in one run, since no other comparison is valid on a machine that
/// others share. The figure is the median of the rounds' ratios; its spread are their quartiles.
///
/// `hashevict_goals [--shared] [--only TEXT] [FILE [ROUNDS]]` also writes them to FILE as JSON. `--only eviction`
/// measures only those rows whose "section, name" contains the text. `--shared` is for a machine that others use now:
/// everything on one thread, by processor time.
namespace hashevict::bench {
namespace {

constexpr const char* kUsage = "usage: hashevict_goals [--shared] [--only TEXT] [FILE [ROUNDS]]";

struct Options {
  std::string only;
  const char* file = nullptr;
  int rounds = 21;
};

/// nullopt for invalid arguments.
std::optional<Options> parse(std::vector<std::string_view> arguments, Options options = {}) {
  if (!arguments.empty() && arguments[0] == "--shared") {
    use_processor_time();
    arguments.erase(arguments.begin());
  }
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

/// A row of the table to measure.
struct Goal {
  std::string section;
  std::string name;
  std::function<nlohmann::json(const RowName& name, int rounds)> measure;
};

nlohmann::json evict_over_attend(RowName name, int rounds, Preset preset, bool ragged) {
  Shape shape;
  shape.preset = preset;
  shape.hash_bits = Rule{preset}.hash_bits;
  shape.ragged = ragged;
  if (uses_processor_time()) shape.num_threads = 1;
  Workload load{shape};
  const Ratio r = compare([&] { load.cache().append(of_step<AppendArgs>(load.step()), Stream{}); },
                          [&] { load.cache().attend(of_step<AttendArgs>(load.step()), Stream{}); }, rounds, 1, 1);
  name.limit = "<= 0.02";
  name.peer = "attention of the same step";
  auto row = make_row(name, r.ratio);
  row["evict_us"] = r.first * 1e6;
  row["attend_us"] = r.second * 1e6;
  return row;
}

/// Restricts the library to some of Highway's instruction sets; 0: all.
void choose_targets(int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

struct Attention {
  int32_t threads = 0;  ///< 0: all
  int32_t group = 4;
  DType dtype = DType::bfloat16;
  int64_t target = 0;  ///< 0: the best
};

nlohmann::json attend_over_bandwidth(RowName name, int rounds, Attention what) {
  if (uses_processor_time()) what.threads = 1;
  Shape shape;
  shape.num_threads = what.threads;
  shape.group_size = what.group;
  shape.dtype = what.dtype;
  Workload load{shape};
  ReadBandwidth memory{load.kv_bytes(), what.threads};
  uint64_t sum = memory.read_once();  // by the best instruction set
  choose_targets(what.target);
  const Ratio r = compare([&] { sum += memory.read_once(); },
                          [&] { load.cache().attend(of_step<AttendArgs>(load.step()), Stream{}); }, rounds, 1, 1);
  choose_targets(0);
  name.limit = what.target == 0 && what.threads == 0 ? ">= 0.85" : "";
  name.peer = "threads that only read";
  auto row = make_row(name, r.ratio);
  row["attend_gb_per_s"] = static_cast<double>(load.kv_bytes()) / r.second * 1e-9;
  row["read_gb_per_s"] = static_cast<double>(load.kv_bytes()) / r.first * 1e-9;
  row["checksum"] = sum;
  return row;
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

nlohmann::json scan_over_faiss(RowName name, int rounds, int32_t bits, int32_t num_codes) {
  Codes ours{num_codes, bits};
  BinaryFlat faiss{bits, num_codes, ours.codes.data()};
  int64_t sum = 0;
  const int repeats = 4 * 65536 / num_codes;
  const Ratio r =
      compare([&] { sum += faiss.nearest(ours.probe.data()); }, [&] { sum += ours.scan(); }, rounds, repeats, repeats);
  name.limit = ">= 1.0";
  name.peer = "FAISS binary flat";
  auto row = make_row(name, r.ratio);
  row["checksum"] = sum;
  return row;
}

void add_evict(std::vector<Goal>& goals) {
  const std::pair<const char*, Preset> presets[] = {{"paper", Preset::paper},
                                                    {"authors", Preset::authors},
                                                    {"recall", Preset::recall},
                                                    {"superseded", Preset::superseded}};
  for (const bool ragged : {false, true}) {
    for (const auto& [text, preset] : presets) {
      goals.push_back({"eviction over attention", std::string("preset ") + text + (ragged ? ", heads differ" : ""),
                       [=, preset = preset](const RowName& name, int rounds) {
                         return evict_over_attend(name, rounds, preset, ragged);
                       }});
    }
  }
}

void add_attention(std::vector<Goal>& goals, const std::string& text, const Attention& what) {
  goals.push_back({"attention over read bandwidth", text,
                   [=](const RowName& name, int rounds) { return attend_over_bandwidth(name, rounds, what); }});
}

void add_attend(std::vector<Goal>& goals) {
  for (const int32_t threads : {0, 1}) {
    if (threads == 0 && uses_processor_time()) continue;
    const std::string end = threads == 1 ? ", one thread" : "";
    for (const int32_t group : {1, 2, 4, 8}) {
      add_attention(goals, "bf16, group " + std::to_string(group) + end, {.threads = threads, .group = group});
    }
    add_attention(goals, "fp16, group 4" + end, {.threads = threads, .dtype = DType::float16});
    add_attention(goals, "fp32, group 4" + end, {.threads = threads, .dtype = DType::float32});
  }
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    add_attention(goals, std::string("bf16, group 4, ") + hwy::TargetName(target), {.target = target});
  }
}

void add_scan(std::vector<Goal>& goals) {
  for (const int32_t bits : {16, 32, 64, 128}) {
    for (const int32_t num_codes : {4096, 65536}) {
      const std::string text = std::to_string(num_codes) + " codes of " + std::to_string(bits) + " bits";
      goals.push_back(
          {"code scan, speed", text, [=](const RowName& name, int rounds) -> nlohmann::json {
             if (BinaryFlat::available()) return scan_over_faiss(name, rounds, bits, num_codes);
             return {{"section", name.section}, {"name", name.name}, {"skipped", "FAISS was not found at build time"}};
           }});
    }
  }
}

void add_growth(std::vector<Goal>& goals) {
  for (const Growth& growth : all_growths()) {
    goals.push_back({"growth: exponent of time", growth.name, [growth](const RowName& name, int rounds) {
                       return growth.measure(name.name, std::max(1, rounds / 2));
                     }});
  }
}

void add_replay(std::vector<Goal>& goals) {
  for (const int32_t tokens : {8192, 32768}) {
    for (const auto& [policy, shape] : replay_shapes()) {
      goals.push_back({"a prompt's replay over its steps", std::to_string(tokens) + " tokens, " + policy,
                       [=, shape = shape](const RowName& name, int rounds) {
                         return replay_over_steps(name.name, rounds, shape, tokens);
                       }});
    }
  }
}

std::vector<Goal> all_goals() {
  std::vector<Goal> goals;
  add_evict(goals);
  add_attend(goals);
  add_scan(goals);
  add_replay(goals);
  add_growth(goals);
  return goals;
}

int refuse(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  return 2;
}

int run(const Options& options) {
  std::vector<Goal> goals = all_goals();
  std::erase_if(goals, [&](const Goal& item) {
    return (item.section + ", " + item.name).find(options.only) == std::string::npos;
  });
  if (goals.empty()) return refuse("goals: no name holds '" + options.only + "'");
  std::FILE* const file = options.file == nullptr ? nullptr : std::fopen(options.file, "w");
  if (options.file != nullptr && file == nullptr) return refuse(std::string("goals: cannot write ") + options.file);
  nlohmann::json rows = nlohmann::json::array();
  for (const Goal& item : goals) {
    rows.push_back(item.measure({.section = item.section, .name = item.name, .limit = "", .peer = ""}, options.rounds));
  }
  const nlohmann::json results{{"instruction_set", Cache::capabilities().cpu_target},
                               {"timing", uses_processor_time() ? "one thread, processor time" : "all threads"},
                               {"rows", rows}};
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
