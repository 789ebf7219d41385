// The moving screens that the benchmark compares servers with: films of 16 frames, 1280x720 if nothing else is defined,
// that repeat without a jump.
//
//   text     a window full of text that scrolls by half a line a frame
//   page     a page of text with a video of 640x360 in it
//   motion   the whole screen in motion: a picture that pans, and things that move over it
//   clip     … with one of 400x200
//   films    … with two of 400x200 that are far apart
//   typing   … with one of 400x200 in one corner, and a line in another that somebody types
//   scroll   a window of text, no two lines of it the same, that scrolls by three lines a frame
//   window   a window that is dragged in a circle over a page of text
//   drag     … over a desktop
//   number   … on which its number alone changes
//   still    a desktop on which nothing moves
//
// What is played carries its number in a patch, in a place that always changes: four squares whose shades of grey are four
// digits of base 16. A frame's damage is one rectangle around all that changed, as Linux's virtio-gpu gives it.
// Drawing is integer arithmetic only, so a frame is known to the last bit, and the same for the guest and for the program
// that plays the films without a guest, but for the font.

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef FILM_WIDTH
#define FILM_WIDTH 1280
#define FILM_HEIGHT 720
#endif
#define FILM_FRAMES 16
#define FILM_DIGIT 16   // side of a square of the patch that tells a frame's number, pixels
#define FILM_RADIUS 48  // of the pans, pixels
#define FILM_LINE 16    // height of a line of text, pixels

struct film_rect {
    unsigned x, y, width, height;
};

struct film {
    const char *name;
    struct film_rect moving; // all that ever changes
    unsigned patch_x, patch_y;
};

static const struct film films[] = {
    {"text", {160, 64, 960, 592}, 160, 64},
    {"page", {576, 160, 640, 360}, 576, 160},
    {"motion", {0, 0, FILM_WIDTH, FILM_HEIGHT}, 0, 0},
    {"clip", {576, 160, 400, 200}, 576, 160},
    {"films", {96, 96, 1088, 528}, 96, 96},
    {"typing", {64, 64, 1120, 520}, 784, 64},
    {"scroll", {120, 64, 1000, 592}, 120, 64}, // the patch is beside what scrolls
    {"window", {232, 112, 616, 416}, 232, 112}, // … and beside the window
    {"drag", {272, 112, 576, 416}, 544, 320},
    {"number", {64, 64, 32, 32}, 64, 64},
    {"still", {0, 0, 0, 0}, 0, 0},
};

// A circle of 16 steps with the radius 64.
static const int film_cosine[FILM_FRAMES] = {64, 59, 45, 24, 0, -24, -45, -59, -64, -59, -45, -24, 0, 24, 45, 59};

struct film_page {
    uint32_t *pixels;
    const uint8_t *font; // 256 letters of 8x16, 32 bytes each
};

static inline int film_circle(unsigned frame, int radius, bool sine) {
    return film_cosine[(frame + (sine ? 12 : 0)) % FILM_FRAMES] * radius / 64;
}

static inline void film_fill(struct film_page *on, unsigned x, unsigned y, unsigned width, unsigned height, uint32_t colour) {
    for (unsigned row = y; row < y + height && row < FILM_HEIGHT; row++)
        for (unsigned column = x; column < x + width && column < FILM_WIDTH; column++)
            on->pixels[row * FILM_WIDTH + column] = colour;
}

// A line of text, of which only the rows from `top` to `bottom` are drawn.
static inline void film_text(struct film_page *on, unsigned x, int y, unsigned top, unsigned bottom, uint32_t colour, const char *words) {
    for (; *words; words++, x += 8)
        for (int row = 0; row < FILM_LINE; row++)
            for (unsigned column = 0; column < 8 && y + row >= (int)top && y + row < (int)bottom; column++)
                if (on->font[(uint8_t)*words * 32 + row] & (0x80 >> column))
                    on->pixels[(unsigned)(y + row) * FILM_WIDTH + x + column] = colour;
}

static inline uint32_t film_noise(uint32_t x, uint32_t y) {
    uint32_t n = x * 0x9e3779b1u ^ y * 0x85ebca77u;
    n = (n ^ n >> 15) * 0x2c1b3c6du;
    return (n ^ n >> 13) >> 24;
}

// Noise between the points of a grid, 0 to 255.
static inline uint32_t film_cloud(uint32_t x, uint32_t y, unsigned bits, uint32_t seed) {
    uint32_t left = x >> bits, top = (y >> bits) + seed, side = 1u << bits, i = x & (side - 1), j = y & (side - 1);
    uint32_t above = film_noise(left, top) * (side - i) + film_noise(left + 1, top) * i;
    uint32_t below = film_noise(left, top + 1) * (side - i) + film_noise(left + 1, top + 1) * i;
    return (above * (side - j) + below * j) >> (2 * bits);
}

// A picture as a camera might give it, made once: soft shapes, finer ones on them, and some grain.
static inline const uint32_t *film_photograph(unsigned *stride) {
    static uint32_t *photograph;
    const unsigned width = FILM_WIDTH + 2 * FILM_RADIUS, height = FILM_HEIGHT + 2 * FILM_RADIUS;
    *stride = width;
    if (photograph)
        return photograph;
    photograph = malloc((size_t)width * height * 4);
    for (unsigned y = 0; photograph && y < height; y++)
        for (unsigned x = 0; x < width; x++) {
            uint32_t soft = film_cloud(x, y, 7, 0), finer = film_cloud(x, y, 4, 1000), grain = film_noise(x, y) >> 5;
            uint32_t red = (soft * 3 + finer) / 4, green = (film_cloud(x, y, 6, 2000) + finer) / 2, blue = 255 - (soft + finer) / 2;
            photograph[y * width + x] = ((red * 31 / 32 + grain) << 16) | ((green * 31 / 32 + grain) << 8) | (blue * 31 / 32 + grain);
        }
    return photograph;
}

// A part of the photograph that moves, with three things that move over it.
static inline void film_video(struct film_page *on, struct film_rect at, unsigned frame) {
    unsigned stride;
    const uint32_t *photograph = film_photograph(&stride);
    unsigned left = FILM_RADIUS + film_circle(frame, FILM_RADIUS, false), top = FILM_RADIUS + film_circle(frame, FILM_RADIUS, true);
    for (unsigned y = 0; photograph && y < at.height; y++)
        memcpy(on->pixels + (at.y + y) * FILM_WIDTH + at.x, photograph + (top + y) * stride + left, at.width * 4);
    for (unsigned i = 0; i < 3; i++) {
        int radius = (int)at.height / 8, reach = (int)at.height / 4;
        int x = (int)(at.x + at.width * (i + 1) / 4) + film_circle(frame + i * 5, reach, i % 2);
        int y = (int)(at.y + at.height / 2) + film_circle(frame + i * 3, reach, i % 2 == 0);
        for (int v = -radius; v < radius; v++)
            for (int u = -radius; u < radius; u++)
                if (u * u + v * v < radius * radius)
                    on->pixels[(unsigned)(y + v) * FILM_WIDTH + (unsigned)(x + u)] =
                        (0x203040u << i) + film_cloud((uint32_t)(u + radius), (uint32_t)(v + radius), 3, i * 99) * 0x010101u / 2;
    }
}

// Lines of text in a box, scrolled up by so many pixels; it repeats after eight lines.
static inline void film_lines(struct film_page *on, struct film_rect box, unsigned scrolled, uint32_t paper, uint32_t ink) {
    static const char *lines[8] = {
        "The quick brown fox jumps over the lazy dog. 0123456789 +-*/ () [] {} <> and back again, twice.",
        "    for (size_t i = 0; i < count; i++) { sum += weight[i] * value[i]; } // all of them",
        "drwxr-xr-x  2 root root    4096 Jan  1 00:00 resting        -rw-r--r--  1 root root   51966 picture",
        "error[E0382]: borrow of moved value: `frame`  --> src/main.rs:42:17  note: consider cloning it",
        "Pack my box with five dozen liquor jugs; how vexing a quick daft zebra can be at times, he said.",
        "",
        "  Downloading 12 files, 34.5 MB in all: ###########################-------------   68 % done",
        "[  12.345678] virtio_gpu virtio0: number of scanouts: 1, number of cap sets: 0, blob: none",
    };
    film_fill(on, box.x, box.y, box.width, box.height, paper);
    scrolled %= 8 * FILM_LINE;
    char line[128];
    size_t letters = box.width / 8 - 2;
    for (unsigned i = 0; i * FILM_LINE < box.height + FILM_LINE + scrolled; i++) {
        strncpy(line, lines[i % 8], sizeof line - 1);
        line[sizeof line - 1] = 0;
        if (letters < sizeof line)
            line[letters] = 0;
        film_text(on, box.x + 8, (int)(box.y + i * FILM_LINE) - (int)scrolled, box.y, box.y + box.height, i % 8 == 3 ? 0xcc4444 : ink, line);
    }
}

// A window of a log whose lines are all different; 48 of them, and then the first again.
static inline void film_log(struct film_page *on, struct film_rect box, unsigned first) {
    static const char *words[7] = {"session opened for user root", "link is up, 1000 Mbit/s, full duplex",
                                   "0x7f3a41c0 mapped", "retrying in 250 ms", "GET /index.html HTTP/1.1 200 5120",
                                   "checksum differs", "done."};
    film_fill(on, box.x, box.y, box.width, box.height, 0xf8f8f2);
    for (unsigned i = 0; i * FILM_LINE < box.height; i++) {
        char line[128];
        unsigned n = (first + i) % 48;
        snprintf(line, sizeof line, "%05u [%3u.%06u] %s %s", 4711 + n, n * 37 % 100, film_noise(n, 7) * 3911,
                 words[n % 7], words[film_noise(n, 9) % 7]);
        uint32_t ink = n % 5 == 2 ? 0x204a87 : 0x202020;
        film_text(on, box.x + 8, (int)(box.y + i * FILM_LINE), box.y, box.y + box.height, ink, line);
    }
}

// A line of which one letter more is there in each frame, and a caret.
static inline void film_typed(struct film_page *on, struct film_rect box, unsigned frame) {
    char line[FILM_FRAMES + 1] = "the guest waits";
    line[frame % FILM_FRAMES] = 0;
    film_fill(on, box.x, box.y, box.width, box.height, 0xffffff);
    film_text(on, box.x + 8, (int)box.y + 24, box.y, box.y + box.height, 0x101010, line);
    film_fill(on, box.x + 8 + 8 * (frame % FILM_FRAMES), box.y + 24, 2, FILM_LINE, 0x101010);
}

static inline void film_desktop(struct film_page *on) {
    for (unsigned y = 0; y < FILM_HEIGHT; y++)
        for (unsigned x = 0; x < FILM_WIDTH; x++)
            on->pixels[y * FILM_WIDTH + x] = (40 + x / 11) << 16 | (60 + y / 7) << 8 | (150 - x / 22);
    film_fill(on, 0, FILM_HEIGHT - 32, FILM_WIDTH, 32, 0x2e3436);
    for (unsigned i = 0; i < 6; i++)
        film_fill(on, 16 + i * 40, FILM_HEIGHT - 28, 24, 24, 0x204080u * (i + 1) & 0xffffff);
    film_lines(on, (struct film_rect){64, 48, 480, 288}, 0, 0xf4f4f0, 0x202020);
    film_lines(on, (struct film_rect){704, 336, 512, 320}, 40, 0x1d1f21, 0xd3d7cf);
}

// Where the dragged window is.
static inline struct film_rect film_window(unsigned frame) {
    return (struct film_rect){320 + film_circle(frame, 48, false), 160 + film_circle(frame, 48, true), 480, 320};
}

static inline void film_text_window(struct film_page *on, struct film_rect window) {
    film_fill(on, window.x, window.y, window.width, 20, 0x3465a4);
    film_lines(on, (struct film_rect){window.x, window.y + 20, window.width, window.height - 20}, 0, 0xf4f4f0, 0x202020);
}

// What changes from the frame before to this one.
static inline struct film_rect film_damage(unsigned film, unsigned frame) {
    struct film_rect now = film_window(frame), old = film_window(frame + FILM_FRAMES - 1);
    if (strcmp(films[film].name, "window") == 0) {
        struct film_rect all = films[film].moving;
        unsigned right = (now.x > old.x ? now.x : old.x) + now.width;
        unsigned below = (now.y > old.y ? now.y : old.y) + now.height;
        return (struct film_rect){all.x, all.y, right - all.x, below - all.y};
    }
    if (strcmp(films[film].name, "drag") != 0)
        return films[film].moving;
    unsigned x = now.x < old.x ? now.x : old.x, y = now.y < old.y ? now.y : old.y;
    unsigned dx = now.x > old.x ? now.x - old.x : old.x - now.x, dy = now.y > old.y ? now.y - old.y : old.y - now.y;
    return (struct film_rect){x, y, now.width + dx, now.height + dy};
}

// Draws a whole frame.
static inline void film_draw(unsigned film, unsigned frame, struct film_page *on) {
    const char *name = films[film].name;
    struct film_rect moving = films[film].moving;
    const struct film_rect whole = {0, 0, FILM_WIDTH, FILM_HEIGHT};
    if (strcmp(name, "motion") == 0) {
        film_video(on, whole, frame);
    } else if (strcmp(name, "page") == 0 || strcmp(name, "clip") == 0) {
        film_lines(on, whole, 0, 0xfcfcf8, 0x303030);
        film_video(on, moving, frame);
    } else if (strcmp(name, "films") == 0) {
        film_lines(on, whole, 0, 0xfcfcf8, 0x303030);
        film_video(on, (struct film_rect){96, 96, 400, 200}, frame);
        film_video(on, (struct film_rect){784, 424, 400, 200}, frame + 5);
    } else if (strcmp(name, "typing") == 0) {
        film_lines(on, whole, 0, 0xfcfcf8, 0x303030);
        film_video(on, (struct film_rect){784, 64, 400, 200}, frame);
        film_typed(on, (struct film_rect){64, 520, 640, 64}, frame);
    } else if (strcmp(name, "window") == 0) {
        film_lines(on, whole, 0, 0xfcfcf8, 0x303030);
        film_text_window(on, film_window(frame));
    } else {
        film_desktop(on);
        if (strcmp(name, "text") == 0)
            film_lines(on, moving, frame * FILM_LINE / 2, 0x1d1f21, 0xd3d7cf);
        if (strcmp(name, "scroll") == 0)
            film_log(on, (struct film_rect){160, 64, 960, 592}, frame * 3);
        if (strcmp(name, "drag") == 0)
            film_text_window(on, film_window(frame));
    }
}

// Draws the patch with this number, its lowest digit in the top left square. Digits that follow each other are far apart.
static inline void film_number(unsigned film, unsigned number, uint32_t *pixels, unsigned stride) {
    for (unsigned digit = 0; films[film].moving.width > 0 && digit < 4; digit++, number /= 16)
        for (unsigned y = 0; y < FILM_DIGIT; y++)
            for (unsigned x = 0; x < FILM_DIGIT; x++)
                pixels[(films[film].patch_y + digit / 2 * FILM_DIGIT + y) * stride + films[film].patch_x + digit % 2 * FILM_DIGIT + x] =
                    0x010101u * (number % 16 * 7 % 16 * 16 + 8);
}

static inline int film_by_name(const char *name) {
    for (unsigned i = 0; i < sizeof films / sizeof *films; i++)
        if (strcmp(films[i].name, name) == 0)
            return (int)i;
    return -1;
}

// A film as it is kept: one whole frame, and of each frame what moves.
struct film_reel {
    unsigned film;
    uint32_t *whole;
    uint32_t *moving; // FILM_FRAMES rectangles of the film's `moving`, one after the other
};

// Makes a film, once; 56 MiB where all of it moves. NULL where there is no memory for it.
static inline const struct film_reel *film_make(unsigned film, const uint8_t *font) {
    static struct film_reel reels[sizeof films / sizeof *films];
    struct film_reel *reel = &reels[film];
    const struct film_rect moving = films[film].moving;
    if (reel->whole)
        return reel;
    reel->film = film;
    uint32_t *page = reel->whole = malloc((size_t)FILM_WIDTH * FILM_HEIGHT * 4);
    uint32_t *to = reel->moving = malloc((size_t)FILM_FRAMES * moving.width * moving.height * 4 + 4);
    if (!page || !to) {
        free(page);
        free(to);
        return reel->whole = NULL, NULL;
    }
    // The first frame comes last, and stays.
    for (unsigned frame = FILM_FRAMES; frame-- > 0;) {
        film_draw(film, frame, &(struct film_page){page, font});
        for (unsigned y = 0; y < moving.height; y++)
            memcpy(to + ((size_t)frame * moving.height + y) * moving.width,
                   page + (size_t)(moving.y + y) * FILM_WIDTH + moving.x, moving.width * 4);
    }
    return reel;
}

// Copies a part of a frame to a screen of `stride` pixels a row: the whole of it, or a part of what moves.
static inline void film_copy(const struct film_reel *reel, unsigned number, struct film_rect part, uint32_t *to,
                             unsigned stride) {
    const struct film_rect moving = films[reel->film].moving;
    if (part.width > moving.width || part.height > moving.height) {
        for (unsigned y = 0; y < FILM_HEIGHT; y++)
            memcpy(to + (size_t)y * stride, reel->whole + (size_t)y * FILM_WIDTH, FILM_WIDTH * 4);
        part = moving;
    }
    const uint32_t *from = reel->moving + (size_t)(number % FILM_FRAMES) * moving.width * moving.height;
    for (unsigned y = part.y; y < part.y + part.height; y++)
        memcpy(to + (size_t)y * stride + part.x, from + (size_t)(y - moving.y) * moving.width + part.x - moving.x,
               part.width * 4);
}
