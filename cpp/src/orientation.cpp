#include "orientation.hpp"

#include <cstdint>
#include <cstdlib>

namespace roastery {
namespace {

constexpr unsigned kOrientationTag = 274;

// The TIFF structure that an EXIF block is. What lies outside of it reads as 0.
class Tiff {
  public:
    explicit Tiff(const std::string& block) : block_(block), little_(block.compare(0, 2, "II") == 0) {}

    bool valid() const { return (little_ || block_.compare(0, 2, "MM") == 0) && number(2, 2) == 42; }

    std::uint32_t number(std::size_t position, std::size_t bytes) const {
        if (position > block_.size() || bytes > block_.size() - position) return 0;
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < bytes; ++i) {
            const auto byte = static_cast<std::uint8_t>(block_[position + (little_ ? bytes - 1 - i : i)]);
            value = value << 8 | byte;
        }
        return value;
    }

  private:
    const std::string& block_;
    bool little_;
};

int exif_orientation(const std::string& block) {
    // Some writers leave JPEG's mark before a PNG's block.
    const std::string mark("Exif\0\0", 6);
    const std::string content = block.compare(0, mark.size(), mark) == 0 ? block.substr(mark.size()) : block;
    const Tiff tiff(content);
    if (!tiff.valid()) return 0;
    const std::size_t directory = tiff.number(4, 4);
    const auto entries = tiff.number(directory, 2);
    for (std::uint32_t i = 0; i < entries; ++i) {
        const std::size_t entry = directory + 2 + 12 * static_cast<std::size_t>(i);
        if (tiff.number(entry, 2) != kOrientationTag) continue;
        const auto type = tiff.number(entry + 2, 2);
        const std::size_t bytes = type == 3 ? 2 : type == 4 ? 4 : 0;
        if (bytes == 0 || tiff.number(entry + 4, 4) != 1) return 0;
        return static_cast<int>(tiff.number(entry + 8, bytes) & 0x7fffffff);
    }
    return 0;
}

int xmp_orientation(const std::string& xmp) {
    const std::string name = "tiff:Orientation";
    for (auto at = xmp.find(name); at != std::string::npos; at = xmp.find(name, at + 1)) {
        auto digit = at + name.size();
        if (xmp.compare(digit, 2, "=\"") == 0) {
            digit += 2;
        } else if (xmp.compare(digit, 1, ">") == 0) {
            digit += 1;
        } else {
            continue;
        }
        if (digit < xmp.size() && xmp[digit] >= '0' && xmp[digit] <= '9') return xmp[digit] - '0';
    }
    return 0;
}

}  // namespace

int orientation(const std::string& exif, const std::string& xmp) {
    int found = exif_orientation(exif);
    if (found == 0) found = xmp_orientation(xmp);
    return found >= 2 && found <= 8 ? found : 1;
}

Image upright(const Image& image, int orientation) {
    if (orientation == 1) return image;
    const bool turned = orientation >= 5;
    const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    Image result(turned ? image.width : image.height, turned ? image.height : image.width, image.channels);
    for (int row = 0; row < result.height; ++row) {
        for (int column = 0; column < result.width; ++column) {
            const int y = turned ? column : row;
            const int x = turned ? row : column;
            const auto* source = image.at(from_bottom ? image.height - 1 - y : y, from_right ? image.width - 1 - x : x);
            for (int i = 0; i < image.channels; ++i) result.at(row, column)[i] = source[i];
        }
    }
    return result;
}

}  // namespace roastery
