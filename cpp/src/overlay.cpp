#include "overlay.hpp"

#include <algorithm>
#include <cmath>

namespace roastery {
namespace {

using Color = std::array<std::uint8_t, 3>;

// Neighbouring numbers lie far apart on the colour wheel.
Color color_of(int number) {
    const double hue = std::fmod(number * 0.618033988749895, 1.0) * 6;
    Color color;
    for (int i = 0; i < 3; ++i) {
        const double distance = std::abs(std::fmod(hue + 2.0 * i, 6.0) - 3.0);
        color[i] = static_cast<std::uint8_t>(255 * std::min(std::max(distance - 1.0, 0.0), 1.0));
    }
    return color;
}

void tint(std::uint8_t* pixel, const Color& color) {
    for (int i = 0; i < 3; ++i) pixel[i] = static_cast<std::uint8_t>((pixel[i] + color[i]) / 2);
}

// Filled, as far as it lies in the image; right and bottom exclusive.
void fill(Image& image, int left, int top, int right, int bottom, const Color& color) {
    for (int row = std::max(top, 0); row < std::min(bottom, image.height); ++row) {
        for (int column = std::max(left, 0); column < std::min(right, image.width); ++column) {
            std::copy(color.begin(), color.end(), image.at(row, column));
        }
    }
}

void outline(Image& image, const Box& box, const Color& color) {
    const int left = static_cast<int>(box[0]), top = static_cast<int>(box[1]);
    const int right = static_cast<int>(std::ceil(box[2])), bottom = static_cast<int>(std::ceil(box[3]));
    fill(image, left, top, right, top + 1, color);
    fill(image, left, bottom - 1, right, bottom, color);
    fill(image, left, top, left + 1, bottom, color);
    fill(image, right - 1, top, right, bottom, color);
}

}  // namespace

Image draw_overlay(const Image& image, const std::vector<Detection>& detections, const Panoptic& panoptic) {
    Image drawn = image;
    for (std::size_t pixel = 0; pixel < panoptic.ids.size(); ++pixel) {
        if (panoptic.ids[pixel] != 0) tint(&drawn.pixels[3 * pixel], color_of(panoptic.ids[pixel]));
    }
    for (const auto& detection : detections) {
        const auto& mask = detection.mask;
        for (int row = 0; panoptic.ids.empty() && row < mask.part.height; ++row) {
            for (int column = 0; column < mask.part.width; ++column) {
                if (*mask.part.at(row, column) != 0) {
                    tint(drawn.at(mask.top + row, mask.left + column), color_of(detection.label));
                }
            }
        }
        outline(drawn, detection.box, color_of(detection.label));
        for (const auto& keypoint : detection.keypoints) {
            const float limit = static_cast<float>(std::max(image.height, image.width));
            const int x = static_cast<int>(std::min(std::max(keypoint[0], 0.f), limit));
            const int y = static_cast<int>(std::min(std::max(keypoint[1], 0.f), limit));
            fill(drawn, x - 2, y - 2, x + 3, y + 3, color_of(detection.label + 1));
        }
    }
    return drawn;
}

}  // namespace roastery
