#include "keypoints.hpp"

#include <algorithm>
#include <cmath>

#include "failure.hpp"

namespace roastery {
namespace {

constexpr float kMostPixels = 1 << 28;

// Four neighbours of a resized sample and their weights, as PyTorch's bicubic interpolation takes them.
struct Cubic {
    std::array<int, 4> index;
    std::array<float, 4> weight;
};

std::vector<Cubic> cubic(int source, int target) {
    constexpr float kA = -0.75f;
    const auto near = [&](float x) { return ((kA + 2.f) * x - (kA + 3.f)) * x * x + 1.f; };
    const auto far = [&](float x) { return ((kA * x - 5.f * kA) * x + 8.f * kA) * x - 4.f * kA; };
    const float scale = static_cast<float>(source) / static_cast<float>(target);
    std::vector<Cubic> all(target);
    for (int i = 0; i < target; ++i) {
        const float position = scale * (static_cast<float>(i) + 0.5f) - 0.5f;
        const float floor = std::floor(position);
        const float t = position - floor;
        for (int j = 0; j < 4; ++j) {
            all[i].index[j] = std::min(std::max(static_cast<int>(floor) - 1 + j, 0), source - 1);
        }
        all[i].weight = {far(t + 1.f), near(t), near(1.f - t), far(2.f - t)};
    }
    return all;
}

// The largest value of the map resized so, and where it is; the first where several are.
struct Peak {
    float value;
    int y;
    int x;
};

Peak peak_of_resized(const float* map, int map_width, const std::vector<Cubic>& rows,
                     const std::vector<Cubic>& columns) {
    Peak peak{-INFINITY, 0, 0};
    for (std::size_t y = 0; y < rows.size(); ++y) {
        for (std::size_t x = 0; x < columns.size(); ++x) {
            float value = 0.f;
            for (int j = 0; j < 4; ++j) {
                const float* line = map + static_cast<std::size_t>(rows[y].index[j]) * map_width;
                float sum = 0.f;
                for (int i = 0; i < 4; ++i) sum += line[columns[x].index[i]] * columns[x].weight[i];
                value += sum * rows[y].weight[j];
            }
            if (value > peak.value) peak = {value, static_cast<int>(y), static_cast<int>(x)};
        }
    }
    return peak;
}

}  // namespace

std::vector<std::array<float, 3>> decode_keypoints(const Tensor& heatmaps, std::size_t row, const Box& box) {
    const float width = std::max(box[2] - box[0], 1.f), height = std::max(box[3] - box[1], 1.f);
    const float whole_width = std::ceil(width), whole_height = std::ceil(height);
    if (!(whole_width * whole_height <= kMostPixels)) {
        throw Failure("the net gave a box of " + std::to_string(height) + " x " + std::to_string(width) +
                      " pixels with keypoints; look at the model's weights");
    }
    const int map_height = static_cast<int>(heatmaps.shape[2]), map_width = static_cast<int>(heatmaps.shape[3]);
    const auto rows = cubic(map_height, static_cast<int>(whole_height));
    const auto columns = cubic(map_width, static_cast<int>(whole_width));
    const auto cells = static_cast<std::size_t>(map_height) * map_width;
    std::vector<std::array<float, 3>> keypoints;
    for (std::int64_t k = 0; k < heatmaps.shape[1]; ++k) {
        const float* map = heatmaps.values.data() + (row * heatmaps.shape[1] + k) * cells;
        const Peak peak = peak_of_resized(map, map_width, rows, columns);
        // The peak's share of the map as it was before it was resized, so that scores of large and small objects
        // compare.
        float total = 0.f;
        for (std::size_t i = 0; i < cells; ++i) total += std::exp(map[i] - peak.value);
        const float x = (static_cast<float>(peak.x) + 0.5f) * (width / whole_width) + box[0];
        const float y = (static_cast<float>(peak.y) + 0.5f) * (height / whole_height) + box[1];
        keypoints.push_back({x, y, 1.f / total});
    }
    return keypoints;
}

}  // namespace roastery
