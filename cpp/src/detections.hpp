// What was found in an image.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "image.hpp"
#include "tensor.hpp"

namespace roastery {

using Box = std::array<float, 4>;  // xyxy, pixels

// The part of a full-size mask in which it can be set: 1 where it is.
struct Mask {
    int left = 0;
    int top = 0;
    Image part = Image(0, 0, 1);
};

struct Detection {
    int label;  // the class, from 0
    float score;
    Box box;
    std::vector<float> map;                       // (side, side), 0..1, of the label's class; empty without masks
    int side = 0;                                 // of the map
    Mask mask;                                    // of the original image; empty without masks
    std::vector<std::array<float, 3>> keypoints;  // x, y, score; empty without keypoints
};

// Height and width.
struct Size {
    int height;
    int width;
};

// The detections of bbox_nms, score_nms, class_nms and, where it is there, mask_fcn_probs, by falling score, in pixels
// of the net's image. Throws Failure where the outputs do not fit together.
std::vector<Detection> assemble(const Outputs& outputs);

// Scaled from the net's image to the original, clipped to it, without those that become empty; masks are pasted.
// Source: detectron2 0.5, modeling/postprocessing.py (detector_postprocess).
std::vector<Detection> to_original(std::vector<Detection> detections, Size seen, Size original);

}  // namespace roastery
