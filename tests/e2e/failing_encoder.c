// A plug-in of GStreamer's with an encoder `vah264enc`, as if there were a GPU: x264's, which crashes or hangs.
//
// Built and loaded by encoder_processes.py. In the environment: FAILING_X264, the file of x264's plug-in; FAILING_AT, the
// picture at which it fails (1 is the first); FAILING_HOW, `abort`, `segv` or `hang`.
#include <dlfcn.h>
#include <gst/gst.h>
#include <gst/video/video.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static GstVideoEncoderClass *x264;
static long pictures;

static GstFlowReturn handle_frame(GstVideoEncoder *encoder, GstVideoCodecFrame *frame) {
    const char *at = getenv("FAILING_AT"), *how = getenv("FAILING_HOW");
    if (at && how && ++pictures == atol(at)) {
        if (strcmp(how, "abort") == 0)
            abort();
        if (strcmp(how, "segv") == 0)
            *(volatile int *)8 = 1;
        for (;;)
            pause();
    }
    return x264->handle_frame(encoder, frame);
}

static void class_init(gpointer class, gpointer data) {
    (void)data;
    x264 = g_type_class_peek_parent(class);
    GST_VIDEO_ENCODER_CLASS(class)->handle_frame = handle_frame;
}

static void init(GTypeInstance *instance, gpointer class) {
    (void)class;
    gst_util_set_object_arg(G_OBJECT(instance), "tune", "zerolatency");
    gst_util_set_object_arg(G_OBJECT(instance), "speed-preset", "ultrafast");
}

static gboolean plugin_init(GstPlugin *plugin) {
    // GStreamer loads no plug-in while it loads one.
    const char *file = getenv("FAILING_X264");
    void *library = file ? dlopen(file, RTLD_NOW) : NULL;
    const GstPluginDesc *(*describe)(void) = library ? dlsym(library, "gst_plugin_x264_get_desc") : NULL;
    if (!describe || !describe()->plugin_init(plugin))
        return FALSE;
    GType parent = g_type_from_name("GstX264Enc");
    GTypeQuery sizes;
    g_type_query(parent, &sizes);
    GType type = g_type_register_static_simple(parent, "FailingEncoder", sizes.class_size, class_init,
                                               sizes.instance_size, init, 0);
    return gst_element_register(plugin, "vah264enc", GST_RANK_NONE, type);
}

#define PACKAGE "qemu-spice"
GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, failing, "An encoder that fails", plugin_init, "0", "MIT/X11", "tests",
                  "https://example.org")
