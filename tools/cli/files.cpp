// SPDX-License-Identifier: Apache-2.0
#include "files.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <hashevict/status.hpp>
#include <memory>
#include <span>
#include <system_error>

#include "engine/foreign_file.hpp"
#include "engine/output_file.hpp"

namespace hashevict::cli {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 28;  // a device may have no end

[[noreturn]] void refuse_to_read(const std::filesystem::path& path, const std::string& reason) {
  throw Error(Status::invalid_argument, "cannot read '" + path.string() + "': " + reason);
}

// The missing folders of a path. The destructor removes them again, unless they hold something.
class MissingFolders {
 public:
  explicit MissingFolders(std::filesystem::path path) {
    std::error_code error;
    for (; !path.empty() && !std::filesystem::exists(path, error) && !error; path = path.parent_path()) {
      missing_.push_back(path);
    }
  }
  ~MissingFolders() {
    std::error_code ignored;
    for (const std::filesystem::path& folder : missing_) std::filesystem::remove(folder, ignored);
  }
  MissingFolders(const MissingFolders&) = delete;
  MissingFolders& operator=(const MissingFolders&) = delete;

 private:
  std::vector<std::filesystem::path> missing_;
};

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) refuse_to_read(path, "it is a folder");
  errno = 0;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), std::fclose);
  if (!file) refuse_to_read(path, std::generic_category().message(errno));
  std::string content;
  std::array<char, 1 << 16> part{};
  while (const size_t size = std::fread(part.data(), 1, part.size(), file.get())) {
    content.append(part.data(), size);
    if (content.size() <= kMaxTextBytes) continue;
    refuse_to_read(path, "it is longer than " + std::to_string(kMaxTextBytes) + " bytes, or has no end");
  }
  if (std::ferror(file.get()) != 0) refuse_to_read(path, std::generic_category().message(errno));
  if (const std::string kind = engine::not_a_text(content); !kind.empty()) refuse_to_read(path, "it " + kind);
  return content;
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  engine::OutputFile file(path);
  file.write(std::as_bytes(std::span(content)));
  file.commit();
}

void require_output(const std::string& path, std::initializer_list<std::string> inputs) {
  std::error_code ignored;  // if one is missing, they differ
  for (const std::string& input : inputs) {
    if (input.empty() || !std::filesystem::equivalent(path, input, ignored)) continue;
    throw Error(Status::invalid_argument,
                std::string("'").append(path).append("' is to be written, but is read as well: '").append(input) + "'");
  }
  engine::OutputFile::require_writable(path);
}

void require_outputs(const std::string& folder, const std::vector<std::string>& files,
                     std::initializer_list<std::string> inputs) {
  const MissingFolders missing(folder);
  const std::filesystem::path path = make_folder(folder);
  for (const std::string& file : files) require_output(path / file, inputs);
}

std::filesystem::path make_folder(const std::string& name) {
  std::error_code error;
  std::filesystem::create_directories(name, error);
  if (error) throw Error(Status::invalid_argument, "cannot make the folder '" + name + "': " + error.message());
  return name;
}

}  // namespace hashevict::cli
