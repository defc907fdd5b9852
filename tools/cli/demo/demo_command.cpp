// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "cli/commands.hpp"
#include "cli/files.hpp"
#include "cli/memory.hpp"
#include "cli/profile_options.hpp"
#include "cli/shared_options.hpp"
#include "cli/terminal.hpp"
#include "cli/votes.hpp"
#include "demo.hpp"
#include "engine/embedded_model.hpp"
#include "engine/file_mapping.hpp"

namespace hashevict::cli {
namespace {

constexpr size_t kColumnWidth = 58;
constexpr const char* kNumbers = "report.json";
constexpr const char* kPage = "report.html";

struct Options {
  std::string text;
  std::string out = "hashevict-demo";
  int32_t threads = 0;
  uint64_t seed = 1;
  bool quick = false;
  ProfileOptions profile;
};

cli::DemoOptions make_options(const Options& options) {
  cli::DemoOptions demo = options.quick ? cli::DemoOptions::make_quick() : cli::DemoOptions{};
  demo.text = options.text.empty() ? std::string(engine::embedded_sample_text()) : read_file(options.text);
  if (!options.text.empty()) demo.text_source = options.text;
  demo.seed = options.seed;
  return demo;
}

std::string title(const cli::Continuation& item) {
  return fmt::format("{}, {} slots, first {} bytes as full", item.policy, item.slots, item.same_as_full);
}

void print_continuations(const cli::ContinuationStudy& study) {
  const cli::Continuation& full = study.policies.front();
  const std::string full_title = fmt::format("full, {} slots", full.slots);
  std::printf("\nThe same prompt of %zu bytes, continued (most likely bytes):\n", study.prompt.size());
  for (const cli::Continuation& item : study.policies) {
    if (item.policy != "paper" && item.policy != "recall") continue;
    std::printf("\n%s", cli::side_by_side(full_title, full.text, title(item), item.text, kColumnWidth).c_str());
  }
}

void print_report(const cli::Report& report) {
  std::printf("%d tokens a sequence, all of them streamed through the cache; budgets are fractions of them.\n",
              report.settings.length);
  std::printf("Mean and standard error over %d texts and %zu recall examples.\n\n", report.settings.num_texts,
              report.results.front().recall_samples.size());
  std::fputs(cli::to_table(report).c_str(), stdout);
  std::printf("\n");
  for (const std::string& sentence : cli::findings(report)) std::printf("- %s\n", sentence.c_str());
  print_continuations(report.continuation);
}

void run_demo(const Options& options) {
  const cli::DemoOptions demo = make_options(options);
  cli::require_valid(demo);
  require_outputs(options.out, {kNumbers, kPage}, {options.text, options.profile.file});
  const engine::Model model = engine::load_embedded_model();
  cli::require_memory("--text, --quick", cli::demo_bytes(model, demo));
  const cli::Votes votes = cli::Votes::embedded(model.config());
  const Profile profile = options.profile.load(model.config()).value_or(Profile::embedded(model.config()));
  engine::FileMapping::require_unchanged();  // it is copied by now
  engine::ThreadPool threads(options.threads);
  ProgressLine line;
  const Runtime runtime{model, threads, &votes, &profile, options.profile.floor};
  const cli::Report report =
      cli::run_demo(runtime, demo, [&line](std::string_view what, double share) { line.show(what, share); });
  line.finish();
  print_report(report);
  const std::filesystem::path folder = make_folder(options.out);
  const std::filesystem::path numbers = folder / kNumbers;
  const std::filesystem::path page = folder / kPage;
  write_file(numbers, cli::to_json(report));
  write_file(page, cli::to_html(report));
  std::printf("\n%s\n%s\n", numbers.c_str(), page.c_str());
}

}  // namespace

void add_demo(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "demo", "Compare full and bounded caches on the built-in model: text, recall, memory, speed; write a report");
  const auto options = std::make_shared<Options>();
  command->add_option("--text", options->text, "Text file to stream; default: the built-in sample");
  command->add_option("--out", options->out, "Folder for report.json and report.html")->capture_default_str();
  add_threads_option(*command, options->threads);
  add_seed_option(*command, "--seed", options->seed, "Seed of examples and projections");
  options->profile.add_to(*command, true);
  command->add_flag("--quick", options->quick, "Short sequences and few examples: seconds, and large errors");
  command->callback([options] { run_demo(*options); });
}

}  // namespace hashevict::cli
