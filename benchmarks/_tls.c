/* TLS for the load generator, with OpenSSL: handshakes, and reading and writing in its hot loop.
 *
 * Called by _tls.py (everything) and by _load.c (`tls_recv` and `tls_send`, as functions it was given). All servers
 * get the same version and cipher, TLS 1.3 with AES-128-GCM, so that neither's preference is what is compared. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/types.h>

enum { READ_AHEAD = 1 << 18 };

/* Handshakes on a blocking socket. NULL: it failed. The certificate is not looked at: it was made a moment ago. */
void *tls_connect(int fd) {
    static SSL_CTX *context;
    if (!context) {
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
        SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        /* Many records with one read. */
        SSL_CTX_set_read_ahead(context, 1);
        SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD);
    }
    SSL *tls = SSL_new(context);
    SSL_set_fd(tls, fd);
    if (SSL_connect(tls) == 1) return tls;
    SSL_free(tls);
    return NULL;
}

void tls_free(void *tls) { SSL_free(tls); }

/* As recv and send return it: bytes, 0 at the end, or -1 with errno. */
static ssize_t result(void *tls, int n) {
    if (n > 0) return n;
    int reason = SSL_get_error(tls, n);
    if (reason == SSL_ERROR_ZERO_RETURN) return 0;
    if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE)
        errno = EAGAIN;
    else if (reason != SSL_ERROR_SYSCALL || !errno)
        errno = EPROTO;
    return -1;
}

/* What one record brings. */
ssize_t tls_recv_some(void *tls, char *data, size_t size) {
    ERR_clear_error();
    errno = 0;
    return result(tls, SSL_read(tls, data, (int)size));
}

/* For sockets that do not block: reads until nothing is left or the room is full. */
ssize_t tls_recv(void *tls, char *data, size_t size) {
    size_t length = 0;
    while (length < size) {
        ssize_t n = tls_recv_some(tls, data + length, size - length);
        if (n <= 0) return length ? (ssize_t)length : n;
        length += n;
    }
    return (ssize_t)length;
}

ssize_t tls_send(void *tls, const char *data, size_t size) {
    ERR_clear_error();
    errno = 0;
    return result(tls, SSL_write(tls, data, (int)size));
}
