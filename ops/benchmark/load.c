/* load: a closed-loop load generator for one HTTP/1.1 server on loopback.
 *
 *     load SCRIPT PORT CONNECTIONS SECONDS
 *
 * Every connection walks the steps of SCRIPT again and again: it sends a request, waits for the whole answer, keeps
 * values from it for later requests, goes on. One thread and one epoll, because the generator shares its cores with
 * what it measures: a second thread would only take from the server.
 *
 * The script, one instruction a line:
 *     rows NAME,NAME… FILE        before any step: each walk takes the next line of FILE (values parted by tabs)
 *     step NAME                   begins a step; what follows belongs to it
 *     once                        sent before the measurement only, and not counted
 *     send METHOD PATH            the request
 *     header NAME: VALUE
 *     body TEXT                   Content-Length is added
 *     expect STATUS [STATUS…]     any other status is an error
 *     keep NAME json MEMBER       the string value of the body's first member of this name, at whatever depth
 *     keep NAME location PARAMETER
 * PATH, VALUE and TEXT may hold @{NAME}, a value of this connection, and @{n}, a number that is never used twice.
 *
 * On stdout: `ready` when every connection has done its `once` steps; then `go` is awaited on stdin, so that the caller
 * can read the CPU clocks at exactly these moments; `stop` at the end of SECONDS; last the result as one line of JSON.
 * A connection that meets an error stops there. The caller decides what errors mean; here they are counted and told.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_STEPS = 16, MAX_PIECES = 64, MAX_KEEPS = 4, MAX_STATUSES = 4, MAX_VARIABLES = 16,
    VALUE_BYTES = 4096,      /* the longest value kept: an access token, a redirect's code */
    BUFFER_BYTES = 65536,    /* the longest request and the longest answer */
    BUCKETS = 2560,
    SETUP_SECONDS = 120, DRAIN_SECONDS = 5,
};

/* ---- Failing and telling the time ----------------------------------------------------------------------------- */

static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

static uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static double cpu_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* ---- Latencies: 64 buckets for every power of two, so that a percentile is at most 1.6 % off ------------------ */

static int bucket_of(uint64_t ns) {
    int shift = 63 - __builtin_clzll(ns | 64) - 6;
    int index = shift * 64 + (int)(ns >> shift);
    return index < BUCKETS ? index : BUCKETS - 1;
}

static double bucket_ms(int index) {
    if (index < 128) return index / 1e6;
    int shift = index / 64 - 1;
    return ((double)((uint64_t)(index - shift * 64) << shift) + (double)(1ull << shift) / 2) / 1e6;
}

static double percentile_ms(const uint64_t *histogram, uint64_t count, double share) {
    uint64_t wanted = (uint64_t)(share * (double)count + 0.999999), seen = 0;
    for (int index = 0; index < BUCKETS; index++) {
        seen += histogram[index];
        if (seen >= wanted && seen > 0) return bucket_ms(index);
    }
    return 0;
}

/* ---- The script ------------------------------------------------------------------------------------------------- */

struct piece { const char *text; size_t length; int variable; };   /* variable < 0: the text as it stands */
struct template { struct piece pieces[MAX_PIECES]; int count; };
struct keep { bool from_location; char name[64]; int variable; };

struct step {
    char name[64];
    bool once, has_body;
    struct template head, body;
    int statuses[MAX_STATUSES], status_count;
    struct keep keeps[MAX_KEEPS];
    int keep_count;
    uint64_t requests, slowest_ns, histogram[BUCKETS];
};

static struct step steps[MAX_STEPS];
static int step_count, first_measured;
static char variables[MAX_VARIABLES][64];
static int variable_count = 1;         /* number 0 is @{n} */
static char **rows;                    /* lines of the `rows` file */
static size_t row_count, next_row;
static int row_variables[MAX_VARIABLES], row_variable_count;
static uint64_t counter;

static int variable_named(const char *name, size_t length) {
    if (length == 0 || length >= sizeof variables[0]) die("bad name of a value: %.*s", (int)length, name);
    if (length == 1 && *name == 'n') return 0;
    for (int index = 1; index < variable_count; index++)
        if (strlen(variables[index]) == length && memcmp(variables[index], name, length) == 0) return index;
    if (variable_count == MAX_VARIABLES) die("more than %d values", MAX_VARIABLES);
    memcpy(variables[variable_count], name, length);
    return variable_count++;
}

static void add_piece(struct template *template, const char *text, size_t length, int variable) {
    if (length == 0 && variable < 0) return;
    if (template->count == MAX_PIECES) die("a request of more than %d pieces", MAX_PIECES);
    template->pieces[template->count++] = (struct piece){ text, length, variable };
}

/* The text lives as long as the program: pieces point into it. */
static void add_text(struct template *template, const char *text) {
    for (const char *mark; (mark = strstr(text, "@{")) != NULL;) {
        const char *end = strchr(mark, '}');
        if (!end) die("@{ without } in: %s", text);
        add_piece(template, text, (size_t)(mark - text), -1);
        add_piece(template, NULL, 0, variable_named(mark + 2, (size_t)(end - mark - 2)));
        text = end + 1;
    }
    add_piece(template, text, strlen(text), -1);
}

static void read_rows(char *names, const char *path) {
    for (char *name = strtok(names, ","); name; name = strtok(NULL, ","))
        row_variables[row_variable_count++] = variable_named(name, strlen(name));
    FILE *file = fopen(path, "r");
    if (!file) die("%s: %s", path, strerror(errno));
    char *line = NULL;
    size_t room = 0, capacity = 0;
    for (ssize_t length; (length = getline(&line, &room, file)) > 0;) {
        if (line[length - 1] == '\n') line[length - 1] = 0;
        if (row_count == capacity) rows = realloc(rows, (capacity = capacity ? capacity * 2 : 1024) * sizeof *rows);
        rows[row_count++] = strdup(line);
    }
    fclose(file);
    if (row_count == 0) die("%s is empty", path);
}

static void read_script(const char *path, int port) {
    FILE *file = fopen(path, "r");
    if (!file) die("%s: %s", path, strerror(errno));
    char *line = NULL;
    size_t room = 0;
    struct step *step = NULL;
    for (ssize_t length; (length = getline(&line, &room, file)) > 0;) {
        if (line[length - 1] == '\n') line[length - 1] = 0;
        char *rest = strchr(line, ' ');
        if (rest) *rest++ = 0;
        else rest = line + strlen(line);
        char *text = NULL, word[64], from[16], member[64];
        if (*line == 0) continue;
        if (!strcmp(line, "rows")) {
            char *path_of_rows = strchr(rest, ' ');
            if (!path_of_rows) die("rows wants names and a file");
            *path_of_rows++ = 0;
            read_rows(rest, path_of_rows);
        } else if (!strcmp(line, "step")) {
            if (step_count == MAX_STEPS) die("more than %d steps", MAX_STEPS);
            step = &steps[step_count++];
            snprintf(step->name, sizeof step->name, "%s", rest);
        } else if (!step) {
            die("'%s' before the first step", line);
        } else if (!strcmp(line, "once")) {
            step->once = true;
        } else if (!strcmp(line, "send")) {
            if (asprintf(&text, "%s HTTP/1.1\r\nHost: localhost:%d\r\n", rest, port) < 0) die("out of memory");
            add_text(&step->head, text);
        } else if (!strcmp(line, "header")) {
            if (asprintf(&text, "%s\r\n", rest) < 0) die("out of memory");
            add_text(&step->head, text);
        } else if (!strcmp(line, "body")) {
            step->has_body = true;
            add_text(&step->body, strdup(rest));
        } else if (!strcmp(line, "expect")) {
            for (char *status = strtok(rest, " "); status; status = strtok(NULL, " "))
                if (step->status_count < MAX_STATUSES) step->statuses[step->status_count++] = atoi(status);
        } else if (!strcmp(line, "keep") && sscanf(rest, "%63s %15s %63s", word, from, member) == 3) {
            if (step->keep_count == MAX_KEEPS) die("more than %d values kept by one step", MAX_KEEPS);
            struct keep *keep = &step->keeps[step->keep_count++];
            keep->variable = variable_named(word, strlen(word));
            keep->from_location = !strcmp(from, "location");
            snprintf(keep->name, sizeof keep->name, keep->from_location ? "%s=" : "\"%s\"", member);
        } else {
            die("cannot read the line: %s %s", line, rest);
        }
    }
    free(line);
    fclose(file);
    while (first_measured < step_count && steps[first_measured].once) first_measured++;
    if (first_measured == step_count) die("%s has no step to measure", path);
}

/* ---- Connections ------------------------------------------------------------------------------------------------ */

enum phase { SETUP, RUN, DRAIN };
enum state { PARKED, WAITING, STOPPED };   /* between requests · for an answer · after an error */

struct connection {
    int fd, step;
    enum state state;
    uint64_t sent_at;
    size_t received;
    char answer[BUFFER_BYTES + 1];
    char values[MAX_VARIABLES][VALUE_BYTES];
};

static struct connection *connections;
static int connection_count, waiting, errors;
static enum phase phase = SETUP;
static uint64_t walks;
static char first_error[512];

static void fail(struct connection *connection, const char *format, ...) {
    if (errors++ == 0) {
        int used = snprintf(first_error, sizeof first_error, "step %s: ", steps[connection->step].name);
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(first_error + used, sizeof first_error - (size_t)used, format, arguments);
        va_end(arguments);
    }
    if (connection->state == WAITING) waiting--;
    connection->state = STOPPED;
    close(connection->fd);   /* which also takes it out of the epoll set */
}

static size_t fill(const struct template *template, struct connection *connection, char *out, size_t room) {
    size_t length = 0;
    for (int index = 0; index < template->count; index++) {
        const struct piece *piece = &template->pieces[index];
        const char *text = piece->variable > 0 ? connection->values[piece->variable] : piece->text;
        char number[24];
        if (piece->variable == 0) {
            snprintf(number, sizeof number, "%llu", (unsigned long long)++counter);
            text = number;
        }
        size_t size = piece->variable < 0 ? piece->length : strlen(text);
        if (length + size > room) die("a request of more than %zu bytes", room);
        memcpy(out + length, text, size);
        length += size;
    }
    return length;
}

static void begin_walk(struct connection *connection) {
    if (row_count == 0) return;
    const char *value = rows[next_row++ % row_count];
    for (int index = 0; index < row_variable_count; index++) {
        size_t length = strcspn(value, "\t");
        if (length >= VALUE_BYTES) die("a row's value of more than %d bytes", VALUE_BYTES - 1);
        memcpy(connection->values[row_variables[index]], value, length);
        connection->values[row_variables[index]][length] = 0;
        value += length + (value[length] == '\t');
    }
}

static void send_request(struct connection *connection) {
    static char request[BUFFER_BYTES], body[BUFFER_BYTES];
    struct step *step = &steps[connection->step];
    size_t body_length = step->has_body ? fill(&step->body, connection, body, sizeof body) : 0;
    size_t length = fill(&step->head, connection, request, sizeof request - 64);
    if (step->has_body) length += (size_t)sprintf(request + length, "Content-Length: %zu\r\n", body_length);
    length += (size_t)sprintf(request + length, "\r\n");
    if (length + body_length > sizeof request) die("a request of more than %d bytes", BUFFER_BYTES);
    memcpy(request + length, body, body_length);
    length += body_length;

    connection->state = WAITING;
    connection->received = 0;
    connection->sent_at = now_ns();
    waiting++;
    for (size_t sent = 0; sent < length;) {
        ssize_t wrote = send(connection->fd, request + sent, length - sent, MSG_NOSIGNAL);
        if (wrote >= 0) {
            sent += (size_t)wrote;
        } else if (errno == EAGAIN) {
            /* A socket's buffer holds many of these requests, so this wait does not happen with a server that reads. */
            poll(&(struct pollfd){ .fd = connection->fd, .events = POLLOUT }, 1, 1000);
        } else {
            fail(connection, "sending: %s", strerror(errno));
            return;
        }
    }
}

/* Sends the next request of the walk, unless this phase has none to send. */
static void go_on(struct connection *connection) {
    if (connection->step == step_count) {
        if (phase == RUN) walks++;
        connection->step = first_measured;
        begin_walk(connection);
    }
    bool parks = phase == DRAIN || (phase == SETUP && connection->step >= first_measured);
    if (parks) connection->state = PARKED;
    else send_request(connection);
}

static void set_value(struct connection *connection, const struct keep *keep, const char *value, size_t length) {
    if (length == 0 || length >= VALUE_BYTES || memchr(value, '\\', length)) {
        fail(connection, "the value of %s is empty, too long or escaped", keep->name);
        return;
    }
    memcpy(connection->values[keep->variable], value, length);
    connection->values[keep->variable][length] = 0;
}

static void keep_member(struct connection *connection, const struct keep *keep, const char *body) {
    for (const char *at = body; (at = strstr(at, keep->name)) != NULL;) {
        at += strlen(keep->name);
        const char *value = at + strspn(at, " \t\r\n");
        if (*value != ':') continue;   /* the name as a value of something else */
        value++;
        value += strspn(value, " \t\r\n");
        if (*value != '"') continue;
        value++;
        set_value(connection, keep, value, strcspn(value, "\""));
        return;
    }
    fail(connection, "no member %s in: %.200s", keep->name, body);
}

static void keep_parameter(struct connection *connection, const struct keep *keep, const char *location) {
    for (const char *at = strpbrk(location, "?&"); at; at = strpbrk(at, "&")) {
        at++;
        if (strncmp(at, keep->name, strlen(keep->name)) != 0) continue;
        at += strlen(keep->name);
        set_value(connection, keep, at, strcspn(at, "&#"));
        return;
    }
    fail(connection, "no parameter %s in the redirect to %.200s", keep->name, location);
}

/* A whole answer is here: head and body are strings. */
static void take_answer(struct connection *connection, int status, const char *location, const char *body) {
    struct step *step = &steps[connection->step];
    uint64_t took = now_ns() - connection->sent_at;
    bool expected = false;
    for (int index = 0; index < step->status_count; index++) expected |= step->statuses[index] == status;
    if (!expected) {
        fail(connection, "status %d%s%.200s: %.200s", status, *location ? " to " : "", location, body);
        return;
    }
    for (int index = 0; index < step->keep_count && connection->state != STOPPED; index++) {
        if (step->keeps[index].from_location) keep_parameter(connection, &step->keeps[index], location);
        else keep_member(connection, &step->keeps[index], body);
    }
    if (connection->state == STOPPED) return;
    waiting--;
    if (phase == RUN && !step->once) {
        step->requests++;
        step->histogram[bucket_of(took)]++;
        if (took > step->slowest_ns) step->slowest_ns = took;
    }
    connection->step++;
    go_on(connection);
}

static void receive(struct connection *connection) {
    char *answer = connection->answer;
    ssize_t got = recv(connection->fd, answer + connection->received, BUFFER_BYTES - connection->received, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0 || connection->state != WAITING) {
        fail(connection, got == 0 ? "the server closed the connection"
                         : got < 0 ? strerror(errno) : "the server sent more than it was asked for");
        return;
    }
    connection->received += (size_t)got;
    answer[connection->received] = 0;
    char *end = strstr(answer, "\r\n\r\n");
    if (end) {
        int status = connection->received > 12 ? atoi(answer + 9) : 0;
        size_t body_length = 0;
        char *location = NULL;
        for (char *line = strstr(answer, "\r\n"); line < end; line = strstr(line + 2, "\r\n")) {
            char *header = line + 2;
            if (!strncasecmp(header, "content-length:", 15)) body_length = strtoul(header + 15, NULL, 10);
            else if (!strncasecmp(header, "location:", 9)) location = header + 9 + strspn(header + 9, " ");
            else if (!strncasecmp(header, "transfer-encoding:", 18)) {
                fail(connection, "status %d with a chunked body, which this generator does not read", status);
                return;
            }
        }
        size_t whole = (size_t)(end + 4 - answer) + body_length;
        if (connection->received > whole) {
            fail(connection, "the server sent more than it was asked for");
        } else if (connection->received == whole) {
            if (location) location[strcspn(location, "\r")] = 0;   /* nothing reads the head after this */
            take_answer(connection, status, location ? location : "", end + 4);
            return;
        }
    }
    if (connection->state == WAITING && connection->received == BUFFER_BYTES)
        fail(connection, "an answer of more than %d bytes", BUFFER_BYTES);
}

static void open_connection(struct connection *connection, int port, int events) {
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connecting to port %d: %s", port, strerror(errno));
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };
    epoll_ctl(events, EPOLL_CTL_ADD, connection->fd, &event);
}

/* Serves events until the deadline, or until nothing is waited for any more. */
static void serve(int events, uint64_t deadline) {
    struct epoll_event ready[64];
    while (waiting > 0) {
        uint64_t now = now_ns();
        if (now >= deadline) return;
        int count = epoll_wait(events, ready, 64, (int)((deadline - now) / 1000000) + 1);
        for (int index = 0; index < count; index++) receive(ready[index].data.ptr);
    }
}

static void fail_all_waiting(const char *message) {
    for (int index = 0; index < connection_count; index++)
        if (connections[index].state == WAITING) fail(&connections[index], "%s", message);
}

static void print_string(const char *text) {
    putchar('"');
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 0x20 || byte >= 0x7f || byte == '"' || byte == '\\') printf("\\u%04x", byte);
        else putchar(byte);
    }
    putchar('"');
}

static void print_result(double elapsed, double cpu) {
    printf("{\"seconds\": %.6f, \"cpu_seconds\": %.6f, \"walks\": %llu, \"errors\": %d, \"first_error\": ",
           elapsed, cpu, (unsigned long long)walks, errors);
    print_string(first_error);
    printf(", \"steps\": {");
    for (int index = first_measured; index < step_count; index++) {
        struct step *step = &steps[index];
        print_string(step->name);
        printf(": {\"requests\": %llu, \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"slowest_ms\": %.4f}%s",
               (unsigned long long)step->requests, percentile_ms(step->histogram, step->requests, 0.50),
               percentile_ms(step->histogram, step->requests, 0.99), (double)step->slowest_ns / 1e6,
               index + 1 < step_count ? ", " : "");
    }
    printf("}}\n");
}

int main(int count, char **arguments) {
    if (count != 5) die("usage: load SCRIPT PORT CONNECTIONS SECONDS");
    int port = atoi(arguments[2]);
    connection_count = atoi(arguments[3]);
    double seconds = atof(arguments[4]);
    if (connection_count < 1 || connection_count > 4096 || seconds <= 0) die("bad CONNECTIONS or SECONDS");
    read_script(arguments[1], port);

    int events = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc((size_t)connection_count, sizeof *connections);
    if (events < 0 || !connections) die("out of memory");
    for (int index = 0; index < connection_count; index++) open_connection(&connections[index], port, events);
    for (int index = 0; index < connection_count; index++) {
        begin_walk(&connections[index]);
        go_on(&connections[index]);
    }
    serve(events, now_ns() + SETUP_SECONDS * 1000000000ull);
    fail_all_waiting("no answer while the connections were prepared");

    puts("ready");
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin)) die("nobody said go");

    double cpu = cpu_seconds();
    uint64_t began = now_ns();
    phase = RUN;
    for (int index = 0; index < connection_count; index++)
        if (connections[index].state == PARKED) go_on(&connections[index]);
    serve(events, began + (uint64_t)(seconds * 1e9));
    double elapsed = (double)(now_ns() - began) / 1e9;
    cpu = cpu_seconds() - cpu;
    puts("stop");
    fflush(stdout);

    /* What is under way is waited for, so that a request without an answer is found, but no longer counted. */
    phase = DRAIN;
    serve(events, now_ns() + DRAIN_SECONDS * 1000000000ull);
    fail_all_waiting("no answer until after the end");
    print_result(elapsed, cpu);
    return 0;
}
