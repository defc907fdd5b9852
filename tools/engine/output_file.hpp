// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace hashevict::engine {

/// A file that appears complete or not at all: written beside its place under a name that nobody has, then renamed.
///
/// A symbolic link is followed: the regular file that it points to is replaced, and the link stays. Whatever else is no
/// regular file is refused: a folder, a named pipe, a device, a link to nothing. So is one that may not be written.
class OutputFile {
 public:
  /// @throws Error invalid_argument naming the file and why it cannot be written
  explicit OutputFile(const std::filesystem::path& path);
  /// Leaves nothing behind unless commit() was called.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Adds to the end. @throws Error
  void write(std::span<const std::byte> bytes);
  /// Puts the file into its place. @throws Error
  void commit();

  /// Refuses what cannot be written before there is anything to write. @throws Error as the constructor
  static void require_writable(const std::filesystem::path& path) { const OutputFile probe(path); }

 private:
  std::filesystem::path target_, temporary_;
  int descriptor_ = -1;
};

}  // namespace hashevict::engine
