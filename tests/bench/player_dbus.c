// Plays the films as QEMU's `-display dbus` does, with the same D-Bus library: `player FONT FD`, where FD is a socket on
// which the one who wants to see them speaks D-Bus. `player FONT FD listen` is the other end: one that answers at once.
// `player FONT PATH`: those who want to see them connect to a unix socket there, one after the other, and the next one sees
// what the last one saw, as QEMU's do.

#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <glib-unix.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "player.h"

#define ROOT "/org/qemu/Display1"
#define CONSOLE ROOT "/Console_0"
#define LISTENER ROOT "/Listener"
#define XRGB 0x20020888u  // pixman's x8r8g8b8
#define XR24 0x34325258u  // DRM's

static const char introspection[] =
    "<node>"
    "<interface name='org.freedesktop.DBus.ObjectManager'>"
    "  <method name='GetManagedObjects'><arg type='a{oa{sa{sv}}}' direction='out'/></method></interface>"
    "<interface name='org.qemu.Display1.Console'>"
    "  <method name='RegisterListener'><arg type='h' direction='in'/></method></interface>"
    "<interface name='org.qemu.Display1.Listener'>"
    "  <method name='ScanoutDMABUF'><arg type='h' direction='in'/><arg type='u' direction='in'/><arg type='u' direction='in'/>"
    "    <arg type='u' direction='in'/><arg type='u' direction='in'/><arg type='t' direction='in'/><arg type='b' direction='in'/></method>"
    "  <method name='UpdateDMABUF'><arg type='i' direction='in'/><arg type='i' direction='in'/><arg type='i' direction='in'/>"
    "    <arg type='i' direction='in'/></method>"
    "  <property name='Interfaces' type='as' access='read'/></interface>"
    "<interface name='org.qemu.Display1.Listener.Unix.Map'>"
    "  <method name='ScanoutMap'><arg type='h' direction='in'/><arg type='u' direction='in'/><arg type='u' direction='in'/>"
    "    <arg type='u' direction='in'/><arg type='u' direction='in'/><arg type='u' direction='in'/></method>"
    "  <method name='UpdateMap'><arg type='i' direction='in'/><arg type='i' direction='in'/><arg type='i' direction='in'/>"
    "    <arg type='i' direction='in'/></method></interface>"
    "</node>";

static GDBusConnection *listener;
static bool as_dmabuf, one_after_the_other;
static int shown_fd = -1;

static GDBusConnection *connect_on(int fd, GDBusConnectionFlags flags) {
    GError *error = NULL;
    GSocket *socket = g_socket_new_from_fd(fd, &error);
    if (!socket)
        g_error("fd %d: %s", fd, error->message);
    GIOStream *stream = G_IO_STREAM(g_socket_connection_factory_create_connection(socket));
    char *guid = flags & G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_SERVER ? g_dbus_generate_guid() : NULL;
    GDBusConnection *connection =
        g_dbus_connection_new_sync(stream, guid, flags | G_DBUS_CONNECTION_FLAGS_DELAY_MESSAGE_PROCESSING, NULL, NULL, &error);
    if (!connection)
        g_error("the other end speaks no D-Bus: %s", error->message);
    return connection;
}

static void call(GDBusConnection *on, const char *path, const char *interface, const char *method, GVariant *arguments, int fd) {
    GError *error = NULL;
    GUnixFDList *fds = fd >= 0 ? g_unix_fd_list_new() : NULL;
    if (fds)
        g_unix_fd_list_append(fds, fd, NULL);
    GVariant *answer = g_dbus_connection_call_with_unix_fd_list_sync(on, NULL, path, interface, method, arguments, NULL,
                                                                     G_DBUS_CALL_FLAGS_NONE, -1, fds, NULL, NULL, &error);
    // Who has left sees nothing; the next one is shown all.
    if (!answer && !one_after_the_other)
        g_error("%s: %s", method, error->message);
    g_clear_error(&error);
    g_clear_pointer(&answer, g_variant_unref);
    g_clear_object(&fds);
}

static void register_object(GDBusConnection *on, const char *path, const char *interface, const GDBusInterfaceVTable *does) {
    static GDBusNodeInfo *node;
    if (!node)
        node = g_dbus_node_info_new_for_xml(introspection, NULL);
    g_dbus_connection_register_object(on, path, g_dbus_node_info_lookup_interface(node, interface), does, NULL, NULL, NULL);
}

// As QEMU does, and so nothing with a file comes while the listener still reads what belongs to the handshake.
static void shake_hands(void) {
    call(listener, LISTENER, "org.freedesktop.DBus.Properties", "GetAll", g_variant_new("(s)", "org.qemu.Display1.Listener"), -1);
}

static void show_again(void) {
    shake_hands();
    server_scanout(shown_fd, as_dmabuf);
}

static void called(GDBusConnection *on, const char *sender, const char *path, const char *interface, const char *method,
                   GVariant *arguments, GDBusMethodInvocation *invocation, void *unused) {
    (void)on, (void)sender, (void)path, (void)interface, (void)unused;
    if (strcmp(method, "GetManagedObjects") == 0) {
        static const char objects[] =
            "{'" ROOT "/VM': {'org.qemu.Display1.VM': {'Name': <'film'>, 'UUID': <'00112233-4455-6677-8899-aabbccddeeff'>}},"
            " '" CONSOLE "': {'org.qemu.Display1.Console': {'Type': <'Graphic'>, 'Label': <'film'>},"
            " 'org.qemu.Display1.Mouse': {'IsAbsolute': <true>}, 'org.qemu.Display1.Keyboard': {'Modifiers': <uint32 0>}}}";
        GVariant *parsed = g_variant_parse(G_VARIANT_TYPE("a{oa{sa{sv}}}"), objects, NULL, NULL, NULL);
        g_dbus_method_invocation_return_value(invocation, g_variant_new_tuple(&parsed, 1));
        return;
    }
    if (strcmp(method, "RegisterListener") != 0) {
        g_dbus_method_invocation_return_value(invocation, NULL);
        return;
    }
    gint32 handle;
    g_variant_get(arguments, "(h)", &handle);
    GUnixFDList *fds = g_dbus_message_get_unix_fd_list(g_dbus_method_invocation_get_message(invocation));
    int fd = g_unix_fd_list_get(fds, handle, NULL);
    g_dbus_method_invocation_return_value(invocation, NULL);
    listener = connect_on(fd, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_SERVER);
    g_dbus_connection_start_message_processing(listener);
    if (shown_fd >= 0)
        show_again();
}

static GVariant *interfaces(GDBusConnection *on, const char *sender, const char *path, const char *interface, const char *property,
                            GError **error, void *unused) {
    (void)on, (void)sender, (void)path, (void)interface, (void)property, (void)error, (void)unused;
    const char *map = "org.qemu.Display1.Listener.Unix.Map";
    return g_variant_new_strv(&map, 1);
}

static const GDBusInterfaceVTable does = {.method_call = called, .get_property = interfaces};

static void listen_only(GDBusConnection *qemu) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        g_error("no sockets");
    g_dbus_connection_start_message_processing(qemu);
    call(qemu, CONSOLE, "org.qemu.Display1.Console", "RegisterListener", g_variant_new("(h)", 0), pair[1]);
    close(pair[1]);
    GDBusConnection *own = connect_on(pair[0], G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT);
    register_object(own, LISTENER, "org.qemu.Display1.Listener", &does);
    register_object(own, LISTENER, "org.qemu.Display1.Listener.Unix.Map", &does);
    g_dbus_connection_start_message_processing(own);
    g_main_loop_run(g_main_loop_new(NULL, FALSE));
}

static void serve(int fd) {
    GDBusConnection *control = connect_on(fd, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_SERVER);
    register_object(control, ROOT, "org.freedesktop.DBus.ObjectManager", &does);
    register_object(control, CONSOLE, "org.qemu.Display1.Console", &does);
    g_dbus_connection_start_message_processing(control);
}

static gboolean someone_came(gint fd, GIOCondition condition, gpointer unused) {
    (void)condition, (void)unused;
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (peer >= 0)
        serve(peer);
    return G_SOURCE_CONTINUE;
}

static void listen_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4) < 0)
        g_error("no socket at %s", path);
    one_after_the_other = true;
    g_unix_fd_add(fd, G_IO_IN, someone_came, NULL);
}

void server_start(int argc, char **argv) {
    if (argc < 1)
        g_error("which socket?");
    int fd = atoi(argv[0]);
    if (argc > 1)
        listen_only(connect_on(fd, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT));
    if (strchr(argv[0], '/'))
        listen_at(argv[0]);
    else
        serve(fd);
    // Callbacks come on this thread: turn the loop until there is someone to show films to.
    while (!listener)
        g_main_context_iteration(NULL, TRUE);
    shake_hands();
}

void server_scanout(int fd, bool dmabuf) {
    as_dmabuf = dmabuf;
    shown_fd = fd;
    uint32_t stride = FILM_WIDTH * 4;
    if (dmabuf)
        call(listener, LISTENER, "org.qemu.Display1.Listener", "ScanoutDMABUF",
             g_variant_new("(huuuutb)", 0, FILM_WIDTH, FILM_HEIGHT, stride, XR24, (guint64)0, FALSE), fd);
    else
        call(listener, LISTENER, "org.qemu.Display1.Listener.Unix.Map", "ScanoutMap",
             g_variant_new("(huuuuu)", 0, 0, FILM_WIDTH, FILM_HEIGHT, stride, XRGB), fd);
}

void server_update(struct film_rect damage) {
    GVariant *arguments = g_variant_new("(iiii)", damage.x, damage.y, damage.width, damage.height);
    if (as_dmabuf)
        call(listener, LISTENER, "org.qemu.Display1.Listener", "UpdateDMABUF", arguments, -1);
    else
        call(listener, LISTENER, "org.qemu.Display1.Listener.Unix.Map", "UpdateMap", arguments, -1);
}
