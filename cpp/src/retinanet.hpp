// RetinaNet: a raw net gives maps of classes and boxes for each level; here they become detections.
#pragma once

#include <string>
#include <vector>

#include "anchors.hpp"
#include "detections.hpp"
#include "tensor.hpp"

namespace roastery {

struct RetinaNetSettings {
    float score_threshold;
    int topk_candidates;
    float nms_threshold;
    int max_detections;
    std::vector<float> box_weights;
    Anchors anchors;
};

// The names of its outputs, with the level at the end.
constexpr const char* kClassMap = "box_cls_";
constexpr const char* kBoxMap = "box_delta_";

// By falling score, in pixels of the net's image, not clipped. `padded`: size of the net's input.
// Source: detectron2 0.5, modeling/meta_arch/retinanet.py (inference_single_image).
std::vector<Detection> decode_retinanet(const Outputs& outputs, const RetinaNetSettings& settings, Size padded);

}  // namespace roastery
