#include "l_secret.h"

#include "mask.h"

#include <stdlib.h>
#include <string.h>

/* Shorter ones are no secrets, and masking them would leave nothing of the text. */
enum { SHORTEST_SECRET = 4 };

static const char list_key;

/* The head of the list of this state. It lives as long as the state. */
static struct secret **get_list(lua_State *L)
{
    bj_rawgetp(L, LUA_REGISTRYINDEX, &list_key);
    struct secret **list = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!list) {
        list = lua_newuserdata(L, sizeof *list);
        *list = NULL;
        bj_rawsetp(L, LUA_REGISTRYINDEX, &list_key);
    }
    return list;
}

struct secret *bj_secret_new(lua_State *L, const char *text)
{
    struct secret **list = get_list(L);
    size_t len = strlen(text);
    struct secret *s = malloc(sizeof *s + len + 1);
    if (!s)
        return NULL;
    memcpy(s->text, text, len + 1);
    s->refs = 1;
    s->next = *list;
    s->at = list;
    if (s->next)
        s->next->at = &s->next;
    *list = s;
    return s;
}

struct secret *bj_secret_ref(struct secret *s)
{
    if (s)
        s->refs++;
    return s;
}

void bj_secret_unref(struct secret *s)
{
    if (!s || --s->refs > 0)
        return;
    *s->at = s->next;
    if (s->next)
        s->next->at = s->at;
    explicit_bzero(s->text, strlen(s->text));
    free(s);
}

void bj_secret_put(struct secret **slot, struct secret *s)
{
    bj_secret_unref(*slot);
    *slot = s;
}

void bj_push_masked(lua_State *L, const char *text, size_t len, size_t most)
{
    const struct secret *s = *get_list(L);
    char *copy = lua_newuserdata(L, len + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    mask_credentials(copy, len);
    for (; s; s = s->next) {
        size_t n = strlen(s->text);
        if (n >= SHORTEST_SECRET)
            mask_secret(copy, len, s->text, n);
    }
    if (len > most)
        for (len = most; len > 0 && ((unsigned char)copy[len] & 0xC0) == 0x80;) /* not in the middle of a character */
            len--;
    lua_pushlstring(L, copy, len);
    lua_remove(L, -2);
}

void bj_mask_top(lua_State *L, size_t most)
{
    size_t len;
    if (lua_type(L, -1) != LUA_TSTRING)
        return;
    const char *text = lua_tolstring(L, -1, &len);
    bj_push_masked(L, text, len, most);
    lua_remove(L, -2);
}
