// Plays the films through libspice-server, as a QEMU with `-spice gl=on` does: `player FONT ADDRESS`, where ADDRESS is a
// TCP port of this machine or the path of a socket to make.

#include <glib-unix.h>
#include <spice.h>
#include <unistd.h>

#include "player.h"

#define XR24 0x34325258u

struct SpiceTimer {
    SpiceTimerFunc call;
    void *opaque;
    guint source;
};

struct SpiceWatch {
    int fd;
    SpiceWatchFunc call;
    void *opaque;
    guint source;
};

static GMutex lock;
static GCond drawn;
static bool drawing;

// ---- libspice-server's event loop, on GLib's ----

static SpiceTimer *timer_add(SpiceTimerFunc call, void *opaque) {
    SpiceTimer *timer = g_new0(SpiceTimer, 1);
    timer->call = call;
    timer->opaque = opaque;
    return timer;
}

static gboolean timer_due(void *data) {
    SpiceTimer *timer = data;
    timer->source = 0;
    timer->call(timer->opaque);
    return G_SOURCE_REMOVE;
}

static void timer_cancel(SpiceTimer *timer) {
    if (timer->source)
        g_source_remove(timer->source);
    timer->source = 0;
}

static void timer_start(SpiceTimer *timer, uint32_t ms) {
    timer_cancel(timer);
    timer->source = g_timeout_add(ms, timer_due, timer);
}

static void timer_remove(SpiceTimer *timer) {
    timer_cancel(timer);
    g_free(timer);
}

static gboolean watch_ready(int fd, GIOCondition condition, void *data) {
    SpiceWatch *watch = data;
    int event = (condition & (G_IO_IN | G_IO_HUP | G_IO_ERR) ? SPICE_WATCH_EVENT_READ : 0) |
                (condition & G_IO_OUT ? SPICE_WATCH_EVENT_WRITE : 0);
    watch->call(fd, event, watch->opaque);
    return G_SOURCE_CONTINUE;
}

static void watch_update_mask(SpiceWatch *watch, int mask) {
    if (watch->source)
        g_source_remove(watch->source);
    GIOCondition condition = (mask & SPICE_WATCH_EVENT_READ ? G_IO_IN : 0) | (mask & SPICE_WATCH_EVENT_WRITE ? G_IO_OUT : 0);
    watch->source = mask ? g_unix_fd_add(watch->fd, condition, watch_ready, watch) : 0;
}

static SpiceWatch *watch_add(int fd, int mask, SpiceWatchFunc call, void *opaque) {
    SpiceWatch *watch = g_new0(SpiceWatch, 1);
    watch->fd = fd;
    watch->call = call;
    watch->opaque = opaque;
    watch_update_mask(watch, mask);
    return watch;
}

static void watch_remove(SpiceWatch *watch) {
    watch_update_mask(watch, 0);
    g_free(watch);
}

static SpiceCoreInterface core = {
    .base = {.type = SPICE_INTERFACE_CORE, .description = "films", .major_version = SPICE_INTERFACE_CORE_MAJOR, .minor_version = SPICE_INTERFACE_CORE_MINOR},
    .timer_add = timer_add, .timer_start = timer_start, .timer_cancel = timer_cancel, .timer_remove = timer_remove,
    .watch_add = watch_add, .watch_update_mask = watch_update_mask, .watch_remove = watch_remove,
};

// ---- a display device that has nothing but buffers ----

static void get_init_info(QXLInstance *qxl, QXLDevInitInfo *info) {
    (void)qxl;
    *info = (QXLDevInitInfo){.num_memslots = 1, .num_memslots_groups = 1, .memslot_gen_bits = 1, .memslot_id_bits = 1, .n_surfaces = 1};
}

static int no_command(QXLInstance *qxl, struct QXLCommandExt *command) {
    (void)qxl, (void)command;
    return 0;
}

static int no_notification(QXLInstance *qxl) {
    (void)qxl;
    return 1;
}

static void attached(QXLInstance *qxl) { (void)qxl; }

static void compression(QXLInstance *qxl, int level) { (void)qxl, (void)level; }

static void release(QXLInstance *qxl, struct QXLReleaseInfoExt info) { (void)qxl, (void)info; }

static void notify(QXLInstance *qxl, uint32_t id) { (void)qxl, (void)id; }

static int flush(QXLInstance *qxl) {
    (void)qxl;
    return 0;
}

static void update_complete(QXLInstance *qxl, uint32_t surface, struct QXLRect *rects, uint32_t count) {
    (void)qxl, (void)surface, (void)rects, (void)count;
}

static void capabilities(QXLInstance *qxl, uint8_t present, uint8_t caps[SPICE_CAPABILITIES_SIZE]) {
    (void)qxl, (void)present, (void)caps;
}

static void async_complete(QXLInstance *qxl, uint64_t cookie) {
    (void)qxl, (void)cookie;
    g_mutex_lock(&lock);
    drawing = false;
    g_cond_signal(&drawn);
    g_mutex_unlock(&lock);
}

static const QXLInterface device = {
    .base = {.type = SPICE_INTERFACE_QXL, .description = "films", .major_version = SPICE_INTERFACE_QXL_MAJOR, .minor_version = SPICE_INTERFACE_QXL_MINOR},
    .attached_worker = attached, .set_compression_level = compression, .get_init_info = get_init_info,
    .get_command = no_command, .req_cmd_notification = no_notification, .release_resource = release,
    .get_cursor_command = no_command, .req_cursor_notification = no_notification, .notify_update = notify,
    .flush_resources = flush, .async_complete = async_complete, .update_area_complete = update_complete,
    .set_client_capabilities = capabilities,
};
static QXLInstance qxl = {.base = {.sif = &device.base}};

void server_start(int argc, char **argv) {
    if (argc < 1)
        g_error("which address?");
    SpiceServer *server = spice_server_new();
    if (argv[0][0] == '/')
        spice_server_set_addr(server, argv[0], SPICE_ADDR_FLAG_UNIX_ONLY);
    else {
        spice_server_set_addr(server, "127.0.0.1", 0);
        spice_server_set_port(server, atoi(argv[0]));
    }
    spice_server_set_noauth(server);
    spice_server_set_video_codecs(server, "gstreamer:h264");
    spice_server_set_streaming_video(server, SPICE_STREAM_VIDEO_ALL);
    if (spice_server_init(server, &core) < 0 || spice_server_add_interface(server, &qxl.base) < 0)
        g_error("libspice-server does not start");
    spice_server_vm_start(server);
}

void server_scanout(int fd, bool dmabuf) {
    (void)dmabuf; // it has no other memory
    spice_qxl_gl_scanout(&qxl, dup(fd), FILM_WIDTH, FILM_HEIGHT, FILM_WIDTH * 4, XR24, FALSE);
}

void server_update(struct film_rect damage) {
    g_mutex_lock(&lock);
    drawing = true;
    g_mutex_unlock(&lock);
    spice_qxl_gl_draw_async(&qxl, damage.x, damage.y, damage.width, damage.height, 1);
    g_mutex_lock(&lock);
    while (drawing)
        g_cond_wait(&drawn, &lock);
    g_mutex_unlock(&lock);
}
