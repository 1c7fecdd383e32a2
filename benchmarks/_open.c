/* Opens many WebSockets, a number of them at a time, as fast as the server takes them, and checks every answer.
 *
 * Called by _connections.py only, through ctypes: there the opening is what is measured; elsewhere Python opens. The
 * sockets are left open and are the caller's. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_SIZE = 2048, MAX_EVENTS = 256 };

struct attempt {
    int fd, is_sent;
    size_t length;
    char head[HEAD_SIZE + 1];
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

/* One event, then silence: what a server sends to a socket that is open already is not looked at. */
static int watch(int epoll, struct attempt *a, int operation, uint32_t events) {
    struct epoll_event event = {.events = events | EPOLLONESHOT, .data.ptr = a};
    return epoll_ctl(epoll, operation, a->fd, &event);
}

/* Sends the request, which always fits. On loopback a socket is connected at once, mostly. */
static int ask(int epoll, struct attempt *a, const char *request, size_t length, int operation) {
    ssize_t n = send(a->fd, request, length, MSG_NOSIGNAL);
    a->is_sent = n == (ssize_t)length;
    if (!a->is_sent && (n >= 0 || (errno != EAGAIN && errno != ENOTCONN))) return -1;
    return watch(epoll, a, operation, a->is_sent ? EPOLLIN : EPOLLOUT);
}

static int begin(int epoll, struct attempt *a, const struct sockaddr_in *address, const char *request, size_t length) {
    a->length = 0;
    a->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (a->fd < 0) return -1;
    if (connect(a->fd, (const struct sockaddr *)address, sizeof *address) && errno != EINPROGRESS) return -1;
    return ask(epoll, a, request, length, EPOLL_CTL_ADD);
}

/* 1: upgraded; 0: the answer is not complete; -1: it is wrong. */
static int answered(struct attempt *a, const char *accept) {
    ssize_t n = recv(a->fd, a->head + a->length, HEAD_SIZE - a->length, 0);
    if (n <= 0) return -1;
    a->length += n;
    a->head[a->length] = 0;
    char *end = strstr(a->head, "\r\n\r\n");
    if (!end) return a->length < HEAD_SIZE ? 0 : -1;
    int is_right = end + 4 == a->head + a->length && !strncmp(a->head, "HTTP/1.1 101 ", 13) && strstr(a->head, accept);
    return is_right ? 1 : -1;
}

/* Opens `count` sockets to 127.0.0.1, `parallel` at a time, into `fds`. Returns the seconds it took, or -1 with
 * `error`: somebody was refused, answered wrongly, or not within `patience` seconds. */
double open_many(int port, const char *request, const char *accept, int count, int parallel, double patience, int *fds,
                 char *error, size_t error_size) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    struct attempt *attempts = calloc(parallel, sizeof *attempts);
    struct epoll_event events[MAX_EVENTS];
    int epoll = epoll_create1(EPOLL_CLOEXEC), begun = 0, done = 0;
    double start = now(), elapsed = 0;
    size_t length = strlen(request);
    errno = 0;
    for (; begun < parallel && begun < count; begun++)
        if (begin(epoll, &attempts[begun], &address, request, length)) goto failed;
    while (done < count) {
        int n = epoll_wait(epoll, events, MAX_EVENTS, 100);
        elapsed = now() - start;
        if (elapsed > patience) {
            errno = ETIMEDOUT;
            goto failed;
        }
        for (int i = 0; i < n; i++) {
            struct attempt *a = events[i].data.ptr;
            if (!a->is_sent) {
                if (ask(epoll, a, request, length, EPOLL_CTL_MOD)) goto failed;
                continue;
            }
            int result = answered(a, accept);
            if (result < 0) {
                snprintf(error, error_size, "connection %d: the server answered the handshake with '%.*s' (%s)", done,
                         (int)a->length, a->head, strerror(errno));
                goto end;
            }
            if (!result) {
                if (watch(epoll, a, EPOLL_CTL_MOD, EPOLLIN)) goto failed;
                continue;
            }
            fds[done++] = a->fd;
            a->fd = 0;
            if (begun < count) {
                if (begin(epoll, a, &address, request, length)) goto failed;
                begun++;
            }
        }
    }
    free(attempts);
    close(epoll);
    return now() - start;
failed:
    snprintf(error, error_size, "%d of %d connections are open: %s", done, count, strerror(errno));
end:
    for (int i = 0; i < parallel; i++)
        if (attempts[i].fd > 0) close(attempts[i].fd);
    for (int i = 0; i < done; i++) close(fds[i]);
    free(attempts);
    close(epoll);
    return -1;
}
