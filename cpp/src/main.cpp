// caffe2_detect: a converted model on images, in genuine Caffe2.
#include <cstdio>
#include <iostream>
#include <vector>

#include "benchmark.hpp"
#include "command_line.hpp"
#include "detector.hpp"
#include "failure.hpp"
#include "file.hpp"
#include "image_io.hpp"
#include "npy.hpp"
#include "results.hpp"
#include "supervise.hpp"

namespace roastery {
namespace {

void dump(const Input& input, const std::string& folder, const std::string& file) {
    write_file(folder + "/" + base_name(file) + ".data.npy", encode_npy(input.data));
    write_file(folder + "/" + base_name(file) + ".im_info.npy", encode_npy(input.im_info));
}

void detect_all(const Options& options, std::FILE* report) {
    Detector detector(options);
    for (const auto& folder : {options.output, options.dump}) {
        if (!folder.empty()) make_folder(folder);
    }
    std::vector<double> times;
    for (const auto& file : options.inputs) {
        const Image image = read_image(file);
        try {
            const Input input = detector.prepare(image);
            if (!options.dump.empty()) dump(input, options.dump, file);
            const Found found = detector.detect(input, {image.height, image.width});
            std::cout << leave_results(file, image, found, options.threshold, options.output) << std::flush;
        } catch (const Failure& failure) {
            throw Failure(file + ": " + failure.what());
        }
        if (!std::cout) throw Failure("stdout: what was found cannot be written; look at what reads it, or the disk");
        if (options.benchmark > 0) {
            const auto runs = time_runs(detector.net(), options.benchmark);
            times.insert(times.end(), runs.begin(), runs.end());
        }
    }
    if (!times.empty()) std::fprintf(report, "%s\n", summary(times).c_str());
}

int complain(std::FILE* report, const std::string& why) {
    std::fprintf(report, "caffe2_detect: %s\n", why.c_str());
    return 2;
}

int work(const Options& options, std::FILE* report) {
    try {
        detect_all(options, report);
        return 0;
    } catch (const Failure& failure) {
        return complain(report, failure.what());
    } catch (const std::bad_alloc&) {
        return complain(report, options.predict_net + ": there is no memory left; make the images smaller");
    } catch (const std::exception& error) {
        return complain(report, options.predict_net + ": failed unexpectedly (" + one_line(error.what()) +
                                    "); convert the model again");
    }
}

}  // namespace
}  // namespace roastery

int main(int count, char** words) {
    roastery::Options options;
    std::string message;
    switch (roastery::parse(count, words, options, message)) {
        case roastery::Asked::help:
            std::cout << message;
            return 0;
        case roastery::Asked::nonsense:
            return roastery::complain(stderr, message);
        case roastery::Asked::run:
            break;
    }
    return roastery::supervise([&](std::FILE* report) { return roastery::work(options, report); }, options.predict_net);
}
