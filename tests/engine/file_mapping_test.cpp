// SPDX-License-Identifier: Apache-2.0
// A mapped file that another process changes while it is read.
#include "engine/file_mapping.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>
#include <string>

#include "refusal.hpp"
#include "temporary_folder.hpp"

namespace hashevict::engine {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string complaint() {
  return refusal(FileMapping::require_unchanged);
}

// Writes into the same file and changes its time of modification.
void rewrite(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::in) << content;
  const timespec times[2] = {{1000, 0}, {1000, 5}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

TEST(FileMapping, HasTheBytesOfTheFile) {
  const TemporaryFolder folder;
  const FileMapping file(folder.write("x", "content"));
  EXPECT_EQ(file.text(), "content");
  EXPECT_EQ(complaint(), "accepted");
}

TEST(FileMapping, IsFoundByItsAddresses) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("x", std::string(10000, 'a'));
  const void* address = nullptr;
  {
    const FileMapping file(path);
    address = file.bytes().data() + 9999;
    ASSERT_NE(FileMapping::name_at(address), nullptr);
    EXPECT_EQ(FileMapping::name_at(address), path.string());
    EXPECT_EQ(FileMapping::name_at(&path), nullptr);
  }
  EXPECT_EQ(FileMapping::name_at(address), nullptr);
}

TEST(FileMapping, FileThatIsRewrittenMeanwhileIsNamed) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("x", "before");
  const FileMapping file(path);
  rewrite(path, "after!");
  EXPECT_THAT(complaint(), HasSubstr(path.string() + ": was changed while it was read"));
}

TEST(FileMapping, FileThatIsCutMeanwhileIsNamed) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("x", "before");
  const FileMapping file(path);
  fs::resize_file(path, 2);
  EXPECT_THAT(complaint(), HasSubstr(path.string()));
}

TEST(FileMapping, ChangeBeforeTheMappingWentIsToldOnce) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("x", "before");
  {
    const FileMapping file(path);
    rewrite(path, "after!");
  }
  EXPECT_THAT(complaint(), HasSubstr(path.string()));
  EXPECT_EQ(complaint(), "accepted");
}

TEST(FileMapping, FileThatAnotherReplacesIsUnchanged) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("x", "before");
  const FileMapping file(path);
  fs::rename(folder.write("y", "another"), path);
  EXPECT_EQ(complaint(), "accepted");
  EXPECT_EQ(file.text(), "before");
}

}  // namespace
}  // namespace hashevict::engine
