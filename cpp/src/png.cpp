// PNG, through libpng. As Pillow does for detectron2, transparency is dropped, and 16 bits become their upper 8; but in
// a grey image of 16 bits what is more than 255 becomes 255.
#include <png.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "failure.hpp"
#include "image_io.hpp"

namespace roastery {
namespace {

[[noreturn]] void fail(png_structp, png_const_charp message) { throw Failure(message); }
void ignore(png_structp, png_const_charp) {}

struct Source {
    const std::string& content;
    std::size_t position;
};

void read(png_structp png, png_bytep target, std::size_t count) {
    auto& source = *static_cast<Source*>(png_get_io_ptr(png));
    if (count > source.content.size() - source.position) throw Failure("the file ends too soon");
    std::memcpy(target, source.content.data() + source.position, count);
    source.position += count;
}

void write(png_structp png, png_bytep source, std::size_t count) {
    static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<const char*>(source), count);
}

void flush(png_structp) {}

struct Reader {
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, fail, ignore);
    png_infop info = png_create_info_struct(png);
    ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

struct Writer {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, fail, ignore);
    png_infop info = png_create_info_struct(png);
    ~Writer() { png_destroy_write_struct(&png, &info); }
};

std::string text_of(png_structp png, png_infop info, const std::string& key) {
    png_textp texts = nullptr;
    const int count = png_get_text(png, info, &texts, nullptr);
    for (int i = 0; i < count; ++i) {
        if (key != texts[i].key) continue;
        return std::string(texts[i].text, texts[i].text_length > 0 ? texts[i].text_length : texts[i].itxt_length);
    }
    return "";
}

std::string encode(const std::uint8_t* bytes, int height, int width, int depth, int color, std::size_t stride) {
    std::string content;
    Writer writer;
    png_set_write_fn(writer.png, &content, write, flush);
    png_set_IHDR(writer.png, writer.info, width, height, depth, color, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
                 PNG_FILTER_TYPE_BASE);
    png_write_info(writer.png, writer.info);
    for (int row = 0; row < height; ++row) png_write_row(writer.png, bytes + row * stride);
    png_write_end(writer.png, nullptr);
    return content;
}

// Grey of 16 bits, the upper 8 first, as RGB.
Image clipped(const Image& grey) {
    Image rgb(grey.height, grey.width, 3);
    for (std::size_t pixel = 0; pixel < grey.pixels.size() / 2; ++pixel) {
        const std::uint8_t value = grey.pixels[2 * pixel] != 0 ? 255 : grey.pixels[2 * pixel + 1];
        std::fill_n(&rgb.pixels[3 * pixel], 3, value);
    }
    return rgb;
}

}  // namespace

Decoded decode_png(const std::string& content) {
    Source source{content, 0};
    Reader reader;
    png_set_read_fn(reader.png, &source, read);
    // Its own limit is a million pixels a side; check_size is the limit here.
    png_set_user_limits(reader.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_read_info(reader.png, reader.info);
    const auto height = png_get_image_height(reader.png, reader.info);
    const auto width = png_get_image_width(reader.png, reader.info);
    check_size(height, width);
    const bool deep_grey = png_get_bit_depth(reader.png, reader.info) == 16 &&
                           png_get_color_type(reader.png, reader.info) == PNG_COLOR_TYPE_GRAY;
    if (!deep_grey) {
        png_set_strip_16(reader.png);
        png_set_expand(reader.png);
        png_set_gray_to_rgb(reader.png);
        png_set_strip_alpha(reader.png);
    }
    png_set_interlace_handling(reader.png);
    png_read_update_info(reader.png, reader.info);
    Image read(static_cast<int>(height), static_cast<int>(width), deep_grey ? 2 : 3);
    std::vector<png_bytep> rows;
    for (int row = 0; row < read.height; ++row) rows.push_back(read.at(row, 0));
    if (png_get_rowbytes(reader.png, reader.info) != static_cast<std::size_t>(width) * read.channels) {
        throw Failure("its pixels do not become RGB");
    }
    png_read_image(reader.png, rows.data());
    png_read_end(reader.png, reader.info);
    Decoded decoded;
    decoded.image = deep_grey ? clipped(read) : std::move(read);

    png_bytep exif = nullptr;
    png_uint_32 length = 0;
    if (png_get_eXIf_1(reader.png, reader.info, &length, &exif) != 0) {
        decoded.exif.assign(reinterpret_cast<const char*>(exif), length);
    }
    decoded.xmp = text_of(reader.png, reader.info, "XML:com.adobe.xmp");
    return decoded;
}

std::string encode_png(const Image& image) {
    return encode(image.pixels.data(), image.height, image.width, 8,
                  image.channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY,
                  static_cast<std::size_t>(image.width) * image.channels);
}

std::string encode_png16(const std::vector<std::uint16_t>& values, int height, int width) {
    std::vector<std::uint8_t> bytes;
    bytes.reserve(values.size() * 2);
    for (const auto value : values) {
        bytes.push_back(static_cast<std::uint8_t>(value >> 8));
        bytes.push_back(static_cast<std::uint8_t>(value & 0xff));
    }
    return encode(bytes.data(), height, width, 16, PNG_COLOR_TYPE_GRAY, static_cast<std::size_t>(width) * 2);
}

}  // namespace roastery
