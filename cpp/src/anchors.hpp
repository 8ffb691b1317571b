// detectron2's anchors: boxes of some sizes and shapes at each place of a map.
#pragma once

#include <string>
#include <vector>

#include "detections.hpp"
#include "net.hpp"

namespace roastery {

struct Anchors {
    std::vector<std::vector<Box>> cells;  // for each level, those of its first place
    std::vector<int> strides;             // of each level, pixels; empty: the first divides the image, the others halve
    double offset;                        // of the first place, in strides
};

// From MODEL.ANCHOR_GENERATOR's lists in JSON, such as [[32, 64], [128, 256]]; one list counts for every level, and an
// empty text is detectron2's RetinaNet. Throws Failure where it is no such list.
// Source: detectron2 0.5, modeling/anchor_generator.py (generate_cell_anchors).
Anchors anchors_of(const std::string& sizes, const std::string& ratios, double offset, int levels);

// Whether the net holds its anchors as numbers. The original converter's holds them as a pickle.
bool has_anchors(const Net& net);

// The net's own. Throws Failure, which names `file`, where they are not those of so many levels.
Anchors anchors_in(const Net& net, const std::string& file, int levels);

}  // namespace roastery
