// Non-maximum suppression.
#pragma once

#include <vector>

#include "detections.hpp"

namespace roastery {

// The detections, which come by falling score, without those that overlap a better one of the same class by more than
// `threshold`; at most `most` of them.
std::vector<Detection> suppress(const std::vector<Detection>& sorted, float threshold, int most);

}  // namespace roastery
