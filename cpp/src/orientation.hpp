// Which way up an image is: EXIF's orientation, or XMP's where EXIF says nothing.
#pragma once

#include <string>

#include "image.hpp"

namespace roastery {

// 1 to 8 as in EXIF's table; 1, as it lies, where neither block says anything or it is damaged.
int orientation(const std::string& exif, const std::string& xmp);

Image upright(const Image& image, int orientation);

}  // namespace roastery
