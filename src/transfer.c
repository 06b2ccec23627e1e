#include "transfer.h"

#include "clock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum {
    HEADERS_MAX = 256 * 1024, /* of an answer, with those of interim answers and trailers */
    ERROR_BODY_MAX = 64 * 1024,
    JSON_MAX = 16 * 1024 * 1024,
    BUFFER_BYTES = 128 * 1024, /* of rows; for small calls the 16 KiB that libcurl has by default */
    UPLOAD_BUFFER_BYTES = 256 * 1024,
};

/* While a request goes out, the peer is looked at so often within the time that it may be silent. */
static const double LOOKS = 8;

struct transfer *transfer_new(struct settings *settings, const char *method, const char *url)
{
    struct transfer *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    atomic_init(&t->refs, 1);
    atomic_init(&t->commands, 0);
    pthread_mutex_init(&t->lock, NULL);
    pthread_mutex_init(&t->source_lock, NULL);
    atomic_init(&t->done, false);
    atomic_init(&t->begun, false);
    source_init(&t->source);
    sink_init_memory(&t->sink, JSON_MAX);
    buf_init(&t->headers_in, HEADERS_MAX);
    t->method = method;
    t->deadline = t->answer_by = -1;
    t->socket = CURL_SOCKET_BAD;
    t->settings = settings_ref(settings);
    t->url = strdup(url);
    if (!t->url) {
        transfer_unref(t);
        return NULL;
    }
    return t;
}

struct transfer *transfer_ref(struct transfer *t)
{
    atomic_fetch_add(&t->refs, 1);
    return t;
}

static void free_headers(struct curl_slist *list)
{
    for (struct curl_slist *h = list; h; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(list);
}

void transfer_unref(struct transfer *t)
{
    if (!t || atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    free_headers(t->headers);
    free(t->url);
    source_free(&t->source);
    sink_free(&t->sink);
    buf_free(&t->headers_in);
    settings_unref(t->settings);
    if (t->channel)
        t->unwatch(t->channel);
    pthread_mutex_destroy(&t->lock);
    pthread_mutex_destroy(&t->source_lock);
    free(t);
}

void transfer_detach(struct transfer *t)
{
    pthread_mutex_lock(&t->source_lock);
    t->detached = true;
    pthread_mutex_unlock(&t->source_lock);
}

bool transfer_add_header(struct transfer *t, const char *name, const char *value)
{
    if (strpbrk(name, "\r\n") || strpbrk(value, "\r\n"))
        return false;
    struct buf line;
    buf_init(&line, HEADERS_MAX);
    bool ok = buf_add_string(&line, name) && buf_add_string(&line, ": ") && buf_add_string(&line, value);
    if (ok) {
        struct curl_slist *list = curl_slist_append(t->headers, buf_string(&line));
        ok = list != NULL;
        if (ok)
            t->headers = list;
    }
    if (line.data)
        explicit_bzero(line.data, line.len);
    buf_free(&line);
    return ok;
}

/* The next header of this name from `line` on, which is the start of one, or behind a value. */
static const char *find_header(const struct transfer *t, const char *line, const char *name, size_t *len)
{
    size_t n = strlen(name);
    const char *end = buf_string(&t->headers_in) + t->headers_in.len;
    while (line < end) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop)
            stop = end;
        if ((size_t)(stop - line) > n && line[n] == ':' && strncasecmp(line, name, n) == 0) {
            const char *value = line + n + 1;
            while (value < stop && (*value == ' ' || *value == '\t'))
                value++;
            const char *last = stop;
            while (last > value && (last[-1] == ' ' || last[-1] == '\t' || last[-1] == '\r'))
                last--;
            *len = (size_t)(last - value);
            return value;
        }
        line = stop + 1;
    }
    return NULL;
}

const char *transfer_header(const struct transfer *t, const char *name, size_t *len)
{
    return find_header(t, buf_string(&t->headers_in), name, len);
}

bool transfer_is_paced(const struct transfer *t)
{
    return t->source.kind == SOURCE_QUEUE || t->sink.kind == SINK_QUEUE;
}

static size_t on_read(char *out, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    size_t got = 0;
    bool wake = false;
    pthread_mutex_lock(&t->source_lock);
    enum source_event event = t->detached ? SOURCE_FAILED : source_read(&t->source, out, size * n, &got, &wake);
    pthread_mutex_unlock(&t->source_lock);
    if (wake)
        t->news(t);
    switch (event) {
    case SOURCE_DATA:
    case SOURCE_END:
        return got;
    case SOURCE_WAIT:
        t->out_paused = true;
        return CURL_READFUNC_PAUSE;
    case SOURCE_FAILED:
        break;
    }
    t->stop = STOP_SOURCE;
    return CURL_READFUNC_ABORT;
}

/* libcurl sends a request again on its own when a kept connection turns out dead. Whether that is safe depends on the
 * verb (the service may have received the first one), so it never happens behind our back: the transfer fails, and the
 * layers above decide.
 *
 * HTTP/2 says of a stream that was refused, or lies above the last one of a GOAWAY, that it was not processed. libcurl
 * sends such a request again in the same way, and nothing in its interface tells the two apart (seen in lib/transfer.c
 * and lib/http2.c of 7.88.1 and 8.14.1: on a connection used before, even the text for CURLOPT_DEBUGFUNCTION is the
 * same). So such a request counts as one whose answer was lost, which is safe: the state is read before it is sent
 * again. */
static int on_connected(void *user, char *to_ip, char *from_ip, int to_port, int from_port)
{
    struct transfer *t = user;
    (void)to_ip;
    (void)from_ip;
    (void)to_port;
    (void)from_port;
    if (t->connected) {
        t->stop = STOP_RESEND;
        return CURL_PREREQFUNC_ABORT;
    }
    t->connected = true;
    t->last_byte = clock_now();
    if (t->source.kind == SOURCE_TEXT) {
        t->source.sent = source_size(&t->source);
        t->source.whole_sent = true;
    }
    return CURL_PREREQFUNC_OK;
}

/* The same for the body: it is read once. libcurl asks for this when it is about to send a request again. */
static int on_seek(void *user, curl_off_t offset, int origin)
{
    struct transfer *t = user;
    (void)offset;
    (void)origin;
    if (t->connected)
        t->stop = STOP_RESEND;
    return CURL_SEEKFUNC_FAIL;
}

/* The answer has begun. One that goes to memory is a small one, also behind an upload that may take any time: it has to
 * end within the time of a small call. */
static void bound_answer(struct transfer *t)
{
    if (t->answer_by < 0 && t->sink.kind == SINK_MEMORY)
        t->answer_by = clock_now() + settings_total_timeout(t->settings, false);
}

static size_t on_header(char *data, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    size_t len = size * n;
    t->last_byte = clock_now();
    t->header_bytes += len;
    if (t->header_bytes > HEADERS_MAX) {
        t->stop = STOP_HEADERS;
        return 0;
    }
    if (t->body_begun) /* trailers say nothing that we ask for, and the host may be reading the headers by now */
        return len;
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->connected && status >= 200) /* a proxy's own comes before */
        bound_answer(t);
    /* An interim answer (100, 103) or a proxy's is followed by another block; only the last one counts. */
    if (t->header_ended) {
        buf_clear(&t->headers_in);
        t->header_ended = false;
    }
    if (len <= 2 && (data[0] == '\r' || data[0] == '\n'))
        t->header_ended = true;
    if (!buf_add(&t->headers_in, data, len)) {
        t->stop = STOP_NO_MEMORY;
        return 0;
    }
    return len;
}

/* A list in one header is the same as several headers (RFC 9110, 5.3). */
static enum packing packing_of(const struct transfer *t)
{
    enum packing packing = PACKING_NONE;
    size_t len;
    for (const char *at = buf_string(&t->headers_in); (at = find_header(t, at, "Content-Encoding", &len)); at += len)
        packing = packing_add(packing, at, len);
    return packing;
}

/* False: the body cannot be taken; `stop` says why. */
static bool begin_body(struct transfer *t)
{
    enum packing packing = packing_of(t);
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
    t->body_begun = true;
    if (t->status / 100 != 2) {
        /* The body of a refusal is read only up to a size; its start says what is wrong. One that cannot be unpacked
         * says nothing. */
        sink_free(&t->sink);
        sink_init_memory(&t->sink, packing == PACKING_UNKNOWN ? 0 : ERROR_BODY_MAX);
    } else if (packing == PACKING_UNKNOWN) {
        t->stop = STOP_PACKING;
        return false;
    }
    bound_answer(t);
    if (!sink_begin(&t->sink, packing == PACKING_GZIP)) {
        t->stop = STOP_NO_MEMORY;
        return false;
    }
    if (t->status / 100 == 2) {
        atomic_store_explicit(&t->begun, true, memory_order_release);
        if (t->sink.kind == SINK_QUEUE) /* of any other the host wants to know the end only */
            t->news(t);
    }
    return true;
}

static size_t on_write(char *data, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    size_t len = size * n;
    bool wake = false;
    t->last_byte = clock_now();
    if (!t->body_begun && !begin_body(t))
        return 0;
    switch (sink_write(&t->sink, data, len, &wake)) {
    case SINK_OK:
        t->bytes_in += (curl_off_t)len;
        if (wake)
            t->news(t);
        return len;
    case SINK_FULL:
        t->in_paused = true;
        return CURL_WRITEFUNC_PAUSE;
    case SINK_TOO_LONG:
        if (t->status / 100 != 2)
            t->cut = true;
        else
            t->stop = STOP_SINK;
        break;
    case SINK_IO:
        t->stop = STOP_SINK;
        break;
    case SINK_CORRUPT:
        t->stop = STOP_CORRUPT;
        break;
    case SINK_NO_MEMORY:
        t->stop = STOP_NO_MEMORY;
        break;
    }
    return 0;
}

/* As libcurl opens a socket, but not for the programs that the host starts: they would keep the org's connections open.
 */
static curl_socket_t open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)user;
    (void)purpose;
#ifdef SOCK_CLOEXEC
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
    int fd = socket(address->family, address->socktype, address->protocol);
    if (fd >= 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
#endif
}

/* An easy handle that is given its options. The first one that libcurl refuses ends it: a transfer without its proxy or
 * its CA would go where it must not. */
struct setup {
    CURL *easy;
    CURLcode code;
};

#define SET(s, option, value) ((s)->code = (s)->code ? (s)->code : curl_easy_setopt((s)->easy, option, value))

/* The same for the service and for a proxy that speaks TLS. */
static void setup_trust(struct setup *o, const struct settings *s)
{
    SET(o, CURLOPT_SSL_VERIFYPEER, s->insecure ? 0L : 1L);
    SET(o, CURLOPT_SSL_VERIFYHOST, s->insecure ? 0L : 2L);
    SET(o, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(o, CURLOPT_PROXY_SSL_VERIFYPEER, s->insecure ? 0L : 1L);
    SET(o, CURLOPT_PROXY_SSL_VERIFYHOST, s->insecure ? 0L : 2L);
    SET(o, CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (s->ca_file || s->ca_path) { /* none in place of the system's: who names one authority means no other */
        SET(o, CURLOPT_CAINFO, s->ca_file);
        SET(o, CURLOPT_CAPATH, s->ca_path);
        SET(o, CURLOPT_PROXY_CAINFO, s->ca_file);
        SET(o, CURLOPT_PROXY_CAPATH, s->ca_path);
    }
}

static void setup_tls_and_proxy(struct setup *o, const struct settings *s, const char *url)
{
    setup_trust(o, s);
    SET(o, CURLOPT_KEYPASSWD, ""); /* else OpenSSL asks for it on the terminal, and this thread hangs */
    if (s->client_cert)
        SET(o, CURLOPT_SSLCERT, s->client_cert);
    if (s->client_key)
        SET(o, CURLOPT_SSLKEY, s->client_key);
    if (s->proxy)
        SET(o, CURLOPT_PROXY, s->proxy);
    if (s->no_proxy)
        SET(o, CURLOPT_NOPROXY, s->no_proxy);
    /* Without TLS only this machine gets the token, and a proxy may be another one. */
    if (!s->insecure && strncasecmp(url, "http:", 5) == 0)
        SET(o, CURLOPT_NOPROXY, "*");
}

/* The handle may come from another small call. */
static void setup_body(struct setup *o, struct transfer *t)
{
    if (t->source.kind == SOURCE_NONE) {
        SET(o, CURLOPT_HTTPGET, 1L);
        SET(o, CURLOPT_CUSTOMREQUEST, strcmp(t->method, "GET") == 0 ? NULL : t->method);
        return;
    }
    SET(o, CURLOPT_CUSTOMREQUEST, t->method);
    if (t->source.kind == SOURCE_TEXT) {
        SET(o, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)source_size(&t->source));
        SET(o, CURLOPT_POSTFIELDS, t->source.text);
        return;
    }
    SET(o, CURLOPT_UPLOAD, 1L);
    SET(o, CURLOPT_INFILESIZE_LARGE, (curl_off_t)source_size(&t->source));
    SET(o, CURLOPT_READFUNCTION, on_read);
    SET(o, CURLOPT_READDATA, t);
    SET(o, CURLOPT_SEEKFUNCTION, on_seek);
    SET(o, CURLOPT_SEEKDATA, t);
    if (t->bulk)
        SET(o, CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD_BUFFER_BYTES);
}

static long small_call_version = CURL_HTTP_VERSION_1_1;

void transfer_global_init(void)
{
    /* Before 8.5.0, libcurl (lib/url.c, ConnectionExists) hands out a connection that is in use and speaks HTTP/1.1, as
     * soon as another one to the same host speaks HTTP/2: a request is written into the body of an upload, and
     * responses go to the wrong calls. */
    const curl_version_info_data *libcurl = curl_version_info(CURLVERSION_NOW);
    if (libcurl->version_num >= 0x080500 && (libcurl->features & CURL_VERSION_HTTP2))
        small_call_version = CURL_HTTP_VERSION_2TLS;
}

/* HTTP/2 for small calls, where TLS can tell of it and libcurl is new enough: many share a connection then. A paused
 * stream would hold up the others, so what the host may pause gets HTTP/1.1.
 *
 * CURLOPT_PIPEWAIT stays off. With it, calls wait for a connection that is being made, to share it, and libcurl
 * (8.14.1; lib/multi.c) takes them up again only when some other transfer ends or an HTTP/2 connection stands: beside a
 * server that speaks HTTP/1.1 they wait for the end of the first call, or of an upload. Without it, a cold start makes
 * at most max_connections connections, and later calls share one of them. */
static void setup_version(struct setup *o, const struct transfer *t)
{
    SET(o, CURLOPT_HTTP_VERSION, t->bulk ? (long)CURL_HTTP_VERSION_1_1 : small_call_version);
}

/* What is the same for all small calls with these settings to http or to https, so that a handle can be kept. */
static void setup_common(struct setup *o, const struct transfer *t)
{
    SET(o, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(o, CURLOPT_FOLLOWLOCATION, 0L);
    SET(o, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(o, CURLOPT_NOSIGNAL, 1L);
    SET(o, CURLOPT_QUICK_EXIT, 1L);
    SET(o, CURLOPT_NOPROGRESS, 1L);
    SET(o, CURLOPT_TCP_KEEPALIVE, 1L);
    if (t->bulk)
        SET(o, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
    SET(o, CURLOPT_CONNECTTIMEOUT_MS, (long)(t->settings->connect_timeout * 1000));
    SET(o, CURLOPT_PREREQFUNCTION, on_connected);
    SET(o, CURLOPT_HEADERFUNCTION, on_header);
    SET(o, CURLOPT_WRITEFUNCTION, on_write);
    if (t->settings->user_agent)
        SET(o, CURLOPT_USERAGENT, t->settings->user_agent);
    setup_version(o, t);
    setup_tls_and_proxy(o, t->settings, t->url);
}

bool transfer_may_share(const struct transfer *t)
{
    const struct settings *s = t->settings;
    return !t->bulk && (t->source.kind == SOURCE_NONE || t->source.kind == SOURCE_TEXT) && !s->proxy && !s->client_key;
}

CURLcode transfer_setup(struct transfer *t, CURL *kept)
{
    struct setup o = {kept ? kept : curl_easy_init(), CURLE_OK};
    if (!o.easy)
        return CURLE_OUT_OF_MEMORY;
    t->easy = o.easy;
    t->reused = kept != NULL;
    t->delivered = t->source.kind == SOURCE_NONE;
    if (!kept)
        setup_common(&o, t);
    SET(&o, CURLOPT_PRIVATE, t);
    SET(&o, CURLOPT_URL, t->url);
    SET(&o, CURLOPT_HTTPHEADER, t->headers);
    SET(&o, CURLOPT_ERRORBUFFER, t->error);
    SET(&o, CURLOPT_FRESH_CONNECT, t->fresh ? 1L : 0L);
    SET(&o, CURLOPT_PREREQDATA, t);
    SET(&o, CURLOPT_HEADERDATA, t);
    SET(&o, CURLOPT_WRITEDATA, t);
    setup_body(&o, t);
    return o.code;
}

/* Takes all that belongs to the transfer from its handle. */
static CURL *clear_handle(CURL *easy)
{
    struct setup o = {easy, CURLE_OK};
    SET(&o, CURLOPT_PRIVATE, NULL);
    SET(&o, CURLOPT_HTTPHEADER, NULL);
    SET(&o, CURLOPT_ERRORBUFFER, NULL);
    SET(&o, CURLOPT_PREREQDATA, NULL);
    SET(&o, CURLOPT_HEADERDATA, NULL);
    SET(&o, CURLOPT_WRITEDATA, NULL);
    SET(&o, CURLOPT_POSTFIELDS, NULL);
    if (o.code == CURLE_OK)
        return easy;
    curl_easy_cleanup(easy);
    return NULL;
}

/* Has the peer taken something since the last look? What libcurl has taken may lie in the buffers of the kernel, of
 * megabytes, for minutes: it is no progress when it goes in there, and it is when it leaves. */
static bool has_moved(struct transfer *t)
{
    struct peer_state peer;
    if (!t->connected)
        return false;
    if (!peer_look(t->socket, &peer)) {
        peer.taken = (unsigned long long)t->source.sent;
        peer.pending = false;
    }
    bool moved = peer.taken != t->taken;
    t->taken = peer.taken;
    t->delivered = t->source.whole_sent && !peer.pending;
    return moved;
}

bool transfer_is_over(struct transfer *t, double now, double *again)
{
    double end = clock_sooner(t->deadline, t->answer_by);
    *again = end;
    if (t->failed)
        return true;
    if (end >= 0 && end <= now) {
        t->stop = STOP_DEADLINE;
        return true;
    }
    if (!t->easy || t->in_paused || t->out_paused)
        return false;
    double timeout = t->settings->timeout;
    if (!t->delivered && has_moved(t))
        t->last_byte = now;
    if (t->last_byte + timeout <= now) {
        t->stop = STOP_SILENCE;
        return true;
    }
    *again = clock_sooner(*again, t->last_byte + timeout);
    if (!t->delivered)
        *again = clock_sooner(*again, now + timeout / LOOKS);
    return false;
}

CURL *transfer_finish(struct transfer *t, CURLcode code)
{
    CURL *kept = NULL;
    t->code = code;
    if (t->cut && t->stop == STOP_NONE) { /* a refusal, of which we have all that we want */
        t->code = CURLE_OK;
        t->error[0] = '\0';
    }
    if (t->easy) {
        long request_bytes = 0;
        long proxy_status = 0;
        long proxy_error = 0;
        /* Before its first step, a handle still tells of the call that had it before. */
        if (t->status == 0 && (t->connected || !t->reused))
            curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
        if (t->status < 200) /* an interim answer is none */
            t->status = 0;
        curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &request_bytes);
        curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &t->bytes_out);
        curl_easy_getinfo(t->easy, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
        curl_easy_getinfo(t->easy, CURLINFO_PROXY_ERROR, &proxy_error);
        /* What went to a proxy before the connection stood is counted, too. */
        t->request_sent = t->connected && (request_bytes > 0 || t->stop == STOP_RESEND);
        t->proxy_refused =
            proxy_status / 100 == 4 || proxy_error == CURLPX_NO_AUTH || proxy_error == CURLPX_USER_REJECTED;
        if (code == CURLE_OK && t->stop == STOP_NONE && transfer_may_share(t))
            kept = clear_handle(t->easy);
        else
            curl_easy_cleanup(t->easy);
        t->easy = NULL;
    }
    if (code == CURLE_OK && t->stop == STOP_NONE && t->body_begun && !sink_whole(&t->sink))
        t->stop = STOP_CORRUPT;
    if (t->sink.kind == SINK_QUEUE)
        queue_end(&t->sink.queue);
    t->seconds = clock_now() - t->started;
    return kept;
}
