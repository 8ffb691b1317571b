#include "results.hpp"

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "file.hpp"
#include "image_io.hpp"
#include "masks.hpp"
#include "overlay.hpp"

namespace roastery {
namespace {

using Json = nlohmann::ordered_json;

std::string mask_name(const std::string& image, std::size_t number) {
    char suffix[32];
    std::snprintf(suffix, sizeof suffix, ".mask_%03zu.png", number);
    return image + suffix;
}

// A name that is not UTF-8 is printed with marks in it.
std::string line_of(const Json& object) { return object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

}  // namespace

std::string leave_results(const std::string& file, const Image& image, const Found& found, double threshold,
                          const std::string& folder) {
    const std::string name = base_name(file);
    const Size size{image.height, image.width};
    // All of them are made before the first is written.
    std::map<std::string, std::string> pictures;
    std::vector<Detection> shown;
    std::string lines;
    for (const auto& detection : found.detections) {
        if (detection.score < threshold) continue;
        Json object = {{"file", file}, {"class", detection.label}, {"score", detection.score}, {"box", detection.box}};
        if (!detection.keypoints.empty()) object["keypoints"] = detection.keypoints;
        if (!folder.empty() && !detection.map.empty()) {
            const std::string mask = mask_name(name, shown.size());
            object["mask"] = mask;
            pictures[mask] = encode_png(full_size(detection.mask, size, 255));
        }
        lines += line_of(object);
        shown.push_back(detection);
    }
    for (const auto& segment : found.panoptic.segments) {
        Json object = {{"file", file},
                       {"segment", segment.id},
                       {"thing", segment.thing},
                       {"class", segment.label},
                       {"area", segment.area}};
        if (segment.thing) {
            object["score"] = segment.score;
            object["detection"] = segment.detection;
        }
        lines += line_of(object);
    }
    if (folder.empty()) return lines;
    pictures[name + ".overlay.png"] = encode_png(draw_overlay(image, shown, found.panoptic));
    if (!found.pixel_classes.empty()) {
        pictures[name + ".sem_seg.png"] = encode_png16(found.pixel_classes, image.height, image.width);
        pictures[name + ".panoptic.png"] = encode_png16(found.panoptic.ids, image.height, image.width);
    }
    for (const auto& picture : pictures) write_file(folder + "/" + picture.first, picture.second);
    return lines;
}

}  // namespace roastery
