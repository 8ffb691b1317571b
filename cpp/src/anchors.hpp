// detectron2's anchors: boxes of some sizes and shapes at each place of a map.
#pragma once

#include <string>
#include <vector>

#include "detections.hpp"

namespace roastery {

struct Anchors {
    std::vector<std::vector<double>> sizes;   // for each level
    std::vector<std::vector<double>> ratios;  // height / width, for each level
    double offset;                            // of the first, in strides
};

// From MODEL.ANCHOR_GENERATOR's lists in JSON, such as [[32, 64], [128, 256]]; one list counts for every level, and an
// empty text is detectron2's RetinaNet. Throws Failure where it is no such list.
Anchors anchors_of(const std::string& sizes, const std::string& ratios, double offset, int levels);

// The boxes around (0, 0) of a level. Source: detectron2 0.5, modeling/anchor_generator.py (generate_cell_anchors).
std::vector<Box> cell_anchors(const Anchors& anchors, int level);

}  // namespace roastery
