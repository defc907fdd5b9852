// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tasks.hpp"

namespace hashevict::eval {

/// A mean over independent samples with its standard error.
struct Estimate {
  double mean = 0.0;
  double error = 0.0;  ///< 0 for fewer than two samples
  int64_t count = 0;
};

/// Mean and standard error of samples that are independent of each other.
Estimate estimate(std::span<const double> samples);

/// Exact-match accuracy on one task.
struct TaskScore {
  Task task = Task::needle;
  Estimate accuracy;
};

/// What one policy came to at one budget.
struct PolicyResult {
  std::string policy;  ///< `full`, or a name of kPolicies
  double budget = 1.0;
  int32_t slots = 0;                   ///< per head, for a running-text sequence
  uint64_t kv_bytes = 0;               ///< keys, values, codes and positions of these slots, all layers and heads
  Estimate nats_per_byte;              ///< on running text; a sample is one piece of text
  Estimate nats_over_full;             ///< the same less the full cache's, piece by piece
  Estimate recall;                     ///< over all examples of all tasks
  std::vector<TaskScore> tasks;        ///< the same, by task
  std::vector<double> recall_samples;  ///< 1 or 0 per example, in the same order for every policy; not reported
  double tokens_per_second = 0.0;      ///< one token at a time, at the end of a running-text sequence
};

/// When one head let go of each position.
struct HeadRetention {
  int32_t layer = 0;
  int32_t head = 0;
  std::vector<int32_t> evicted_at;  ///< by position: the step that overwrote it, or the number of tokens if still held
};

/// What one policy kept of the example in RetentionStudy.
struct Retention {
  std::string policy;
  double budget = 1.0;
  int32_t slots = 0;                 ///< per KV head, mean over layers
  std::vector<int32_t> layer_slots;  ///< of each layer
  std::string answer;                ///< the model's most likely bytes where the answer is due
  std::vector<HeadRetention> heads;
};

/// One recall example, followed through several policies.
struct RetentionStudy {
  Example example;
  int32_t num_layers = 0;
  int32_t num_kv_heads = 0;
  int32_t num_tokens = 0;  ///< streamed when retention was read: the beginning-of-sequence token and the prompt
  std::vector<Retention> policies;
};

/// A prompt continued greedily under one policy.
struct Continuation {
  std::string policy;
  double budget = 1.0;
  int32_t slots = 0;
  uint64_t kv_bytes = 0;
  std::string text;
  size_t same_as_full = 0;  ///< leading bytes that agree with the full cache's
};

/// The same prompt continued with the full and with bounded caches.
struct ContinuationStudy {
  std::string prompt;
  std::vector<Continuation> policies;  ///< `full` first
};

/// What the numbers were made with.
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

/// Everything a demo found out.
struct Report {
  Settings settings;
  std::vector<PolicyResult> results;  ///< `full` first, then by policy and falling budget
  RetentionStudy retention;
  ContinuationStudy continuation;
};

/// How one policy compares with another at one budget, sample by sample.
struct Comparison {
  double budget = 1.0;
  Estimate difference;  ///< recall of the first less recall of the second
  /// -1 or 1 if the difference exceeds two standard errors, else 0.
  int verdict() const;
};

/// Recall of `policy` against `other` at every budget both were run at.
std::vector<Comparison> compare_recall(const Report& report, const std::string& policy, const std::string& other);

/// One plain sentence per finding that the numbers support, the unwelcome ones included.
std::vector<std::string> findings(const Report& report);

/// The report as JSON text.
std::string to_json(const Report& report);

/// The table for a terminal, with a header line.
std::string to_table(const Report& report);

}  // namespace hashevict::eval
