// A converted model of any architecture: from an image to what is in it.
#pragma once

#include <string>
#include <vector>

#include "command_line.hpp"
#include "detections.hpp"
#include "net.hpp"
#include "panoptic.hpp"

namespace roastery {

struct Found {
    std::vector<Detection> detections;
    std::vector<std::uint16_t> pixel_classes;  // of a panoptic model
    Panoptic panoptic;
};

class Detector {
  public:
    // Throws Failure where a file is no net, or the net lacks what its architecture gives.
    explicit Detector(const Options& options);

    Input prepare(const Image& image) const { return preprocess(image, preprocessing_); }
    Found detect(const Input& input, Size original);
    Net& net() { return net_; }

  private:
    Found detect_boxes(const Outputs& outputs, Size seen, Size original) const;

    const Options& options_;
    Net net_;
    std::string architecture_;
    Preprocessing preprocessing_;
    std::vector<std::string> outputs_;
    int levels_ = 0;  // of a RetinaNet
};

}  // namespace roastery
