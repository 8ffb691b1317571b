// Files: read whole, and written whole or not at all.
#pragma once

#include <string>

namespace roastery {

// The bytes of a regular file. Throws Failure where there is none or it cannot be read; `what` names it: "image".
std::string read_file(const std::string& path, const std::string& what);

// Throws Failure; then what was there before is there still.
void write_file(const std::string& path, const std::string& content);

void make_folder(const std::string& path);

// "photo.jpg" of "/data/photo.jpg".
std::string base_name(const std::string& path);

}  // namespace roastery
