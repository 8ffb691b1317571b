// What the program leaves: JSON lines, and PNG files.
#pragma once

#include <string>

#include "detector.hpp"
#include "image.hpp"

namespace roastery {

// Writes the PNGs of an image into `folder`, if there is one, and returns its JSON lines: a line for each detection of
// at least `threshold`, and for each panoptic segment.
std::string leave_results(const std::string& file, const Image& image, const Found& found, double threshold,
                          const std::string& folder);

}  // namespace roastery
