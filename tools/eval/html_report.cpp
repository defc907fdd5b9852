// SPDX-License-Identifier: Apache-2.0
#include "html_report.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "chart.hpp"
#include "html_style.hpp"
#include "policies.hpp"
#include "retention_map.hpp"
#include "text.hpp"

namespace hashevict::eval {
namespace {

const PolicyResult& full_result(const Report& report) {
  return report.results.front();
}

template <class Value>
Chart::Line line_of(const Report& report, std::string_view policy, const Value& value) {
  Chart::Line line{std::string(policy), {}};
  for (const PolicyResult& result : report.results) {
    if (result.policy == policy) line.points.push_back({result.budget, value(result)});
  }
  return line;
}

template <class Value>
Chart chart_of(const Report& report, std::string title, const Value& value) {
  Chart chart;
  chart.title = std::move(title);
  chart.full = value(full_result(report));
  for (const std::string_view policy : kPolicies) chart.lines.push_back(line_of(report, policy, value));
  return chart;
}

std::string kibibytes(uint64_t bytes) {
  return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / 1024.0);
}

std::string header(const Report& report) {
  const Settings& settings = report.settings;
  return fmt::format(
      "<header><p class=\"eyebrow\">hashevict {} · demo report</p>\n<h1>What a bounded cache keeps, and what "
      "it "
      "loses</h1>\n<p class=\"lead\">{} ({:.2f} million parameters) over sequences of {} tokens, every one of them "
      "streamed through the cache. Budgets are fractions of the tokens really seen.{}</p></header>\n",
      settings.version, escape_html(settings.model), static_cast<double>(settings.num_parameters) / 1e6,
      settings.length,
      settings.quick ? " <strong>A quick run: few and short samples, so the errors are large.</strong>" : "");
}

std::string tile(const PolicyResult& result) {
  return fmt::format("<div class=\"tile {}\"><b>{:.2f}</b><span>{}, {:.0f} %<br />recall, ± {:.2f}</span></div>\n",
                     result.policy, result.recall.mean, result.policy, 100.0 * result.budget, result.recall.error);
}

std::string summary(const Report& report) {
  std::string html = "<div class=\"tiles\">\n" + tile(full_result(report));
  for (const PolicyResult& result : report.results) {
    if (result.budget == kBudgets.back()) html += tile(result);
  }
  html += "</div>\n<ul class=\"findings\">\n";
  for (const std::string& sentence : findings(report)) html += "<li>" + escape_html(sentence) + "</li>\n";
  return html + "</ul>\n";
}

std::string legend() {
  std::string html = "<ul class=\"legend\">\n";
  for (const std::string_view policy : kPolicies) {
    html += fmt::format(
        "<li><svg viewBox=\"0 0 14 14\" class=\"series {0}\" aria-hidden=\"true\">{1}</svg><b>{0}</b>: {2}</li>\n",
        policy, marker(std::string(policy), 7, 7), description(policy));
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
  return fmt::format(
      "<h2>Score over budget</h2>\n<p class=\"notes\">Bars are one standard error: over examples for recall, over the "
      "paired differences to the full cache for text. At 100 % every policy is the full cache.</p>\n{}<div "
      "class=\"pair\">"
      "<div class=\"card\">{}</div>\n<div class=\"card\">{}</div></div>\n",
      legend(), to_svg(recall), to_svg(text));
}

std::string task_charts(const Report& report) {
  std::string html = fmt::format(
      "<h2>Recall by task</h2>\n<p class=\"notes\">{} examples a task. Facts are hidden in ordinary text and asked for "
      "at "
      "the very end: a needle, several needles told apart by key, a value handed from variable to variable, a list to "
      "repeat, a dictionary.</p>\n<div class=\"many\">\n",
      report.settings.num_examples);
  for (size_t task = 0; task < kTasks.size(); ++task) {
    Chart chart = chart_of(report, std::string(name(kTasks[task])),
                           [task](const PolicyResult& result) { return result.tasks[task].accuracy; });
    chart.compact = true;
    chart.decimals = 1;  // three figures: 0, a half and 1
    html += "<div class=\"card\">" + to_svg(chart) + "</div>\n";
  }
  return html + "</div>\n";
}

std::string table_row(const PolicyResult& result, bool first, const PolicyResult& full) {
  return fmt::format(
      "<tr class=\"{}{}\"><td>{}</td><td>{:.0f} %</td><td>{}</td><td>{} <small>{:.0f} %</small></td>"
      "<td>{:.4f} <small>± {:.4f}</small></td><td>{:+.4f} <small>± {:.4f}</small></td>"
      "<td class=\"bar\" style=\"--v: {:.1f}%\">{:.3f} <small>± {:.3f}</small></td><td>{:.0f}</td></tr>\n",
      result.policy, first ? " first" : "", result.policy, 100.0 * result.budget, result.slots,
      kibibytes(result.kv_bytes), 100.0 * static_cast<double>(result.kv_bytes) / static_cast<double>(full.kv_bytes),
      result.nats_per_byte.mean, result.nats_per_byte.error, result.nats_over_full.mean, result.nats_over_full.error,
      100.0 * result.recall.mean, result.recall.mean, result.recall.error, result.tokens_per_second);
}

std::string table(const Report& report) {
  std::string html =
      "<h2>All figures</h2>\n<p class=\"notes\">KV bytes: keys and values of the slots, and what the policy keeps "
      "beside "
      "them (codes, positions). Mean ± standard error. Tokens per second: one token at a time at the end of a "
      "sequence, "
      "median.</p>\n<div class=\"card scroll\"><table>\n<thead><tr><th>policy</th><th>budget</th><th>slots</th><th>KV "
      "bytes</th><th>nats per byte</th><th>over full</th><th>recall</th><th>tokens/s</th></tr></thead>\n<tbody>\n";
  std::string last;
  for (const PolicyResult& result : report.results) {
    html += table_row(result, result.policy != last, full_result(report));
    last = result.policy;
  }
  return html + "</tbody></table></div>\n";
}

std::string kept_card(const RetentionStudy& study, const Retention& retention) {
  const bool right = retention.answer == study.example.answer;
  return fmt::format(
      "<div class=\"card kept {0}\"><h3>{0}</h3>\n<p>{1} slots, layer by layer. Answers <code>{2}</code>: "
      "{3}.</p>\n<pre>{4}</pre></div>\n",
      retention.policy, fmt::join(retention.layer_slots, ", "), escape_html(one_line(retention.answer)),
      right ? "right" : "wrong", retained_text_html(study, retention));
}

std::string retention(const Report& report) {
  const RetentionStudy& study = report.retention;
  std::string html = fmt::format(
      "<h2>Which tokens each head retained</h2>\n<p class=\"notes\">One example of {} tokens at {:.0f} % of them, "
      "chosen "
      "by where its fact lies and nothing else. A token is a vertical line from the step that brought it to the step "
      "that "
      "overwrote it; the shade of an area is the share of its tokens still held. The grey band is the fact that is "
      "asked "
      "for at the end.</p>\n<div class=\"scale full\">evicted <i></i> all held <i class=\"mark\"></i> the fact</div>\n"
      "<div class=\"card scroll\">{}</div>\n",
      study.num_tokens, 100.0 * study.policies.front().budget, retention_svg(study));
  html += fmt::format(
      "<h2>The same as text, when the question is asked</h2>\n<p class=\"notes\">Every byte is shaded by how many of "
      "the {} "
      "heads still hold it; the fact is underlined. Expected answer: <code>{}</code></p>\n<div class=\"scale full "
      "swatches\">no head <span class=\"k1\"> </span><span class=\"k2\"> </span><span class=\"k3\"> </span><span "
      "class=\"k4\"> </span><span class=\"k5\"> </span><span class=\"k6\"> </span> every head</div>\n<div "
      "class=\"pair\">\n",
      study.num_layers * study.num_kv_heads, escape_html(one_line(study.example.answer)));
  for (const Retention& item : study.policies) html += kept_card(study, item);
  return html + "</div>\n";
}

std::string continuation_card(const ContinuationStudy& study, const Continuation& item) {
  constexpr size_t kShown = 160;  // of the prompt
  const size_t cut = study.prompt.size() > kShown ? study.prompt.size() - kShown : 0;
  const std::string_view text = item.text;
  return fmt::format(
      "<div class=\"card kept {0}\"><h3>{0}, {1:.0f} %</h3>\n<p>{2} slots, {3}; the first {4} of {5} bytes as with the "
      "full "
      "cache.</p>\n<pre><span class=\"prompt\">…{6}</span>{7}<span class=\"differs\">{8}</span></pre></div>\n",
      item.policy, 100.0 * item.budget, item.slots, kibibytes(item.kv_bytes), item.same_as_full, item.text.size(),
      escape_html(std::string_view(study.prompt).substr(cut)), escape_html(text.substr(0, item.same_as_full)),
      escape_html(text.substr(item.same_as_full)));
}

std::string continuation(const Report& report) {
  std::string html = fmt::format(
      "<h2>A prompt continued</h2>\n<p class=\"notes\">The most likely bytes after a prompt of {} bytes, of which the "
      "end "
      "is shown in grey. What differs from the full cache is shaded. A different continuation is not a worse "
      "one.</p>\n<div "
      "class=\"pair\">\n",
      report.continuation.prompt.size());
  for (const Continuation& item : report.continuation.policies) html += continuation_card(report.continuation, item);
  return html + "</div>\n";
}

std::string method(const Report& report) {
  const Settings& settings = report.settings;
  return fmt::format(
      "<h2>How to read this</h2>\n<p>Every policy is given the same {} pieces of text and the same {} recall examples, "
      "and "
      "every sequence its own seed for projections and random draws. An answer counts if each of its bytes is the most "
      "likely one given the true bytes before it. The question comes last, after the cache has chosen what to keep, so "
      "no "
      "policy knows what will be asked.</p>\n<p>Limits: one small model, one training seed, "
      "five kinds of facts. Differences below two standard errors "
      "mean "
      "nothing. Replay traces of the model that matters to you before you choose a rule.</p>\n<footer>Text: {}. Stored "
      "as "
      "{}. CPU target {}, {} threads. Seed {}. {:.0f} s in all.</footer>\n",
      settings.num_texts, settings.num_examples * static_cast<int32_t>(kTasks.size()),
      escape_html(settings.text_source), settings.storage_dtype, settings.cpu_target, settings.num_threads,
      settings.seed, settings.seconds);
}

}  // namespace

std::string to_html(const Report& report) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\" />\n<meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\" />\n<title>hashevict demo "
      "report</title>\n<style>{}</style></head>\n"
      "<body><main>\n{}{}{}{}{}{}{}{}</main></body></html>\n",
      kStyle, header(report), summary(report), charts(report), task_charts(report), table(report), retention(report),
      continuation(report), method(report));
}

}  // namespace hashevict::eval
