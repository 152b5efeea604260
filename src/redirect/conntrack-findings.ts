import type { Finding } from './finding.ts';

/**
 * Settings of conntrack in the network namespace. None has to be changed; what each means for NFQUEUE mode is said.
 * @param read the text of a setting `net.netfilter.nf_conntrack_NAME`; undefined where there is none
 */
export function conntrackFindings(read: (name: string) => string | undefined): Finding[] {
  const setting = (name: string): number | undefined => {
    const text = read(name);
    return text === undefined ? undefined : Number(text);
  };
  const [max, count] = [setting('max'), setting('count')];
  if (count === undefined) {
    const what =
      'connections are not tracked here: load the module nf_conntrack on the node (modprobe nf_conntrack)';
    return [{ level: 'problem', what }];
  }
  const full = max !== undefined && max > 0 && count > max * 0.9;
  return [
    full
      ? {
          level: 'problem',
          what: `conntrack is nearly full (${count} of ${max}): raise net.netfilter.nf_conntrack_max`,
        }
      : { level: 'ok', what: `conntrack has room (${count} of ${max})` },
    {
      level: 'ok',
      what: `nf_conntrack_tcp_be_liberal=${setting('tcp_be_liberal')}: either will do, verified connections are made liberal one by one`,
    },
    {
      level: 'ok',
      what: `nf_conntrack_tcp_loose=${setting('tcp_loose')}: either will do, a connection that was picked up in the middle is not verified`,
    },
    setting('acct') === 1
      ? { level: 'ok', what: 'nf_conntrack_acct=1: records of connections say how many bytes went' }
      : {
          level: 'note',
          what: 'nf_conntrack_acct=0: records of connections say nothing of bytes; set net.netfilter.nf_conntrack_acct=1 to have them',
        },
  ];
}
