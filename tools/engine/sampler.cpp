// SPDX-License-Identifier: Apache-2.0
#include "sampler.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <sstream>
#include <string>

namespace hashevict::engine {

namespace {

// NaN does not compare, and infinities have no probabilities: the token would be meaningless.
void require_finite(std::span<const float> logits) {
  const auto bad = std::find_if(logits.begin(), logits.end(), [](float logit) { return !std::isfinite(logit); });
  if (bad == logits.end()) return;
  throw Error{Status::invalid_data, "logits: element " + std::to_string(bad - logits.begin()) + " is " +
                                        std::to_string(*bad) + ", expected a finite number"};
}

template <class Number>
[[noreturn]] void refuse(const char* name, Number value, const char* expected) {
  std::ostringstream message;
  message << name << " = " << value << ": expected " << expected;
  throw Error{Status::invalid_argument, message.str()};
}

}  // namespace

Sampler::Sampler(const SamplingOptions& options) : options_(options), generator_(options.seed) {
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature)) {
    refuse("temperature", options.temperature, "a finite number from 0");
  }
  if (options.top_k < 0) refuse("top_k", options.top_k, "a whole number from 0");
  if (!(options.top_p > 0 && options.top_p <= 1)) refuse("top_p", options.top_p, "a number above 0 and up to 1");
}

std::int32_t Sampler::sample(std::span<const float> logits) {
  if (options_.temperature == 0) return greedy(logits);
  require_finite(logits);
  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) candidates_.emplace_back(logits[i], static_cast<std::int32_t>(i));
  const std::size_t count =
      options_.top_k > 0 ? std::min(logits.size(), static_cast<std::size_t>(options_.top_k)) : logits.size();
  std::partial_sort(
      candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(count), candidates_.end(),
      [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
  candidates_.resize(count);
  return choose();
}

// Draws from the sorted candidates.
std::int32_t Sampler::choose() {
  std::vector<double> weights(candidates_.size());
  double total = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double distance = static_cast<double>(candidates_[i].first) - static_cast<double>(candidates_[0].first);
    total += weights[i] = std::exp(distance / static_cast<double>(options_.temperature));
  }
  double kept = 0;
  std::size_t count = 0;
  while (count < weights.size() && (count == 0 || kept < static_cast<double>(options_.top_p) * total)) {
    kept += weights[count++];
  }
  // The standard library's distributions differ between platforms, its engines do not.
  double remaining = static_cast<double>(generator_() >> 11) * 0x1p-53 * kept;
  std::size_t chosen = 0;
  while (chosen + 1 < count && remaining >= weights[chosen]) remaining -= weights[chosen++];
  return candidates_[chosen].second;
}

std::int32_t greedy(std::span<const float> logits) {
  require_finite(logits);
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

double negative_log_likelihood(std::span<const float> logits, std::int32_t target) {
  if (target < 0 || static_cast<std::size_t>(target) >= logits.size()) {
    throw Error{Status::invalid_argument, "target: " + std::to_string(target) + " is not below the number of logits, " +
                                              std::to_string(logits.size())};
  }
  require_finite(logits);
  const auto largest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return largest + std::log(sum) - static_cast<double>(logits[static_cast<std::size_t>(target)]);
}

}  // namespace hashevict::engine
