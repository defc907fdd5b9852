// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>

namespace hashevict::cli {

/// All bytes of a file. @throws Error naming it and the reason
std::string read_file(const std::filesystem::path& path);

/// Writes a file that appears complete or not at all (engine::OutputFile). @throws Error naming it and the reason
void write_file(const std::filesystem::path& path, std::string_view content);

/// Refuses an output before any work is done: what write_file() would refuse, and what is one of the inputs; empty
/// names are none. @throws Error naming it and the reason
void require_output(const std::string& path, std::initializer_list<std::string> inputs);

/// Makes a folder, and those it lies in, unless it is there. @throws Error naming it
std::filesystem::path make_folder(const std::string& name);

}  // namespace hashevict::cli
