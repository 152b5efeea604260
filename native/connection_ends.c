/* Questions of sock_diag(7) and of ctnetlink, so many in one call, and their answers. */
#define _GNU_SOURCE
#include "connection_ends.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>

enum {
  /* Their answers find room in the buffer of the socket. */
  AT_ONCE = 64,
  MOST_QUESTION = 160,
  ANSWER_BYTES = 16 * 1024,
  /* net/tcp_states.h */
  STATE_TIME_WAIT = 6,
  STATE_CLOSE = 7,
  STATE_LISTEN = 10,
  /* linux/netfilter/nf_conntrack_tcp.h */
  CONNTRACK_TIME_WAIT = 7,
  CONNTRACK_CLOSE = 8,
};

/* What is asked about, and what is known of it so far. */
struct asked {
  uint8_t *at[AT_ONCE];
  struct pass_record record[AT_ONCE];
  bool gone[AT_ONCE];  /* what was asked for last says so */
  bool lives[AT_ONCE]; /* it has a socket, and its bytes are wanted */
  struct entry {
    uint8_t id[4];
    bool closing;
  } entry[AT_ONCE]; /* conntrack's */
  uint32_t count;
};

struct question {
  uint8_t bytes[AT_ONCE * MOST_QUESTION];
  size_t length;
};

/* --- questions --- */

static void put(struct question *question, const void *bytes, size_t length) {
  memcpy(question->bytes + question->length, bytes, length);
  memset(question->bytes + question->length + length, 0, NLMSG_ALIGN(length) - length);
  question->length += NLMSG_ALIGN(length);
}

static size_t begin(struct question *question, uint16_t type, uint32_t sequence) {
  size_t start = question->length;
  struct nlmsghdr header = {.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = sequence};
  put(question, &header, sizeof header);
  return start;
}

/* Fills in the length at the beginning of a message. */
static void end_message(struct question *question, size_t start) {
  uint32_t length = (uint32_t)(question->length - start);
  memcpy(question->bytes + start, &length, sizeof length);
}

static size_t begin_nested(struct question *question, uint16_t type) {
  size_t start = question->length;
  struct nlattr header = {.nla_type = (uint16_t)(type | NLA_F_NESTED)};
  put(question, &header, sizeof header);
  return start;
}

static void end_nested(struct question *question, size_t start) {
  uint16_t length = (uint16_t)(question->length - start);
  memcpy(question->bytes + start, &length, sizeof length);
}

static void attribute(struct question *question, uint16_t type, const void *value, size_t length) {
  struct nlattr header = {.nla_len = (uint16_t)(sizeof header + length), .nla_type = type};
  put(question, &header, sizeof header);
  put(question, value, length);
}

static size_t address_bytes(const struct pass_record *record) { return record->family == 4 ? 4 : 16; }
static uint8_t family_of(const struct pass_record *record) { return record->family == 4 ? AF_INET : AF_INET6; }

static void ask_for_socket(struct question *question, const struct pass_record *record, uint32_t sequence) {
  struct inet_diag_req_v2 request = {.sdiag_family = family_of(record),
                                     .sdiag_protocol = IPPROTO_TCP,
                                     .idiag_states = UINT32_MAX,
                                     .id = {.idiag_sport = htons(record->own_port),
                                            .idiag_dport = htons(record->other_port),
                                            /* Else those that are bound to it are not found. */
                                            .idiag_if = record->device,
                                            .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}};
  memcpy(request.id.idiag_src, record->own, address_bytes(record));
  memcpy(request.id.idiag_dst, record->other, address_bytes(record));
  size_t start = begin(question, SOCK_DIAG_BY_FAMILY, sequence);
  put(question, &request, sizeof request);
  end_message(question, start);
}

/* As src/netlink/conntrack.ts writes it: named by its first packet. */
static size_t about_entry(struct question *question, uint16_t type, const struct pass_record *record, uint32_t sequence) {
  bool four = record->family == 4;
  size_t length = address_bytes(record);
  uint8_t protocol = IPPROTO_TCP;
  uint16_t own = htons(record->own_port), other = htons(record->other_port);
  struct nfgenmsg generic = {.nfgen_family = family_of(record), .version = NFNETLINK_V0};
  size_t start = begin(question, (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type), sequence);
  put(question, &generic, sizeof generic);
  size_t tuple = begin_nested(question, CTA_TUPLE_ORIG);
  size_t part = begin_nested(question, CTA_TUPLE_IP);
  attribute(question, four ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, record->calling ? record->own : record->other, length);
  attribute(question, four ? CTA_IP_V4_DST : CTA_IP_V6_DST, record->calling ? record->other : record->own, length);
  end_nested(question, part);
  part = begin_nested(question, CTA_TUPLE_PROTO);
  attribute(question, CTA_PROTO_NUM, &protocol, sizeof protocol);
  attribute(question, CTA_PROTO_SRC_PORT, record->calling ? &own : &other, sizeof own);
  attribute(question, CTA_PROTO_DST_PORT, record->calling ? &other : &own, sizeof own);
  end_nested(question, part);
  end_nested(question, tuple);
  return start;
}

static void ask_conntrack(struct question *question, const struct pass_record *record, uint32_t sequence) {
  end_message(question, about_entry(question, IPCTNL_MSG_CT_GET, record, sequence));
}

/* --- answers --- */

/* The value of an attribute among those in [at, at + length); NULL when there is none. */
static const uint8_t *find(const uint8_t *at, size_t length, uint16_t type, size_t *found) {
  struct nlattr header;
  for (size_t here = 0; here + sizeof header <= length;) {
    memcpy(&header, at + here, sizeof header);
    if (header.nla_len < sizeof header || header.nla_len > length - here) return NULL;
    if ((header.nla_type & NLA_TYPE_MASK) == type) {
      *found = header.nla_len - sizeof header;
      return at + here + sizeof header;
    }
    here += NLA_ALIGN(header.nla_len);
  }
  return NULL;
}

static double counter(const uint8_t *attributes, size_t length, uint16_t type) {
  size_t found;
  const uint8_t *counters = find(attributes, length, type, &found);
  const uint8_t *bytes = counters == NULL ? NULL : find(counters, found, CTA_COUNTERS_BYTES, &found);
  if (bytes == NULL || found != 8) return 0;
  uint64_t value;
  memcpy(&value, bytes, sizeof value);
  return (double)be64toh(value);
}

/* Whether it is the name of this connection's own socket, which may be one that listened on IPv6. The kernel answers with the listener
   where a connection has none of its own. */
static bool is_own(const struct pass_record *record, const struct inet_diag_msg *message) {
  static const uint8_t MAPPED[12] = {[10] = 0xff, [11] = 0xff};
  const uint8_t *own = (const uint8_t *)message->id.idiag_src, *other = (const uint8_t *)message->id.idiag_dst;
  if (message->idiag_state == STATE_LISTEN || message->id.idiag_sport != htons(record->own_port) ||
      message->id.idiag_dport != htons(record->other_port))
    return false;
  if (record->family == 4 && message->idiag_family == AF_INET6) {
    if (memcmp(own, MAPPED, sizeof MAPPED) != 0 || memcmp(other, MAPPED, sizeof MAPPED) != 0) return false;
    own += sizeof MAPPED;
    other += sizeof MAPPED;
  }
  return memcmp(own, record->own, address_bytes(record)) == 0 && memcmp(other, record->other, address_bytes(record)) == 0;
}

static bool socket_is_gone(const struct pass_record *record, const uint8_t *body, size_t length) {
  struct inet_diag_msg message;
  if (length < sizeof message) return false;
  memcpy(&message, body, sizeof message);
  return !is_own(record, &message) || message.idiag_state == STATE_TIME_WAIT || message.idiag_state == STATE_CLOSE;
}

static bool conntrack_is_closing(struct pass_record *record, struct entry *entry, const uint8_t *body, size_t length) {
  if (length < sizeof(struct nfgenmsg)) return false;
  body += sizeof(struct nfgenmsg);
  length -= sizeof(struct nfgenmsg);
  size_t found;
  const uint8_t *at = find(body, length, CTA_PROTOINFO, &found);
  if (at != NULL) at = find(at, found, CTA_PROTOINFO_TCP, &found);
  if (at != NULL) at = find(at, found, CTA_PROTOINFO_TCP_STATE, &found);
  bool closing = at != NULL && found == 1 && (*at == CONNTRACK_TIME_WAIT || *at == CONNTRACK_CLOSE);
  at = find(body, length, CTA_ID, &found);
  if (at == NULL || found != sizeof entry->id) return false;
  memcpy(entry->id, at, sizeof entry->id);
  entry->closing = closing;
  record->bytes_original = counter(body, length, CTA_COUNTERS_ORIG);
  record->bytes_reply = counter(body, length, CTA_COUNTERS_REPLY);
  return closing;
}

/* One message of the kernel; the number of a question is its place. */
static void hear(struct asked *asked, const struct nlmsghdr *header, const uint8_t *body, bool of_sockets) {
  if (header->nlmsg_seq >= asked->count) return;
  size_t length = header->nlmsg_len - sizeof *header;
  struct pass_record *record = &asked->record[header->nlmsg_seq];
  bool *gone = &asked->gone[header->nlmsg_seq];
  if (header->nlmsg_type == NLMSG_ERROR) {
    int error;
    if (length < sizeof error) return;
    memcpy(&error, body, sizeof error);
    *gone = error == -ENOENT;
  } else if (of_sockets && header->nlmsg_type == SOCK_DIAG_BY_FAMILY) {
    *gone = socket_is_gone(record, body, length);
  } else if (!of_sockets && header->nlmsg_type == (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW)) {
    *gone = conntrack_is_closing(record, &asked->entry[header->nlmsg_seq], body, length);
  }
}

/* The kernel answers while it takes the questions: what is not there now does not come. */
static void hear_all(struct netlink *netlink, struct asked *asked, bool of_sockets) {
  static uint8_t answer[ANSWER_BYTES]; /* the main thread alone comes here */
  for (;;) {
    ssize_t got = netlink_receive(netlink, answer, sizeof answer);
    if (got == -EMSGSIZE || got == -ENOBUFS) continue;
    if (got < 0) return;
    struct nlmsghdr header;
    for (size_t at = 0; at + sizeof header <= (size_t)got; at += NLMSG_ALIGN(header.nlmsg_len)) {
      memcpy(&header, answer + at, sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > (size_t)got - at) break;
      hear(asked, &header, answer + at + sizeof header, of_sockets);
    }
  }
}

static void ask(struct netlink *netlink, struct asked *asked,
                void (*write)(struct question *question, const struct pass_record *record, uint32_t sequence), bool of_sockets) {
  static struct question question;
  question.length = 0;
  memset(asked->gone, 0, sizeof asked->gone);
  memset(asked->entry, 0, sizeof asked->entry);
  for (uint32_t i = 0; i < asked->count; i++) write(&question, &asked->record[i], i);
  if (asked->count > 0 && netlink_send(netlink, question.bytes, question.length) == 0) hear_all(netlink, asked, of_sockets);
}

/* Leaves those that have no socket, and those that shall be counted. */
static void leave_out_living(struct asked *asked) {
  uint32_t left = 0;
  for (uint32_t i = 0; i < asked->count; i++) {
    if (!asked->gone[i] && !asked->record[i].counted) continue;
    asked->lives[left] = !asked->gone[i];
    asked->at[left] = asked->at[i];
    asked->record[left++] = asked->record[i];
  }
  asked->count = left;
}

/*
 * What is forgotten here bears no mark in conntrack any more: a kernel that answers with SYN cookies makes a socket of any last ACK that is right, also of
 * one that comes after a RST, or is said again when the connection is over (docs/decisions/0101). By its id: a new connection on these ports stays.
 */
static void delete_entries(struct netlink *conntrack, struct asked *asked) {
  static struct question question;
  question.length = 0;
  for (uint32_t i = 0; i < asked->count; i++) {
    if (!asked->entry[i].closing || asked->lives[i] || asked->record[i].calling) continue;
    size_t start = about_entry(&question, IPCTNL_MSG_CT_DELETE, &asked->record[i], UINT32_MAX);
    attribute(&question, CTA_ID, asked->entry[i].id, sizeof asked->entry[i].id);
    end_message(&question, start);
  }
  if (question.length > 0 && netlink_send(conntrack, question.bytes, question.length) == 0) hear_all(conntrack, asked, false);
}

static void look(struct netlink *sockets, struct netlink *conntrack, struct asked *asked) {
  ask(sockets, asked, ask_for_socket, true);
  leave_out_living(asked);
  ask(conntrack, asked, ask_conntrack, false);
  delete_entries(conntrack, asked);
  for (uint32_t i = 0; i < asked->count; i++) {
    asked->record[i].ended = asked->gone[i] && !asked->lives[i];
    memcpy(asked->at[i], &asked->record[i], sizeof asked->record[i]);
  }
  asked->count = 0;
}

void connection_ends(struct netlink *sockets, struct netlink *conntrack, uint8_t *records, size_t length) {
  static struct asked asked;
  asked.count = 0;
  for (size_t at = 0; at + sizeof(struct pass_record) <= length;) {
    struct pass_record *record = &asked.record[asked.count];
    memcpy(record, records + at, sizeof *record);
    asked.at[asked.count] = records + at;
    size_t total = record->total;
    if (record->established && record->kept_back && !record->ended && ++asked.count == AT_ONCE) look(sockets, conntrack, &asked);
    if (total < sizeof *record) break;
    at += total;
  }
  look(sockets, conntrack, &asked);
}
