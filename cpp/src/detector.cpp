#include "detector.hpp"

#include <algorithm>

#include "failure.hpp"
#include "retinanet.hpp"

namespace roastery {
namespace {

// The caller's word, else the net's, else detectron2's default.
Preprocessing preprocessing_of(const Net& net, const Options& options) {
    Preprocessing settings;
    settings.min_size = options.min_size >= 0 ? options.min_size : net.integer("min_size_test", settings.min_size);
    settings.max_size = options.max_size >= 0 ? options.max_size : net.integer("max_size_test", settings.max_size);
    settings.format = !options.format.empty() ? options.format : net.text("input_format", settings.format);
    settings.size_divisibility = net.integer("size_divisibility", 0);
    settings.pixel_mean =
        !options.pixel_mean.empty() ? options.pixel_mean : net.numbers("pixel_mean", settings.pixel_mean);
    const auto within = [&](int value, int low, const std::string& name) {
        if (value < low || value > 65535) {
            throw Failure(options.predict_net + ": net argument '" + name + "' is " + std::to_string(value) +
                          "; convert the model again");
        }
    };
    within(settings.min_size, 0, "min_size_test");
    within(settings.max_size, 1, "max_size_test");
    within(settings.size_divisibility, 0, "size_divisibility");
    if ((settings.format != "BGR" && settings.format != "RGB") || settings.pixel_mean.size() != 3) {
        throw Failure(options.predict_net + ": takes images of format '" + one_line(settings.format) + "' with " +
                      std::to_string(settings.pixel_mean.size()) + " channels; only BGR and RGB are prepared here");
    }
    return settings;
}

bool gives_anchors(const Options& options) {
    return !options.anchor_sizes.empty() || !options.anchor_aspect_ratios.empty() || options.anchor_offset >= 0;
}

// The caller's word, else the net's, else detectron2's default.
Anchors anchors_for(const Net& net, const Options& options, int levels) {
    if (has_anchors(net)) {
        if (!gives_anchors(options)) return anchors_in(net, options.predict_net, levels);
        // The rest would be detectron2's default, and not the net's.
        if (options.anchor_sizes.empty() || options.anchor_aspect_ratios.empty()) {
            throw Failure(options.predict_net + ": says its anchors itself; give --anchor-sizes and " +
                          "--anchor-aspect-ratios to replace them, or no option of anchors");
        }
    }
    return anchors_of(options.anchor_sizes, options.anchor_aspect_ratios, std::max(options.anchor_offset, 0.), levels);
}

RetinaNetSettings retinanet_settings(const Net& net, const Options& options, int levels) {
    RetinaNetSettings settings{net.number("score_threshold", 0.05f),
                               net.integer("topk_candidates", 1000),
                               net.number("nms_threshold", 0.5f),
                               net.integer("max_detections_per_image", 100),
                               net.numbers("bbox_reg_weights", {1.f, 1.f, 1.f, 1.f}),
                               anchors_for(net, options, levels)};
    if (settings.topk_candidates < 0 || settings.box_weights.size() != 4) {
        throw Failure(options.predict_net +
                      ": net argument 'topk_candidates' is negative, or 'bbox_reg_weights' has not four numbers; "
                      "convert the model again");
    }
    return settings;
}

}  // namespace

Detector::Detector(const Options& options)
    : net_(options.predict_net, options.init_net, options.threads),
      architecture_(net_.text("meta_architecture", "GeneralizedRCNN")),
      preprocessing_(preprocessing_of(net_, options)) {
    // A RetinaNet gives either detections, decoded inside, or the maps that they are made of.
    const bool is_retinanet = architecture_ == "RetinaNet";
    const bool raw = is_retinanet && !net_.gives("bbox_nms");
    int levels = 0;
    if (raw) {
        do {
            outputs_.push_back(kClassMap + std::to_string(levels));
            outputs_.push_back(kBoxMap + std::to_string(levels));
        } while (net_.gives(kClassMap + std::to_string(++levels)));
    } else if (is_retinanet) {
        outputs_ = {"bbox_nms", "score_nms", "class_nms"};
        if (gives_anchors(options)) {
            throw Failure(options.predict_net + ": decodes inside, with its own anchors; leave out the options of " +
                          "anchors, or convert the model without --decode");
        }
    } else if (architecture_ == "GeneralizedRCNN" || architecture_ == "PanopticFPN") {
        outputs_ = {"bbox_nms", "score_nms", "class_nms"};
        if (architecture_ == "PanopticFPN") {
            outputs_.push_back("mask_fcn_probs");
            outputs_.push_back("sem_seg");
        } else if (net_.gives("mask_fcn_probs")) {
            outputs_.push_back("mask_fcn_probs");
        }
        if (net_.gives("kps_score")) outputs_.push_back("kps_score");
    } else {
        throw Failure(options.predict_net + ": is a '" + one_line(architecture_) +
                      "'; GeneralizedRCNN, RetinaNet and PanopticFPN are run here");
    }
    for (const auto& output : outputs_) {
        if (!net_.gives(output)) {
            throw Failure(options.predict_net + ": has no output '" + output + "', which a " + architecture_ +
                          " gives; convert the model with roastery");
        }
    }
    if (raw) retinanet_.reset(new RetinaNetSettings(retinanet_settings(net_, options, levels)));
}

Found Detector::detect(const Input& input, Size original) {
    net_.feed(input);
    net_.run();
    const auto outputs = net_.fetch(outputs_);
    const Size seen{input.height, input.width};
    if (!retinanet_) return detect_boxes(outputs, seen, original);
    const Size padded{static_cast<int>(input.data.shape[2]), static_cast<int>(input.data.shape[3])};
    return {to_original(decode_retinanet(outputs, *retinanet_, padded), seen, original), {}, {}};
}

Found Detector::detect_boxes(const Outputs& outputs, Size seen, Size original) const {
    Found found{to_original(assemble(outputs), seen, original), {}, {}};
    if (architecture_ == "PanopticFPN") {
        found.pixel_classes = pixel_classes(outputs.at("sem_seg"), seen, original);
        found.panoptic =
            merge(found.detections, found.pixel_classes, original,
                  {net_.number("combine_overlap_threshold", 0.5f), net_.integer("combine_stuff_area_limit", 4096),
                   net_.number("combine_instances_confidence_threshold", 0.5f)});
    }
    return found;
}

}  // namespace roastery
