#include "benchmark.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

namespace roastery {

std::vector<double> time_runs(Net& net, int runs) {
    net.run();
    std::vector<double> times;
    for (int i = 0; i < runs; ++i) {
        const auto start = std::chrono::steady_clock::now();
        net.run();
        times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    }
    return times;
}

std::string summary(std::vector<double> milliseconds) {
    std::sort(milliseconds.begin(), milliseconds.end());
    const auto count = milliseconds.size();
    const double median = (milliseconds[(count - 1) / 2] + milliseconds[count / 2]) / 2;
    const double p90 = milliseconds[static_cast<std::size_t>(std::ceil(0.9 * static_cast<double>(count))) - 1];
    char text[160];
    std::snprintf(text, sizeof text, "median %.1f ms, p90 %.1f ms an image, %zu runs, network only", median, p90,
                  count);
    return text;
}

}  // namespace roastery
