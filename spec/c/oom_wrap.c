/* Linked into a core with --wrap: its allocators ask oom_host.c first. */
#include <stddef.h>

int oom_core_fails(void);

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t size);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t size);

void *__wrap_malloc(size_t size)
{
    return oom_core_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return oom_core_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return oom_core_fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
    return oom_core_fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t size)
{
    return oom_core_fails() ? NULL : __real_strndup(s, size);
}
