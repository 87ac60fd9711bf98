// What the Outbound room uses of libresolv: one question for TXT records, and the texts in its answer.
#include <sys/types.h>
#include <netinet/in.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <resolv.h>
#include <string.h>

/// Asks for the TXT records of a name: `servers` if there are any, else those of the system. Blocks, for some seconds at
/// most where servers are silent.
///
/// Returns the length of the answer, or minus one of HOST_NOT_FOUND, NO_DATA, TRY_AGAIN and NO_RECOVERY.
static inline int gatehouse_txt_query(
    const char *name, const struct sockaddr_in *servers, int count, unsigned char *answer, int size) {
    struct __res_state state;
    memset(&state, 0, sizeof state);
    if (res_ninit(&state) != 0) return -NO_RECOVERY;
    if (count > 0) {
        state.nscount = count < MAXNS ? count : MAXNS;
        memcpy(state.nsaddr_list, servers, (size_t)state.nscount * sizeof *servers);
    }
    state.retrans = 1;
    state.retry = state.nscount > 1 ? 1 : 2;
    int length = res_nquery(&state, name, ns_c_in, ns_t_txt, answer, size);
    int failure = state.res_h_errno;
    res_nclose(&state);
    if (length >= 0) return length < size ? length : size;
    return failure > 0 ? -failure : -NO_RECOVERY;
}

/// The text of the record at a place in the answer, its strings joined.
///
/// Returns its length; -1 where another kind of record stands, or one that is broken; -2 behind the last.
static inline int gatehouse_txt_record(
    const unsigned char *answer, int length, int place, unsigned char *text, int size) {
    ns_msg message;
    ns_rr record;
    if (ns_initparse(answer, length, &message) != 0 || place >= ns_msg_count(message, ns_s_an)) return -2;
    if (ns_parserr(&message, ns_s_an, place, &record) != 0) return -2;
    if (ns_rr_type(record) != ns_t_txt || ns_rr_class(record) != ns_c_in) return -1;
    const unsigned char *at = ns_rr_rdata(record), *end = at + ns_rr_rdlen(record);
    int written = 0;
    while (at < end) {
        int part = *at++;
        if (part > end - at || part > size - written) return -1;
        memcpy(text + written, at, (size_t)part);
        at += part;
        written += part;
    }
    return written;
}
