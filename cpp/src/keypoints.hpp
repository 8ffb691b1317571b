// Keypoints from heatmaps, as detectron2 decodes them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "detections.hpp"
#include "tensor.hpp"

namespace roastery {

// x, y (pixels of the net's image) and score of each keypoint of detection `row`.
// heatmaps: (n, K, S, S); box: of the detection. Source: detectron2 0.5, structures/keypoints.py
// (heatmaps_to_keypoints).
std::vector<std::array<float, 3>> decode_keypoints(const Tensor& heatmaps, std::size_t row, const Box& box);

}  // namespace roastery
