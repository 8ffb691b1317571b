// Pasting: the small map of a detection becomes a mask of the original image.
#pragma once

#include <vector>

#include "detections.hpp"

namespace roastery {

// The map (side, side) stretched bilinearly over the box, set where it is at least a half. The box lies in the image.
// Source: detectron2 0.5, layers/mask_ops.py (paste_masks_in_image), as roastery/postprocess/masks.py has it.
Mask paste_mask(const std::vector<float>& map, int side, const Box& box, Size image);

// The mask at the image's size, of 0 and `value`.
Image full_size(const Mask& mask, Size image, std::uint8_t value);

}  // namespace roastery
