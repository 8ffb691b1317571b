// Panoptic FPN: each pixel's class, and the merging of that with the masks.
#pragma once

#include <cstdint>
#include <vector>

#include "detections.hpp"
#include "tensor.hpp"

namespace roastery {

struct PanopticSettings {
    float overlap_threshold;
    int stuff_area_limit;
    float confidence_threshold;
};

struct Segment {
    int id;         // from 1
    bool thing;     // a detection; else what the pixels' classes left over
    int label;      // a detection's class, or a pixel's
    float score;    // of a thing
    int detection;  // of a thing: its number among the detections
    int area;       // pixels
};

struct Panoptic {
    std::vector<std::uint16_t> ids;  // of the original image's pixels; 0 is no segment
    std::vector<Segment> segments;
};

// The class of each pixel of the original image. logits: (1, C, H, W) of the padded image, of which `seen` is the
// image. Source: detectron2 0.5, modeling/postprocessing.py (sem_seg_postprocess).
std::vector<std::uint16_t> pixel_classes(const Tensor& logits, Size seen, Size original);

// Source: detectron2 0.5, modeling/meta_arch/panoptic_fpn.py (combine_semantic_and_instance_outputs).
Panoptic merge(const std::vector<Detection>& detections, const std::vector<std::uint16_t>& classes, Size image,
               const PanopticSettings& settings);

}  // namespace roastery
