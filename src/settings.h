/* How a client connects. Made once, never changed, shared by the client and its transfers. */
#ifndef BULKJOB_SETTINGS_H
#define BULKJOB_SETTINGS_H

#include <stdatomic.h>
#include <stdbool.h>

struct settings {
    atomic_int refs;
    double timeout;         /* seconds without a byte in either direction */
    double total_timeout;   /* seconds for one call, retries and pauses included; 0: not given */
    double connect_timeout; /* seconds */
    long max_connections;   /* transfers under way to one host at the same time */
    bool insecure;          /* certificates are not verified */
    bool compress;          /* ask for gzip answers */
    char *proxy;            /* all strings: owned, NULL when not given */
    char *no_proxy;
    char *ca_file;
    char *ca_path;
    char *client_cert;
    char *client_key;
    char *user_agent;
};

/* The seconds that one call may take; 0: any number. Where no total_timeout was given, small calls get 10 minutes and
 * those with bulk data have no limit. */
double settings_total_timeout(const struct settings *s, bool bulk);

/* With all the defaults; NULL: out of memory. */
struct settings *settings_new(void);
struct settings *settings_ref(struct settings *s);
void settings_unref(struct settings *s);

/* Replaces one of the strings by a copy. False: out of memory. */
bool settings_set(char **field, const char *value);

#endif
