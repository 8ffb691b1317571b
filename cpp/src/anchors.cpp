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

std::vector<Box> cell_anchors(const std::vector<double>& sizes, const std::vector<double>& ratios) {
    std::vector<Box> boxes;
    for (const double size : sizes) {
        for (const double ratio : ratios) {
            const double width = std::sqrt(size * size / ratio);
            const double height = ratio * width;
            boxes.push_back({static_cast<float>(-width / 2), static_cast<float>(-height / 2),
                             static_cast<float>(width / 2), static_cast<float>(height / 2)});
        }
    }
    return boxes;
}

// The net argument that holds a level's anchors.
std::string cell_argument(int level) { return "cell_anchors_" + std::to_string(level); }

}  // namespace

Anchors anchors_of(const std::string& sizes, const std::string& ratios, double offset, int levels) {
    const auto all_sizes = sizes.empty() ? usual_sizes(levels) : lists(sizes, "--anchor-sizes", levels);
    const auto all_ratios = lists(ratios.empty() ? "[[0.5, 1.0, 2.0]]" : ratios, "--anchor-aspect-ratios", levels);
    Anchors anchors{{}, {}, offset};
    for (int level = 0; level < levels; ++level) {
        anchors.cells.push_back(cell_anchors(all_sizes[level], all_ratios[level]));
    }
    return anchors;
}

bool has_anchors(const Net& net) { return net.says("anchor_strides") || net.says(cell_argument(0)); }

Anchors anchors_in(const Net& net, const std::string& file, int levels) {
    const auto refuse = [&](const std::string& argument, const std::string& why) {
        throw Failure(file + ": net argument '" + argument + "' " + why + "; convert the model again");
    };
    const std::string count = std::to_string(levels);
    // Their offset lies in them already.
    Anchors anchors{{}, net.integers("anchor_strides", {}), 0.};
    if (static_cast<int>(anchors.strides.size()) != levels) {
        refuse("anchor_strides", "has " + std::to_string(anchors.strides.size()) + " strides for " + count + " levels");
    }
    for (const int stride : anchors.strides) {
        if (stride < 1 || stride > 65535) refuse("anchor_strides", "has a stride of " + std::to_string(stride));
    }
    for (int level = 0; level < levels; ++level) {
        const auto numbers = net.numbers(cell_argument(level), {});
        if (numbers.empty() || numbers.size() % 4 != 0) {
            refuse(cell_argument(level),
                   "has " + std::to_string(numbers.size()) + " numbers, not four for each anchor");
        }
        std::vector<Box> cell(numbers.size() / 4);
        for (std::size_t i = 0; i < numbers.size(); ++i) {
            if (!std::isfinite(numbers[i])) refuse(cell_argument(level), "has NaN or infinity");
            cell[i / 4][i % 4] = numbers[i];
        }
        anchors.cells.push_back(std::move(cell));
    }
    if (net.says(cell_argument(levels))) refuse(cell_argument(levels), "is of one level more than the net's " + count);
    return anchors;
}

}  // namespace roastery
