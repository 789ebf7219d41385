// What plays the films: one of these is linked to player.c.

#include "../guest/film.h"

// Gets ready to serve, as the arguments say; ends the program where it cannot.
void server_start(int argc, char **argv);

// Shows another buffer: rows of FILM_WIDTH pixels of blue, green, red and nothing, without a gap.
void server_scanout(int fd, bool dmabuf);

// Tells of a change, and returns when the guest could draw again.
void server_update(struct film_rect damage);
