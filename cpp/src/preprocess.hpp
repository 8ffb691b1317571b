// From an image to what a net takes, bit for bit as detectron2 prepares it for testing.
#pragma once

#include <string>
#include <vector>

#include "image.hpp"
#include "tensor.hpp"

namespace roastery {

struct Preprocessing {
    int min_size = 800;                               // the shortest edge becomes this; 0 leaves the size as it is
    int max_size = 1333;                              // unless the longest would be longer than this
    std::string format = "BGR";                       // or "RGB"
    int size_divisibility = 0;                        // of the padded image; 0 asks for nothing
    std::vector<float> pixel_mean = {0.f, 0.f, 0.f};  // what to pad with, in the format's order
};

struct Input {
    Tensor data;     // (1, 3, H, W), 0..255
    Tensor im_info;  // (1, 3): height, width, 1.0
    int height;      // without the padding
    int width;
};

// Throws Failure where the image is so thin that an edge of 0 would be left, or would become too large.
Input preprocess(const Image& image, const Preprocessing& settings);

}  // namespace roastery
