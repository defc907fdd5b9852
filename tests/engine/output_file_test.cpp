// SPDX-License-Identifier: Apache-2.0
#include "engine/output_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <hashevict/status.hpp>
#include <iterator>
#include <string>

#include "temporary_folder.hpp"

namespace hashevict::engine {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string content_of(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write_all(const fs::path& path, const std::string& content) {
  OutputFile file(path);
  file.write(bytes_of(content));
  file.commit();
}

std::string refusal(const fs::path& path) {
  try {
    OutputFile::require_writable(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::invalid_argument);
    EXPECT_THAT(error.what(), HasSubstr(path.string()));
    return error.what();
  }
  return "accepted";
}

TEST(OutputFile, AppearsWhenItIsComplete) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("x", "before");
  OutputFile file(path);
  file.write(bytes_of("af"));
  file.write(bytes_of("ter"));
  EXPECT_EQ(content_of(path), "before");
  file.commit();
  EXPECT_EQ(content_of(path), "after");
  EXPECT_EQ(folder.num_files(), 1U);
}

TEST(OutputFile, LeavesNothingWithoutCommit) {
  const TemporaryFolder folder;
  OutputFile(folder.path() / "x").write(bytes_of("half"));
  OutputFile::require_writable(folder.path() / "x");
  EXPECT_EQ(folder.num_files(), 0U);
}

TEST(OutputFile, SparesFilesWithNamesLikeItsOwn) {
  const TemporaryFolder folder;
  const fs::path first = folder.write("x.new", "mine");
  const fs::path second = folder.write("x.new." + std::to_string(::getpid()), "mine too");
  write_all(folder.path() / "x", "new");
  EXPECT_EQ(content_of(folder.path() / "x"), "new");
  EXPECT_EQ(content_of(first), "mine");
  EXPECT_EQ(content_of(second), "mine too");
  EXPECT_EQ(folder.num_files(), 3U);
}

TEST(OutputFile, FollowsALinkToARegularFile) {
  const TemporaryFolder folder;
  const fs::path file = folder.write("file", "before");
  fs::create_directory(folder.path() / "elsewhere");
  fs::create_symlink("../file", folder.path() / "elsewhere" / "link");
  write_all(folder.path() / "elsewhere" / "link", "after");
  EXPECT_TRUE(fs::is_symlink(folder.path() / "elsewhere" / "link"));
  EXPECT_EQ(content_of(file), "after");
}

TEST(OutputFile, WhatIsNoRegularFileIsRefused) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder.path() / "pipe").c_str(), 0600), 0);
  fs::create_directory(folder.path() / "folder");
  fs::create_symlink("pipe", folder.path() / "to-pipe");
  fs::create_symlink("missing", folder.path() / "to-nothing");
  EXPECT_THAT(refusal(folder.path() / "pipe"), HasSubstr("not a regular file"));
  EXPECT_THAT(refusal(folder.path() / "to-pipe"), HasSubstr("not a regular file"));
  EXPECT_THAT(refusal("/dev/null"), HasSubstr("not a regular file"));
  EXPECT_THAT(refusal(folder.path() / "folder"), HasSubstr("is a folder"));
  EXPECT_THAT(refusal(folder.path() / "to-nothing"), HasSubstr("link to nothing"));
  EXPECT_TRUE(fs::is_fifo(folder.path() / "pipe"));
  EXPECT_EQ(folder.num_files(), 4U);
}

TEST(OutputFile, PlaceThatCannotBeWrittenIsRefusedWithTheReason) {
  const TemporaryFolder folder;
  folder.write("file", "");
  EXPECT_THAT(refusal(folder.path() / "missing" / "x"), HasSubstr("folder does not exist"));
  EXPECT_THAT(refusal(folder.path() / "file" / "x"), HasSubstr("Not a directory"));
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  fs::permissions(folder.path() / "file", fs::perms::owner_read);
  EXPECT_THAT(refusal(folder.path() / "file"), HasSubstr("Permission denied"));
  fs::create_directory(folder.path() / "closed");
  fs::permissions(folder.path() / "closed", fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_THAT(refusal(folder.path() / "closed" / "x"), HasSubstr("Permission denied"));
}

}  // namespace
}  // namespace hashevict::engine
