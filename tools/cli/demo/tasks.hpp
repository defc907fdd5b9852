// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "random.hpp"

namespace hashevict::cli {

/// Recall tasks hidden in ordinary text. `lab/train/tasks.py` is the norm for formats, ingredients and placement; the
/// shipped model was trained on it.
enum class Task {
  needle,    ///< one fact, one question
  multi,     ///< several facts that differ in their keys; one is asked
  tracking,  ///< a value passed along variables, beside another chain; the question asks for its path
  copy,      ///< a line of unrelated words to repeat
  map,       ///< a dictionary on one line, asked by key
  values,    ///< two facts about one key, both asked
  common,    ///< the most frequent word
  decoys     ///< a needle among near-duplicates
};

inline constexpr std::array kTasks = {Task::needle, Task::multi,  Task::tracking, Task::copy,
                                      Task::map,    Task::values, Task::common,   Task::decoys};

/// Returns a task's name in tables and reports.
std::string_view name(Task task);

/// A range of an example's bytes.
struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
};

/// A prompt that ends with a question, and its answer. The model's answer is right if every byte of this one is the
/// most likely next byte, given the true bytes before it.
struct Turn {
  std::string prompt;
  std::string answer;
};

/// A turn whose prompt holds the text with the facts in it.
struct Example : Turn {
  ByteRange fact;  ///< the first fact of the prompt that answers the question, without newlines around it
};

/// The text and the words of examples.
struct Ingredients {
  std::string_view text;           ///< filler, longer than an example
  std::vector<std::string> words;  ///< lowercase words, for keys and values
  bool between_words = true;       ///< facts follow a blank or a newline; false: anywhere
};

/// The smallest `length` that make_example() accepts for a task.
size_t minimum_length(Task task);

/// Makes an example of exactly `length` bytes, the answer included.
/// @throws Error invalid_argument if `length` is too small for the task, the text too short or the words too few for it
Example make_example(Random& random, Task task, const Ingredients& ingredients, size_t length);

/// Returns the lines of a word list, without blank ones.
std::vector<std::string> split_words(std::string_view list);

}  // namespace hashevict::cli
