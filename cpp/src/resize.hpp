// Pillow's bilinear resize, to the last bit.
#pragma once

#include "image.hpp"

namespace roastery {

Image resize_bilinear(const Image& image, int height, int width);

}  // namespace roastery
