// SPDX-License-Identifier: Apache-2.0
#include "tasks.hpp"

#include <algorithm>
#include <hashevict/status.hpp>
#include <set>
#include <sstream>
#include <utility>

namespace hashevict::eval {
namespace {

constexpr std::string_view kMarker = "\nQ: ";

// Facts of one chain keep their order. `asked` is the fact within its chain that holds the answer, if any does.
struct Chain {
  std::vector<std::string> facts;
  bool asked = false;
};

// What a task puts into an example.
struct Piece {
  std::vector<Chain> chains;
  std::string stem;
  std::string answer;

  size_t size() const {
    size_t bytes = kMarker.size() + stem.size() + answer.size();
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

// Draws the ingredients of one example; key words and letters are handed out once only.
class Source {
 public:
  Source(Random& random, const std::vector<std::string>& words) : random_(random), words_(words) {
    for (char c = 'a'; c <= 'z'; ++c) letters_.push_back(c);
    random_.shuffle(letters_);
  }

  const Template& fact_template() { return kTemplates[random_.below(kTemplates.size())]; }
  const std::string& word() { return words_[random_.below(words_.size())]; }
  std::string number(int64_t low, int64_t high) { return std::to_string(random_.between(low, high)); }
  size_t index(size_t bound) { return random_.below(bound); }

  const std::string& key() {
    const std::string* word = &this->word();
    while (!used_.insert(*word).second) word = &this->word();
    return *word;
  }

  char letter() {
    const char letter = letters_.back();
    letters_.pop_back();
    return letter;
  }

 private:
  Random& random_;
  const std::vector<std::string>& words_;
  std::set<std::string> used_;
  std::vector<char> letters_;
};

size_t num_entries(size_t length) {
  return std::clamp<size_t>(length / 64, 2, 8);
}

std::string line(const std::string& text) {
  return "\n" + text + "\n";
}

void add_fact(Piece& piece, const Template& form, Source& source, bool asked) {
  const std::string stem = std::string(form.before).append(source.key()).append(form.after);
  const std::string answer = (form.is_number ? source.number(1000, 9999) : source.word()) + std::string(form.end);
  piece.chains.push_back({{form.is_inline ? stem + answer + " " : "\n" + stem + answer}, asked});
  if (!asked) return;
  piece.stem = stem;
  piece.answer = answer;
}

Piece make_needle(Source& source, size_t) {
  Piece piece;
  add_fact(piece, source.fact_template(), source, true);
  return piece;
}

Piece make_multi(Source& source, size_t length) {
  Piece piece;
  const Template& form = source.fact_template();
  const size_t count = num_entries(length);
  const size_t asked = source.index(count);
  for (size_t i = 0; i < count; ++i) add_fact(piece, form, source, i == asked);
  return piece;
}

Piece make_tracking(Source& source, size_t length) {
  Piece piece;
  const bool is_short = length < 128;
  for (int i = 0; i < (is_short ? 1 : 2); ++i) {
    const size_t num_letters = is_short ? 2 : 2 + source.index(2);
    const std::string value = source.number(10, 99);
    Chain chain{{}, i == 0};
    std::string origin = value;
    for (size_t n = 0; n < num_letters; ++n) {
      const std::string letter(1, source.letter());
      std::string fact = "let ";
      fact.append(letter).append(" = ").append(origin);
      chain.facts.push_back(line(fact));
      origin = letter;
    }
    piece.chains.push_back(std::move(chain));
    if (i > 0) continue;
    piece.stem = "value of " + origin + " is ";
    piece.answer = value + ".";
  }
  return piece;
}

Piece make_copy(Source& source, size_t length) {
  Piece piece;
  piece.stem = "list: " + source.key() + " ";
  const int count = length < 128 ? 2 : 5;
  for (int i = 0; i < count; ++i) piece.answer += source.word() + (i + 1 < count ? " " : "\n");
  piece.chains.push_back({{"\n" + piece.stem + piece.answer}, true});
  return piece;
}

Piece make_map(Source& source, size_t length) {
  Piece piece;
  std::string fact = "\nmap:";
  const size_t count = num_entries(length);
  const size_t asked = source.index(count);
  for (size_t i = 0; i < count; ++i) {
    const std::string key = source.key() + "=";
    const std::string value = source.number(10, 99) + ";";
    fact.append(" ").append(key).append(value);
    if (i != asked) continue;
    piece.stem = key;
    piece.answer = value;
  }
  piece.chains.push_back({{fact + "\n"}, true});
  return piece;
}

// A piece of `text` of exactly `size` bytes that begins at the start of a line.
std::string_view cut_filler(Random& random, std::string_view text, size_t size) {
  const size_t drawn = random.below(text.size() - size);
  const size_t newline = drawn == 0 ? std::string_view::npos : text.rfind('\n', drawn - 1);
  return text.substr(newline == std::string_view::npos ? 0 : newline + 1, size);
}

// Just after the next space or newline, or the end.
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
void scatter(Random& random, std::string_view filler, const std::vector<Chain>& chains, Example& example) {
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
      placed.push_back({boundary(filler, positions[i]), &chain.facts[i], chain.asked && i == 0});
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

Piece make_piece(Task task, Source& source, size_t length) {
  switch (task) {
    case Task::needle:
      return make_needle(source, length);
    case Task::multi:
      return make_multi(source, length);
    case Task::tracking:
      return make_tracking(source, length);
    case Task::copy:
      return make_copy(source, length);
    case Task::map:
      return make_map(source, length);
  }
  throw Error(Status::internal, "unknown recall task");
}

}  // namespace

std::string_view name(Task task) {
  constexpr std::array<std::string_view, kTasks.size()> kNames = {"needle", "multi", "tracking", "copy", "map"};
  return kNames.at(static_cast<size_t>(task));
}

size_t minimum_length(Task task) {
  constexpr std::array<size_t, kTasks.size()> kLengths = {64, 128, 64, 96, 64};
  return kLengths.at(static_cast<size_t>(task));
}

Example make_example(Random& random, Task task, const Ingredients& ingredients, size_t length) {
  Source source(random, ingredients.words);
  const Piece piece = make_piece(task, source, length);
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
  scatter(random, cut_filler(random, ingredients.text, room), piece.chains, example);
  example.prompt.append(kMarker).append(piece.stem);
  example.answer = piece.answer;
  return example;
}

std::vector<std::string> split_words(std::string_view list) {
  std::istringstream stream{std::string(list)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

}  // namespace hashevict::eval
