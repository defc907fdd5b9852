// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace hashevict::engine {

/// Recognises files that often stand in for a checkpoint: pointers of git-lfs and git-annex, web pages, archives and
/// the checkpoints of other programs.
/// @return a message's predicate, such as "is a git-lfs pointer ...", or nothing for any other content
std::string foreign_kind(std::string_view content);

/// Recognises such a file in place of a text, if it is certain: a text may begin like a web page, or quote a pointer.
/// @return as foreign_kind()
std::string not_a_text(std::string_view content);

}  // namespace hashevict::engine
