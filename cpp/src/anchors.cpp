#include "anchors.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "failure.hpp"

namespace roastery {
namespace {

// detectron2's configs/Base-RetinaNet.yaml: three octaves a level.
std::vector<std::vector<double>> usual_sizes(int levels) {
    std::vector<std::vector<double>> sizes;
    for (int level = 0; level < levels; ++level) {
        const double first = 32.0 * std::pow(2.0, level);
        sizes.push_back({first, first * std::pow(2.0, 1.0 / 3), first * std::pow(2.0, 2.0 / 3)});
    }
    return sizes;
}

std::vector<std::vector<double>> lists(const std::string& text, const std::string& option, int levels) {
    std::vector<std::vector<double>> found;
    try {
        found = nlohmann::json::parse(text).get<std::vector<std::vector<double>>>();
    } catch (const nlohmann::json::exception&) {
        throw Failure(option + " '" + one_line(text) + "' is no list of lists of numbers; write it as in the model's " +
                      "config: [[32, 64], [128, 256]]");
    }
    if (found.size() == 1) found.assign(levels, found[0]);
    if (static_cast<int>(found.size()) != levels) {
        throw Failure(option + " has " + std::to_string(found.size()) + " lists, and the net " +
                      std::to_string(levels) + " levels; give one list for each level or one for all");
    }
    for (const auto& list : found) {
        for (const double value : list) {
            if (!(value > 0 && value < 1e6)) throw Failure(option + " has a number that is not positive; correct it");
        }
    }
    return found;
}

}  // namespace

Anchors anchors_of(const std::string& sizes, const std::string& ratios, double offset, int levels) {
    return {sizes.empty() ? usual_sizes(levels) : lists(sizes, "--anchor-sizes", levels),
            lists(ratios.empty() ? "[[0.5, 1.0, 2.0]]" : ratios, "--anchor-aspect-ratios", levels), offset};
}

std::vector<Box> cell_anchors(const Anchors& anchors, int level) {
    std::vector<Box> boxes;
    for (const double size : anchors.sizes[level]) {
        for (const double ratio : anchors.ratios[level]) {
            const double width = std::sqrt(size * size / ratio);
            const double height = ratio * width;
            boxes.push_back({static_cast<float>(-width / 2), static_cast<float>(-height / 2),
                             static_cast<float>(width / 2), static_cast<float>(height / 2)});
        }
    }
    return boxes;
}

}  // namespace roastery
