// How long a net takes.
#pragma once

#include <string>
#include <vector>

#include "net.hpp"

namespace roastery {

// Milliseconds of each of so many runs on what was fed, after one that is not counted.
std::vector<double> time_runs(Net& net, int runs);

// "median 12.3 ms, p90 13.0 ms an image, 20 runs, network only".
std::string summary(std::vector<double> milliseconds);

}  // namespace roastery
