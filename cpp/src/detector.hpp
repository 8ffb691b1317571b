// A converted model of any architecture: from an image to what is in it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "command_line.hpp"
#include "detections.hpp"
#include "net.hpp"
#include "panoptic.hpp"
#include "retinanet.hpp"

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

    Net net_;
    std::string architecture_;
    Preprocessing preprocessing_;
    std::vector<std::string> outputs_;
    std::unique_ptr<const RetinaNetSettings> retinanet_;  // of a raw RetinaNet: how its maps become detections
};

}  // namespace roastery
