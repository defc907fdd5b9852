// SPDX-License-Identifier: Apache-2.0
#include "files.hpp"

#include <fstream>
#include <hashevict/status.hpp>
#include <iterator>
#include <system_error>

namespace hashevict::cli {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(stream), {}};
  if (!stream.is_open() || stream.bad() || std::filesystem::is_directory(path)) {
    throw Error(Status::invalid_argument, "cannot read '" + path.string() + "'");
  }
  return content;
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path temporary = path.string() + ".new";
  std::ofstream stream(temporary, std::ios::binary);
  stream.write(content.data(), static_cast<std::streamsize>(content.size()));
  stream.close();
  std::error_code error;
  if (stream) {
    std::filesystem::rename(temporary, path, error);
    if (!error) return;
  }
  std::filesystem::remove(temporary, error);
  throw Error(Status::invalid_argument, "cannot write '" + path.string() + "'");
}

std::filesystem::path make_folder(const std::string& name) {
  std::error_code error;
  std::filesystem::create_directories(name, error);
  if (error) throw Error(Status::invalid_argument, "cannot make the folder '" + name + "': " + error.message());
  return name;
}

}  // namespace hashevict::cli
