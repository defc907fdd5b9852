// SPDX-License-Identifier: Apache-2.0
#include "output_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/xattr.h>
#endif
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <hashevict/status.hpp>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace hashevict::engine {
namespace {

using std::filesystem::file_type;

// Names of unfinished files, for signal handlers, which may not take a lock. Files beyond this number stay after a
// signal.
constexpr std::size_t kMaxUnfinished = 16;
std::array<std::atomic<const char*>, kMaxUnfinished> unfinished{};

void remember(const char* name) noexcept {
  for (auto& slot : unfinished) {
    const char* none = nullptr;
    if (slot.compare_exchange_strong(none, name)) return;
  }
}

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& reason) {
  throw Error{Status::invalid_argument, path.string() + ": cannot be written: " + reason};
}

std::string last_reason() {
  return std::generic_category().message(errno);
}

// The file to replace or create, with links followed.
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

// Closes a file when done.
struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

// Writes all bytes. On failure it returns false and sets `errno`.
bool write_all(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written == 0) errno = ENOSPC;  // no file system should write 0 bytes; the loop would not end
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

// Overwrites a file with the whole content of another.
bool copy_over(int from, int to) {
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  off_t at = 0;
  while (true) {
    const ssize_t size = ::pread(from, buffer.data(), buffer.size(), at);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return false;
    if (size == 0) return ::ftruncate(to, at) == 0;
    if (!write_all(to, std::span(buffer).first(static_cast<std::size_t>(size)))) return false;
    at += size;
  }
}

#ifdef __linux__
// Whether the file already has the attribute with this value: a security module may set it and forbid others to.
bool has_attribute(int file, const char* name, const std::string& value) {
  std::string own(value.size() + 1, '\0');
  const ssize_t size = ::fgetxattr(file, name, own.data(), own.size());
  return size == static_cast<ssize_t>(value.size()) && own.compare(0, value.size(), value) == 0;
}

bool hand_on_attribute(int from, int to, const char* name) {
  const ssize_t size = ::fgetxattr(from, name, nullptr, 0);
  if (size < 0) return errno == ENODATA;
  std::string value(static_cast<std::size_t>(size), '\0');
  if (::fgetxattr(from, name, value.data(), value.size()) != size) return false;
  return has_attribute(to, name, value) || ::fsetxattr(to, name, value.data(), value.size(), 0) == 0;
}

bool hand_on_extended(int from, int to) {
  const ssize_t size = ::flistxattr(from, nullptr, 0);
  if (size < 0) return errno == ENOTSUP;
  std::string names(static_cast<std::size_t>(size), '\0');
  if (::flistxattr(from, names.data(), names.size()) != size) return false;
  for (const char* name = names.data(); name < names.data() + names.size(); name += std::strlen(name) + 1) {
    if (!hand_on_attribute(from, to, name)) return false;
  }
  return true;
}
#else
bool hand_on_extended(int /*from*/, int /*to*/) {
  return true;
}
#endif

// Gives one open file the owner, the group, the extended attributes (access lists among them) and the mode of another.
// Returns false if the user has no right to, or the file system cannot; some attributes may then be set.
bool hand_on_attributes(int from, int to) {
  struct stat old {};
  struct stat fresh {};
  if (::fstat(from, &old) != 0 || ::fstat(to, &fresh) != 0) return false;
  const bool same_owner = old.st_uid == fresh.st_uid && old.st_gid == fresh.st_gid;
  if (!same_owner && ::fchown(to, old.st_uid, old.st_gid) != 0) return false;
  if (!hand_on_extended(from, to)) return false;
  return ::fchmod(to, old.st_mode & 07777U) == 0;  // last: changing the owner clears set-user-ID
}

}  // namespace

OutputFile::OutputFile(const std::filesystem::path& path) : target_(resolved(path)) {
  // Users who may not read the old file must not be able to read its replacement either.
  const mode_t mode = ::access(target_.c_str(), F_OK) == 0 ? 0600 : 0666;
  const std::string name = target_.string() + ".new." + std::to_string(::getpid());
  for (int attempt = 0; descriptor_ < 0; ++attempt) {
    temporary_ = attempt == 0 ? name : name + "." + std::to_string(attempt);
    descriptor_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (descriptor_ >= 0 || errno == EEXIST) continue;
    const bool has_folder = errno != ENOENT;
    refuse(path, has_folder ? last_reason() : "its folder does not exist");
  }
  remember(temporary_.c_str());
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (temporary_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
  forget();
}

void OutputFile::write(std::span<const std::byte> bytes) {
  if (!write_all(descriptor_, bytes)) refuse(target_, last_reason());
}

void OutputFile::commit() {
  const Descriptor present{::open(target_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct stat status {};
  const bool is_there = ::stat(target_.c_str(), &status) == 0;
  if (is_there && (status.st_nlink > 1 || !hand_on_attributes(present.value, descriptor_))) return overwrite();
  if (::close(std::exchange(descriptor_, -1)) != 0) refuse(target_, last_reason());
  std::error_code error;
  std::filesystem::rename(temporary_, target_, error);
  if (error) refuse(target_, error.message());
  forget();
}

void OutputFile::overwrite() {
  int file = ::open(target_.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) refuse(target_, last_reason());
  bool done = copy_over(descriptor_, file);
  std::string reason = done ? "" : last_reason();
  if (::close(file) != 0 && done) {
    done = false;
    reason = last_reason();
  }
  if (done) return;
  const std::string rescue = temporary_.string();
  forget();
  refuse(target_, reason + ", and it now has part of its new content; all of that lies in " + rescue);
}

void OutputFile::forget() noexcept {
  for (auto& slot : unfinished) {
    const char* name = temporary_.c_str();
    slot.compare_exchange_strong(name, nullptr);
  }
  temporary_.clear();
}

void OutputFile::remove_unfinished() noexcept {
  for (auto& slot : unfinished) {
    if (const char* name = slot.load(); name != nullptr) ::unlink(name);
  }
}

}  // namespace hashevict::engine
