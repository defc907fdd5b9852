// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "commands.hpp"
#include "engine/embedded_model.hpp"
#include "eval/continuation.hpp"
#include "eval/demo.hpp"
#include "eval/html_report.hpp"
#include "eval/votes.hpp"
#include "files.hpp"
#include "progress_line.hpp"
#include "seed_option.hpp"

namespace hashevict::cli {
namespace {

constexpr size_t kColumnWidth = 58;

struct Options {
  std::string text;
  std::string out = "hashevict-demo";
  int32_t threads = 0;
  uint64_t seed = 1;
  bool quick = false;
};

eval::DemoOptions make_options(const Options& options) {
  eval::DemoOptions demo = options.quick ? eval::DemoOptions::make_quick() : eval::DemoOptions{};
  demo.text = options.text.empty() ? std::string(engine::embedded_sample_text()) : read_file(options.text);
  if (!options.text.empty()) demo.text_source = options.text;
  demo.seed = options.seed;
  return demo;
}

std::string title(const eval::Continuation& item) {
  return fmt::format("{}, {} slots, first {} bytes as full", item.policy, item.slots, item.same_as_full);
}

void print_continuations(const eval::ContinuationStudy& study) {
  const eval::Continuation& full = study.policies.front();
  const std::string full_title = fmt::format("full, {} slots", full.slots);
  std::printf("\nThe same prompt of %zu bytes, continued (most likely bytes):\n", study.prompt.size());
  for (const eval::Continuation& item : study.policies) {
    if (item.policy != "paper" && item.policy != "recall") continue;
    std::printf("\n%s", eval::side_by_side(full_title, full.text, title(item), item.text, kColumnWidth).c_str());
  }
}

void print_report(const eval::Report& report) {
  std::printf("%d tokens a sequence, all of them streamed through the cache; budgets are fractions of them.\n",
              report.settings.length);
  std::printf("Mean and standard error over %d texts and %zu recall examples.\n\n", report.settings.num_texts,
              report.results.front().recall_samples.size());
  std::fputs(eval::to_table(report).c_str(), stdout);
  std::printf("\n");
  for (const std::string& sentence : eval::findings(report)) std::printf("- %s\n", sentence.c_str());
  print_continuations(report.continuation);
}

void run_demo(const Options& options) {
  const eval::DemoOptions demo = make_options(options);
  eval::require_valid(demo);  // before there is a folder
  const engine::Model model = engine::load_embedded_model();
  const eval::Votes votes = eval::Votes::embedded(model.config());
  engine::ThreadPool threads(options.threads);
  const std::filesystem::path folder = make_folder(options.out);
  const std::filesystem::path numbers = folder / "report.json";
  const std::filesystem::path page = folder / "report.html";
  for (const std::filesystem::path& file : {numbers, page}) require_output(file, {options.text});
  ProgressLine line;
  const eval::Report report = eval::run_demo({model, threads, &votes}, demo,
                                             [&line](std::string_view what, double share) { line.show(what, share); });
  line.finish();
  print_report(report);
  write_file(numbers, eval::to_json(report));
  write_file(page, eval::to_html(report));
  std::printf("\n%s\n%s\n", numbers.c_str(), page.c_str());
}

}  // namespace

void add_demo(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "demo", "Compare full and bounded caches on the built-in model: text, recall, memory, speed; write a report");
  const auto options = std::make_shared<Options>();
  command->add_option("--text", options->text, "Text file to stream; default: the built-in sample");
  command->add_option("--out", options->out, "Folder for report.json and report.html")->capture_default_str();
  command->add_option("--threads", options->threads, "Threads; 0: all there are")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  add_seed_option(*command, "--seed", options->seed, "Seed of examples and projections");
  command->add_flag("--quick", options->quick, "Short sequences and few examples: seconds, and large errors");
  command->callback([options] { run_demo(*options); });
}

}  // namespace hashevict::cli
