#include "masks.hpp"

#include <algorithm>
#include <cmath>

namespace roastery {
namespace {

constexpr float kThreshold = 0.5f;

// Where a pixel's middle lies among the map's cells: -0.5 at `low`, side - 0.5 at `high`.
float position(int pixel, float low, float high, int side) {
    const float normalised = (static_cast<float>(pixel) + 0.5f - low) / (high - low) * 2.f - 1.f;
    return (normalised + 1.f) * (static_cast<float>(side) / 2.f) - 0.5f;
}

}  // namespace

Mask paste_mask(const std::vector<float>& map, int side, const Box& box, Size image) {
    // A pixel beside the box samples between the map's outermost cells and 0; one further out samples 0.
    const int left = std::max(static_cast<int>(std::floor(box[0])) - 1, 0);
    const int top = std::max(static_cast<int>(std::floor(box[1])) - 1, 0);
    const int right = std::min(static_cast<int>(std::ceil(box[2])) + 1, image.width);
    const int bottom = std::min(static_cast<int>(std::ceil(box[3])) + 1, image.height);
    Mask mask{left, top, Image(bottom - top, right - left, 1)};
    const auto cell = [&](float y, float x) {
        const bool inside = y >= 0.f && x >= 0.f && y < static_cast<float>(side) && x < static_cast<float>(side);
        return inside ? map[static_cast<std::size_t>(y) * side + static_cast<std::size_t>(x)] : 0.f;
    };
    for (int row = top; row < bottom; ++row) {
        const float y = position(row, box[1], box[3], side);
        const float y0 = std::floor(y);
        const float below = y - y0, above = 1.f - below;
        for (int column = left; column < right; ++column) {
            const float x = position(column, box[0], box[2], side);
            const float x0 = std::floor(x);
            const float after = x - x0, before = 1.f - after;
            const float value = cell(y0, x0) * (before * above) + cell(y0, x0 + 1.f) * (after * above) +
                                cell(y0 + 1.f, x0) * (before * below) + cell(y0 + 1.f, x0 + 1.f) * (after * below);
            *mask.part.at(row - top, column - left) = value >= kThreshold ? 1 : 0;
        }
    }
    return mask;
}

Image full_size(const Mask& mask, Size image, std::uint8_t value) {
    Image full(image.height, image.width, 1);
    for (int row = 0; row < mask.part.height; ++row) {
        for (int column = 0; column < mask.part.width; ++column) {
            if (*mask.part.at(row, column) != 0) *full.at(mask.top + row, mask.left + column) = value;
        }
    }
    return full;
}

}  // namespace roastery
