// Image files: read as Pillow reads them for detectron2, and written as PNG.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "image.hpp"

namespace roastery {

// Pillow's limit: more pixels than this are taken for an attack on the memory.
constexpr std::int64_t kMostPixels = 178956970;

// A JPEG or PNG file as upright RGB. Throws Failure where it is missing, damaged or too large.
Image read_image(const std::string& path);

// Its parts, for the content of a file: the image as it lies, and its EXIF and XMP blocks, empty where it has none.
struct Decoded {
    Image image;
    std::string exif;
    std::string xmp;
};
Decoded decode_jpeg(const std::string& content);
Decoded decode_png(const std::string& content);
void check_size(std::int64_t height, std::int64_t width);

// A PNG file's content: RGB or 8-bit grey.
std::string encode_png(const Image& image);
// 16-bit grey, of values 0..65535.
std::string encode_png16(const std::vector<std::uint16_t>& values, int height, int width);

}  // namespace roastery
