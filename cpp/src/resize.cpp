// Source: Pillow 13's src/libImaging/Resample.c: in fixed point, the filter widened by the scale where an image
// shrinks, along the rows and along the columns, rounded to 8 bits in between.
#include "resize.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace roastery {
namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;

// What a pixel of the result is made of: `weights` of the pixels from `first` on.
struct Taps {
    int first;
    std::vector<int> weights;
};

std::vector<Taps> taps_of(int source, int target) {
    const double scale = static_cast<double>(source) / target;
    const double support = std::max(scale, 1.0);
    std::vector<Taps> all;
    for (int i = 0; i < target; ++i) {
        const double center = (i + 0.5) * scale;
        const int first = std::max(static_cast<int>(center - support + 0.5), 0);
        const int last = std::min(static_cast<int>(center + support + 0.5), source);
        std::vector<double> weights;
        double total = 0.0;
        for (int x = first; x < last; ++x) {
            weights.push_back(std::max(1.0 - std::abs((x - center + 0.5) * (1.0 / support)), 0.0));
            total += weights.back();
        }
        Taps taps{first, {}};
        for (const double weight : weights) {
            const double normalised = total != 0.0 ? weight / total : weight;
            taps.weights.push_back(static_cast<int>(0.5 + normalised * (1 << kPrecisionBits)));
        }
        all.push_back(std::move(taps));
    }
    return all;
}

std::uint8_t rounded(int sum) { return static_cast<std::uint8_t>(std::min(std::max(sum >> kPrecisionBits, 0), 255)); }

Image resize_rows(const Image& image, int width) {
    const auto taps = taps_of(image.width, width);
    Image result(image.height, width, image.channels);
    for (int row = 0; row < image.height; ++row) {
        for (int column = 0; column < width; ++column) {
            const auto& tap = taps[column];
            for (int channel = 0; channel < image.channels; ++channel) {
                int sum = 1 << (kPrecisionBits - 1);
                const auto* source = image.at(row, tap.first) + channel;
                for (const int weight : tap.weights) {
                    sum += *source * weight;
                    source += image.channels;
                }
                result.at(row, column)[channel] = rounded(sum);
            }
        }
    }
    return result;
}

Image resize_columns(const Image& image, int height) {
    const auto taps = taps_of(image.height, height);
    Image result(height, image.width, image.channels);
    const int values = image.width * image.channels;
    std::vector<int> sums(values);
    for (int row = 0; row < height; ++row) {
        std::fill(sums.begin(), sums.end(), 1 << (kPrecisionBits - 1));
        int y = taps[row].first;
        for (const int weight : taps[row].weights) {
            const auto* source = image.at(y++, 0);
            for (int i = 0; i < values; ++i) sums[i] += source[i] * weight;
        }
        std::transform(sums.begin(), sums.end(), result.at(row, 0), rounded);
    }
    return result;
}

}  // namespace

Image resize_bilinear(const Image& image, int height, int width) {
    const auto across = [&](const Image& from) { return width == from.width ? from : resize_rows(from, width); };
    const auto down = [&](const Image& from) { return height == from.height ? from : resize_columns(from, height); };
    // What comes first shows in the rounding. Before Pillow 13 it was always the rows.
    const int shrinks = image.height - height;
    const bool columns_first = shrinks > 0 && shrinks > 2 * (image.width - width);
    return columns_first ? across(down(image)) : down(across(image));
}

}  // namespace roastery
