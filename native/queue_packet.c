/* Reads and writes at fixed places; every offset is inside what was checked for its length. */
#include "queue_packet.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <string.h>

enum {
  IPV4_HEADER = 20,
  IPV6_HEADER = 40,
  TCP_HEADER = 20,
  TCP_WITH_OPTIONS = TCP_HEADER + SYN_OPTIONS_BYTES,
  PROTOCOL_TCP = 6,
  FLAG_SYN = 2,
  FLAG_RST = 4,
  FLAG_ACK = 16,
  MOST_SHIFT = 14,
};

static uint16_t read16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static uint32_t read32(const uint8_t *at) { return (uint32_t)read16(at) << 16 | read16(at + 2); }
static void write16(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

/* --- checksums (RFC 1071), in the byte order of the machine: the sum of swapped words is the swapped sum --- */

static uint64_t add_words(uint64_t sum, const uint8_t *bytes, size_t length) {
  for (; length >= 4; bytes += 4, length -= 4) {
    uint32_t word;
    memcpy(&word, bytes, 4);
    sum += word;
  }
  uint8_t rest[4] = {0};
  memcpy(rest, bytes, length);
  uint32_t word;
  memcpy(&word, rest, 4);
  return sum + word;
}

static uint16_t folded(uint64_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

static uint16_t tcp_sum(const uint8_t *bytes, uint32_t family, const uint8_t *tcp, size_t tcp_length) {
  uint64_t sum = family == 4 ? add_words(0, bytes + 12, 8) : add_words(0, bytes + 8, 32);
  sum += htons(PROTOCOL_TCP);
  sum += htons((uint16_t)tcp_length);
  return folded(add_words(sum, tcp, tcp_length));
}

bool packet_checksum_right(const struct queued_packet *packet) {
  size_t tcp_length = packet->length - (size_t)(packet->tcp - packet->bytes);
  return tcp_sum(packet->bytes, packet->key.family, packet->tcp, tcp_length) == 0xffff;
}

/* --- reading --- */

/* Maximum segment, SACK permitted and timestamps, window scale: what Linux writes where timestamps are on (tcp_options_write). */
static bool has_linux_options(const uint8_t *options) {
  static const uint8_t BETWEEN[4] = {4, 2, 8, 10}, LAST[3] = {1, 3, 3};
  return options[0] == 2 && options[1] == 4 && memcmp(options + 4, BETWEEN, sizeof BETWEEN) == 0 &&
         memcmp(options + 16, LAST, sizeof LAST) == 0 && options[19] <= MOST_SHIFT;
}

static void read_tcp(struct queued_packet *packet) {
  const uint8_t *tcp = packet->tcp;
  uint8_t *source_port = packet->outgoing ? packet->key.own_port : packet->key.other_port;
  uint8_t *destination_port = packet->outgoing ? packet->key.other_port : packet->key.own_port;
  memcpy(source_port, tcp, 2);
  memcpy(destination_port, tcp + 2, 2);
  packet->sequence = read32(tcp + 4);
  packet->acknowledgement = read32(tcp + 8);
  size_t there = packet->length - (size_t)(tcp - packet->bytes);
  uint8_t flags = tcp[13] & 0x3f;
  size_t header = (size_t)(tcp[12] >> 4) * 4;
  packet->opening = (flags & (FLAG_SYN | FLAG_ACK | FLAG_RST)) == FLAG_SYN;
  packet->data = header < TCP_HEADER || header > there ? tcp + there : tcp + header;
  packet->data_length = (size_t)(tcp + there - packet->data);
  if ((flags != FLAG_SYN && flags != (FLAG_SYN | FLAG_ACK)) || there < TCP_WITH_OPTIONS ||
      tcp[12] >> 4 != TCP_WITH_OPTIONS / 4 || !has_linux_options(tcp + TCP_HEADER))
    return;
  packet->kind = flags == FLAG_SYN ? OPENING : SYN_ACK;
  packet->payload = tcp + TCP_WITH_OPTIONS;
  packet->payload_length = there - TCP_WITH_OPTIONS;
  packet->window = read16(tcp + 14);
  packet->maximum_segment = read16(tcp + TCP_HEADER + 2);
  packet->window_shift = tcp[TCP_HEADER + 19];
}

static void read_addresses(struct queued_packet *packet, const uint8_t *source, size_t length) {
  memcpy(packet->outgoing ? packet->key.own : packet->key.other, source, length);
  memcpy(packet->outgoing ? packet->key.other : packet->key.own, source + length, length);
}

static bool is_mapped(const uint8_t *address) {
  static const uint8_t PREFIX[12] = {[10] = 0xff, [11] = 0xff};
  return memcmp(address, PREFIX, sizeof PREFIX) == 0;
}

static void read_ip(struct queued_packet *packet) {
  const uint8_t *bytes = packet->bytes;
  size_t length = packet->length;
  if (length >= IPV4_HEADER + TCP_HEADER && bytes[0] == 0x45) {
    if (read16(bytes + 2) != length || (read16(bytes + 6) & 0x3fff) != 0 || bytes[9] != PROTOCOL_TCP) return;
    packet->key.family = 4;
    read_addresses(packet, bytes + 12, 4);
    packet->tcp = bytes + IPV4_HEADER;
  } else if (length >= IPV6_HEADER + TCP_HEADER && bytes[0] >> 4 == 6) {
    if (read16(bytes + 4) + (size_t)IPV6_HEADER != length || bytes[6] != PROTOCOL_TCP) return;
    if (is_mapped(bytes + 8) || is_mapped(bytes + 24)) return;
    packet->key.family = 6;
    read_addresses(packet, bytes + 8, 16);
    packet->tcp = bytes + IPV6_HEADER;
  }
  if (packet->tcp != NULL) read_tcp(packet);
}

static bool read_attribute(struct queued_packet *packet, uint16_t type, const uint8_t *value, size_t length, bool *named,
                           uint32_t *whole) {
  switch (type) {
    case NFQA_PACKET_HDR:
      if (length < sizeof(struct nfqnl_msg_packet_hdr)) return false;
      packet->id = read32(value);
      packet->outgoing = value[6] == NF_INET_LOCAL_OUT || value[6] == NF_INET_POST_ROUTING;
      return *named = true;
    case NFQA_PAYLOAD:
      packet->bytes = value;
      packet->length = length;
      return true;
    case NFQA_MARK:
    case NFQA_IFINDEX_INDEV:
    case NFQA_IFINDEX_OUTDEV:
    case NFQA_CAP_LEN:
      if (length != 4) return false;
      if (type == NFQA_MARK) packet->mark = read32(value);
      else if (type == NFQA_IFINDEX_INDEV) packet->in_device = read32(value);
      else if (type == NFQA_IFINDEX_OUTDEV) packet->out_device = read32(value);
      else *whole = read32(value);
      return true;
    default:
      return true;
  }
}

bool packet_read(const uint8_t *datagram, size_t length, struct queued_packet *packet) {
  memset(packet, 0, sizeof *packet);
  struct nlmsghdr header;
  enum { GENERIC_AT = NLMSG_HDRLEN, ATTRIBUTES_AT = GENERIC_AT + 4, ATTRIBUTE_HEADER = 4 };
  if (length < ATTRIBUTES_AT) return false;
  memcpy(&header, datagram, sizeof header);
  if (header.nlmsg_len > length || NLMSG_ALIGN(header.nlmsg_len) < length ||
      header.nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
    return false;
  packet->queue = read16(datagram + GENERIC_AT + 2);
  bool named = false;
  uint32_t whole = 0;
  size_t end = header.nlmsg_len;
  for (size_t at = ATTRIBUTES_AT; at + ATTRIBUTE_HEADER <= end;) {
    struct nlattr attribute;
    memcpy(&attribute, datagram + at, sizeof attribute);
    if (attribute.nla_len < ATTRIBUTE_HEADER || attribute.nla_len > end - at) return false;
    const uint8_t *value = datagram + at + ATTRIBUTE_HEADER;
    if (!read_attribute(packet, attribute.nla_type & NLA_TYPE_MASK, value, attribute.nla_len - ATTRIBUTE_HEADER, &named,
                        &whole))
      return false;
    at += NLA_ALIGN(attribute.nla_len);
  }
  if (!named) return false;
  if (whole > packet->length) packet->bytes = NULL; /* it was cut */
  if (packet->bytes != NULL) read_ip(packet);
  return true;
}

bool packet_has_magic(const struct queued_packet *packet) {
  static const uint8_t MAGIC[8] = {0x9c, 0x43, 0x54, 0x53, 0x47, 0x4e, 0x0d, 0x0a};
  return packet->data_length >= sizeof MAGIC && memcmp(packet->data, MAGIC, sizeof MAGIC) == 0;
}

/* --- writing --- */

void order_bytes(struct orders *orders, const uint8_t *bytes, size_t length) {
  memcpy(orders->bytes + orders->length, bytes, length);
  size_t aligned = NLMSG_ALIGN(length);
  memset(orders->bytes + orders->length + length, 0, aligned - length);
  orders->length += aligned;
}

static uint8_t *attribute(uint8_t *at, uint16_t type, size_t length) {
  struct nlattr header = {.nla_len = (uint16_t)(4 + length), .nla_type = type};
  memcpy(at, &header, sizeof header);
  return at + 4;
}

/* What every verdict begins with. @returns where its next attribute stands */
static uint8_t *begin_verdict(uint8_t *start, size_t total, const struct queued_packet *packet, uint32_t decision) {
  struct nlmsghdr header = {.nlmsg_len = (uint32_t)NLMSG_ALIGN(total),
                            .nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT,
                            .nlmsg_flags = NLM_F_REQUEST};
  memcpy(start, &header, sizeof header);
  uint8_t generic[4] = {0, 0, (uint8_t)(packet->queue >> 8), (uint8_t)packet->queue};
  memcpy(start + NLMSG_HDRLEN, generic, sizeof generic);
  uint32_t verdict[2] = {htonl(decision), htonl(packet->id)};
  uint8_t *at = attribute(start + NLMSG_HDRLEN + sizeof generic, NFQA_VERDICT_HDR, sizeof verdict);
  memcpy(at, verdict, sizeof verdict);
  return at + sizeof verdict;
}

void order_drop(struct orders *orders, const struct queued_packet *packet) {
  enum { TOTAL = NLMSG_HDRLEN + 4 + 12 };
  begin_verdict(orders->bytes + orders->length, TOTAL, packet, NF_DROP);
  orders->length += TOTAL;
}

static void finish_packet(uint8_t *bytes, size_t length, uint32_t family, uint8_t *tcp) {
  size_t tcp_length = length - (size_t)(tcp - bytes);
  if (family == 4) {
    write16(bytes + 2, (uint32_t)length);
    memset(bytes + 10, 0, 2);
    uint16_t sum = (uint16_t)~folded(add_words(0, bytes, IPV4_HEADER));
    memcpy(bytes + 10, &sum, 2);
  } else {
    write16(bytes + 4, (uint32_t)tcp_length);
  }
  memset(tcp + 16, 0, 2);
  uint16_t sum = (uint16_t)~tcp_sum(bytes, family, tcp, tcp_length);
  memcpy(tcp + 16, &sum, 2);
}

void order_accept(struct orders *orders, const struct queued_packet *packet, uint32_t mark, const uint8_t *payload,
                  size_t payload_length) {
  enum { MARK_AT = NLMSG_HDRLEN + 4 + 12, PACKET_AT = MARK_AT + 8 };
  uint8_t *start = orders->bytes + orders->length;
  size_t tcp_at = (size_t)(packet->tcp - packet->bytes), headers = tcp_at + TCP_WITH_OPTIONS;
  size_t length = headers + payload_length, total = PACKET_AT + 4 + length;
  uint32_t marked = htonl(mark);
  memcpy(attribute(begin_verdict(start, total, packet, NF_ACCEPT), NFQA_MARK, sizeof marked), &marked, sizeof marked);
  uint8_t *bytes = attribute(start + PACKET_AT, NFQA_PAYLOAD, length);
  memcpy(bytes, packet->bytes, headers);
  if (payload_length > 0) memcpy(bytes + headers, payload, payload_length);
  finish_packet(bytes, length, packet->key.family, bytes + tcp_at);
  memset(start + total, 0, NLMSG_ALIGN(total) - total);
  orders->length += NLMSG_ALIGN(total);
}
