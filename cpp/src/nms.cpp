#include "nms.hpp"

#include <algorithm>

namespace roastery {
namespace {

float area(const Box& box) { return (box[2] - box[0]) * (box[3] - box[1]); }

float overlap(const Box& a, const Box& b) {
    const float width = std::max(std::min(a[2], b[2]) - std::max(a[0], b[0]), 0.f);
    const float height = std::max(std::min(a[3], b[3]) - std::max(a[1], b[1]), 0.f);
    const float shared = width * height;
    return shared / (area(a) + area(b) - shared);
}

}  // namespace

std::vector<Detection> suppress(const std::vector<Detection>& sorted, float threshold, int most) {
    std::vector<Detection> kept;
    for (const auto& candidate : sorted) {
        if (static_cast<int>(kept.size()) >= most) break;
        const auto hides = [&](const Detection& better) {
            return better.label == candidate.label && overlap(better.box, candidate.box) > threshold;
        };
        if (std::none_of(kept.begin(), kept.end(), hides)) kept.push_back(candidate);
    }
    return kept;
}

}  // namespace roastery
