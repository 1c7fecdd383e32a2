/* The hot loop of the load generator: sends prepared bytes and checks every byte of what comes back.
 *
 * Called by _load.py only, through ctypes, with sockets that are already connected and upgraded. Opening connections,
 * building frames, timing and reporting are Python's; this file must not grow a second opinion on what a benchmark is.
 * One thread, one level-triggered epoll, one recv per wake: nothing here sets a socket option. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

enum { READ_SIZE = 1 << 18, SMALL_FRAME = 2 + 125, LARGE_FRAME = 4 + 4096, MAX_EVENTS = 256, COMPRESSED_TEXT = 0xc1 };
static const double PATIENCE = 3.0; /* seconds; a machine that others use as well may stop a server for one */

/* Fan-out: inflates a payload; which message is it? -1: none. */
typedef int (*recognize)(int client, const char *payload, size_t length);

/* As recv and send on a socket that does not block. */
typedef ssize_t (*receive)(void *tls, char *data, size_t size);
typedef ssize_t (*transmit)(void *tls, const char *data, size_t size);

struct client {
    int fd, watches_write;
    void *tls;       /* what stands between it and the socket, if anything does */
    const char *out; /* what it sends, over and over */
    size_t out_len;
    uint64_t out_pos, out_end; /* bytes written so far; bytes it may write by now */
    uint64_t in_pos;           /* echo: bytes received so far */
    double answered;           /* echo: when something came last */
    size_t *seen;              /* chat: bytes of each sender's stream received in this round; fan-out: messages */
    int last_sender;           /* chat: whose frame came last; the next one is most likely theirs too */
    const uint64_t *parts;     /* fan-out: where in `out` each round's share ends */
    size_t counted;            /* fan-out: messages received in this round */
    size_t stashed;            /* an incomplete frame at the end of the last read */
    char *stash;
};

struct frame {
    char *payload;
    size_t length;
};

struct load {
    int epoll, clients, senders, between_rounds;
    struct client *client;
    const char **expected; /* chat: per sender, the frames one round must bring; echo: one cyclic stream */
    size_t *expected_len;
    size_t frame_out, frame_in; /* echo: bytes of one frame each way; 0 means chat */
    uint64_t per_round, left, received, bytes;
    recognize recognize;         /* fan-out: set */
    int share, rounds, round;    /* fan-out: messages of a sender in a round; rounds until it starts over; this one */
    int inflate_every;           /* fan-out: 0, or frames have a context, and every so manieth client inflates */
    struct frame *known;         /* fan-out: per sender and message, the compressed payload that has been inflated */
    receive receive;             /* with TLS */
    transmit transmit;
    double elapsed, clock; /* the window so far; the time at the last wake */
    char buffer[LARGE_FRAME + READ_SIZE], error[256];
};

static int fail(struct load *load, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(load->error, sizeof load->error, format, args);
    va_end(args);
    return -1;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void watch(struct load *load, struct client *c, int write, int operation) {
    struct epoll_event event = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(load->epoll, operation, c->fd, &event);
    c->watches_write = write;
}

struct load *load_new(int clients, int senders) {
    struct load *load = calloc(1, sizeof *load);
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->clients = clients;
    load->senders = senders;
    load->between_rounds = 1;
    load->client = calloc(clients, sizeof *load->client);
    load->expected = calloc(senders, sizeof *load->expected);
    load->expected_len = calloc(senders, sizeof *load->expected_len);
    return load;
}

void load_free(struct load *load) {
    for (int i = 0; i < load->clients; i++) {
        free(load->client[i].seen);
        free(load->client[i].stash);
    }
    if (load->known)
        for (int i = 0; i < load->senders * load->share * load->rounds; i++) free(load->known[i].payload);
    free(load->known);
    free(load->client);
    free(load->expected);
    free(load->expected_len);
    free(load);
}

/* The bytes a client sends, kept by the caller; `out_len` 0: it only listens. `position` is where in them (and in the
 * expected echo) it starts. */
void load_client(struct load *load, int index, int fd, const char *out, size_t out_len, uint64_t position,
                 uint64_t in_position) {
    struct client *c = &load->client[index];
    c->fd = fd;
    c->out = out;
    c->out_len = out_len;
    c->out_pos = c->out_end = position;
    c->in_pos = in_position;
    c->seen = calloc(load->senders, sizeof *c->seen);
    c->stash = malloc(LARGE_FRAME);
    watch(load, c, 0, EPOLL_CTL_ADD);
}

/* From now on this client speaks TLS, which has been agreed on. */
void load_tls(struct load *load, int index, void *tls, receive receive, transmit transmit) {
    load->client[index].tls = tls;
    load->receive = receive;
    load->transmit = transmit;
}

void load_expect(struct load *load, int sender, const char *frames, size_t length) {
    load->expected[sender] = frames;
    load->expected_len[sender] = length;
}

/* Rounds: every client sends all of its bytes; the next round starts when `messages` frames have come, in all. */
void load_rounds(struct load *load, uint64_t messages) { load->per_round = messages; }

/* No rounds: a client has `in_flight` frames on the way and sends another one for each that comes back. */
void load_echo(struct load *load, size_t frame_out, size_t frame_in, int in_flight) {
    load->frame_out = frame_out;
    load->frame_in = frame_in;
    for (int i = 0; i < load->clients; i++) load->client[i].out_end += (uint64_t)frame_out * in_flight;
}

/* Fan-out, in rounds: a sender has `rounds` times `share` messages, and all clients get all of them, compressed. The
 * messages are numbered sender by sender. Without a context (`inflate_every` 0) equal messages are equal bytes: each
 * is inflated when it is first seen, and then compared. */
void load_fanout(struct load *load, int share, int rounds, int inflate_every, recognize recognize) {
    load->share = share;
    load->rounds = rounds;
    load->round = -1;
    load->inflate_every = inflate_every;
    load->recognize = recognize;
    load->known = calloc((size_t)load->senders * share * rounds, sizeof *load->known);
    load->per_round = (uint64_t)load->clients * load->senders * share;
}

/* Where in a sender's bytes each of its shares ends, kept by the caller. */
void load_parts(struct load *load, int index, const uint64_t *ends) { load->client[index].parts = ends; }

static int write_some(struct load *load, struct client *c) {
    while (c->out_pos < c->out_end) {
        size_t from = c->out_pos % c->out_len, room = c->out_len - from;
        uint64_t want = c->out_end - c->out_pos;
        size_t length = want < room ? want : room;
        ssize_t n = c->tls ? load->transmit(c->tls, c->out + from, length)
                           : send(c->fd, c->out + from, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            if (!c->watches_write) watch(load, c, 1, EPOLL_CTL_MOD);
            return 0;
        }
        if (n < 0) return fail(load, "sending to the server: %s", strerror(errno));
        c->out_pos += n;
    }
    if (c->watches_write) watch(load, c, 0, EPOLL_CTL_MOD);
    return 0;
}

static int begin_round(struct load *load) {
    load->between_rounds = 0;
    load->left = load->per_round;
    if (load->recognize) load->round = (load->round + 1) % load->rounds;
    for (int i = 0; i < load->clients; i++) {
        struct client *c = &load->client[i];
        memset(c->seen, 0, load->senders * sizeof *c->seen);
        c->counted = 0;
        if (c->parts)
            c->out_end += c->parts[load->round] - (load->round ? c->parts[load->round - 1] : 0);
        else if (!load->frame_in)
            c->out_end += c->out_len;
        if (write_some(load, c)) return -1;
    }
    return 0;
}

/* Whose next frame is this? Frames of one sender must come in the order they were sent, each exactly once. */
static int sender_of(struct load *load, struct client *c, const char *frame, size_t length) {
    for (int i = 0, sender = c->last_sender; i < load->senders; i++) {
        size_t seen = c->seen[sender];
        if (length <= load->expected_len[sender] - seen && !memcmp(load->expected[sender] + seen, frame, length))
            return sender;
        if (++sender == load->senders) sender = 0;
    }
    return -1;
}

static int check_chat(struct load *load, struct client *c, const char *data, size_t length) {
    while (length >= 2) {
        size_t frame = 2 + (unsigned char)data[1];
        if (frame > SMALL_FRAME)
            return fail(load, "client %d: a frame with header %02x %02x", (int)(c - load->client),
                        (unsigned char)data[0], (unsigned char)data[1]);
        if (frame > length) break;
        int sender = sender_of(load, c, data, frame);
        if (sender < 0 || !load->left)
            return fail(load, "client %d: unexpected frame %02x %02x '%.*s' with %llu of the round to come",
                        (int)(c - load->client), (unsigned char)data[0], (unsigned char)data[1], (int)frame - 2,
                        data + 2, (unsigned long long)load->left);
        c->last_sender = sender;
        c->seen[sender] += frame;
        load->left--;
        load->received++;
        data += frame;
        length -= frame;
    }
    c->stashed = length;
    memcpy(c->stash, data, length);
    return 0;
}

/* The sender whose next message this payload is, by the bytes of a frame that has been inflated; -1: not seen yet. */
static int sender_of_known(struct load *load, struct client *c, const char *payload, size_t length) {
    for (int i = 0, sender = c->last_sender; i < load->senders; i++) {
        if (c->seen[sender] < (size_t)load->share) {
            struct frame *known = &load->known[(sender * load->rounds + load->round) * load->share + c->seen[sender]];
            if (known->length == length && !memcmp(known->payload, payload, length)) return sender;
        }
        if (++sender == load->senders) sender = 0;
    }
    return -1;
}

/* The same, by inflating it; what it was is kept. */
static int sender_inflated(struct load *load, struct client *c, const char *payload, size_t length) {
    int message = load->recognize((int)(c - load->client), payload, length);
    if (message < 0) return -1;
    int sender = message / (load->share * load->rounds);
    if ((size_t)message != (sender * load->rounds + load->round) * load->share + c->seen[sender]) return -1;
    if (!load->inflate_every) {
        struct frame *known = &load->known[message];
        known->payload = realloc(known->payload, length);
        memcpy(known->payload, payload, length);
        known->length = length;
    }
    return sender;
}

static int check_fanout(struct load *load, struct client *c, const char *data, size_t length) {
    int index = (int)(c - load->client);
    while (length >= 4) {
        const unsigned char *head = (const unsigned char *)data;
        size_t header = head[1] == 126 ? 4 : 2, size = head[1] == 126 ? head[2] << 8 | head[3] : head[1];
        if (head[0] != COMPRESSED_TEXT || head[1] > 126 || header + size > LARGE_FRAME)
            return fail(load, "client %d: a frame with header %02x %02x instead of a compressed text of one frame",
                        index, head[0], head[1]);
        if (header + size > length) break;
        if (!load->inflate_every || index % load->inflate_every == 0) {
            int sender = load->inflate_every ? -1 : sender_of_known(load, c, data + header, size);
            if (sender < 0) sender = sender_inflated(load, c, data + header, size);
            if (sender < 0) return fail(load, "client %d: a message that was not the next of any sender", index);
            c->last_sender = sender;
            c->seen[sender]++;
        }
        if (c->counted++ == (size_t)load->share * load->senders)
            return fail(load, "client %d: more messages than were sent", index);
        load->left--;
        load->received++;
        load->bytes += header + size;
        data += header + size;
        length -= header + size;
    }
    c->stashed = length;
    memcpy(c->stash, data, length);
    return 0;
}

static int check_echo(struct load *load, struct client *c, const char *data, size_t length) {
    uint64_t before = c->in_pos / load->frame_in;
    if (c->in_pos + length > c->out_pos / load->frame_out * load->frame_in)
        return fail(load, "client %d: more came back than was sent", (int)(c - load->client));
    while (length) {
        size_t from = c->in_pos % load->expected_len[0], n = load->expected_len[0] - from;
        if (n > length) n = length;
        if (memcmp(load->expected[0] + from, data, n))
            return fail(load, "client %d: the echo differs from what was sent within its frame %llu",
                        (int)(c - load->client), (unsigned long long)(c->in_pos / load->frame_in));
        c->in_pos += n;
        data += n;
        length -= n;
    }
    uint64_t frames = c->in_pos / load->frame_in - before;
    load->received += frames;
    c->out_end += frames * load->frame_out;
    c->answered = load->clock;
    return write_some(load, c);
}

static int read_once(struct load *load, struct client *c, ssize_t *length) {
    char *data = load->buffer;
    memcpy(data, c->stash, c->stashed);
    ssize_t n = c->tls ? load->receive(c->tls, data + c->stashed, READ_SIZE)
                       : recv(c->fd, data + c->stashed, READ_SIZE, MSG_DONTWAIT);
    *length = n;
    if (n < 0 && errno == EAGAIN) return 0;
    if (n < 0) return fail(load, "receiving from the server: %s", strerror(errno));
    if (n == 0) return fail(load, "client %d: the server closed the connection", (int)(c - load->client));
    if (load->frame_in) return check_echo(load, c, data, n);
    return (load->recognize ? check_fanout : check_chat)(load, c, data, c->stashed + n);
}

static int read_some(struct load *load, struct client *c) {
    ssize_t length;
    do
        if (read_once(load, c, &length)) return -1;
    while (c->tls && length == READ_SIZE); /* epoll knows nothing of what TLS still has */
    return 0;
}

/* An echo that is lost stops its client, and nobody else. 1: all go on; 0: somebody has waited for long; -1: too long. */
static int all_answered(struct load *load) {
    int result = 1;
    for (int i = 0; i < load->clients; i++) {
        double waits = load->clock - load->client[i].answered;
        if (waits <= load->elapsed / 2) continue;
        if (waits > PATIENCE) return fail(load, "client %d: nothing came back for %.1f s", i, waits);
        result = 0;
    }
    return result;
}

/* Runs for `seconds`, and with rounds on to the end of the current one, but at most for `cap`. Then messages must still
 * be coming; if none has come for a while, it goes on until one comes, or nothing has for PATIENCE: some were lost.
 * Returns 0, or -1 with `load_error`. Then `load_received` messages have come in `load_elapsed` seconds. */
int load_run(struct load *load, double seconds, double cap) {
    struct epoll_event events[MAX_EVENTS];
    double start = now(), last = start;
    load->clock = start;
    load->received = load->bytes = 0;
    for (int i = 0; i < load->clients; i++) load->client[i].answered = start;
    if (load->between_rounds && begin_round(load)) return -1;
    for (;;) {
        int n = epoll_wait(load->epoll, events, MAX_EVENTS, 100);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && read_some(load, c)) return -1;
            if (events[i].events & EPOLLOUT && write_some(load, c)) return -1;
        }
        load->clock = now();
        load->elapsed = load->clock - start;
        if (n > 0) last = load->clock;
        double silence = load->clock - last;
        if (!load->frame_in && load->elapsed > cap && silence > PATIENCE)
            return fail(load, "nothing came for %.1f s; %llu messages of the round are missing", silence,
                        (unsigned long long)load->left);
        if (load->frame_in) {
            int answered = load->elapsed >= seconds ? all_answered(load) : 0;
            if (answered) return answered < 0 ? -1 : 0;
        } else if (!load->left) {
            load->between_rounds = 1;
            if (load->elapsed >= seconds) return 0;
            if (begin_round(load)) return -1;
        } else if (load->elapsed >= cap && silence <= (cap - seconds) / 2) {
            return 0;
        }
    }
}

uint64_t load_received(struct load *load) { return load->received; }
uint64_t load_bytes(struct load *load) { return load->bytes; } /* fan-out: of the frames received */
double load_elapsed(struct load *load) { return load->elapsed; }
const char *load_error(struct load *load) { return load->error; }
