// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "chart.hpp"
#include "divided_slots.hpp"
#include "html_style.hpp"
#include "policies.hpp"
#include "report.hpp"
#include "text.hpp"

namespace hashevict::cli {
namespace {

const PolicyResult& full_result(const Report& report) {
  return report.results.front();
}

template <class Value>
Chart::Line line_of(const Report& report, std::string_view policy, bool calibrated, const Value& value) {
  Chart::Line line{std::string(policy), calibrated, {}};
  for (const PolicyResult& result : report.results) {
    if (result.policy == policy && result.calibrated == calibrated) {
      line.points.push_back({result.budget, value(result)});
    }
  }
  return line;
}

template <class Value>
Chart chart_of(const Report& report, std::string title, const Value& value) {
  Chart chart;
  chart.title = std::move(title);
  chart.full = value(full_result(report));
  for (const bool calibrated : {false, true}) {
    for (const std::string_view policy : kPolicies) {
      chart.lines.push_back(line_of(report, policy, calibrated, value));
    }
  }
  return chart;
}

std::string kibibytes(uint64_t bytes) {
  return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / 1024.0);
}

std::string header(const Report& report) {
  const Settings& settings = report.settings;
  return fmt::format(
      R"(<header><p class="eyebrow">hashevict {} · demo report</p>
<h1>What a bounded cache keeps, and what it loses</h1>
<p class="lead">{} ({:.2f} million parameters) over sequences of {} tokens, every one of them streamed through the cache.
Budgets are fractions of the tokens really seen.{}</p></header>
)",
      settings.version, escape_html(settings.model), static_cast<double>(settings.num_parameters) / 1e6,
      settings.length,
      settings.quick ? " <strong>A quick run: few and short samples, so the errors are large.</strong>" : "");
}

std::string tile(std::string_view policy, double budget, const std::string& recall, std::string_view note) {
  return fmt::format(R"(<div class="tile {0}"><b>{1}</b><span>{0}, {2:.0f} %<br />{3}</span></div>
)",
                     policy, recall, 100.0 * budget, note);
}

// The recall of each policy at the smallest budget, with equal and with calibrated slots.
std::string tiles(const Report& report) {
  const auto shown = [](const PolicyResult& result) { return fmt::format("{:.2f}", result.recall.mean); };
  std::string html = tile(kFull, 1.0, shown(full_result(report)), "recall");
  for (const std::string_view policy : kPolicies) {
    std::string recall;
    for (const PolicyResult& result : report.results) {
      if (result.policy != policy || result.budget != kBudgets.back()) continue;
      recall += (recall.empty() ? "" : " → ") + shown(result);
    }
    html += tile(policy, kBudgets.back(), recall, "recall, equal → calibrated slots");
  }
  return html;
}

std::string summary(const Report& report) {
  std::string html = "<div class=\"tiles\">\n" + tiles(report) + "</div>\n<ul class=\"findings\">\n";
  for (const std::string& sentence : findings(report)) html += "<li>" + escape_html(sentence) + "</li>\n";
  return html + "</ul>\n";
}

std::string legend() {
  std::string html = "<ul class=\"legend\">\n";
  for (const std::string_view policy : kPolicies) {
    html +=
        fmt::format(R"(<li><svg viewBox="0 0 14 14" class="series {0}" aria-hidden="true">{1}</svg><b>{0}</b>: {2}</li>
)",
                    policy, marker(std::string(policy), 7, 7), demo_policy(policy).description);
  }
  return html + "</ul>\n";
}

std::string charts(const Report& report) {
  Chart recall = chart_of(report, "Recall", [](const PolicyResult& result) { return result.recall; });
  recall.y_label = "share of questions answered exactly";
  recall.note = "higher is better";
  Chart text = chart_of(report, "Running text", [](const PolicyResult& result) {
    return Estimate{result.nats_per_byte.mean, result.nats_over_full.error, result.nats_per_byte.count};
  });
  text.y_label = "nats per byte";
  text.note = "lower is better; the axis does not start at 0";
  fit_axis(text);
  return fmt::format(R"(<h2>Score over budget</h2>
<p class="notes">Bars are one standard error: over examples for recall, over the paired differences to the full cache for
text. At 100 % every policy is the full cache. Solid lines: slots divided among the heads by what a calibration learned
of the model; dashed: the same slots in every head.</p>
{}<div class="pair"><div class="card">{}</div>
<div class="card">{}</div></div>
)",
                     legend(), to_svg(recall), to_svg(text));
}

std::string task_charts(const Report& report) {
  std::string html = fmt::format(R"(<h2>Recall by task</h2>
<p class="notes">{} examples a task. Facts are hidden in ordinary text and asked for at the very end: a needle, several
needles told apart by key, a value handed from variable to variable, a list to repeat, a dictionary.</p>
<div class="many">
)",
                                 report.settings.num_examples);
  for (size_t task = 0; task < kTasks.size(); ++task) {
    Chart chart = chart_of(report, std::string(name(kTasks[task])),
                           [task](const PolicyResult& result) { return result.tasks[task].accuracy; });
    chart.compact = true;
    chart.decimals = 1;  // three numbers: 0, a half and 1
    html += "<div class=\"card\">" + to_svg(chart) + "</div>\n";
  }
  return html + "</div>\n";
}

std::string table_row(const PolicyResult& result, bool first, const PolicyResult& full) {
  return fmt::format(
      R"(<tr class="{0}{1}"><td>{0}{14}</td><td>{2:.0f} %</td><td>{3}</td><td>{4} <small>{5:.0f} %</small></td>
<td>{6:.4f} <small>± {7:.4f}</small></td><td>{8:+.4f} <small>± {9:.4f}</small></td>
<td class="bar" style="--v: {10:.1f}%">{11:.3f} <small>± {12:.3f}</small></td><td>{13:.0f}</td></tr>
)",
      result.policy, first ? " first" : "", 100.0 * result.budget, result.slots, kibibytes(result.kv_bytes),
      100.0 * static_cast<double>(result.kv_bytes) / static_cast<double>(full.kv_bytes), result.nats_per_byte.mean,
      result.nats_per_byte.error, result.nats_over_full.mean, result.nats_over_full.error, 100.0 * result.recall.mean,
      result.recall.mean, result.recall.error, result.tokens_per_second,
      result.calibrated ? " <small>calibrated</small>" : "");
}

std::string table(const Report& report) {
  std::string html = R"(<h2>All figures</h2>
<p class="notes">KV bytes: keys and values of the slots, and what the policy keeps beside them (codes, positions). Mean ±
standard error. Tokens per second: one token at a time at the end of a sequence, median.</p>
<div class="card scroll"><table>
<thead><tr><th>policy</th><th>budget</th><th>slots</th><th>KV bytes</th><th>nats per byte</th><th>over full</th>
<th>recall</th><th>tokens/s</th></tr></thead>
<tbody>
)";
  std::string last;
  for (const PolicyResult& result : report.results) {
    html += table_row(result, result.policy != last, full_result(report));
    last = result.policy;
  }
  return html + "</tbody></table></div>\n";
}

constexpr double kPanel = 146, kGap = 13, kLeft = 112, kTop = 40, kRowGap = 16, kBottom = 46;
constexpr int kShades = 6;  // the page's style has classes k0 .. k6

// Position p holds the byte of the prompt with number p minus the marks before it.
int32_t num_marks(const RetentionStudy& study) {
  return study.num_tokens - static_cast<int32_t>(study.example.prompt.size());
}

std::string lifetimes(const HeadRetention& head) {
  std::string path;
  for (size_t position = 0; position < head.evicted_at.size(); ++position) {
    path += fmt::format("M{0} {0}V{1}", position, head.evicted_at[position]);
  }
  return path;
}

std::string panel(const RetentionStudy& study, const HeadRetention& head, double x, double y) {
  const int32_t tokens = study.num_tokens;
  const double scale = kPanel / tokens;
  const auto fact = static_cast<double>(study.example.fact.begin) + num_marks(study);
  const auto fact_size = static_cast<double>(study.example.fact.end - study.example.fact.begin);
  std::string svg = fmt::format("<g transform=\"translate({:.1f} {:.1f})\">", x, y);
  svg += fmt::format("<rect class=\"ground\" width=\"{0}\" height=\"{0}\" />", kPanel);
  svg += fmt::format("<g transform=\"scale({:.6f})\"><path transform=\"translate(0.5 0)\" d=\"{}\" /></g>", scale,
                     lifetimes(head));
  svg += fmt::format("<rect class=\"fact\" x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" />",
                     fact * scale, fact * scale, std::max(fact_size * scale, 1.5), kPanel - fact * scale);
  return svg + "</g>\n";
}

std::string column_titles(const RetentionStudy& study) {
  std::string svg;
  for (int32_t column = 0; column < study.num_layers * study.num_kv_heads; ++column) {
    svg += svg_text(kLeft + column * (kPanel + kGap) + kPanel / 2, kTop - 12, "tick", "middle",
                    fmt::format("layer {}, head {}", column / study.num_kv_heads, column % study.num_kv_heads));
  }
  return svg;
}

double share_held(const RetentionStudy& study, const Retention& retention, size_t position) {
  int32_t held = 0;
  for (const HeadRetention& head : retention.heads) held += head.evicted_at[position] >= study.num_tokens ? 1 : 0;
  return static_cast<double>(held) / static_cast<double>(retention.heads.size());
}

// Draws the heat map: one panel per policy (row), layer and head (column). A token is a vertical line from its own step
// to the step that evicted it, so the shade of an area is the share of its tokens still held.
std::string retention_svg(const RetentionStudy& study) {
  const auto columns = static_cast<double>(study.num_layers * study.num_kv_heads);
  const auto num_rows = static_cast<double>(study.policies.size());
  const double width = kLeft + columns * (kPanel + kGap);
  const double height = kTop + num_rows * (kPanel + kRowGap) + kBottom;
  std::string svg = fmt::format(
      "<svg class=\"retention\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"Tokens that each head retained "
      "over "
      "the sequence\">\n",
      width, height);
  svg += column_titles(study);
  for (size_t row = 0; row < study.policies.size(); ++row) {
    const Retention& retention = study.policies[row];
    const double y = kTop + static_cast<double>(row) * (kPanel + kRowGap);
    svg += fmt::format("<text x=\"0\" y=\"{:.1f}\" class=\"label {}\">{}</text>\n", y + kPanel / 2 - 4,
                       retention.policy, retention.policy);
    const bool alike = std::set(retention.head_slots.begin(), retention.head_slots.end()).size() == 1;
    svg += svg_text(0, y + kPanel / 2 + 13, "note", "start",
                    fmt::format("{} slots{}", retention.slots, alike ? "" : " (mean)"));
    if (retention.calibrated) svg += svg_text(0, y + kPanel / 2 + 30, "note", "start", "calibrated");
    svg += svg_text(kLeft - 6, y + 10, "tick", "end", "0");
    svg += svg_text(kLeft - 6, y + kPanel, "tick", "end", std::to_string(study.num_tokens));
    svg += fmt::format("<g class=\"map {}\">\n", retention.policy);
    for (size_t i = 0; i < retention.heads.size(); ++i) {
      svg += panel(study, retention.heads[i], kLeft + static_cast<double>(i) * (kPanel + kGap), y);
    }
    svg += "</g>\n";
  }
  const double base = height - kBottom - kRowGap;
  for (double column = 0; column < columns; ++column) {
    const double x = kLeft + column * (kPanel + kGap);
    svg += svg_text(x, base + 15, "tick", "start", "0");
    svg += svg_text(x + kPanel, base + 15, "tick", "end", std::to_string(study.num_tokens));
  }
  svg += svg_text(kLeft + columns * (kPanel + kGap) / 2, base + 38, "note", "middle",
                  "token position →   (downwards: the step, that is, time)");
  return svg + "</svg>\n";
}

// Formats the example's prompt, every byte shaded by the share of heads that held it at the question.
std::string retained_text_html(const RetentionStudy& study, const Retention& retention) {
  const std::string& prompt = study.example.prompt;
  const auto offset = static_cast<size_t>(num_marks(study));
  std::string html;
  size_t begin = 0;
  const auto shade = [&](size_t byte) {
    return static_cast<int>(std::lround(kShades * share_held(study, retention, byte + offset)));
  };
  const auto in_fact = [&](size_t byte) { return byte >= study.example.fact.begin && byte < study.example.fact.end; };
  while (begin < prompt.size()) {
    size_t end = begin + 1;
    while (end < prompt.size() && shade(end) == shade(begin) && in_fact(end) == in_fact(begin)) ++end;
    html += fmt::format("<span class=\"k{}{}\">{}</span>", shade(begin), in_fact(begin) ? " fact" : "",
                        escape_html(std::string_view(prompt).substr(begin, end - begin)));
    begin = end;
  }
  return html;
}

std::string kept_card(const RetentionStudy& study, const Retention& retention) {
  return fmt::format(R"(<div class="card kept {0}"><h3>{0}, {5} slots</h3>
<p>{1} slots, head by head. Answers <code>{2}</code>: {3}.</p>
<pre>{4}</pre></div>
)",
                     retention.policy, fmt::join(retention.head_slots, ", "), escape_html(one_line(retention.answer)),
                     retention.answer == study.example.answer ? "right" : "wrong", retained_text_html(study, retention),
                     retention.calibrated ? "calibrated" : "equal");
}

std::string retention(const Report& report) {
  const RetentionStudy& study = report.retention;
  std::string html = fmt::format(R"(<h2>Which tokens each head retained</h2>
<p class="notes">One example of {} tokens at {:.0f} % of them, chosen by where its fact lies and nothing else. A token is a
vertical line from the step that brought it to the step that overwrote it; the shade of an area is the share of its
tokens still held. The grey band is the fact that is asked for at the end.</p>
<div class="scale full">evicted <i></i> all held <i class="mark"></i> the fact</div>
<div class="card scroll">{}</div>
<h2>The same as text, when the question is asked</h2>
<p class="notes">Every byte is shaded by how many of the {} heads still hold it; the fact is underlined. Expected answer:
<code>{}</code></p>
<div class="scale full swatches">no head <span class="k1"> </span><span class="k2"> </span><span class="k3"> </span><span
class="k4"> </span><span class="k5"> </span><span class="k6"> </span> every head</div>
<div class="pair">
)",
                                 study.num_tokens, 100.0 * study.policies.front().budget, retention_svg(study),
                                 study.num_layers * study.num_kv_heads, escape_html(one_line(study.example.answer)));
  for (const Retention& item : study.policies) html += kept_card(study, item);
  return html + "</div>\n";
}

std::string continuation_card(const ContinuationStudy& study, const Continuation& item) {
  constexpr size_t kShown = 160;  // of the prompt
  const size_t cut = study.prompt.size() > kShown ? study.prompt.size() - kShown : 0;
  const std::string_view text = item.text;
  return fmt::format(R"(<div class="card kept {0}"><h3>{0}, {1:.0f} %</h3>
<p>{2} slots, {3}; the first {4} of {5} bytes as with the full cache.</p>
<pre><span class="prompt">…{6}</span>{7}<span class="differs">{8}</span></pre></div>
)",
                     item.policy, 100.0 * item.budget, item.slots, kibibytes(item.kv_bytes), item.same_as_full,
                     item.text.size(), escape_html(std::string_view(study.prompt).substr(cut)),
                     escape_html(text.substr(0, item.same_as_full)), escape_html(text.substr(item.same_as_full)));
}

std::string continuation(const Report& report) {
  std::string html = fmt::format(R"(<h2>A prompt continued</h2>
<p class="notes">The most likely bytes after a prompt of {} bytes, of which the end is shown in grey. What differs from
the full cache is shaded. A different continuation is not a worse one.</p>
<div class="pair">
)",
                                 report.continuation.prompt.size());
  for (const Continuation& item : report.continuation.policies) html += continuation_card(report.continuation, item);
  return html + "</div>\n";
}

std::string method(const Report& report) {
  const Settings& settings = report.settings;
  return fmt::format(R"(<h2>How to read this</h2>
<p>Every policy is given the same {} pieces of text and the same {} recall examples, and every sequence its own seed for
projections and random draws. An answer counts if each of its bytes is the most likely one given the true bytes before
it. The question comes last, after the cache has chosen what to keep, so no policy knows what will be asked.</p>
<p>Limits: one small model, one training seed, five kinds of facts. Differences below two standard errors mean nothing.
Replay traces of the model that matters to you before you choose a rule.</p>
<footer>Text: {}. Stored as {}. CPU target {}, {} threads. Seed {}. {:.0f} s in all.</footer>
)",
                     settings.num_texts, settings.num_examples * static_cast<int32_t>(kTasks.size()),
                     escape_html(settings.text_source), settings.storage_dtype, settings.cpu_target,
                     settings.num_threads, settings.seed, settings.seconds);
}

}  // namespace

std::string to_html(const Report& report) {
  return fmt::format(R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<title>hashevict demo report</title>
<style>{}</style></head>
<body><main>
{}{}{}{}{}{}{}{}{}</main></body></html>
)",
                     kStyle, header(report), summary(report), charts(report), task_charts(report), table(report),
                     divided_slots_html(report.divided), retention(report), continuation(report), method(report));
}

}  // namespace hashevict::cli
