// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace hashevict::cli {

/// Reads a text file, or a pipe, up to 256 MiB. Refuses files that are certainly not text.
/// @throws Error naming the file and the reason
std::string read_file(const std::filesystem::path& path);

/// Writes a file that appears complete or not at all (engine::OutputFile). @throws Error naming the file and the reason
void write_file(const std::filesystem::path& path, std::string_view content);

/// Refuses, before any work is done, an output that write_file() would refuse or that is one of the inputs. Ignores
/// empty names. @throws Error naming the file and the reason
void require_output(const std::string& path, std::initializer_list<std::string> inputs);

/// Refuses, before any work is done, outputs in a folder that require_output() or make_folder() would refuse. Leaves no
/// new folder. @throws Error naming the file or folder and the reason
void require_outputs(const std::string& folder, const std::vector<std::string>& files,
                     std::initializer_list<std::string> inputs);

/// Creates a folder and its missing parents. @throws Error naming the folder
std::filesystem::path make_folder(const std::string& name);

}  // namespace hashevict::cli
