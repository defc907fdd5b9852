// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace hashevict::cli {

/// All bytes of a file. @throws Error naming it
std::string read_file(const std::filesystem::path& path);

/// Writes a file that appears complete or not at all. @throws Error naming it
void write_file(const std::filesystem::path& path, std::string_view content);

/// Makes a folder, and those it lies in, unless it is there. @throws Error naming it
std::filesystem::path make_folder(const std::string& name);

}  // namespace hashevict::cli
