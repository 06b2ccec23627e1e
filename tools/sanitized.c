/* Loaded by LD_PRELOAD beside a sanitizer's runtime. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int dlclose(void *handle);
__attribute__((weak)) void __lsan_register_root_region(const void *start, size_t size);
__attribute__((weak)) void __tsan_init(void);

/* Both are for this process, not for the children it starts. */
__attribute__((constructor)) static void forget_preload(void)
{
    unsetenv("LD_PRELOAD");
}

static void *nothing(void *unused)
{
    return unused;
}

/* ThreadSanitizer starts a thread of its own along with the first one of the program. With that behind it, a program
 * that counts its threads sees what it started itself. */
__attribute__((constructor)) static void start_tsan(void)
{
    pthread_t thread;
    if (!__tsan_init)
        return;
    __tsan_init();
    if (pthread_create(&thread, NULL, nothing, NULL) == 0)
        pthread_join(thread, NULL);
}

/* Modules stay loaded to the end: a report can then name their functions, and what their globals hold is no leak. */
int dlclose(void *handle)
{
    (void)handle;
    return 0;
}

/* LuaJIT has its heap from here. LeakSanitizer would not look into it, and call a leak what a Lua value holds that
 * os.exit leaves behind. */
void *mmap64(void *start, size_t size, int prot, int flags, int fd, off64_t offset)
{
    void *p = (void *)syscall(SYS_mmap, start, size, prot, flags, fd, offset);
    if (p != MAP_FAILED && (flags & MAP_ANONYMOUS) && __lsan_register_root_region)
        __lsan_register_root_region(p, size);
    return p;
}
