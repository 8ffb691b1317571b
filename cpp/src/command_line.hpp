// What the caller asks for.
#pragma once

#include <string>
#include <vector>

namespace roastery {

struct Options {
    std::string predict_net;
    std::string init_net;
    std::vector<std::string> inputs;
    std::string output;      // the folder for PNGs; empty: none are written
    std::string dump;        // a folder for the net's inputs; empty: none
    double threshold = 0.0;  // detections below this score are left out
    int benchmark = 0;       // runs of the net on each image, timed
    int threads = 0;         // 0: as OMP_NUM_THREADS says, or one for each core
    int min_size = -1;       // -1: what the net says
    int max_size = -1;
    std::string format;  // empty: what the net says
    std::vector<float> pixel_mean;
    // Anchors: where none of these is given, the net's own.
    std::string anchor_sizes;  // JSON, as in detectron2's config; empty: detectron2's
    std::string anchor_aspect_ratios;
    double anchor_offset = -1.0;  // -1: 0
};

enum class Asked { run, help, nonsense };

// Fills the options; on help and nonsense, `message` is what to print.
Asked parse(int count, char** words, Options& options, std::string& message);

}  // namespace roastery
