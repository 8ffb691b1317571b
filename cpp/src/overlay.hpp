// The image with what was found drawn over it.
#pragma once

#include <vector>

#include "detections.hpp"
#include "panoptic.hpp"

namespace roastery {

// Masks (or, where there are some, panoptic segments) tinted, boxes outlined, keypoints dotted; a colour for each
// class.
Image draw_overlay(const Image& image, const std::vector<Detection>& detections, const Panoptic& panoptic);

}  // namespace roastery
