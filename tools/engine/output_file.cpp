// SPDX-License-Identifier: Apache-2.0
#include "output_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <hashevict/status.hpp>
#include <string>
#include <system_error>
#include <utility>

namespace hashevict::engine {
namespace {

using std::filesystem::file_type;

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& reason) {
  throw Error{Status::invalid_argument, path.string() + ": cannot be written: " + reason};
}

std::string last_reason() {
  return std::generic_category().message(errno);
}

// What is to be replaced, or created: links followed.
std::filesystem::path resolved(const std::filesystem::path& path) {
  std::error_code error;
  const file_type type = std::filesystem::status(path, error).type();
  if (type == file_type::not_found) {
    if (std::filesystem::is_symlink(path, error)) refuse(path, "it is a symbolic link to nothing");
    return path;
  }
  if (type == file_type::none) refuse(path, error.message());
  if (type == file_type::directory) refuse(path, "it is a folder");
  if (type != file_type::regular) refuse(path, "it is not a regular file");
  if (::access(path.c_str(), W_OK) != 0) refuse(path, last_reason());
  std::filesystem::path target = std::filesystem::canonical(path, error);
  if (error) refuse(path, error.message());
  return target;
}

}  // namespace

OutputFile::OutputFile(const std::filesystem::path& path) : target_(resolved(path)) {
  const std::string name = target_.string() + ".new." + std::to_string(::getpid());
  for (int attempt = 0; descriptor_ < 0; ++attempt) {
    temporary_ = attempt == 0 ? name : name + "." + std::to_string(attempt);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ >= 0 || errno == EEXIST) continue;
    const bool has_folder = errno != ENOENT;
    refuse(path, has_folder ? last_reason() : "its folder does not exist");
  }
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  std::error_code ignored;
  if (!temporary_.empty()) std::filesystem::remove(temporary_, ignored);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) refuse(target_, last_reason());
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void OutputFile::commit() {
  if (::close(std::exchange(descriptor_, -1)) != 0) refuse(target_, last_reason());
  std::error_code error;
  std::filesystem::rename(temporary_, target_, error);
  if (error) refuse(target_, error.message());
  temporary_.clear();
}

}  // namespace hashevict::engine
