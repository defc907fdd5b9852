// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "report.hpp"
#include "text.hpp"

namespace hashevict::eval {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const Estimate& value) {
  return {{"mean", value.mean}, {"standard_error", value.error}, {"samples", value.count}};
}

Json json_of(const Settings& settings) {
  return {{"version", settings.version},
          {"model", settings.model},
          {"num_parameters", settings.num_parameters},
          {"text", settings.text_source},
          {"storage_dtype", settings.storage_dtype},
          {"cpu_target", settings.cpu_target},
          {"num_threads", settings.num_threads},
          {"length", settings.length},
          {"num_texts", settings.num_texts},
          {"num_examples_per_task", settings.num_examples},
          {"seed", settings.seed},
          {"quick", settings.quick},
          {"seconds", settings.seconds}};
}

Json json_of(const PolicyResult& result) {
  Json tasks = Json::object();
  for (const TaskScore& score : result.tasks) tasks[std::string(name(score.task))] = json_of(score.accuracy);
  return {{"policy", result.policy},
          {"budget", result.budget},
          {"slots", result.slots},
          {"kv_bytes", result.kv_bytes},
          {"nats_per_byte", json_of(result.nats_per_byte)},
          {"nats_over_full", json_of(result.nats_over_full)},
          {"recall", json_of(result.recall)},
          {"tasks", std::move(tasks)},
          {"tokens_per_second", result.tokens_per_second}};
}

Json json_of(const Retention& retention) {
  Json heads = Json::array();
  for (const HeadRetention& head : retention.heads) {
    heads.push_back({{"layer", head.layer}, {"head", head.head}, {"evicted_at", head.evicted_at}});
  }
  return {{"policy", retention.policy},
          {"budget", retention.budget},
          {"slots", retention.slots},
          {"layer_slots", retention.layer_slots},
          {"answer", printable(retention.answer)},
          {"heads", std::move(heads)}};
}

Json json_of(const RetentionStudy& study) {
  Json policies = Json::array();
  for (const Retention& retention : study.policies) policies.push_back(json_of(retention));
  return {{"prompt", printable(study.example.prompt)},
          {"answer", printable(study.example.answer)},
          {"fact", {study.example.fact.begin, study.example.fact.end}},
          {"num_layers", study.num_layers},
          {"num_kv_heads", study.num_kv_heads},
          {"num_tokens", study.num_tokens},
          {"policies", std::move(policies)}};
}

Json json_of(const ContinuationStudy& study) {
  Json policies = Json::array();
  for (const Continuation& item : study.policies) {
    policies.push_back({{"policy", item.policy},
                        {"budget", item.budget},
                        {"slots", item.slots},
                        {"kv_bytes", item.kv_bytes},
                        {"text", printable(item.text)},
                        {"same_as_full", item.same_as_full}});
  }
  return {{"prompt", printable(study.prompt)}, {"policies", std::move(policies)}};
}

}  // namespace

std::string to_json(const Report& report) {
  Json results = Json::array();
  for (const PolicyResult& result : report.results) results.push_back(json_of(result));
  const Json json = {{"settings", json_of(report.settings)},
                     {"findings", findings(report)},
                     {"results", std::move(results)},
                     {"retention", json_of(report.retention)},
                     {"continuation", json_of(report.continuation)}};
  return json.dump(1, ' ', false, Json::error_handler_t::strict) + "\n";
}

}  // namespace hashevict::eval
