// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "random.hpp"

namespace hashevict::eval {

/// Recall tasks hidden in ordinary text. Formats, ingredients and placement are those of `tools/train/tasks.py`, which
/// is the normative description and what the shipped model was trained on.
enum class Task {
  needle,    ///< one fact, one question
  multi,     ///< several facts that only their keys tell apart, one is asked
  tracking,  ///< a value handed from variable to variable, beside another chain; asked is where it has been
  copy,      ///< a line of unrelated words to repeat
  map,       ///< a dictionary on one line, asked by key
  values,    ///< two facts about one key, both asked
  common,    ///< the word that stands most often
  decoys     ///< a needle among near-duplicates
};

inline constexpr std::array kTasks = {Task::needle, Task::multi,  Task::tracking, Task::copy,
                                      Task::map,    Task::values, Task::common,   Task::decoys};

/// Its name in tables and reports.
std::string_view name(Task task);

/// Where bytes of an example lie.
struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
};

/// A prompt that ends with a question, and the bytes the model owes. An answer is right if every one of its bytes is
/// the most likely next one, given the true bytes before it.
struct Turn {
  std::string prompt;
  std::string answer;
};

/// The first turn holds the text with the facts in it.
struct Example : Turn {
  ByteRange fact;  ///< where in the prompt the first fact that answers the question lies, newlines around it excluded
  std::vector<Turn> more = {};  ///< further questions about the same text, after the first answer
};

/// What examples are made of.
struct Ingredients {
  std::string_view text;           ///< filler, longer than an example
  std::vector<std::string> words;  ///< lowercase words, for keys and values
};

/// The smallest `length` that make_example() accepts for a task.
size_t minimum_length(Task task);

/// An example of exactly `length` bytes, answers included.
/// @param num_questions at most this many, in random order; `multi`, `map` and `tracking` know more than one
/// @throws Error invalid_argument if `length` is too small for the task or the text too short for it
Example make_example(Random& random, Task task, const Ingredients& ingredients, size_t length,
                     size_t num_questions = 1);

/// The lines of a word list, blank ones left out.
std::vector<std::string> split_words(std::string_view list);

}  // namespace hashevict::eval
