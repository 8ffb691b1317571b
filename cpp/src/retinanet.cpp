#include "retinanet.hpp"

#include <algorithm>
#include <cmath>

#include "failure.hpp"
#include "nms.hpp"

namespace roastery {
namespace {

// Beyond it a box would grow out of all bounds.
const float kLargestLogScale = static_cast<float>(std::log(1000.0 / 16));

Box apply_deltas(const Box& anchor, const std::array<float, 4>& deltas, const std::vector<float>& weights) {
    const float width = anchor[2] - anchor[0], height = anchor[3] - anchor[1];
    const float x = anchor[0] + 0.5f * width, y = anchor[1] + 0.5f * height;
    const float new_x = deltas[0] / weights[0] * width + x;
    const float new_y = deltas[1] / weights[1] * height + y;
    const float new_width = std::exp(std::min(deltas[2] / weights[2], kLargestLogScale)) * width;
    const float new_height = std::exp(std::min(deltas[3] / weights[3], kLargestLogScale)) * height;
    return {new_x - 0.5f * new_width, new_y - 0.5f * new_height, new_x + 0.5f * new_width, new_y + 0.5f * new_height};
}

struct Level {
    const Tensor& classes;         // (1, A * K, H, W)
    const Tensor& deltas;          // (1, A * 4, H, W)
    const std::vector<Box>& cell;  // A
    float stride;
    float offset;
    bool own;  // whether the net itself says its anchors

    int height() const { return static_cast<int>(deltas.shape[2]); }
    int width() const { return static_cast<int>(deltas.shape[3]); }
    std::size_t plane() const { return static_cast<std::size_t>(height()) * width(); }
};

struct Candidate {
    float score;
    int anchor;
    int label;
    int row;
    int column;
};

std::vector<Candidate> best(const Level& level, float threshold, int most) {
    const int anchors = static_cast<int>(level.cell.size());
    const int classes = static_cast<int>(level.classes.shape[1]) / anchors;
    std::vector<Candidate> found;
    for (int row = 0; row < level.height(); ++row) {
        for (int column = 0; column < level.width(); ++column) {
            const std::size_t place = static_cast<std::size_t>(row) * level.width() + column;
            for (int anchor = 0; anchor < anchors; ++anchor) {
                for (int label = 0; label < classes; ++label) {
                    const std::size_t channel = static_cast<std::size_t>(anchor) * classes + label;
                    const float score = 1.f / (1.f + std::exp(-level.classes.values[channel * level.plane() + place]));
                    if (score > threshold) found.push_back({score, anchor, label, row, column});
                }
            }
        }
    }
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
    if (static_cast<int>(found.size()) > most) found.erase(found.begin() + most, found.end());
    return found;
}

void check(const Level& level, int number, Size padded) {
    const auto anchors = static_cast<std::int64_t>(level.cell.size());
    const auto& classes = level.classes.shape;
    const auto& deltas = level.deltas.shape;
    const bool maps = classes.size() == 4 && deltas.size() == 4 && classes[0] == 1 && deltas[0] == 1 &&
                      classes[2] == deltas[2] && classes[3] == deltas[3];
    const std::string place = "level " + std::to_string(number) + ": the net gave maps of shapes " +
                              shape_text(level.classes) + " and " + shape_text(level.deltas);
    if (!maps) throw Failure(place + ", which do not fit together; convert the model again");
    if (anchors == 0 || deltas[1] != 4 * anchors || classes[1] % anchors != 0) {
        throw Failure(
            place + ", which are not of " + std::to_string(anchors) + " anchors; " +
            (level.own ? "convert the model again" : "give the model's --anchor-sizes and --anchor-aspect-ratios"));
    }
    if (std::ceil(padded.height / level.stride) != deltas[2] || std::ceil(padded.width / level.stride) != deltas[3]) {
        throw Failure(place + ", not of stride " + std::to_string(static_cast<int>(level.stride)) + " in " +
                      std::to_string(padded.height) + " x " + std::to_string(padded.width) + " pixels; " +
                      (level.own ? "convert the model again"
                                 : "levels that do not halve are decoded only of a net converted with roastery"));
    }
}

}  // namespace

std::vector<Detection> decode_retinanet(const Outputs& outputs, const RetinaNetSettings& settings, Size padded) {
    std::vector<Detection> found;
    float stride = 0.f;
    const auto& anchors = settings.anchors;
    const bool own = !anchors.strides.empty();
    for (int number = 0; number < static_cast<int>(anchors.cells.size()); ++number) {
        const auto& deltas = outputs.at(kBoxMap + std::to_string(number));
        if (own) {
            stride = static_cast<float>(anchors.strides[number]);
        } else if (number == 0 && deltas.shape.size() == 4 && deltas.shape[2] > 0) {
            stride = static_cast<float>(padded.height / deltas.shape[2]);
        }
        const Level level{outputs.at(kClassMap + std::to_string(number)), deltas, anchors.cells[number], stride,
                          static_cast<float>(anchors.offset) * stride,    own};
        check(level, number, padded);
        for (const auto& candidate : best(level, settings.score_threshold, settings.topk_candidates)) {
            const float x = level.offset + static_cast<float>(candidate.column) * stride;
            const float y = level.offset + static_cast<float>(candidate.row) * stride;
            Box anchor = level.cell[candidate.anchor];
            for (int i = 0; i < 4; ++i) anchor[i] += i % 2 == 0 ? x : y;
            std::array<float, 4> values;
            for (int i = 0; i < 4; ++i) {
                const std::size_t channel = static_cast<std::size_t>(candidate.anchor) * 4 + i;
                values[i] = deltas.values[channel * level.plane() +
                                          static_cast<std::size_t>(candidate.row) * level.width() + candidate.column];
            }
            Detection detection{};
            detection.label = candidate.label;
            detection.score = candidate.score;
            detection.box = apply_deltas(anchor, values, settings.box_weights);
            found.push_back(detection);
        }
        stride *= 2;
    }
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
    return suppress(found, settings.nms_threshold, settings.max_detections);
}

}  // namespace roastery
