#include "detections.hpp"

#include <algorithm>
#include <numeric>

#include "failure.hpp"
#include "keypoints.hpp"
#include "masks.hpp"

namespace roastery {
namespace {

void check_rows(const Outputs& outputs, const std::string& name, std::size_t rank, std::size_t count) {
    const auto& tensor = outputs.at(name);
    if (tensor.shape.size() != rank || tensor.shape[0] != static_cast<std::int64_t>(count)) {
        throw Failure("the net gave " + name + " of shape " + shape_text(tensor) + " for " + std::to_string(count) +
                      " scores; convert the model again");
    }
}

}  // namespace

std::vector<Detection> assemble(const Outputs& outputs) {
    const auto& scores = outputs.at("score_nms").values;
    const auto& boxes = outputs.at("bbox_nms");
    const auto& classes = outputs.at("class_nms").values;
    check_rows(outputs, "bbox_nms", 2, scores.size());
    check_rows(outputs, "class_nms", 1, scores.size());
    if (boxes.shape[1] != 4) throw Failure("the net gave bbox_nms of shape " + shape_text(boxes) + ", not (n, 4)");
    const auto found_maps = outputs.find("mask_fcn_probs");
    const bool with_masks = found_maps != outputs.end();
    if (with_masks) check_rows(outputs, "mask_fcn_probs", 4, scores.size());
    const auto heatmaps = outputs.find("kps_score");
    if (heatmaps != outputs.end()) check_rows(outputs, "kps_score", 4, scores.size());

    std::vector<std::size_t> rows(scores.size());
    std::iota(rows.begin(), rows.end(), 0);
    std::stable_sort(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
    std::vector<Detection> detections;
    for (const auto row : rows) {
        Detection detection{};
        detection.score = scores[row];
        std::copy_n(&boxes.values[4 * row], 4, detection.box.begin());
        const float label = classes[row];
        if (label < 0 || label > 1e6) throw Failure("the net gave the class " + std::to_string(label));
        detection.label = static_cast<int>(label);
        if (with_masks) {
            const auto& maps = found_maps->second;
            const auto count = maps.shape[1];
            // One map for all classes, or one for each.
            const std::int64_t map = count == 1 ? 0 : detection.label;
            if (map >= count || maps.shape[2] != maps.shape[3]) {
                throw Failure("the net gave class " + std::to_string(detection.label) +
                              " and mask_fcn_probs of shape " + shape_text(maps) + "; convert the model again");
            }
            detection.side = static_cast<int>(maps.shape[2]);
            const auto cells = maps.shape[2] * maps.shape[3];
            const auto* start = maps.values.data() + (static_cast<std::int64_t>(row) * count + map) * cells;
            detection.map.assign(start, start + cells);
        }
        if (heatmaps != outputs.end()) detection.keypoints = decode_keypoints(heatmaps->second, row, detection.box);
        detections.push_back(std::move(detection));
    }
    return detections;
}

std::vector<Detection> to_original(std::vector<Detection> detections, Size seen, Size original) {
    const auto x_scale = static_cast<float>(static_cast<double>(original.width) / seen.width);
    const auto y_scale = static_cast<float>(static_cast<double>(original.height) / seen.height);
    std::vector<Detection> kept;
    for (auto& detection : detections) {
        auto& box = detection.box;
        for (int i = 0; i < 4; ++i) {
            const float limit = static_cast<float>(i % 2 == 0 ? original.width : original.height);
            box[i] = std::min(std::max(box[i] * (i % 2 == 0 ? x_scale : y_scale), 0.f), limit);
        }
        if (!(box[2] - box[0] > 0.f && box[3] - box[1] > 0.f)) continue;
        for (auto& keypoint : detection.keypoints) {
            keypoint[0] *= x_scale;
            keypoint[1] *= y_scale;
        }
        if (!detection.map.empty()) detection.mask = paste_mask(detection.map, detection.side, box, original);
        kept.push_back(std::move(detection));
    }
    return kept;
}

}  // namespace roastery
