/* Loaded by LD_PRELOAD: the look-up of one name takes ten minutes and fails, as with a name server that does not
 * answer. */
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

typedef int lookup(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found);

int getaddrinfo(const char *restrict node, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict found)
{
    if (node && strcmp(node, "hung.invalid") == 0) {
        sleep(600);
        return EAI_AGAIN;
    }
    lookup *real;
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(node, service, hints, found);
}
