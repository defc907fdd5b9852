// SPDX-License-Identifier: Apache-2.0
#include "files.hpp"

#include <cerrno>
#include <fstream>
#include <hashevict/status.hpp>
#include <iterator>
#include <span>
#include <system_error>

#include "engine/output_file.hpp"

namespace hashevict::cli {
namespace {

[[noreturn]] void refuse_to_read(const std::filesystem::path& path, const std::string& reason) {
  throw Error(Status::invalid_argument, "cannot read '" + path.string() + "': " + reason);
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) refuse_to_read(path, "it is a folder");
  std::ifstream stream(path, std::ios::binary);
  if (!stream.is_open()) refuse_to_read(path, std::generic_category().message(errno));
  try {
    return {std::istreambuf_iterator<char>(stream), {}};
  } catch (const std::ios_base::failure& failure) {
    refuse_to_read(path, failure.code().message());
  }
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  engine::OutputFile file(path);
  file.write(std::as_bytes(std::span(content)));
  file.commit();
}

void require_output(const std::string& path, std::initializer_list<std::string> inputs) {
  std::error_code ignored;  // where one of them is missing, they differ
  for (const std::string& input : inputs) {
    if (input.empty() || !std::filesystem::equivalent(path, input, ignored)) continue;
    throw Error(Status::invalid_argument,
                std::string("'").append(path).append("' is to be written, but is read as well: '").append(input) + "'");
  }
  engine::OutputFile::require_writable(path);
}

std::filesystem::path make_folder(const std::string& name) {
  std::error_code error;
  std::filesystem::create_directories(name, error);
  if (error) throw Error(Status::invalid_argument, "cannot make the folder '" + name + "': " + error.message());
  return name;
}

}  // namespace hashevict::cli
