// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tasks.hpp"

namespace hashevict::cli {

/// A mean over independent samples with its standard error.
struct Estimate {
  double mean = 0.0;
  double error = 0.0;  ///< 0 for fewer than two samples
  int64_t count = 0;
};

/// Computes mean and standard error of independent samples.
Estimate estimate(std::span<const double> samples);

/// Exact-match accuracy on one task.
struct TaskScore {
  Task task = Task::needle;
  Estimate accuracy;
};

/// The scores and costs of one policy at one budget.
struct PolicyResult {
  std::string policy;  ///< `full`, or a name of kPolicies
  double budget = 1.0;
  bool calibrated = false;             ///< whether the profile divides the slots; else every head has as many, or the
                                       ///< votes divide them
  int32_t slots = 0;                   ///< per head, for a running-text sequence; their mean where heads differ
  uint64_t kv_bytes = 0;               ///< keys, values, codes and positions of these slots, all layers and heads
  Estimate nats_per_byte;              ///< on running text; a sample is one piece of text
  Estimate nats_over_full;             ///< the difference to the full cache's, piece by piece
  Estimate recall;                     ///< over all examples of all tasks
  std::vector<TaskScore> tasks;        ///< the same, by task
  std::vector<double> recall_samples;  ///< 1 or 0 per example, in the same order for every policy; not reported
  double tokens_per_second = 0.0;      ///< one token at a time, at the end of a running-text sequence
};

/// The steps at which one head evicted each position.
struct HeadRetention {
  int32_t layer = 0;
  int32_t head = 0;
  std::vector<int32_t> evicted_at;  ///< by position: the step that overwrote it, or the number of tokens if still held
};

/// The tokens of RetentionStudy's example that one policy kept.
struct Retention {
  std::string policy;
  bool calibrated = false;  ///< as in PolicyResult
  double budget = 1.0;
  int32_t slots = 0;                ///< per KV head, on average
  std::vector<int32_t> head_slots;  ///< `[num_layers, num_kv_heads]`
  std::string answer;               ///< the model's most likely bytes in place of the answer
  std::vector<HeadRetention> heads;
};

/// One recall example, followed through several policies.
struct RetentionStudy {
  Example example;
  int32_t num_layers = 0;
  int32_t num_kv_heads = 0;
  int32_t num_tokens = 0;  ///< the beginning-of-sequence token and the prompt
  std::vector<Retention> policies;
};

/// A prompt continued greedily under one policy.
struct Continuation {
  std::string policy;
  double budget = 1.0;
  int32_t slots = 0;
  uint64_t kv_bytes = 0;
  std::string text;
  size_t same_as_full = 0;  ///< leading bytes equal to the full cache's
};

/// The same prompt continued with the full and with bounded caches.
struct ContinuationStudy {
  std::string prompt;
  std::vector<Continuation> policies;  ///< `full` first
};

/// The program, the model and the settings that the numbers were measured with.
struct Settings {
  std::string version;
  std::string cpu_target;
  std::string model;
  std::string text_source;
  std::string storage_dtype;
  int64_t num_parameters = 0;
  int32_t num_threads = 1;
  int32_t length = 0;        ///< tokens of a sequence, text or recall
  int32_t num_texts = 0;     ///< pieces of running text
  int32_t num_examples = 0;  ///< per recall task
  uint64_t seed = 0;
  bool quick = false;
  double seconds = 0.0;  ///< wall time of the whole demo
};

/// The slots of each head, as the profile divides them at one budget.
struct DividedSlots {
  double budget = 1.0;
  int32_t length = 0;  ///< tokens of a sequence: the most slots of a head
  int32_t num_kv_heads = 0;
  std::vector<int32_t> slots;  ///< `[num_layers, num_kv_heads]`
};

/// The results of a demo.
struct Report {
  Settings settings;
  std::vector<PolicyResult> results;  ///< `full` first, then by policy, division and falling budget
  DividedSlots divided;               ///< at the smallest budget
  RetentionStudy retention;
  ContinuationStudy continuation;
};

/// The comparison of two policies at one budget, sample by sample.
struct Comparison {
  double budget = 1.0;
  Estimate difference;  ///< the first's recall minus the second's
  /// -1 or 1 if the difference exceeds two standard errors, else 0.
  int verdict() const;
};

/// Compares the recall of `policy` and `other` at every budget that both have, with equal slots.
std::vector<Comparison> compare_recall(const Report& report, const std::string& policy, const std::string& other);

/// Compares each policy's recall with calibrated slots with its recall with equal ones, at one budget.
std::vector<std::pair<std::string, Comparison>> compare_divisions(const Report& report, double budget);

/// Returns one sentence for each finding that the numbers support, favourable or not.
std::vector<std::string> findings(const Report& report);

/// The report as JSON text.
std::string to_json(const Report& report);

/// The report as one self-contained page: no external resource, inline SVG, readable in light and dark mode and without
/// scripts.
std::string to_html(const Report& report);

/// The table for a terminal, with a header line.
std::string to_table(const Report& report);

}  // namespace hashevict::cli
