#include "preprocess.hpp"

#include <algorithm>
#include <utility>

#include "failure.hpp"
#include "image_io.hpp"
#include "resize.hpp"

namespace roastery {
namespace {

// Source: detectron2 0.5, data/transforms/augmentation_impl.py (ResizeShortestEdge). Rounded half up.
std::pair<int, int> resized_size(const Image& image, int min_size, int max_size) {
    if (min_size == 0) return {image.height, image.width};
    double scale = static_cast<double>(min_size) / std::min(image.height, image.width);
    double height = image.height < image.width ? min_size : scale * image.height;
    double width = image.height < image.width ? scale * image.width : min_size;
    if (std::max(height, width) > max_size) {
        scale = max_size * 1.0 / std::max(height, width);
        height *= scale;
        width *= scale;
    }
    const auto rounded = std::make_pair(static_cast<int>(height + 0.5), static_cast<int>(width + 0.5));
    if (rounded.first == 0 || rounded.second == 0) {
        throw Failure("an image of " + std::to_string(image.height) + " x " + std::to_string(image.width) +
                      " pixels has an edge of 0 when it is resized to at most " + std::to_string(max_size) +
                      "; give a larger --max-size");
    }
    return rounded;
}

int padded(int size, int divisibility) {
    const int unit = std::max(divisibility, 1);
    return (size + unit - 1) / unit * unit;
}

}  // namespace

Input preprocess(const Image& image, const Preprocessing& settings) {
    int height, width;
    std::tie(height, width) = resized_size(image, settings.min_size, settings.max_size);
    const int full_height = padded(height, settings.size_divisibility);
    const int full_width = padded(width, settings.size_divisibility);
    check_size(full_height, full_width);
    const Image resized = resize_bilinear(image, height, width);

    Input input{{{1, 3, full_height, full_width}, {}}, {{1, 3}, {1.f * height, 1.f * width, 1.f}}, height, width};
    const auto plane = static_cast<std::size_t>(full_height) * full_width;
    input.data.values.resize(3 * plane);
    for (int channel = 0; channel < 3; ++channel) {
        float* target = &input.data.values[channel * plane];
        std::fill_n(target, plane, settings.pixel_mean[channel]);
        const int source = settings.format == "BGR" ? 2 - channel : channel;
        for (int row = 0; row < height; ++row) {
            for (int column = 0; column < width; ++column) {
                target[static_cast<std::size_t>(row) * full_width + column] = resized.at(row, column)[source];
            }
        }
    }
    return input;
}

}  // namespace roastery
