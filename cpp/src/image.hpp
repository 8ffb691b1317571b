// An image in memory.
#pragma once

#include <cstdint>
#include <vector>

namespace roastery {

// Rows of pixels of interleaved channels, 8 bits each: 3 channels are RGB, 1 is grey (or a mask, or classes).
struct Image {
    int height = 0;
    int width = 0;
    int channels = 3;
    std::vector<std::uint8_t> pixels;

    Image() = default;
    Image(int height, int width, int channels)
        : height(height),
          width(width),
          channels(channels),
          pixels(static_cast<std::size_t>(height) * width * channels) {}

    std::uint8_t* at(int row, int column) {
        return &pixels[(static_cast<std::size_t>(row) * width + column) * channels];
    }
    const std::uint8_t* at(int row, int column) const {
        return &pixels[(static_cast<std::size_t>(row) * width + column) * channels];
    }
};

}  // namespace roastery
