/** One condition of a rule. All of a rule's conditions have to hold; every rule is about TCP alone, unless its chain says otherwise. */
export type Match =
  /** Comes or goes over the loopback interface, or does not. */
  | { readonly kind: 'loopback'; readonly is: boolean }
  /** Sent from a socket of this user. A packet without a socket (of a connection that was closed already) does not match. */
  | { readonly kind: 'user'; readonly uid: number }
  /** Sent from a socket of any other user. A packet without a socket does not match this either. */
  | { readonly kind: 'otherUser'; readonly uid: number }
  | { readonly kind: 'port'; readonly of: 'source' | 'destination'; readonly ports: readonly number[] }
  | { readonly kind: 'notPort'; readonly of: 'source' | 'destination'; readonly port: number }
  | {
      readonly kind: 'network';
      readonly of: 'source' | 'destination';
      readonly family: 4 | 6;
      readonly cidr: string;
    }
  /** To an address that this network namespace has not. */
  | { readonly kind: 'foreignDestination' }
  /** From an address that this network namespace has not. */
  | { readonly kind: 'foreignSource' }
  /** conntrack can make nothing of the packet, and so does not translate its addresses. */
  | { readonly kind: 'invalid' }
  /** conntrack has no connection for the packet: it can make nothing of it, or was told to pass over it. */
  | { readonly kind: 'withoutConnection' }
  | { readonly kind: 'direction'; readonly is: 'original' | 'reply' }
  /** The connection's destination was rewritten when it began. */
  | { readonly kind: 'rewritten' }
  /** The connection bears the proxy's mark. */
  | { readonly kind: 'marked' }
  /** The connection's mark, or the packet's own, has this value in the bits of the mask. */
  | { readonly kind: 'connectionMark' | 'packetMark'; readonly value: number; readonly mask: number }
  /** The packet belongs to a connection whose mark has another value in the bits of the mask: not one that conntrack can make nothing of. */
  | { readonly kind: 'otherConnectionMark'; readonly value: number; readonly mask: number }
  /** A SYN without ACK: the packet asks for a new connection. */
  | { readonly kind: 'opening' }
  /** Neither SYN nor SYN-ACK. */
  | { readonly kind: 'notSyn' }
  /** No SYN without ACK: the packet cannot begin a connection. */
  | { readonly kind: 'notOpening' }
  | { readonly kind: 'reset' }
  /** Code of an ICMP message of type 3, destination unreachable (RFC 792): 0 is the network, 1 the host. */
  | { readonly kind: 'unreachable'; readonly code: 0 | 1 }
  /** An error about an answer of this network namespace in a connection whose opener has not acknowledged any yet. */
  | { readonly kind: 'aboutFirstAnswer' };

/** Queues with numbers one behind the other: the one that a packet goes to is chosen by its two addresses, the same for both directions of a connection. */
export interface QueueTarget {
  readonly queue: number;
  readonly count: number;
}

export interface MarkBits {
  readonly value: number;
  readonly mask: number;
}

/** `pass` ends this chain, not those of others. */
export type Action =
  | 'pass'
  | 'drop'
  | 'refuse'
  | 'mark'
  /** Takes the proxy's bits from the connection's mark. */
  | 'unmark'
  | { readonly redirect: number }
  /** Writes these bits of the connection's mark, or the packet's own, and goes on. */
  | { readonly markConnection: MarkBits }
  | { readonly markPacket: MarkBits }
  /** Looks the packet's connection up among those of this conntrack zone, by the direction in which it was opened alone. */
  | { readonly zone: number }
  /** To one of these queues. A queue without a listener drops. */
  | QueueTarget;

export interface Rule {
  /** Stands as a comment in the kernel, so that whoever lists the rules can read them. */
  readonly why: string;
  readonly when: readonly Match[];
  readonly then: Action;
  /** Stands without its comment, which iptables asks of each packet as it asks any condition: for rules that every packet meets. */
  readonly bare?: true;
}

export interface Chain {
  readonly name:
    | 'outbound'
    | 'inbound'
    | 'mark_own'
    | 'inbound_filter'
    | 'outbound_filter'
    | 'opening'
    | 'queue_in'
    | 'queue_out'
    | 'keep_zone'
    | 'errors';
  readonly table: 'raw' | 'nat' | 'mangle' | 'filter';
  readonly hook: 'prerouting' | 'input' | 'output';
  /** About ICMP over IPv4 instead of TCP. */
  readonly of?: 'icmp';
  /** The kernel looks for the route again when a rule has changed the packet's mark. iptables does so in every chain of mangle, output. */
  readonly reroutes?: true;
  /** Only packets of which all this holds come to the chain at all. Iptables asks it at the jump; nftables, whose chains have none, knows no such chain. */
  readonly entry?: readonly Match[];
  readonly rules: readonly Rule[];
}

/** Packets with this mark are looked up in this table, which leads them to the sockets of this network namespace, whatever their destination. */
export interface Routing {
  readonly mark: MarkBits;
  readonly table: number;
  /** Of the rule that leads to the table, among those of `ip rule`. */
  readonly priority: number;
}

/** All rules of a pod, in no tool's language. */
export interface RuleSet {
  readonly mode: 'redirect' | 'nfqueue';
  /** Changes whenever the meaning of the rules does. */
  readonly version: number;
  readonly mark: { readonly value: number; readonly mask: number };
  readonly chains: readonly Chain[];
  readonly routing?: Routing;
}
