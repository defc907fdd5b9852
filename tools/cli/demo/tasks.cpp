// SPDX-License-Identifier: Apache-2.0
#include "tasks.hpp"

#include <algorithm>
#include <hashevict/status.hpp>
#include <set>
#include <sstream>
#include <utility>

namespace hashevict::cli {
namespace {

constexpr std::string_view kMarker = "\nQ: ";

// Facts of one chain keep their order. `asked` is the chain's fact that holds the answer, if any.
struct Chain {
  std::vector<std::string> facts;
  bool asked = false;
};

// A task adds chains of facts to an example, and at last one question with its answer, about the marked chain.
struct Piece {
  std::vector<Chain> chains;
  std::vector<Turn> questions;

  size_t size() const {
    size_t bytes = 0;
    for (const Turn& question : questions) bytes += kMarker.size() + question.prompt.size() + question.answer.size();
    for (const Chain& chain : chains) {
      for (const std::string& fact : chain.facts) bytes += fact.size();
    }
    return bytes;
  }
};

// A fact about a key word: before + key + after + value + end.
struct Template {
  std::string_view before, after, end;
  bool is_inline, is_number;
};

constexpr std::array kTemplates = {
    Template{"The code of ", " is ", ".", true, true}, Template{"The ", " likes ", ".", true, false},
    Template{"", "_port = ", "\n", false, true}, Template{"#define ", "_id ", "\n", false, true}};

// Draws the ingredients of one example: each key, letter and integer of a chain only once.
class Source {
 public:
  Source(Random& random, const std::vector<std::string>& words) : random_(random), words_(words) {
    for (char c = 'a'; c <= 'z'; ++c) letters_.push_back(c);
    for (int i = 10; i < 100; ++i) integers_.push_back(i);
    random_.shuffle(letters_);
    random_.shuffle(integers_);
    const auto is_empty = [](const std::string& word) { return word.empty(); };
    if (words.empty() || std::any_of(words.begin(), words.end(), is_empty)) refuse_words();
  }

  const Template& fact_template() { return kTemplates[random_.below(kTemplates.size())]; }
  std::vector<Template> shuffled_templates() {
    std::vector<Template> forms(kTemplates.begin(), kTemplates.end());
    random_.shuffle(forms);
    return forms;
  }
  const std::string& word() { return words_[random_.below(words_.size())]; }
  std::string number(int64_t low, int64_t high) { return std::to_string(random_.between(low, high)); }
  size_t index(size_t bound) { return random_.below(bound); }

  const std::string& key() {
    for (int draws = 0; draws < kMaxDraws; ++draws) {
      const std::string& word = this->word();
      if (used_.insert(word).second) return word;
    }
    refuse_words();
  }

  // A key that differs from `key` in one letter.
  std::string near(const std::string& key) {
    for (int draws = 0; draws < kMaxDraws; ++draws) {
      std::string near = key;
      near[random_.below(near.size())] = static_cast<char>('a' + random_.below(26));
      if (used_.insert(near).second) return near;
    }
    refuse_words();
  }

  // Leaves one of them.
  void pick(std::vector<Turn>& questions) {
    random_.shuffle(questions);
    questions.resize(1);
  }

  std::string letter() {
    const char letter = letters_.back();
    letters_.pop_back();
    return {letter};
  }

  std::string integer() {
    const int integer = integers_.back();
    integers_.pop_back();
    return std::to_string(integer);
  }

 private:
  // Limit of draws until a new word is found: enough for any list with one.
  static constexpr int kMaxDraws = 1 << 20;

  [[noreturn]] void refuse_words() const {
    throw Error(Status::invalid_argument,
                std::to_string(words_.size()) + " words; an example needs more that differ, to draw its keys from");
  }

  Random& random_;
  const std::vector<std::string>& words_;
  std::set<std::string> used_;
  std::vector<char> letters_;
  std::vector<int> integers_;
};

size_t num_entries(size_t length) {
  return std::clamp<size_t>(length / 64, 2, 8);
}

std::string line(const std::string& text) {
  return "\n" + text + "\n";
}

// Adds a fact about `key`. Returns its question.
Turn add_fact(Piece& piece, const Template& form, Source& source, const std::string& key) {
  const std::string stem = std::string(form.before).append(key).append(form.after);
  const std::string answer = (form.is_number ? source.number(1000, 9999) : source.word()) + std::string(form.end);
  piece.chains.push_back({{form.is_inline ? stem + answer + " " : "\n" + stem + answer}});
  return {stem, answer};
}

// Marks the chain that answers the first question: the one whose fact holds its stem and answer.
void mark_asked(Piece& piece) {
  const std::string asked = piece.questions.front().prompt + piece.questions.front().answer;
  for (Chain& chain : piece.chains) chain.asked = chain.facts.front().find(asked) != std::string::npos;
}

Piece make_needle(Source& source, size_t /*length*/) {
  Piece piece;
  piece.questions.push_back(add_fact(piece, source.fact_template(), source, source.key()));
  mark_asked(piece);
  return piece;
}

Piece make_multi(Source& source, size_t length) {
  Piece piece;
  const Template& form = source.fact_template();
  for (size_t i = 0; i < num_entries(length); ++i) {
    piece.questions.push_back(add_fact(piece, form, source, source.key()));
  }
  source.pick(piece.questions);
  mark_asked(piece);
  return piece;
}

Piece make_tracking(Source& source, size_t length) {
  Piece piece;
  const bool is_short = length < 128;
  for (int i = 0; i < (is_short ? 1 : 2); ++i) {
    const std::string integer = source.integer();
    Chain chain;
    Turn question{"move " + integer + " to ", ""};
    std::string origin = integer;
    for (int n = 0; n < (is_short ? 2 : 3); ++n) {
      const std::string letter = source.letter();
      std::string fact = "move ";
      fact.append(origin).append(" to ").append(letter);
      chain.facts.push_back(line(fact));
      question.answer.append(n > 0 ? " " : "").append(letter);
      origin = letter;
    }
    question.answer += ".";
    piece.chains.push_back(std::move(chain));
    piece.questions.push_back(std::move(question));
  }
  piece.questions.resize(1);  // about the first chain: the order of two independent chains is random already
  for (Chain& chain : piece.chains) {
    chain.asked = chain.facts.front().starts_with("\n" + piece.questions.front().prompt);
  }
  return piece;
}

Piece make_copy(Source& source, size_t length) {
  Piece piece;
  const std::string stem = "list: " + source.key() + " ";
  std::string answer;
  const int count = length < 128 ? 2 : 5;
  for (int i = 0; i < count; ++i) answer += source.word() + (i + 1 < count ? " " : "\n");
  piece.chains.push_back({{"\n" + stem + answer}});
  piece.questions.push_back({stem, answer});
  mark_asked(piece);
  return piece;
}

Piece make_map(Source& source, size_t length) {
  Piece piece;
  std::string fact = "\nmap:";
  for (size_t i = 0; i < num_entries(length); ++i) {
    const Turn entry{source.key() + "=", source.number(10, 99) + ";"};
    fact.append(" ").append(entry.prompt).append(entry.answer);
    piece.questions.push_back(entry);
  }
  piece.chains.push_back({{fact + "\n"}});
  source.pick(piece.questions);
  mark_asked(piece);
  return piece;
}

Piece make_values(Source& source, size_t /*length*/) {
  const std::string key = source.key() + "_port";
  const std::string first = source.number(1000, 9999);
  std::string second = source.number(1000, 9999);
  while (second == first) second = source.number(1000, 9999);
  Piece piece;
  piece.chains.push_back({{line(key + " = " + first), line(key + " = " + second)}, true});
  piece.questions.push_back({"all " + key + ": ", first + " " + second + "\n"});
  return piece;
}

Piece make_common(Source& source, size_t length) {
  const std::string winner = source.key();
  Piece piece;
  for (int i = 0; i < 3; ++i) piece.chains.push_back({{line("vote: " + winner)}});
  for (int i = 0; i < (length < 256 ? 2 : 5); ++i) piece.chains.push_back({{line("vote: " + source.key())}});
  piece.chains.front().asked = true;
  piece.questions.push_back({"most votes: ", winner + "\n"});
  return piece;
}

Piece make_decoys(Source& source, size_t /*length*/) {
  const std::vector<Template> forms = source.shuffled_templates();
  const std::string key = source.key();
  Piece piece;
  piece.questions.push_back(add_fact(piece, forms[0], source, key));
  for (int i = 0; i < 2; ++i) add_fact(piece, forms[0], source, source.near(key));
  for (size_t i = 1; i <= 2; ++i) add_fact(piece, forms[i], source, key);
  piece.chains.front().asked = true;
  return piece;
}

// Cuts a piece of exactly `size` bytes from `text` that begins at the start of a line.
std::string_view cut_filler(Random& random, std::string_view text, size_t size) {
  const size_t drawn = random.below(text.size() - size);
  const size_t newline = drawn == 0 ? std::string_view::npos : text.rfind('\n', drawn - 1);
  return text.substr(newline == std::string_view::npos ? 0 : newline + 1, size);
}

// Returns the index after the next space or newline, or the end.
size_t boundary(std::string_view filler, size_t at) {
  if (at == 0) return 0;
  while (at < filler.size() && filler[at - 1] != ' ' && filler[at - 1] != '\n') ++at;
  return at;
}

struct Placed {
  size_t at;
  const std::string* fact;
  bool asked;
};

ByteRange trimmed(const std::string& text, size_t begin, size_t size) {
  ByteRange range{begin, begin + size};
  while (range.end > range.begin && (text[range.end - 1] == '\n' || text[range.end - 1] == ' ')) --range.end;
  while (range.begin < range.end && text[range.begin] == '\n') ++range.begin;
  return range;
}

// Inserts the facts into the filler, keeping the order within each chain.
void scatter(Random& random, std::string_view filler, const std::vector<Chain>& chains, bool between_words,
             Example& example) {
  std::vector<size_t> order(chains.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  random.shuffle(order);
  std::vector<Placed> placed;
  for (const size_t index : order) {
    const Chain& chain = chains[index];
    std::vector<size_t> positions(chain.facts.size());
    for (size_t& position : positions) position = random.below(filler.size() + 1);
    std::sort(positions.begin(), positions.end());
    for (size_t i = 0; i < positions.size(); ++i) {
      const size_t at = between_words ? boundary(filler, positions[i]) : positions[i];
      placed.push_back({at, &chain.facts[i], chain.asked && i == 0});
    }
  }
  std::stable_sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) { return a.at < b.at; });
  size_t last = 0;
  for (const Placed& item : placed) {
    example.prompt += filler.substr(last, item.at - last);
    const size_t begin = example.prompt.size();
    example.prompt += *item.fact;
    if (item.asked) example.fact = trimmed(example.prompt, begin, item.fact->size());
    last = item.at;
  }
  example.prompt += filler.substr(last);
}

struct Maker {
  std::string_view name;
  size_t minimum_length;
  Piece (*make)(Source& source, size_t length);
};
// In the order of Task.
constexpr std::array<Maker, kTasks.size()> kMakers = {{{"needle", 64, make_needle},
                                                       {"multi", 128, make_multi},
                                                       {"tracking", 64, make_tracking},
                                                       {"copy", 96, make_copy},
                                                       {"map", 64, make_map},
                                                       {"values", 128, make_values},
                                                       {"common", 128, make_common},
                                                       {"decoys", 192, make_decoys}}};

const Maker& maker(Task task) {
  return kMakers.at(static_cast<size_t>(task));
}

}  // namespace

std::string_view name(Task task) {
  return maker(task).name;
}

size_t minimum_length(Task task) {
  return maker(task).minimum_length;
}

Example make_example(Random& random, Task task, const Ingredients& ingredients, size_t length) {
  Source source(random, ingredients.words);
  const Piece piece = maker(task).make(source, length);
  if (length < minimum_length(task) || piece.size() > length) {
    throw Error(Status::invalid_argument,
                "a " + std::string(name(task)) + " example does not fit into " + std::to_string(length) + " bytes");
  }
  const size_t room = length - piece.size();
  if (ingredients.text.size() <= room) {
    throw Error(Status::invalid_argument, "the text has " + std::to_string(ingredients.text.size()) +
                                              " bytes; examples of this length need more than " + std::to_string(room));
  }
  Example example;
  scatter(random, cut_filler(random, ingredients.text, room), piece.chains, ingredients.between_words, example);
  example.prompt.append(kMarker).append(piece.questions.front().prompt);
  example.answer = piece.questions.front().answer;
  return example;
}

std::vector<std::string> split_words(std::string_view list) {
  std::istringstream stream{std::string(list)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

}  // namespace hashevict::cli
