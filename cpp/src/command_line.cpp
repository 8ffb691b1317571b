#include "command_line.hpp"

#include <CLI/CLI.hpp>
#include <map>

#include "failure.hpp"
#include "file.hpp"

namespace roastery {
namespace {

// The names of files in --output and --dump start with the image's: two of one name would share them.
std::string same_name(const Options& options) {
    std::map<std::string, std::string> seen;
    for (const auto& input : options.inputs) {
        const auto added = seen.emplace(base_name(input), input);
        if (!added.second) return added.first->second + " and " + input;
    }
    return "";
}

}  // namespace

Asked parse(int count, char** words, Options& options, std::string& message) {
    CLI::App app("Detects with a converted model in genuine Caffe2; prints a JSON object a detection.",
                 "caffe2_detect");
    app.add_option("--predict_net", options.predict_net, "the net: model.pb")->required();
    app.add_option("--init_net", options.init_net, "its parameters: model_init.pb")->required();
    app.add_option("--input", options.inputs, "a JPEG or PNG image; may be given several times")->required();
    app.add_option("--output", options.output, "folder for masks and overlays as PNG");
    app.add_option("--threshold", options.threshold, "leave out detections below this score")
        ->check(CLI::Range(0., 1.));
    app.add_option("--benchmark", options.benchmark, "time so many runs of the net on each image, on stderr")
        ->check(CLI::Range(1, 1000000));
    app.add_option("--threads", options.threads, "threads of Caffe2")->check(CLI::Range(1, 1024));
    const std::string group =
        "For a net that does not say it (the original converter's); it counts before what a net says";
    app.add_option("--min-size", options.min_size, "shortest edge; detectron2's INPUT.MIN_SIZE_TEST is 800")
        ->check(CLI::Range(0, 65535))
        ->group(group);
    app.add_option("--max-size", options.max_size, "longest edge; detectron2's INPUT.MAX_SIZE_TEST is 1333")
        ->check(CLI::Range(1, 65535))
        ->group(group);
    app.add_option("--format", options.format, "order of the channels; detectron2's INPUT.FORMAT is BGR")
        ->check(CLI::IsMember({"BGR", "RGB"}))
        ->group(group);
    app.add_option("--pixel-mean", options.pixel_mean,
                   "what to pad with, such as 103.53,116.28,123.675; 0 if not given")
        ->delimiter(',')
        ->expected(3)
        ->group(group);
    app.add_option("--anchor-sizes", options.anchor_sizes, "MODEL.ANCHOR_GENERATOR.SIZES of a raw RetinaNet")
        ->group(group);
    app.add_option("--anchor-aspect-ratios", options.anchor_aspect_ratios,
                   "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS; where the net says its anchors, both or neither")
        ->group(group);
    app.add_option("--anchor-offset", options.anchor_offset, "MODEL.ANCHOR_GENERATOR.OFFSET; 0 if not given")
        ->check(CLI::Range(0., 1.))
        ->group(group);
    app.add_option("--dump", options.dump)->group("");
    try {
        app.parse(count, words);
    } catch (const CLI::CallForHelp&) {
        message = app.help();
        return Asked::help;
    } catch (const CLI::ParseError& error) {
        message = one_line(error.what()) + "; `caffe2_detect --help` lists the options";
        return Asked::nonsense;
    }
    const std::string shared = same_name(options);
    if ((!options.output.empty() || !options.dump.empty()) && !shared.empty()) {
        message = "--input " + shared + " have one name, and their files in --output would too; run them one by one";
        return Asked::nonsense;
    }
    return Asked::run;
}

}  // namespace roastery
