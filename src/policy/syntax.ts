/**
 * The syntax rules of the API server (apimachinery `util/validation`), each as a function that says what is wrong and what
 * would be right; undefined means that the text is well-formed.
 */

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const NAME_PART = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const LONGEST_LABEL = 63;
const LONGEST_SUBDOMAIN = 253;
const LONGEST_PORT_NAME = 15;

/** RFC 1123 label: the name of a namespace. */
export function dnsLabelFault(text: string): string | undefined {
  if (text.length > LONGEST_LABEL) return `is longer than ${LONGEST_LABEL} characters`;
  if (!DNS_LABEL.test(text))
    return 'must be lower-case letters, digits and «-», beginning and ending with a letter or digit';
  return undefined;
}

/** RFC 1123 subdomain: the name of most objects. Its parts have no limit of their own. */
export function dnsSubdomainFault(text: string): string | undefined {
  if (text.length > LONGEST_SUBDOMAIN) return `is longer than ${LONGEST_SUBDOMAIN} characters`;
  if (!text.split('.').every((part) => DNS_LABEL.test(part)))
    return 'must be lower-case letters, digits, «-» and «.», each part beginning and ending with a letter or digit';
  return undefined;
}

/** The key of a label or annotation: `app` or `example.com/app`. */
export function labelKeyFault(text: string): string | undefined {
  const parts = text.split('/');
  const name = parts.at(-1)!;
  if (parts.length > 2) return 'may have one «/» at most: a DNS name, then the name';
  if (parts.length === 2) {
    const fault = parts[0] === '' ? 'must not be empty' : dnsSubdomainFault(parts[0]!);
    if (fault !== undefined) return `the part before «/» ${fault}`;
  }
  if (name.length > LONGEST_LABEL) return `the name is longer than ${LONGEST_LABEL} characters`;
  if (!NAME_PART.test(name))
    return 'the name must be letters, digits, «-», «_» and «.», beginning and ending with a letter or digit';
  return undefined;
}

/** The value of a label; it may be empty. */
export function labelValueFault(text: string): string | undefined {
  if (text.length > LONGEST_LABEL) return `is longer than ${LONGEST_LABEL} characters`;
  if (text !== '' && !NAME_PART.test(text))
    return 'must be letters, digits, «-», «_» and «.», beginning and ending with a letter or digit';
  return undefined;
}

/** The name of a container port (IANA service name, RFC 6335, in lower case). */
export function portNameFault(text: string): string | undefined {
  if (text.length > LONGEST_PORT_NAME) return `is longer than ${LONGEST_PORT_NAME} characters`;
  if (!/^[-a-z0-9]+$/.test(text)) return 'must be lower-case letters, digits and «-»';
  if (!/[a-z]/.test(text)) return 'must contain a letter; write a port number without quotes';
  if (text.includes('--') || text.startsWith('-') || text.endsWith('-'))
    return 'must not begin or end with «-», nor contain «--»';
  return undefined;
}

/** A port number. */
export function portNumberFault(port: number): string | undefined {
  return port >= 1 && port <= 65_535 ? undefined : 'must be between 1 and 65535';
}
