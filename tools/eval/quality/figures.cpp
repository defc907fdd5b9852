// SPDX-License-Identifier: Apache-2.0
#include "figures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "eval/budget.hpp"
#include "eval/demo.hpp"
#include "eval/html_style.hpp"
#include "eval/retention_map.hpp"
#include "eval/text.hpp"

namespace hashevict::eval {
namespace {

struct GroupName {
  PolicyGroup group;
  const char* file;
  const char* title;
};
constexpr std::array<GroupName, 3> kGroups = {{
    {PolicyGroup::library, "library", "rules of the library"},
    {PolicyGroup::attention, "attention", "attention-based policies"},
    {PolicyGroup::exact, "exact", "exact keys and queries"},
}};

bool is_shown(const PolicyChoice& choice, PolicyGroup group) {
  if (choice.is_full()) return false;
  const std::string name = choice.name();
  return choice.row->group == group || name == "random" || name == "oracle_sum";
}

std::string title_of(const Section& section) {
  if (section.name == "streamed") return "Question after the context";
  if (section.name == "known") return "Question known";
  if (section.name == "generated") return "After generated text";
  return "Running text";
}

Chart make_chart(const Section& section, const EvalOptions& options, const GroupName& group) {
  const bool is_text = section.name == kText;
  Chart chart;
  chart.title = fmt::format("{}: {}", title_of(section), group.title);
  chart.x_label = "budget: bytes, as a share of the full cache's";
  chart.y_label = is_text ? "nats per byte" : "recall";
  chart.note = is_text ? "lower is better" : "higher is better";
  chart.full = section.find("full", 1.0)->score;
  for (const PolicyChoice& choice : options.policies) {
    if (!is_shown(choice, group.group)) continue;
    Chart::Line line{choice.name(), {}};
    for (const double budget : options.budgets) {
      const Cell* cell = section.find(choice.name(), budget);
      if (cell != nullptr) line.points.push_back({budget, cell->score});
    }
    if (!line.points.empty()) chart.lines.push_back(std::move(line));
  }
  if (is_text) fit_axis(chart);
  return chart;
}

// When each head of a run let go of each position, told from what it holds after every token.
std::vector<HeadRetention> follow(PolicyRun& run, const engine::ModelConfig& model, std::span<const int32_t> tokens) {
  std::vector<HeadRetention> heads;
  for (int32_t layer = 0; layer < model.num_layers; ++layer) {
    for (int32_t head = 0; head < model.num_kv_heads; ++head) {
      heads.push_back({layer, head, std::vector<int32_t>(tokens.size(), static_cast<int32_t>(tokens.size()))});
    }
  }
  std::vector<std::vector<int32_t>> before(heads.size());
  for (size_t t = 0; t < tokens.size(); ++t) {
    run.decoder().stream(tokens.subspan(t, 1), engine::Logits::none);
    std::vector<std::vector<int32_t>> held = run.held();
    for (size_t head = 0; head < heads.size(); ++head) {
      std::sort(held[head].begin(), held[head].end());
      for (const int32_t position : before[head]) {
        if (std::binary_search(held[head].begin(), held[head].end(), position)) continue;
        heads[head].evicted_at[static_cast<size_t>(position)] = static_cast<int32_t>(t);
      }
    }
    before = std::move(held);
  }
  return heads;
}

// The first needle of the seeds that lies early, so that every budget has had time to lose it.
Example retained_example(const EvalOptions& options) {
  DemoOptions demo;
  demo.text = half_of(options.text, options.seed_set);
  demo.length = options.length;
  demo.seed = seeds(options.seed_set).front();
  return retention_example(demo);
}

}  // namespace

std::vector<Figure> make_figures(const Evaluation& evaluation) {
  std::vector<Figure> figures;
  for (const Section& section : evaluation.sections) {
    if (section.find("full", 1.0) == nullptr) continue;  // every line begins there
    for (const GroupName& group : kGroups) {
      Chart chart = make_chart(section, evaluation.options, group);
      const bool any = std::any_of(chart.lines.begin(), chart.lines.end(), [&](const Chart::Line& line) {
        return parse_policy(line.policy).row->group == group.group;
      });
      if (!any) continue;
      figures.push_back(
          {section.name, group.title, fmt::format("{}-{}.svg", section.name, group.file), std::move(chart)});
    }
  }
  return figures;
}

RetentionStudy study_retention(const Runtime& runtime, const EvalOptions& options) {
  const engine::ModelConfig& model = runtime.model.config();
  const Config shape = harness_shape(model);
  RetentionStudy study;
  study.example = retained_example(options);
  study.num_layers = model.num_layers;
  study.num_kv_heads = model.num_kv_heads;
  const std::vector<int32_t> tokens = sequence_tokens(model, study.example.prompt);
  study.num_tokens = static_cast<int32_t>(tokens.size());
  const baselines::FullAttention attention = record_full_attention(runtime, tokens);
  const Futures futures(attention);
  for (const PolicyChoice& choice : options.policies) {
    if (choice.is_full() || choice.row->prompts_only) continue;
    Retention retention;
    retention.policy = choice.name();
    retention.budget = kVariantBudget;
    retention.slots = ByteModel::of(choice, shape).slots(kVariantBudget, study.num_tokens, shape);
    PolicyRun run(runtime, choice, retention.slots, study.num_tokens, seeds(options.seed_set).front(), &futures);
    retention.heads = follow(run, model, tokens);
    study.policies.push_back(std::move(retention));
  }
  return study;
}

std::string to_page(const Evaluation& evaluation, const RetentionStudy& study) {
  std::vector<std::string> policies;
  for (const PolicyChoice& choice : evaluation.options.policies) policies.push_back(choice.name());
  std::string charts;
  for (const Figure& figure : evaluation.figures) charts += "<div class=\"card\">" + to_svg(figure.chart) + "</div>\n";
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\" />\n<meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\" />\n<title>hashevict evaluation</title>\n<style>{}{}</style>"
      "</head>\n<body><main>\n<header><p class=\"eyebrow\">hashevict {} evaluation</p>\n<h1>What bounded caches "
      "remember</h1>\n<p class=\"lead\">Seed set {}, {} tokens a sequence, {} examples a task and "
      "seed.</p></header>\n<div class=\"pair\">\n{}</div>\n<h2>Which tokens each head retained</h2>\n<p "
      "class=\"notes\">One example of {} tokens, streamed at {:.0f} % of the full cache's bytes. A token is a vertical "
      "line from the step that brought it to the step that overwrote it; the shade of an area is the share of its "
      "tokens still held. The grey band is the fact that is asked for at the end.</p>\n<div class=\"card "
      "scroll\">{}</div>\n</main></body></html>\n",
      kStyle, color_rules(policies), evaluation.version, name(evaluation.options.seed_set), evaluation.options.length,
      evaluation.options.num_examples, charts, study.num_tokens, 100.0 * kVariantBudget, retention_svg(study));
}

}  // namespace hashevict::eval
