/* The Lua files inside the program: written as C by standalone/embed.lua. */
#ifndef STANDALONE_MODULES_H
#define STANDALONE_MODULES_H

#include <stddef.h>

struct embedded {
    const char *name;  /* as `require` has it; NULL: the end of the list */
    const char *chunk; /* in messages */
    const unsigned char *text;
    size_t size;
};

extern const struct embedded embedded[];

#endif
