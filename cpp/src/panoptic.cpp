#include "panoptic.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "failure.hpp"

namespace roastery {
namespace {

// Two neighbours of a resized sample and the weight of the second, as PyTorch's bilinear interpolation takes them.
struct Linear {
    int first;
    int second;
    float weight;
};

std::vector<Linear> linear(int source, int target) {
    const float scale = static_cast<float>(source) / static_cast<float>(target);
    std::vector<Linear> all;
    for (int i = 0; i < target; ++i) {
        const float position = std::max(scale * (static_cast<float>(i) + 0.5f) - 0.5f, 0.f);
        const int first = std::min(static_cast<int>(position), source - 1);
        all.push_back({first, std::min(first + 1, source - 1), position - static_cast<float>(first)});
    }
    return all;
}

// Of the mask's pixels, those that no segment has yet, or all.
template <typename Visit>
void each_pixel(const Mask& mask, Size image, Visit visit) {
    for (int row = 0; row < mask.part.height; ++row) {
        for (int column = 0; column < mask.part.width; ++column) {
            if (*mask.part.at(row, column) == 0) continue;
            visit(static_cast<std::size_t>(mask.top + row) * image.width + mask.left + column);
        }
    }
}

}  // namespace

std::vector<std::uint16_t> pixel_classes(const Tensor& logits, Size seen, Size original) {
    const auto& shape = logits.shape;
    if (shape.size() != 4 || shape[0] != 1 || shape[1] < 1 || shape[1] > std::numeric_limits<std::uint16_t>::max() ||
        shape[2] < seen.height || shape[3] < seen.width) {
        throw Failure("the net gave sem_seg of shape " + shape_text(logits) + " for an image of " +
                      std::to_string(seen.height) + " x " + std::to_string(seen.width) + "; convert the model again");
    }
    const auto rows = linear(seen.height, original.height);
    const auto columns = linear(seen.width, original.width);
    std::vector<std::uint16_t> classes;
    classes.reserve(rows.size() * columns.size());
    for (const auto& y : rows) {
        for (const auto& x : columns) {
            float largest = -INFINITY;
            int label = 0;
            for (int i = 0; i < shape[1]; ++i) {
                const float* map = logits.values.data() + static_cast<std::size_t>(i) * shape[2] * shape[3];
                const float* upper = map + static_cast<std::size_t>(y.first) * shape[3];
                const float* lower = map + static_cast<std::size_t>(y.second) * shape[3];
                const float above = upper[x.first] * (1.f - x.weight) + upper[x.second] * x.weight;
                const float below = lower[x.first] * (1.f - x.weight) + lower[x.second] * x.weight;
                const float value = above * (1.f - y.weight) + below * y.weight;
                if (value > largest) {
                    largest = value;
                    label = i;
                }
            }
            classes.push_back(static_cast<std::uint16_t>(label));
        }
    }
    return classes;
}

Panoptic merge(const std::vector<Detection>& detections, const std::vector<std::uint16_t>& classes, Size image,
               const PanopticSettings& settings) {
    Panoptic panoptic{std::vector<std::uint16_t>(classes.size()), {}};
    auto& ids = panoptic.ids;
    const auto next = [&] {
        if (panoptic.segments.size() == std::numeric_limits<std::uint16_t>::max()) throw Failure("too many segments");
        return static_cast<std::uint16_t>(panoptic.segments.size() + 1);
    };
    // They come by falling score.
    for (std::size_t i = 0; i < detections.size() && detections[i].score >= settings.confidence_threshold; ++i) {
        int area = 0, taken = 0;
        each_pixel(detections[i].mask, image, [&](std::size_t pixel) {
            ++area;
            if (ids[pixel] != 0) ++taken;
        });
        if (area == 0 || static_cast<double>(taken) / area > settings.overlap_threshold) continue;
        const auto id = next();
        each_pixel(detections[i].mask, image, [&](std::size_t pixel) {
            if (ids[pixel] == 0) ids[pixel] = id;
        });
        panoptic.segments.push_back(
            {id, true, detections[i].label, detections[i].score, static_cast<int>(i), area - taken});
    }
    // Class 0 of the pixels stands for every thing.
    std::map<int, int> areas;
    for (std::size_t pixel = 0; pixel < ids.size(); ++pixel) {
        if (ids[pixel] == 0 && classes[pixel] != 0) ++areas[classes[pixel]];
    }
    std::map<int, std::uint16_t> stuff;
    for (const auto& label_and_area : areas) {
        if (label_and_area.second < settings.stuff_area_limit) continue;
        const auto id = next();
        stuff[label_and_area.first] = id;
        panoptic.segments.push_back({id, false, label_and_area.first, 0.f, 0, label_and_area.second});
    }
    for (std::size_t pixel = 0; pixel < ids.size(); ++pixel) {
        if (ids[pixel] != 0) continue;
        const auto found = stuff.find(classes[pixel]);
        if (found != stuff.end()) ids[pixel] = found->second;
    }
    return panoptic;
}

}  // namespace roastery
