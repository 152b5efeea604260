/** The queues, where nobody asks for others: `redirect apply --mode nfqueue` and `proxy --mode nfqueue` have to agree. */
export const DEFAULT_QUEUES = { first: 14_100, count: 2 } as const;
