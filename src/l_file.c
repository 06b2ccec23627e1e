/* What Lua's io library lacks. */
#include "l_bulkjob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Makes what was written to `path` outlast a power cut. */
static int sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int r = fsync(fd);
    int why = errno;
    close(fd);
    errno = why;
    return r;
}

/* core.publish(part, path) -> true | nil, err: gives a finished file its final name, in one step and for good */
static int publish(lua_State *L)
{
    const char *part = luaL_checkstring(L, 1);
    const char *path = luaL_checkstring(L, 2);
    const char *slash = strrchr(path, '/');
    if (sync_path(part) != 0 || rename(part, path) != 0)
        return bj_fail(L, BJ_ERR_IO, NULL, "%s: %s", path, strerror(errno));
    /* The name is in the directory. Not every file system can sync one, and the file itself is safe by now. */
    lua_pushlstring(L, path, slash ? (size_t)(slash - path + 1) : 0);
    sync_path(slash ? lua_tostring(L, -1) : ".");
    lua_pushboolean(L, 1);
    return 1;
}

void bj_open_file(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"publish", publish},
        {NULL, NULL},
    };
    bj_setfuncs(L, functions);
}
