// SPDX-License-Identifier: Apache-2.0
#include "foreign_file.hpp"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <iterator>

namespace hashevict::engine {
namespace {

struct Mark {
  std::string_view begin;
  std::string_view kind;
  std::string_view remedy;  // shown if a checkpoint was expected
};

constexpr std::string_view kConvert = "; convert it to safetensors";
constexpr std::string_view kUnpack = "; unpack it";
constexpr std::string_view kLfs = "is a git-lfs pointer, not the file itself; run `git lfs pull`";
constexpr std::string_view kAnnex = "is a git-annex pointer, not the file itself; run `git annex get`";
constexpr std::string_view kPickle = "is a Python pickle, as older PyTorch writes";
constexpr std::string_view kPage = "is a web page, not the file itself; download it anew";

// Pointers are text files.
constexpr Mark kPointers[] = {
    {"version https://git-lfs", kLfs, ""},  {"version https://hawser", kLfs, ""}, {"/annex/objects/", kAnnex, ""},
    {"../.git/annex/objects/", kAnnex, ""}, {".git/annex/objects/", kAnnex, ""},
};

// Signatures that no text begins with.
constexpr Mark kBinaries[] = {
    {"PK\x03\x04", "is a zip archive", "; convert it to safetensors, if PyTorch wrote it"},
    {"\x80\x02", kPickle, kConvert},
    {"\x80\x03", kPickle, kConvert},
    {"\x80\x04", kPickle, kConvert},
    {"\x80\x05", kPickle, kConvert},
    {"\x89HDF", "is an HDF5 file", kConvert},
    {"\x1f\x8b", "is compressed with gzip", kUnpack},
    {"\x28\xb5\x2f\xfd", "is compressed with zstd", kUnpack},
    {"\xfd"
     "7zXZ",
     "is compressed with xz", kUnpack},
};

template <std::size_t size>
const Mark* find_mark(const Mark (&marks)[size], std::string_view content) {
  const Mark* found = std::find_if(std::begin(marks), std::end(marks),
                                   [&](const Mark& mark) { return content.starts_with(mark.begin); });
  return found == std::end(marks) ? nullptr : found;
}

// Whether the file begins as a web page, in any case, after any blanks.
bool is_page(std::string_view content) {
  const auto begin = std::find_if(content.begin(), content.end(),
                                  [](char c) { return std::isspace(static_cast<unsigned char>(c)) == 0; });
  std::string word(begin, begin + std::min<std::ptrdiff_t>(content.end() - begin, 9));
  for (char& c : word) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return word.starts_with("<!doctype") || word.starts_with("<html") || word.starts_with("<head") ||
         word.starts_with("<?xml");
}

// A text about pointers may begin like one. A pointer is short and has no further lines.
bool is_whole_pointer(const Mark& mark, std::string_view content) {
  constexpr std::size_t kLongest = 1024;  // git-lfs writes none longer
  if (content.size() > kLongest) return false;
  if (mark.kind == kLfs) return content.find("\noid sha256:") != std::string_view::npos;
  return content.find_first_of(" \n") >= content.size() - 1;
}

// A header's length, below 4 GiB, and its first character.
bool is_safetensors(std::string_view content) {
  return content.size() > 8 && content[8] == '{' && content.substr(4, 4) == std::string_view("\0\0\0\0", 4);
}

// The mark and a version, which is binary here.
bool is_gguf(std::string_view content) {
  return content.size() >= 8 && content.starts_with("GGUF") && content.substr(5, 3) == std::string_view("\0\0\0", 3);
}

// The mark and a version, alone on their line.
bool is_pdf(std::string_view content) {
  return content.size() > 8 && content.starts_with("%PDF-") && content[6] == '.' &&
         (content[8] == '\n' || content[8] == '\r');
}

}  // namespace

std::string foreign_kind(std::string_view content) {
  if (const Mark* pointer = find_mark(kPointers, content)) return std::string(pointer->kind);
  if (const Mark* binary = find_mark(kBinaries, content)) return std::string(binary->kind).append(binary->remedy);
  if (content.starts_with("GGUF")) return "is a GGUF file; expected the original checkpoint as safetensors";
  return is_page(content) ? std::string(kPage) : std::string();
}

std::string not_a_text(std::string_view content) {
  const Mark* pointer = find_mark(kPointers, content);
  if (pointer != nullptr && is_whole_pointer(*pointer, content)) return std::string(pointer->kind);
  std::string kind;
  if (const Mark* binary = find_mark(kBinaries, content)) kind = binary->kind;
  if (is_gguf(content)) kind = "is a GGUF file";
  if (is_pdf(content)) kind = "is a PDF document";
  if (is_safetensors(content)) kind = "is a safetensors file";
  return kind.empty() ? kind : kind + "; expected a text";
}

}  // namespace hashevict::engine
