// SPDX-License-Identifier: Apache-2.0
#include "file_mapping.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <hashevict/status.hpp>
#include <string>

namespace hashevict::engine {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& message) {
  throw Error{Status::invalid_data, path.string() + ": " + message};
}

// Closes a file when done; a mapping outlives its descriptor.
struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

}  // namespace

FileMapping::FileMapping(const std::filesystem::path& path) {
  // Without O_NONBLOCK the opening of a named pipe would wait for a writer.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.value < 0) fail(path, std::string("cannot be opened: ") + std::strerror(errno));
  struct stat status {};
  if (::fstat(file.value, &status) != 0 || !S_ISREG(status.st_mode)) fail(path, "is not a regular file");
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  address_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.value, 0);
  if (address_ == MAP_FAILED) fail(path, std::string("cannot be mapped: ") + std::strerror(errno));
}

FileMapping::~FileMapping() {
  if (size_ > 0) ::munmap(address_, size_);
}

}  // namespace hashevict::engine
